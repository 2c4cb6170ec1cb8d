# SPDX-License-Identifier: Apache-2.0
"""What stands about and is easily taken for something else: poles, signs, bins, benches, lamps."""

from __future__ import annotations

import math
from typing import NamedTuple, TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.layouts.barriers import add_railing
from rgbt_models.synthetic.layouts.layout import LayoutKind, sample_count, Use
from rgbt_models.synthetic.materials import Label, Material, sample_colour
from rgbt_models.synthetic.meshes import box, boxes, capsule, cylinder, move
from rgbt_models.synthetic.vegetation import add_bush, add_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.builder import SceneBuilder
    from rgbt_models.synthetic.layouts.layout import Spot
    from rgbt_models.synthetic.placer import Placer

_BESIDE_ROAD = frozenset({Use.WALK, Use.GREEN})
_FURNITURE = frozenset({Use.WALK, Use.GREEN, Use.BAY})
_RAILING_SHARE = 0.3
# What is easily taken for a person must occur, seldom, and what is hot of it is small.
_VENT_SHARE, _BODY_WARM_SHARE, _BODY_WARM_M = 0.12, 0.15, 0.75
# How much warmer than the air in its shade, K: metal loses heat to the sky, wood hardly.
_METAL_K, _WOOD_K, _HYDRANT_K = (-2.6, 0.6), (-2.0, 0.8), (-6.0, -2.0)


