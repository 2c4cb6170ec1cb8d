# SPDX-License-Identifier: Apache-2.0
"""What stands about and is easily taken for something else: trees, poles, bins, fences, lamps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import Label, Material, sample_colour
from rgbt_models.synthetic.meshes import box, capsule, cylinder, foliage, move

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.builder import Placer, SceneBuilder
    from rgbt_models.synthetic.street import Street


def _above(position: FloatArray, x: float, y: float, z: float) -> tuple[float, float, float]:
    return float(position[0]) + x, float(position[1]) + y, float(position[2]) + z


def _foliage(rng: np.random.Generator, builder: SceneBuilder, warmest_k: float) -> int:
    colour = (0.05 * rng.uniform(0.5, 3.0), 0.1 * rng.uniform(0.5, 1.8), 0.03)
    return builder.material(
        Material(
            label=Label.VEGETATION, albedo=colour, offset_k=rng.uniform(-2.5, warmest_k),
            solar=0.3, texture_rgb=0.45, texture_k=0.9,
        )
    )  # fmt: skip


def add_tree(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a trunk with 4 to 13 clumps of leaves."""
    height, radius = rng.uniform(1.8, 5.0), rng.uniform(0.07, 0.25)
    tone = rng.uniform(0.5, 2.0)
    trunk = builder.material(
        Material(
            label=Label.VEGETATION, albedo=(0.09 * tone, 0.06 * tone, 0.04 * tone),
            offset_k=rng.uniform(-1.0, 4.0), solar=0.4, texture_rgb=0.2, texture_k=0.6,
        )
    )  # fmt: skip
    builder.fixed.add(cylinder(radius, height, _above(position, 0.0, 0.0, height / 2)), trunk)
    count = int(rng.integers(4, 14))
    spread = rng.normal(0.0, [0.8, 0.8, 0.7], (count, 3))
    spread[:, 2] += height + 0.4
    centres = (position + spread).astype(np.float32)
    radii = rng.uniform(0.4, 1.3, count).astype(np.float32)
    builder.fixed.add(foliage(rng, centres, radii), _foliage(rng, builder, 2.0))


def add_bush(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add 2 to 7 clumps of leaves near the ground."""
    count = int(rng.integers(2, 8))
    radii = rng.uniform(0.25, 0.7, count)
    spread = np.stack(
        [rng.normal(0.0, 0.6, count), rng.normal(0.0, 0.6, count), radii * 0.6], axis=1
    )
    centres = (position + spread).astype(np.float32)
    mesh = foliage(rng, centres, radii.astype(np.float32))
    builder.fixed.add(mesh, _foliage(rng, builder, 3.0))


def add_post(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a pole, bollard, bin or sign; nearly half are as warm as a body."""
    is_body_warm = rng.random() >= 0.55
    offset_k = 0.0 if is_body_warm else rng.uniform(-3.0, 5.0)
    body_share = rng.uniform(0.45, 1.25) if is_body_warm else 0.0
    material = builder.material(
        Material(
            label=Label.BUILDING, albedo=sample_colour(rng), offset_k=offset_k,
            body_share=body_share, solar=0.5, texture_rgb=0.08, texture_k=0.5,
        )
    )  # fmt: skip
    kind = rng.random()
    if kind < 0.4:
        _add_pole(rng, builder, position, material)
    elif kind < 0.6:
        height = rng.uniform(0.6, 1.2)
        top = _above(position, 0.0, 0.0, height)
        mesh = capsule(_above(position, 0.0, 0.0, 0.0), top, rng.uniform(0.06, 0.16))
        builder.fixed.add(mesh, material)
    elif kind < 0.85:
        size = (rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.9), rng.uniform(0.5, 1.8))
        mesh = move(box(size, (0.0, 0.0, size[2] / 2)), rng.uniform(0.0, 3.0), position)
        builder.fixed.add(mesh, material)
    else:
        _add_sign(rng, builder, position, material)


def _add_pole(
    rng: np.random.Generator, builder: SceneBuilder, position: FloatArray, material: int
) -> None:
    radius, height = rng.uniform(0.04, 0.17), rng.uniform(2.5, 8.0)
    builder.fixed.add(cylinder(radius, height, _above(position, 0.0, 0.0, height / 2)), material)
    if rng.random() < 0.5:
        return
    fitting = builder.material(
        Material(
            label=Label.BUILDING, albedo=sample_colour(rng), offset_k=rng.uniform(-4.0, 4.0),
            lamp_k=rng.uniform(0.0, 8.0), solar=0.5, texture_rgb=0.1, texture_k=0.4,
            emission=rng.uniform(3.0, 15.0), light_threshold=rng.uniform(0.2, 0.8),
        )
    )  # fmt: skip
    size = (0.15, rng.uniform(0.3, 1.2), rng.uniform(0.15, 1.0))
    mesh = box(size, _above(position, -0.1, rng.normal(0.0, 0.3), height - 0.2))
    builder.fixed.add(mesh, fitting)


