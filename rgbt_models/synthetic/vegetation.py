# SPDX-License-Identifier: Apache-2.0
"""Trees of several shapes and bushes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import Label, Material
from rgbt_models.synthetic.meshes import capsules, cylinder, foliage, move

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.builder import SceneBuilder

_CONE_SIDES = 15


def _foliage(rng: np.random.Generator, builder: SceneBuilder, warmest_k: float) -> int:
    is_autumn = rng.random() < 0.15
    red = rng.uniform(1.0, 5.0) if is_autumn else rng.uniform(0.5, 3.0)
    colour = (0.05 * red, 0.1 * rng.uniform(0.5, 1.8), 0.03)
    return builder.material(
        Material(
            label=Label.VEGETATION, albedo=colour, offset_k=rng.uniform(-2.5, warmest_k),
            solar=0.3, texture_rgb=0.45, texture_k=0.9,
        )
    )  # fmt: skip


def _bark(rng: np.random.Generator, builder: SceneBuilder) -> int:
    tone = rng.uniform(0.5, 2.0)
    return builder.material(
        Material(
            label=Label.VEGETATION, albedo=(0.09 * tone, 0.06 * tone, 0.04 * tone),
            offset_k=rng.uniform(-1.0, 2.0), solar=0.4, texture_rgb=0.2, texture_k=0.6,
        )
    )  # fmt: skip


def add_tree(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a tree: mostly broad-leaved, one in five a conifer, one in eight bare."""
    kind = rng.random()
    if kind < 0.2:
        _add_conifer(rng, builder, position)
    elif kind < 0.325:
        _add_bare_tree(rng, builder, position)
    else:
        _add_broad_tree(rng, builder, position)


def _add_broad_tree(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    height, radius = rng.uniform(1.8, 5.0), rng.uniform(0.07, 0.25)
    trunk = cylinder(radius, height, (0.0, 0.0, height / 2))
    builder.fixed.add(move(trunk, 0.0, position), _bark(rng, builder))
    count = int(rng.integers(4, 14))
    spread = rng.normal(0.0, [0.8, 0.8, 0.7], (count, 3))
    spread[:, 2] += height + 0.4
    centres = (position + spread).astype(np.float32)
    radii = rng.uniform(0.4, 1.3, count).astype(np.float32)
    builder.fixed.add(foliage(rng, centres, radii), _foliage(rng, builder, 2.0))


def _add_conifer(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a trunk and a stack of ragged cones."""
    height, reach = rng.uniform(3.5, 11.0), rng.uniform(0.9, 2.2)
    foot = rng.uniform(0.1, 1.0)
    trunk = cylinder(0.06 + 0.015 * height, foot + 1.0, (0.0, 0.0, foot / 2))
    builder.fixed.add(move(trunk, 0.0, position), _bark(rng, builder))
    material, count = _foliage(rng, builder, 1.0), int(rng.integers(6, 12))
    angle = np.linspace(0.0, 2.0 * math.pi, _CONE_SIDES, endpoint=False)
    for tier in range(count):
        share = tier / count
        low, high = foot + (height - foot) * share, foot + (height - foot) * (share + 1.8 / count)
        radius = reach * (1.0 - 0.9 * share) * rng.uniform(0.45, 1.15, _CONE_SIDES)
        turned = angle + rng.uniform(0.0, 1.0)
        ring = np.stack(
            [radius * np.cos(turned), radius * np.sin(turned), low - 0.3 * radius], axis=1
        )
        top = np.tile([0.0, 0.0, min(high, height)], (_CONE_SIDES, 1))
        cone = np.stack([ring, np.roll(ring, -1, axis=0), top], axis=1) + position
        builder.fixed.add(cone.astype(np.float32), material)


def _add_bare_tree(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add a trunk with branches and twigs, no leaves."""
    height, radius = rng.uniform(2.5, 6.0), rng.uniform(0.08, 0.22)
    count = int(rng.integers(7, 16))
    angle = rng.uniform(0.0, 2.0 * math.pi, count)
    start = np.zeros((count + 1, 3))
    end = np.zeros((count + 1, 3))
    end[0, 2] = height
    start[1:, 2] = height * rng.uniform(0.45, 1.0, count)
    length = rng.uniform(0.8, 2.4, count)
    lift = rng.uniform(0.3, 1.1, count)
    end[1:] = start[1:] + np.stack(
        [length * np.cos(angle), length * np.sin(angle), length * lift], axis=1
    )
    thick = np.full((count + 1, 4), (0.45 * radius, 0.15 * radius, 1.0, 1.0))
    thick[0, :2] = radius, 0.6 * radius
    rows = np.concatenate([start + position, end + position, thick], axis=1).astype(np.float32)
    mesh = capsules(rows).reshape(-1, 3, 3)
    builder.fixed.add(mesh, _bark(rng, builder))


def add_bush(rng: np.random.Generator, builder: SceneBuilder, position: FloatArray) -> None:
    """Add 2 to 7 clumps of leaves near the ground."""
    count = int(rng.integers(2, 8))
    radii = rng.uniform(0.25, 0.7, count)
    spread = np.stack(
        [rng.normal(0.0, 0.6, count), rng.normal(0.0, 0.6, count), radii * 0.6], axis=1
    )
    centres = (position + spread).astype(np.float32)
    mesh = foliage(rng, centres, radii.astype(np.float32), num_leaves=70)
    builder.fixed.add(mesh, _foliage(rng, builder, 3.0))
