# SPDX-License-Identifier: Apache-2.0
"""What stands about and is easily taken for something else: poles, signs, bins, benches, lamps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.layouts.barriers import add_railing
from rgbt_models.synthetic.layouts.layout import LayoutKind, Use
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
# Shares of things as warm as a body: what is easily taken for a person must occur, seldom.
_WARM_BOXES, _WARM_POSTS, _WARM_BENCHES = 0.16, 0.06, 0.05


def _above(position: FloatArray, x: float, y: float, z: float) -> tuple[float, float, float]:
    return float(position[0]) + x, float(position[1]) + y, float(position[2]) + z


def _metal(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the colour of street furniture: mostly grey, some dark green, some anything."""
    draw, level = rng.random(), rng.uniform(0.03, 0.45)
    if draw < 0.65:
        return level, level * rng.uniform(0.95, 1.02), level * rng.uniform(0.9, 1.05)
    if draw < 0.75:
        return 0.02, rng.uniform(0.04, 0.12), rng.uniform(0.03, 0.06)
    return sample_colour(rng)


def _warmth(
    rng: np.random.Generator, builder: SceneBuilder, label: Label, *, body_warm: float
) -> int:
    """Draw a surface; ``body_warm`` is the share of those as warm as a body."""
    is_body_warm = rng.random() < body_warm
    return builder.material(
        Material(
            label=label, albedo=_metal(rng) if label is Label.POLE else sample_colour(rng),
            offset_k=0.0 if is_body_warm else rng.uniform(-3.0, 3.0),
            body_share=rng.uniform(0.45, 1.25) if is_body_warm else 0.0,
            solar=0.5, texture_rgb=0.08, texture_k=0.5,
        )
    )  # fmt: skip


def _fitting(rng: np.random.Generator, builder: SceneBuilder, *, emission: float = 0.0) -> int:
    return builder.material(
        Material(
            label=Label.POLE, albedo=sample_colour(rng), offset_k=rng.uniform(-4.0, 4.0),
            lamp_k=rng.uniform(0.0, 8.0) if emission else 0.0, solar=0.5, texture_rgb=0.15,
            texture_k=0.4, emission=emission, light_threshold=rng.uniform(0.2, 0.8),
        )
    )  # fmt: skip


def add_post(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a pole, bollard, bin, box or sign; of boxes one in six is as warm as a body."""
    kind = rng.random()
    if kind < 0.38:
        _add_pole(rng, builder, position)
    elif kind < 0.55:
        height = rng.uniform(0.6, 1.2)
        top = _above(position, 0.0, 0.0, height)
        mesh = capsule(_above(position, 0.0, 0.0, 0.0), top, rng.uniform(0.06, 0.16))
        builder.fixed.add(mesh, _warmth(rng, builder, Label.POLE, body_warm=_WARM_POSTS))
    elif kind < 0.8:
        _add_bin(rng, builder, position)
    else:
        _add_sign(rng, builder, position)


def _add_bin(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a bin, an electrical cabinet or a box; a few have a lid of another colour."""
    material = _warmth(rng, builder, Label.BUILDING, body_warm=_WARM_BOXES)
    size = (rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.9), rng.uniform(0.5, 1.8))
    yaw = rng.uniform(0.0, 3.0)
    if rng.random() < 0.25:
        height = min(size[2], 1.2)
        mesh = cylinder(size[0] / 2, height, _above(position, 0.0, 0.0, height / 2))
        builder.fixed.add(mesh, material)
        return
    builder.fixed.add(move(box(size, (0.0, 0.0, size[2] / 2)), yaw, position), material)
    if rng.random() < 0.4:
        lid = box((size[0] + 0.06, size[1] + 0.06, 0.1), (0.0, 0.0, size[2] + 0.03))
        builder.fixed.add(
            move(lid, yaw, position), _warmth(rng, builder, Label.BUILDING, body_warm=_WARM_BOXES)
        )


