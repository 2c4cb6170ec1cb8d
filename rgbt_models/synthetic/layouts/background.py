# SPDX-License-Identifier: Apache-2.0
"""What closes the horizon: hills, tree lines, a skyline; and the land in between."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.layouts.ground import FAR_M
from rgbt_models.synthetic.materials import Label, Material, Pattern, sample_colour, shade
from rgbt_models.synthetic.meshes import box, boxes

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.builder import SceneBuilder

_LAND_Z_M = -0.05
_NUM_SEGMENTS = 220


def add_background(
    rng: np.random.Generator, builder: SceneBuilder, *, length_m: float, material: int
) -> None:
    """Add land as far as the eye reaches and, mostly, something on the horizon.

    Args:
        rng: Source of randomness.
        builder: Receives everything.
        length_m: Furnished length ahead of x = 0; the horizon lies beyond it.
        material: Of the land.
    """
    size = (2.0 * FAR_M + length_m, 2.0 * FAR_M, 0.1)
    builder.fixed.add(box(size, (length_m / 2, 0.0, _LAND_Z_M - 0.05)), material)
    if rng.random() < 0.4:
        _add_ridge(rng, builder, length_m, distance_m=rng.uniform(250.0, 380.0), is_hill=True)
    if rng.random() < 0.65:
        _add_ridge(rng, builder, length_m, distance_m=rng.uniform(110.0, 220.0), is_hill=False)
    if rng.random() < 0.5:
        _add_skyline(rng, builder, length_m)


def _around(length_m: float, distance_m: float, count: int) -> tuple[FloatArray, FloatArray]:
    """Return points around the furnished strip at a distance from its ends."""
    angle = np.linspace(0.0, 2.0 * math.pi, count, endpoint=False)
    x = distance_m * np.cos(angle) + np.where(np.cos(angle) > 0.0, length_m, 0.0)
    return x.astype(np.float32), (distance_m * np.sin(angle)).astype(np.float32)


def _add_ridge(
    rng: np.random.Generator,
    builder: SceneBuilder,
    length_m: float,
    *,
    distance_m: float,
    is_hill: bool,
) -> None:
    """Add a closed band whose upper edge is smooth (hills) or ragged (tree tops)."""
    count = _NUM_SEGMENTS
    x, y = _around(length_m, distance_m, count)
    angle = np.linspace(0.0, 2.0 * math.pi, count, endpoint=False)
    height = np.zeros(count)
    for octave in range(2, 9) if is_hill else range(3, 40, 3):
        phase = rng.uniform(0.0, 2.0 * math.pi)
        height += rng.normal(0.0, 1.0) / octave**0.7 * np.sin(octave * angle + phase)
    height *= (rng.uniform(8.0, 28.0) if is_hill else rng.uniform(1.0, 4.0)) / max(
        float(np.abs(height).max()), 1e-3
    )
    height += rng.uniform(4.0, 20.0) if is_hill else rng.uniform(4.0, 9.0)
    if not is_hill:
        height += rng.normal(0.0, 1.1, count)
        height[rng.random(count) < rng.uniform(0.0, 0.3)] = 0.0
    low = np.stack([x, y, np.full(count, _LAND_Z_M)], axis=1)
    # Hills lean away from the viewer, so that they catch light from above.
    lean = 1.0 + (0.15 if is_hill else 0.02)
    high = np.stack([x * lean, y * lean, np.maximum(height, 0.0)], axis=1)
    next_low, next_high = np.roll(low, -1, axis=0), np.roll(high, -1, axis=0)
    faces = [np.stack([low, next_low, high], 1), np.stack([next_low, next_high, high], 1)]
    tone = rng.uniform(0.5, 1.8)
    material = builder.material(
        Material(
            label=Label.VEGETATION, albedo=(0.05 * tone, 0.08 * tone, 0.04 * tone),
            offset_k=rng.uniform(-2.5, 2.0), solar=0.3, texture_rgb=0.4, texture_k=0.8,
        )
    )  # fmt: skip
    builder.fixed.add(np.concatenate(faces).astype(np.float32), material)


def _add_skyline(rng: np.random.Generator, builder: SceneBuilder, length_m: float) -> None:
    count = int(rng.integers(6, 26))
    x, y = _around(length_m, 1.0, 360)
    place = rng.integers(0, 360, count)
    distance = rng.uniform(130.0, 330.0, count)
    angle = place * (2.0 * math.pi / 360.0)
    centres = np.stack(
        [
            x[place] + distance * np.cos(angle),
            y[place] + distance * np.sin(angle),
            np.zeros(count),
        ],
        axis=1,
    )
    tall = rng.random(count) < rng.uniform(0.0, 0.5)
    sizes = rng.uniform(10.0, 45.0, (count, 3))
    sizes[:, 2] = np.where(tall, rng.uniform(20.0, 60.0, count), rng.uniform(5.0, 20.0, count))
    centres[:, 2] = sizes[:, 2] / 2
    # Two materials serve all: one house does not differ much from another at that distance.
    for half in (slice(0, count // 2), slice(count // 2, count)):
        material = builder.material(
            Material(
                label=Label.BUILDING, albedo=shade(sample_colour(rng), 0.5, 0.15),
                offset_k=rng.uniform(-2.0, 3.0), solar=0.6, texture_rgb=0.15, texture_k=0.5,
                pattern=Pattern.FACADE, pattern_seed=int(rng.integers(0, 100)),
            )
        )  # fmt: skip
        mesh = boxes(sizes[half].astype(np.float32), centres[half].astype(np.float32))
        builder.fixed.add(mesh, material)
