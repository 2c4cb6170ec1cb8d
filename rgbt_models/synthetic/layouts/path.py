# SPDX-License-Identifier: Apache-2.0
"""A foot path through grass: a park, a field track, the edge of a wood."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rgbt_models.synthetic.layouts.background import add_background
from rgbt_models.synthetic.layouts.barriers import add_hedge, add_railing, add_wall
from rgbt_models.synthetic.layouts.buildings import add_building, Plot, sample_building_kind
from rgbt_models.synthetic.layouts.ground import (
    add_puddles,
    add_slab,
    FAR_M,
    grass,
    gravel,
    paving,
)
from rgbt_models.synthetic.layouts.layout import Area, Lane, Layout, LayoutKind, Rates, Spot, Use
from rgbt_models.synthetic.materials import Label

if TYPE_CHECKING:
    import numpy as np

    from rgbt_models.synthetic.builder import SceneBuilder

_STEP_Z_M = 0.0008  # pieces of a path overlap: each is a little higher than the one before
_REACH_M = 40.0


def build_path(rng: np.random.Generator, builder: SceneBuilder) -> Layout:
    """Draw and add a path that winds ahead of the rig, and sometimes one that crosses it."""
    meadow = Area(use=Use.GREEN, x=0.0, y=0.0, length_m=2.0 * FAR_M, width_m=2.0 * FAR_M)
    green = grass(rng, builder)
    add_slab(builder, meadow, green)
    width = rng.uniform(1.6, 5.0)
    surface = (
        gravel(rng, builder)
        if rng.random() < 0.5
        else paving(rng, builder, has_joints=rng.random() < 0.4)
    )
    pieces = _winding(rng, start=(-12.0, rng.uniform(-0.3, 0.3) * width), width_m=width)
    side_path = []
    if rng.random() < 0.5:
        side_path = _winding(
            rng, start=(rng.uniform(6.0, 30.0), -45.0), width_m=rng.uniform(1.4, 3.5),
            yaw_rad=math.pi / 2, z=0.03,
        )  # fmt: skip
    for area in (*pieces, *side_path):
        add_slab(builder, area, surface, depth_m=0.05)
    add_background(rng, builder, length_m=100.0, material=green)
    if rng.random() < 0.3:
        places = [
            pieces[int(rng.integers(len(pieces)))].point(rng.uniform(-4.0, 4.0), 0.0)
            for _ in range(3)
        ]
        add_puddles(rng, builder, places, label=Label.SIDEWALK, z=pieces[-1].z + 0.02)
    return Layout(
        kind=LayoutKind.PATH,
        areas=(meadow, *pieces, *side_path),
        built=tuple(_add_surroundings(rng, builder, width)),
        lanes=tuple(
            Lane(x=area.x, y=area.y, yaw_rad=area.yaw_rad, width_m=0.5 * area.width_m,
                 is_narrow=True)
            for area in (*pieces[::3], *side_path[::4])
        ),
        lamp_spots=tuple(
            Spot(x=x, y=y, yaw_rad=area.yaw_rad + math.pi / 2)
            for area in pieces[1::2]
            for x, y in [area.point(0.0, -area.width_m / 2 - 0.5)]
        ),
        clear_m=40.0,
        reach_m=_REACH_M,
        length_m=100.0,
        yaw_spread_rad=0.3,
        rates=Rates(
            cars=0.25, trucks=0.1, motorbikes=0.4, cyclists=1.6, bicycles=1.2, people=5.5,
            crowd=0.25, animals=0.8, large_animals=0.55, dogs=0.13, on_foot=0.6,
            trees=9.0, bushes=8.0, posts=4.0, lamps=1.5, benches=2.0, piles=0.1, off_lane=1.0,
        ),
    )  # fmt: skip


def _winding(
    rng: np.random.Generator,
    *,
    start: tuple[float, float],
    width_m: float,
    yaw_rad: float = 0.0,
    z: float = 0.02,
) -> list[Area]:
    """Return the pieces of a winding path, each overlapping the next."""
    (x, y), yaw, bend = start, yaw_rad, 0.0
    areas = []
    for piece in range(15):
        length = rng.uniform(6.0, 9.0)
        # The rig stands on the first pieces, which are straight.
        bend = 0.0 if piece < 4 else 0.6 * bend + rng.normal(0.0, 0.12)
        yaw = yaw_rad + 0.92 * (yaw - yaw_rad) + bend
        middle = (x + math.cos(yaw) * length / 2, y + math.sin(yaw) * length / 2)
        areas.append(
            Area(
                use=Use.WALK, x=middle[0], y=middle[1], length_m=length + 0.35 * width_m,
                width_m=width_m, yaw_rad=yaw, z=z + piece * _STEP_Z_M,
            )
        )  # fmt: skip
        x, y = x + math.cos(yaw) * length, y + math.sin(yaw) * length
    return areas


def _add_surroundings(
    rng: np.random.Generator, builder: SceneBuilder, width_m: float
) -> list[Area]:
    """Add hedges, walls or railings along the path and houses beyond the grass."""
    built: list[Area] = []
    for side in (-1.0, 1.0):
        draw = rng.random()
        line = Area(
            use=Use.BUILT, x=rng.uniform(12.0, 30.0),
            y=side * (width_m / 2 + rng.uniform(3.0, 14.0)), length_m=rng.uniform(12.0, 50.0),
            width_m=0.2, yaw_rad=rng.normal(0.0, 0.08),
        )  # fmt: skip
        if draw < 0.25:
            built.append(add_hedge(rng, builder, line))
        elif draw < 0.35:
            built.append(add_wall(rng, builder, line))
        elif draw < 0.5:
            add_railing(rng, builder, line)
        if rng.random() < 0.45:
            x = rng.uniform(-5.0, 20.0)
            while x < 80.0:
                width = rng.uniform(8.0, 25.0)
                plot = Plot(
                    x=x + width / 2, y=side * rng.uniform(22.0, 45.0),
                    yaw_rad=0.0 if side > 0 else math.pi, width_m=width,
                    depth_m=rng.uniform(8.0, 14.0),
                )  # fmt: skip
                built.append(add_building(rng, builder, plot, sample_building_kind(rng)))
                x += width + rng.uniform(1.0, 20.0)
    return built
