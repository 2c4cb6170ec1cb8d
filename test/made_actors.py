# SPDX-License-Identifier: Apache-2.0
"""Actors on their own, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rgbt_models.synthetic.actors import Actor, Course
from rgbt_models.synthetic.builder import SceneBuilder
from rgbt_models.synthetic.materials import BODY_C, Label


def build(
    add: Callable[..., None], seed: int, *, speed_m_s: float = 0.0, **options: Any
) -> SceneBuilder:
    """Add one actor at the origin, heading along x."""
    builder = SceneBuilder()
    course = Course(position=np.zeros(3, np.float32), yaw_rad=0.0, speed_m_s=speed_m_s)
    add(np.random.default_rng(seed), builder, course, **options)
    return builder


def extent(actor: Actor, builder: SceneBuilder, label: Label, time_s: float = 0.0) -> np.ndarray:
    """Return the lowest and highest corner of what has a label, shape (2, 3)."""
    triangles, materials = actor.triangles_at(time_s)
    labels = np.array([row.label for row in builder.materials])
    points = triangles[labels[materials] == label].reshape(-1, 3)
    return np.stack([points.min(axis=0), points.max(axis=0)])


def mean_offset_k(actor: Actor, builder: SceneBuilder, label: Label, ambient_c: float) -> float:
    """Return how much warmer than the air a label's triangles are, weighted by their area."""
    triangles, materials = actor.triangles_at(0.0)
    rows = [builder.materials[index] for index in materials]
    above = [row.offset_k + row.body_share * (BODY_C - ambient_c) for row in rows]
    one, two = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    area = np.linalg.norm(np.cross(one, two), axis=1)
    area *= np.array([row.label == label for row in rows])
    return float(np.average(above, weights=area))