def _add_sign(
    rng: np.random.Generator, builder: SceneBuilder, position: FloatArray, material: int
) -> None:
    height = rng.uniform(1.6, 3.2)
    builder.fixed.add(cylinder(0.04, height, _above(position, 0.0, 0.0, height / 2)), material)
    plate = builder.material(
        Material(
            label=Label.BUILDING, albedo=sample_colour(rng), offset_k=rng.uniform(-4.0, 4.0),
            solar=0.5, texture_rgb=0.2, texture_k=0.4,
        )
    )  # fmt: skip
    mesh = cylinder(0.35, 0.04, _above(position, -0.05, 0.0, height - 0.2), axis='x')
    builder.fixed.add(mesh, plate)


def add_fence(rng: np.random.Generator, builder: SceneBuilder, street: Street) -> None:
    """Add posts with two rails along one side of the road."""
    material = builder.material(
        Material(
            label=Label.BUILDING, albedo=sample_colour(rng), offset_k=rng.uniform(-3.0, 3.0),
            solar=0.5, texture_rgb=0.1, texture_k=0.4,
        )
    )  # fmt: skip
    side, height = float(rng.choice([-1.0, 1.0])), rng.uniform(0.7, 1.4)
    y = street.centre_y + side * (street.half_width_m + 0.1)
    for post in range(40):
        centre = (4.0 + post * 0.8, y, height / 2 + street.kerb_m)
        builder.fixed.add(box((0.05, 0.05, height), centre), material)
    for share in (0.4, 1.0):
        centre = (20.0, y, height * share + street.kerb_m)
        builder.fixed.add(box((32.0, 0.04, 0.06), centre), material)


def add_street_lamp(
    rng: np.random.Generator, builder: SceneBuilder, street: Street, x: float, side: float
) -> None:
    """Add a mast with an arm over the road and the light it gives."""
    height, strength = rng.uniform(3.5, 8.0), rng.uniform(4.0, 40.0)
    tint = (1.0, rng.uniform(0.7, 1.0), rng.uniform(0.35, 1.0))
    threshold = rng.uniform(0.25, 0.7)
    y = street.centre_y + side * (street.half_width_m + 0.5)
    arm_y = y - side * rng.uniform(0.0, 1.2)
    mast = builder.material(
        Material(
            label=Label.BUILDING, albedo=sample_colour(rng), offset_k=rng.uniform(-3.0, 3.0),
            solar=0.5, texture_rgb=0.05, texture_k=0.3,
        )
    )  # fmt: skip
    lamp = builder.material(
        Material(
            label=Label.BUILDING, albedo=(tint[0] * 0.9, tint[1] * 0.9, tint[2] * 0.9),
            lamp_k=rng.uniform(2.0, 20.0), emission=rng.uniform(6.0, 20.0),
            light_threshold=threshold,
        )
    )  # fmt: skip
    builder.fixed.add(cylinder(rng.uniform(0.05, 0.11), height, (x, y, height / 2)), mast)
    builder.fixed.add(box((0.08, abs(arm_y - y) + 0.1, 0.06), (x, (y + arm_y) / 2, height)), mast)
    builder.fixed.add(box((0.45, 0.3, 0.08), (x, arm_y, height - 0.05)), lamp)
    colour = (strength * tint[0], strength * tint[1], strength * tint[2])
    builder.add_lamp(np.array([x, arm_y, height - 0.2], np.float32), colour, threshold)


def add_clutter(
    rng: np.random.Generator,
    builder: SceneBuilder,
    placer: Placer,
    street: Street,
    *,
    density: float = 1.0,
) -> None:
    """Add trees, bushes, posts, sometimes a fence, and street lamps.

    Args:
        rng: Source of randomness.
        builder: Receives everything.
        placer: Knows what ground is free.
        street: Layout.
        density: Multiplies the number of things, for long streets.
    """
    edge = street.half_width_m
    for low, high, near, far, radius, add in (
        (0, 8, 5.0, 60.0, 0.4, add_tree),
        (0, 10, 5.0, 45.0, 0.5, add_bush),
        (4, 24, 4.0, 55.0, 0.25, add_post),
    ):
        beyond = edge * (0.8 if add is add_post else 0.9)
        for _ in range(math.ceil(density * int(rng.integers(low, high)))):
            position = placer.place(rng, near_m=near, far_m=far, radius_m=radius, beyond_m=beyond)
            if position is not None:
                add(rng, builder, position)
    if rng.random() < 0.3:
        add_fence(rng, builder, street)
    for _ in range(math.ceil(density * int(rng.integers(0, 5)))):
        x = rng.uniform(3.0, 0.46 * street.length_m)
        add_street_lamp(rng, builder, street, x, float(rng.choice([-1.0, 1.0])))