def _add_pole(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    radius, height = rng.uniform(0.04, 0.17), rng.uniform(2.5, 8.0)
    mesh = cylinder(radius, height, _above(position, 0.0, 0.0, height / 2))
    builder.fixed.add(mesh, _warmth(rng, builder, Label.POLE, body_warm=_WARM_POSTS))
    if rng.random() < 0.5:
        return
    fitting = _fitting(rng, builder, emission=rng.uniform(3.0, 15.0))
    size = (0.15, rng.uniform(0.3, 1.2), rng.uniform(0.15, 1.0))
    head = box(size, _above(position, -0.1, rng.normal(0.0, 0.3), height - 0.2))
    builder.fixed.add(head, fitting)


def _add_sign(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a post with one or two plates, round, square or wide, turned any way."""
    height, yaw = rng.uniform(1.6, 3.2), rng.normal(0.0, 0.5)
    mast = cylinder(0.04, height, _above(position, 0.0, 0.0, height / 2))
    builder.fixed.add(mast, _warmth(rng, builder, Label.POLE, body_warm=_WARM_POSTS))
    for plate in range(int(rng.integers(1, 3))):
        z = height - 0.2 - 0.75 * plate
        if rng.random() < 0.5:
            mesh = cylinder(rng.uniform(0.25, 0.4), 0.04, (-0.05, 0.0, z), axis='x')
        else:
            mesh = box((0.04, rng.uniform(0.4, 1.3), rng.uniform(0.3, 0.7)), (-0.05, 0.0, z))
        builder.fixed.add(move(mesh, yaw, position), _fitting(rng, builder))


def add_bench(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a bench with a back."""
    wood = _warmth(rng, builder, Label.BUILDING, body_warm=_WARM_BENCHES)
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
        drum = _warmth(rng, builder, Label.BUILDING, body_warm=_WARM_BENCHES)
        for _ in range(int(rng.integers(1, 4))):
            x, y = rng.normal(0.0, 0.45, 2)
            mesh = cylinder(0.29, 0.88, (float(x), float(y), 0.44))
            builder.fixed.add(move(mesh, yaw, position), drum)
        return
    material = _warmth(rng, builder, Label.BUILDING, body_warm=_WARM_BENCHES)
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
    mast = builder.material(
        Material(
            label=Label.POLE, albedo=_metal(rng), offset_k=rng.uniform(-3.0, 3.0),
            solar=0.5, texture_rgb=0.05, texture_k=0.3,
        )
    )  # fmt: skip
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
    mast = _warmth(rng, builder, Label.POLE, body_warm=_WARM_POSTS)
    case = _fitting(rng, builder)
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


def add_clutter(
    rng: np.random.Generator, builder: SceneBuilder, placer: Placer, *, density: float = 1.0
) -> None:
    """Add trees, bushes, posts, benches, piles, sometimes a railing, lamps and traffic lights.

    Args:
        rng: Source of randomness.
        builder: Receives everything.
        placer: Knows the layout and what ground is free.
        density: Multiplies the number of things, for long streets.
    """
    layout = placer.layout
    rates = layout.rates
    piled = _FURNITURE | ({Use.DRIVE} if layout.kind is LayoutKind.YARD else set())
    rows: tuple[tuple[float, float, float, float, frozenset[Use], Callable[..., None]], ...] = (
        (rates.trees, 7.5, 70.0, 0.45, _BESIDE_ROAD, add_tree),
        (rates.bushes, 6.5, 50.0, 0.6, _BESIDE_ROAD, add_bush),
        (rates.posts, 4.5, 55.0, 0.3, _FURNITURE, add_post),
        (rates.benches, 5.5, 35.0, 0.9, _BESIDE_ROAD, add_bench),
        (rates.piles, 8.0, 45.0, 0.9, piled, add_pile),
    )
    for mean, near, far, radius, uses, add in rows:
        for _ in range(math.ceil(density * mean * rng.uniform(0.0, 2.0) - 0.5)):
            position = placer.place(rng, near_m=near, far_m=far, radius_m=radius, uses=uses)
            if position is not None:
                add(rng, builder, position)
    for line in layout.fence_lines:
        if rng.random() < _RAILING_SHARE / len(layout.fence_lines):
            add_railing(rng, builder, line)
    for spot in layout.signal_spots:
        if placer.is_free(spot.x, spot.y, 0.2):
            placer.take(spot.x, spot.y, 0.3)
            add_signal(rng, builder, spot)
    count = math.ceil(density * rates.lamps * rng.uniform(0.0, 2.0) - 0.5)
    for index in rng.permutation(len(layout.lamp_spots))[:count]:
        spot = layout.lamp_spots[index]
        if placer.is_free(spot.x, spot.y, 0.15):
            placer.take(spot.x, spot.y, 0.2)
            add_street_lamp(rng, builder, spot.x, spot.y, spot.yaw_rad)
