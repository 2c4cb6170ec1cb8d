# SPDX-License-Identifier: Apache-2.0
"""What separates pieces of ground: railings, fences, walls, hedges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.layouts.layout import Area, Use
from rgbt_models.synthetic.materials import Label, Material, sample_colour, shade
from rgbt_models.synthetic.meshes import box, boxes, foliage, move

if TYPE_CHECKING:
    from rgbt_models.synthetic.builder import SceneBuilder

_MOST_CLUMPS = 60  # of leaves in one hedge


def _material(
    rng: np.random.Generator,
    builder: SceneBuilder,
    colour: tuple[float, float, float],
    warmest_k: float,
) -> int:
    return builder.material(
        Material(
            label=Label.BUILDING, albedo=colour, offset_k=rng.uniform(-3.0, warmest_k), solar=0.6,
            texture_rgb=0.12, texture_k=0.4,
        )
    )  # fmt: skip


def add_railing(rng: np.random.Generator, builder: SceneBuilder, line: Area) -> None:
    """Add posts with two or three rails along the area's length, on its height."""
    material = _material(rng, builder, sample_colour(rng), 0.4)
    height, step = rng.uniform(0.7, 1.4), rng.uniform(0.8, 2.4)
    places = np.arange(-line.length_m / 2, line.length_m / 2, step)
    centres = np.zeros((len(places), 3), np.float32)
    centres[:, 0], centres[:, 2] = places, height / 2
    parts = [boxes(np.tile(np.array([0.05, 0.05, height], np.float32), (len(places), 1)), centres)]
    parts += [
        box((line.length_m, 0.04, 0.06), (0.0, 0.0, height * float(share)))
        for share in np.linspace(0.3, 1.0, int(rng.integers(2, 4)))
    ]
    position = np.array([line.x, line.y, line.z], np.float32)
    builder.fixed.add(move(np.concatenate(parts), line.yaw_rad, position), material)


def add_wall(rng: np.random.Generator, builder: SceneBuilder, line: Area) -> Area:
    """Add a wall or a fence of boards along the area's length; returns the ground it covers."""
    colour = shade(sample_colour(rng), 0.6, rng.uniform(0.03, 0.3))
    height, thickness = rng.uniform(0.6, 2.4), rng.uniform(0.06, 0.3)
    material = _material(rng, builder, colour, 2.0)
    mesh = box((line.length_m, thickness, height), (0.0, 0.0, height / 2))
    position = np.array([line.x, line.y, line.z], np.float32)
    builder.fixed.add(move(mesh, line.yaw_rad, position), material)
    return _covered(line, thickness)


def add_hedge(rng: np.random.Generator, builder: SceneBuilder, line: Area) -> Area:
    """Add a hedge along the area's length; returns the ground it covers."""
    height, thickness = rng.uniform(0.7, 2.2), rng.uniform(0.5, 1.1)
    tone = rng.uniform(0.5, 1.8)
    material = builder.material(
        Material(
            label=Label.VEGETATION, albedo=(0.05 * tone, 0.09 * tone, 0.03),
            offset_k=rng.uniform(-2.5, 2.5), solar=0.3, texture_rgb=0.45, texture_k=0.9,
        )
    )  # fmt: skip
    core = box((line.length_m, thickness * 0.8, height * 0.92), (0.0, 0.0, height * 0.46))
    count = min(_MOST_CLUMPS, math.ceil(line.length_m / 0.8))
    centres = np.zeros((count, 3), np.float32)
    centres[:, 0] = np.linspace(-line.length_m / 2, line.length_m / 2, count)
    centres[:, 1] = rng.normal(0.0, 0.12 * thickness, count)
    centres[:, 2] = height * rng.uniform(0.45, 0.75, count)
    radii = rng.uniform(0.35, 0.6, count).astype(np.float32) * np.float32(thickness)
    leaves = foliage(rng, centres, np.maximum(radii, np.float32(0.3 * height)), num_leaves=40)
    position = np.array([line.x, line.y, line.z], np.float32)
    mesh = np.concatenate([core, leaves])
    builder.fixed.add(move(mesh, line.yaw_rad, position), material)
    return _covered(line, thickness + 0.3)


def _covered(line: Area, thickness_m: float) -> Area:
    return Area(
        use=Use.BUILT, x=line.x, y=line.y, length_m=line.length_m, width_m=thickness_m,
        yaw_rad=line.yaw_rad,
    )  # fmt: skip