def _painted(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the colour of street furniture: mostly grey, some dark green, some anything."""
    draw, level = rng.random(), rng.uniform(0.03, 0.45)
    if draw < 0.65:
        return level, level * rng.uniform(0.95, 1.02), level * rng.uniform(0.9, 1.05)
    if draw < 0.75:
        return 0.02, rng.uniform(0.04, 0.12), rng.uniform(0.03, 0.06)
    return sample_colour(rng)


def _wooden(rng: np.random.Generator) -> tuple[float, float, float]:
    level = rng.uniform(0.06, 0.4)
    return level, level * rng.uniform(0.6, 0.95), level * rng.uniform(0.35, 0.9)


def _cool(
    rng: np.random.Generator,
    builder: SceneBuilder,
    label: Label,
    albedo: tuple[float, float, float],
    warmer_k: tuple[float, float],
) -> int:
    """Draw a surface without heat of its own, ``warmer_k`` above the air before the sun."""
    return builder.material(
        Material(
            label=label, albedo=albedo, offset_k=rng.uniform(*warmer_k), solar=0.5,
            texture_rgb=0.08, texture_k=0.5,
        )
    )  # fmt: skip


def _body_warm(
    rng: np.random.Generator, builder: SceneBuilder, albedo: tuple[float, float, float]
) -> int:
    """Draw a surface about as warm as a clothed body."""
    return builder.material(
        Material(
            label=Label.BUILDING, albedo=albedo, body_share=rng.uniform(0.3, 1.0), solar=0.5,
            texture_rgb=0.08, texture_k=0.5,
        )
    )  # fmt: skip


def _mast(rng: np.random.Generator, builder: SceneBuilder) -> int:
    return _cool(rng, builder, Label.POLE, _painted(rng), _METAL_K)


def _plate(rng: np.random.Generator, builder: SceneBuilder) -> int:
    return _cool(rng, builder, Label.POLE, sample_colour(rng), _METAL_K)


def _lamp_head(rng: np.random.Generator, builder: SceneBuilder) -> int:
    return builder.material(
        Material(
            label=Label.POLE, albedo=sample_colour(rng), offset_k=rng.uniform(*_METAL_K),
            lamp_k=rng.uniform(0.0, 8.0), solar=0.5, texture_rgb=0.15, texture_k=0.4,
            emission=rng.uniform(3.0, 15.0), light_threshold=rng.uniform(0.2, 0.8),
        )
    )  # fmt: skip


def _stand(
    builder: SceneBuilder, mesh: FloatArray, position: FloatArray, material: int, yaw: float = 0.0
) -> None:
    """Add a mesh, made about the origin, at a place."""
    builder.fixed.add(move(mesh, yaw, position), material)


def add_post(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a pole, bollard, hydrant, bin, cabinet or sign."""
    kind = rng.random()
    if kind < 0.38:
        _add_pole(rng, builder, position)
    elif kind < 0.51:
        mesh = capsule((0.0, 0.0, 0.0), (0.0, 0.0, rng.uniform(0.6, 1.2)), rng.uniform(0.06, 0.16))
        _stand(builder, mesh, position, _mast(rng, builder))
    elif kind < 0.55:
        _add_hydrant(rng, builder, position)
    elif kind < 0.8:
        _add_bin(rng, builder, position)
    else:
        _add_sign(rng, builder, position)


def _add_hydrant(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a hydrant: red, yellow or grey, as cold as the water in it."""
    colours = ((0.4, 0.04, 0.03), (0.55, 0.4, 0.04), (0.3, 0.3, 0.3))
    colour = colours[int(rng.integers(len(colours)))]
    material = _cool(rng, builder, Label.POLE, colour, _HYDRANT_K)
    height, radius = rng.uniform(0.5, 1.0), rng.uniform(0.09, 0.15)
    outlets = cylinder(0.06, 4.0 * radius, (0.0, 0.0, 0.7 * height), axis='y')
    mesh = [capsule((0.0, 0.0, 0.0), (0.0, 0.0, height - radius), radius), outlets]
    _stand(builder, np.concatenate(mesh), position, material, rng.uniform(0.0, 3.0))


def _add_bin(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a bin or a cabinet; a few have a lid of another colour, some a warm vent."""
    size = (rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.9), rng.uniform(0.5, 1.8))
    yaw, colour = rng.uniform(0.0, 3.0), _painted(rng)
    is_body_warm = size[2] < _BODY_WARM_M and rng.random() < _BODY_WARM_SHARE
    material = (
        _body_warm(rng, builder, colour)
        if is_body_warm
        else _cool(rng, builder, Label.BUILDING, colour, _METAL_K)
    )
    if rng.random() < 0.25:
        height = min(size[2], 1.2)
        _stand(builder, cylinder(size[0] / 2, height, (0.0, 0.0, height / 2)), position, material)
        return
    _stand(builder, box(size, (0.0, 0.0, size[2] / 2)), position, material, yaw)
    if rng.random() < 0.4:
        lid = box((size[0] + 0.06, size[1] + 0.06, 0.1), (0.0, 0.0, size[2] + 0.03))
        other = _cool(rng, builder, Label.BUILDING, _painted(rng), _METAL_K)
        _stand(builder, lid, position, other, yaw)
    if rng.random() < _VENT_SHARE:
        wide, high = 0.6 * size[1], rng.uniform(0.15, 0.35)
        vent = box((size[0] + 0.02, wide, high), (0.0, 0.0, rng.uniform(0.3, 0.8) * size[2]))
        _stand(builder, vent, position, _body_warm(rng, builder, (0.05, 0.05, 0.05)), yaw)


def _add_pole(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    radius, height = rng.uniform(0.04, 0.17), rng.uniform(2.5, 8.0)
    _stand(
        builder, cylinder(radius, height, (0.0, 0.0, height / 2)), position, _mast(rng, builder)
    )
    if rng.random() < 0.5:
        return
    size = (0.15, rng.uniform(0.3, 1.2), rng.uniform(0.15, 1.0))
    head = box(size, (-0.1, rng.normal(0.0, 0.3), height - 0.2))
    _stand(builder, head, position, _lamp_head(rng, builder))


def _add_sign(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a post with one or two plates, round, square or wide, turned any way."""
    height, yaw = rng.uniform(1.6, 3.2), rng.normal(0.0, 0.5)
    _stand(builder, cylinder(0.04, height, (0.0, 0.0, height / 2)), position, _mast(rng, builder))
    for plate in range(int(rng.integers(1, 3))):
        z = height - 0.2 - 0.75 * plate
        if rng.random() < 0.5:
            mesh = cylinder(rng.uniform(0.25, 0.4), 0.04, (-0.05, 0.0, z), axis='x')
        else:
            mesh = box((0.04, rng.uniform(0.4, 1.3), rng.uniform(0.3, 0.7)), (-0.05, 0.0, z))
        _stand(builder, mesh, position, _plate(rng, builder), yaw)


def add_bench(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a bench with a back."""
    wood = _cool(rng, builder, Label.BUILDING, _wooden(rng), _WOOD_K)
    width = rng.uniform(1.2, 2.0)
    sizes = np.array(
        [[0.45, width, 0.06], [0.06, width, 0.35], [0.4, 0.07, 0.42], [0.4, 0.07, 0.42]],
        np.float32,
    )
    side = width * 0.4
    centres = np.array(
        [[0.0, 0.0, 0.45], [-0.22, 0.0, 0.75], [0.0, -side, 0.21], [0.0, side, 0.21]], np.float32
    )
    builder.fixed.add(move(boxes(sizes, centres), rng.uniform(0.0, 6.3), position), wood)


def add_pile(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add pallets, crates or drums on top of each other."""
    yaw, count = rng.uniform(0.0, 3.0), int(rng.integers(1, 7))
    if rng.random() < 0.25:
        drum = _cool(rng, builder, Label.BUILDING, _painted(rng), _METAL_K)
        for _ in range(int(rng.integers(1, 4))):
            x, y = rng.normal(0.0, 0.45, 2)
            mesh = cylinder(0.29, 0.88, (float(x), float(y), 0.44))
            builder.fixed.add(move(mesh, yaw, position), drum)
        return
    material = _cool(rng, builder, Label.BUILDING, _wooden(rng), _WOOD_K)
    height = 0.16 if rng.random() < 0.5 else rng.uniform(0.4, 0.9)
    sizes = np.tile(np.array([1.2, 0.8, height * 0.93], np.float32), (count, 1))
    centres = np.zeros((count, 3), np.float32)
    centres[:, :2] = rng.normal(0.0, 0.03, (count, 2))
    centres[:, 2] = (np.arange(count) + 0.5) * height
    is_low = centres[:, 2] < 2.6
    builder.fixed.add(move(boxes(sizes[is_low], centres[is_low]), yaw, position), material)


def add_street_lamp(
    rng: np.random.Generator, builder: SceneBuilder, x: float, y: float, yaw_rad: float
) -> None:
    """Add a mast with an arm along the yaw and the light it gives."""
    height, strength = rng.uniform(3.5, 8.0), rng.uniform(4.0, 40.0)
    tint = (1.0, rng.uniform(0.7, 1.0), rng.uniform(0.35, 1.0))
    threshold, reach = rng.uniform(0.25, 0.7), rng.uniform(0.0, 1.2)
    mast = _mast(rng, builder)
    lamp = builder.material(
        Material(
            label=Label.POLE, albedo=(tint[0] * 0.9, tint[1] * 0.9, tint[2] * 0.9),
            lamp_k=rng.uniform(2.0, 20.0), emission=rng.uniform(6.0, 20.0),
            light_threshold=threshold,
        )
    )  # fmt: skip
    foot = np.array([x, y, 0.0], np.float32)
    arm = box((reach + 0.1, 0.08, 0.06), (reach / 2, 0.0, height))
    head = box((0.3, 0.45, 0.08), (reach, 0.0, height - 0.05))
    builder.fixed.add(cylinder(rng.uniform(0.05, 0.11), height, (x, y, height / 2)), mast)
    builder.fixed.add(move(arm, yaw_rad, foot), mast)
    builder.fixed.add(move(head, yaw_rad, foot), lamp)
    colour = (strength * tint[0], strength * tint[1], strength * tint[2])
    end = (x + reach * math.cos(yaw_rad), y + reach * math.sin(yaw_rad), height - 0.2)
    builder.add_lamp(np.array(end, np.float32), colour, threshold)


def add_signal(rng: np.random.Generator, builder: SceneBuilder, spot: Spot) -> None:
    """Add a traffic light that faces along the spot's yaw; one of its three lamps is lit."""
    height = rng.uniform(2.6, 3.6)
    mast = _mast(rng, builder)
    case = _cool(rng, builder, Label.POLE, (0.03, 0.03, 0.03), _METAL_K)
    foot = np.array([spot.x, spot.y, 0.0], np.float32)
    builder.fixed.add(cylinder(0.06, height, (spot.x, spot.y, height / 2)), mast)
    body = box((0.2, 0.32, 0.9), (0.12, 0.0, height - 0.5))
    builder.fixed.add(move(body, spot.yaw_rad, foot), case)
    lit = int(rng.choice([0, 2, 2, 1]))
    for lamp, colour in enumerate(((0.1, 0.75, 0.3), (0.8, 0.55, 0.05), (0.8, 0.04, 0.03))):
        material = builder.material(
            Material(
                label=Label.POLE, albedo=colour if lamp == lit else (0.03, 0.03, 0.03),
                lamp_k=4.0 if lamp == lit else 0.0, emission=8.0 if lamp == lit else 0.0,
                light_threshold=-1.0,  # lit by day too
            )
        )  # fmt: skip
        mesh = cylinder(0.1, 0.04, (0.24, 0.0, height - 0.8 + 0.28 * lamp), axis='x')
        builder.fixed.add(move(mesh, spot.yaw_rad, foot), material)


class _Kind(NamedTuple):
    """How many of a kind of thing stand where."""

    mean: float
    near_m: float
    far_m: float
    radius_m: float
    uses: frozenset[Use]
    add: Callable[[np.random.Generator, SceneBuilder, FloatArray], None]


def add_clutter(
    rng: np.random.Generator, builder: SceneBuilder, placer: Placer, *, density: float = 1.0
) -> None:
    """Add trees, bushes, posts, benches, piles, sometimes a railing, lamps and traffic lights.

    Args:
        rng: Source of randomness.
        builder: Receives everything.
        placer: Knows the layout and what ground is free.
        density: Multiplies the number of things, for long streets; not that of railings and
            traffic lights, whose places the layout gives.
    """
    rates = placer.layout.rates
    piled = _FURNITURE | ({Use.DRIVE} if placer.layout.kind is LayoutKind.YARD else set())
    kinds = (
        _Kind(rates.trees, 7.5, 70.0, 0.45, _BESIDE_ROAD, add_tree),
        _Kind(rates.bushes, 6.5, 50.0, 0.6, _BESIDE_ROAD, add_bush),
        _Kind(rates.posts, 4.5, 55.0, 0.3, _FURNITURE, add_post),
        _Kind(rates.benches, 5.5, 35.0, 0.9, _BESIDE_ROAD, add_bench),
        _Kind(rates.piles, 8.0, 45.0, 0.9, piled, add_pile),
    )
    for kind in kinds:
        for _ in range(sample_count(rng, density * kind.mean)):
            position = placer.place(
                rng, near_m=kind.near_m, far_m=kind.far_m, radius_m=kind.radius_m, uses=kind.uses
            )
            if position is not None:
                kind.add(rng, builder, position)
    _add_to_spots(rng, builder, placer, num_lamps=sample_count(rng, density * rates.lamps))


def _add_to_spots(
    rng: np.random.Generator, builder: SceneBuilder, placer: Placer, *, num_lamps: int
) -> None:
    """Add what has places of its own in the layout: railings, traffic lights, street lamps."""
    layout = placer.layout
    for line in layout.fence_lines:
        if rng.random() < _RAILING_SHARE / len(layout.fence_lines):
            add_railing(rng, builder, line)
    for spot in layout.signal_spots:
        if placer.is_free(spot.x, spot.y, 0.2):
            placer.take(spot.x, spot.y, 0.3)
            add_signal(rng, builder, spot)
    for index in rng.permutation(len(layout.lamp_spots))[:num_lamps]:
        spot = layout.lamp_spots[index]
        if placer.is_free(spot.x, spot.y, 0.15):
            placer.take(spot.x, spot.y, 0.2)
            add_street_lamp(rng, builder, spot.x, spot.y, spot.yaw_rad)
