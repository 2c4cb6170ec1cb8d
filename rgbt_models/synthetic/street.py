# SPDX-License-Identifier: Apache-2.0
"""The street itself: road, pavements, verges, buildings and their facades."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

from rgbt_models.synthetic.materials import (
    Label,
    log_uniform,
    Material,
    Pattern,
    sample_colour,
    shade,
)
from rgbt_models.synthetic.meshes import box

if TYPE_CHECKING:
    import numpy as np

    from rgbt_models.synthetic.builder import SceneBuilder

_FAR_M = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """Layout of a straight street along x."""

    centre_y: float  # m, of the road
    half_width_m: float  # of the road
    pavement_m: float
    kerb_m: float  # height of the pavement above the road
    setback_m: float  # from the road's edge to the buildings
    length_m: float  # built-up length ahead of x = 0
    has_markings: bool
    marking_albedo: tuple[float, float, float]
    marking_k: float  # markings are this much colder than the road
    crossing_x: float  # start of a zebra crossing, inf = none


def sample_street(rng: np.random.Generator, *, length_m: float = 130.0) -> Street:
    """Draw a layout: roads 6..15 m wide, the rig somewhere on them."""
    half_width = rng.uniform(3.0, 7.5)
    pavement = rng.uniform(1.5, 5.0)
    level = rng.uniform(0.4, 0.75)
    is_yellow = rng.random() < 0.3
    return Street(
        centre_y=rng.uniform(-half_width * 0.6, half_width * 0.6),
        half_width_m=half_width,
        pavement_m=pavement,
        kerb_m=rng.uniform(0.0, 0.16),
        setback_m=pavement + rng.uniform(0.0, 8.0),
        length_m=length_m,
        has_markings=rng.random() < 0.8,
        marking_albedo=(level, level, level * (0.4 if is_yellow else 1.0)),
        marking_k=rng.uniform(0.0, 1.5),
        crossing_x=rng.uniform(5.0, 25.0) if rng.random() < 0.3 else math.inf,
    )


def add_ground(rng: np.random.Generator, builder: SceneBuilder, street: Street) -> None:
    """Add road, pavements and what lies behind them."""
    level = rng.uniform(0.05, 0.28)
    colour = (level, level * rng.uniform(0.95, 1.02), level * rng.uniform(0.9, 1.05))
    road = builder.material(
        Material(
            label=Label.ROAD, albedo=colour, ground_share=1.0, solar=0.9, texture_rgb=0.1,
            texture_k=0.35, pattern=Pattern.ROAD,
        )
    )  # fmt: skip
    middle = street.length_m - 30.0
    length = _FAR_M + street.length_m
    size = (length, 2.0 * street.half_width_m, 0.1)
    builder.fixed.add(box(size, (middle, street.centre_y, -0.05)), road)
    for side in (-1.0, 1.0):
        _add_pavement(rng, builder, street, side, (middle, length))
        _add_verge(rng, builder, street, side, (middle, length))


def _add_pavement(
    rng: np.random.Generator,
    builder: SceneBuilder,
    street: Street,
    side: float,
    extent: tuple[float, float],
) -> None:
    level = rng.uniform(0.12, 0.5)
    material = builder.material(
        Material(
            label=Label.SIDEWALK,
            albedo=(level, level * rng.uniform(0.9, 1.0), level * rng.uniform(0.8, 1.0)),
            offset_k=rng.uniform(-1.0, 1.0), ground_share=rng.uniform(0.2, 1.2), solar=0.8,
            texture_rgb=0.1, texture_k=0.35, pattern=Pattern.PAVING,
        )
    )  # fmt: skip
    y = street.centre_y + side * (street.half_width_m + street.pavement_m / 2)
    size = (extent[1], street.pavement_m, 0.1 + street.kerb_m)
    builder.fixed.add(box(size, (extent[0], y, -0.05 + street.kerb_m / 2)), material)


def _add_verge(
    rng: np.random.Generator,
    builder: SceneBuilder,
    street: Street,
    side: float,
    extent: tuple[float, float],
) -> None:
    is_grass = rng.random() < 0.5
    level = rng.uniform(0.1, 0.35)
    grass = (0.06 * rng.uniform(0.6, 2.0), 0.13 * rng.uniform(0.6, 1.6), 0.03)
    material = builder.material(
        Material(
            label=Label.VEGETATION if is_grass else Label.SIDEWALK,
            albedo=grass if is_grass else (level, level, level),
            offset_k=rng.uniform(-4.0, 2.0), solar=0.4, texture_rgb=0.25, texture_k=1.0,
        )
    )  # fmt: skip
    y = street.centre_y + side * (street.half_width_m + street.pavement_m + 100.0)
    builder.fixed.add(box((extent[1], 200.0, 0.1), (extent[0], y, street.kerb_m - 0.06)), material)


def add_buildings(rng: np.random.Generator, builder: SceneBuilder, street: Street) -> None:
    """Add a row of houses on each side (one side in eight has none) and often a far end."""
    for side in (-1.0, 1.0):
        if rng.random() < 0.12:
            continue
        x = -10.0
        while x < street.length_m:
            width = rng.uniform(6.0, 25.0)
            if rng.random() < 0.8:
                _add_house(rng, builder, street, side, (x, width))
            x += width + (rng.uniform(0.0, 10.0) if rng.random() < 0.5 else 0.0)
    if rng.random() < 0.5:
        material = _facade(rng, builder, shade(sample_colour(rng), 0.6, 0.1))
        height = rng.uniform(4.0, 20.0)
        x = street.length_m + rng.uniform(-70.0, 20.0)
        y = street.centre_y + rng.normal(0.0, 10.0)
        builder.fixed.add(
            box((8.0, rng.uniform(10.0, 60.0), height), (x, y, height / 2)), material
        )


def _facade(
    rng: np.random.Generator, builder: SceneBuilder, colour: tuple[float, float, float]
) -> int:
    return builder.material(
        Material(
            label=Label.BUILDING, albedo=colour, offset_k=rng.uniform(-2.0, 4.0),
            solar=rng.uniform(0.45, 0.95), texture_rgb=0.12, texture_k=0.5,
            pattern=Pattern.FACADE, pattern_seed=int(rng.integers(0, 100)),
        )
    )  # fmt: skip


def _add_house(
    rng: np.random.Generator,
    builder: SceneBuilder,
    street: Street,
    side: float,
    extent: tuple[float, float],
) -> None:
    x, width = extent
    height, depth = rng.uniform(3.0, 22.0), rng.uniform(6.0, 15.0)
    front = street.half_width_m + street.setback_m + rng.uniform(0.0, 3.0)
    material = _facade(rng, builder, shade(sample_colour(rng), 0.6, rng.uniform(0.05, 0.4)))
    centre = (x + width / 2, street.centre_y + side * (front + depth / 2), height / 2)
    builder.fixed.add(box((width, depth, height), centre), material)
    # Awnings, doors, posters, outlets of air conditioners: boxes of any size and warmth.
    for _ in range(int(rng.integers(0, 22))):
        is_lit = rng.random() < 0.4
        fitting = builder.material(
            Material(
                label=Label.BUILDING, albedo=sample_colour(rng), offset_k=rng.uniform(-3.0, 10.0),
                solar=0.5, texture_rgb=0.1, texture_k=0.5,
                emission=rng.uniform(0.3, 2.0) if is_lit else 0.0,
                light_threshold=rng.uniform(0.2, 0.8),
            )
        )  # fmt: skip
        size = (log_uniform(rng, 0.15, 3.5), rng.uniform(0.1, 1.0), log_uniform(rng, 0.2, 3.0))
        z = rng.uniform(size[2] / 2, max(min(height, 7.0), size[2] / 2 + 0.01))
        place = (x + rng.uniform(0.0, width), street.centre_y + side * front, z)
        builder.fixed.add(box(size, place), fitting)
