# SPDX-License-Identifier: Apache-2.0
"""Ground: slabs of asphalt, paving, gravel and grass, and the paint that lies on them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import Label, log_uniform, Material, Pattern
from rgbt_models.synthetic.meshes import box, move

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.builder import SceneBuilder
    from rgbt_models.synthetic.layouts.layout import Area

PAINT_M = 0.004
"""Height of paint above the ground."""

FAR_M = 400.0
"""How far ground reaches beyond what is furnished."""

_QUAD: FloatArray = np.array(
    [
        [[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0]],
        [[-0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]],
    ],
    np.float32,
)

Stripe = tuple[float, float, float, float, float]
"""A painted rectangle: x, y, yaw_rad, length_m, width_m."""


def add_slab(builder: SceneBuilder, area: Area, material: int, *, depth_m: float = 0.3) -> None:
    """Add an area as a slab whose upper side is at the area's height."""
    mesh = box((area.length_m, area.width_m, depth_m), (0.0, 0.0, -depth_m / 2))
    position = np.array([area.x, area.y, area.z], np.float32)
    builder.fixed.add(move(mesh, area.yaw_rad, position), material)


def asphalt(rng: np.random.Generator, builder: SceneBuilder) -> int:
    """Draw a road surface."""
    level = rng.uniform(0.05, 0.28)
    colour = (level, level * rng.uniform(0.95, 1.02), level * rng.uniform(0.9, 1.05))
    return builder.material(
        Material(
            label=Label.ROAD, albedo=colour, ground_share=1.0, solar=0.9, texture_rgb=0.1,
            texture_k=0.35,
        )
    )  # fmt: skip


def paving(rng: np.random.Generator, builder: SceneBuilder, *, has_joints: bool = True) -> int:
    """Draw a pavement: slabs with joints, or smooth."""
    level = rng.uniform(0.12, 0.5)
    return builder.material(
        Material(
            label=Label.SIDEWALK,
            albedo=(level, level * rng.uniform(0.9, 1.0), level * rng.uniform(0.8, 1.0)),
            offset_k=rng.uniform(-1.0, 1.0), ground_share=rng.uniform(0.2, 1.2), solar=0.8,
            texture_rgb=0.1, texture_k=0.35,
            pattern=Pattern.PAVING if has_joints else Pattern.PLAIN,
        )
    )  # fmt: skip


def gravel(rng: np.random.Generator, builder: SceneBuilder) -> int:
    """Draw bare ground: gravel, sand, trodden earth."""
    level = rng.uniform(0.1, 0.4)
    return builder.material(
        Material(
            label=Label.SIDEWALK,
            albedo=(level, level * rng.uniform(0.8, 1.0), level * rng.uniform(0.55, 1.0)),
            offset_k=rng.uniform(-3.0, 2.0), ground_share=rng.uniform(0.0, 0.8), solar=0.6,
            texture_rgb=0.25, texture_k=0.8,
        )
    )  # fmt: skip


def grass(rng: np.random.Generator, builder: SceneBuilder) -> int:
    """Draw grass: fresh, dry or mown."""
    dryness = rng.uniform(0.0, 1.0) ** 2
    level = rng.uniform(0.6, 1.8)
    colour = (level * (0.06 + 0.12 * dryness), level * (0.13 + 0.04 * dryness), 0.03 * level)
    return builder.material(
        Material(
            label=Label.VEGETATION, albedo=colour, offset_k=rng.uniform(-4.0, 2.0), solar=0.4,
            texture_rgb=0.25, texture_k=1.0,
        )
    )  # fmt: skip


def verge(rng: np.random.Generator, builder: SceneBuilder) -> int:
    """Draw what lies beside pavements: grass or bare ground."""
    return grass(rng, builder) if rng.random() < 0.6 else gravel(rng, builder)


def paint(
    rng: np.random.Generator,
    builder: SceneBuilder,
    *,
    albedo: tuple[float, float, float] | None = None,
    colder_k: float | None = None,
    label: Label = Label.ROAD,
) -> int:
    """Draw paint for the ground, white or yellow, worn or fresh.

    Args:
        rng: Source of randomness; draws what is None.
        builder: Receives the material.
        albedo: Colour.
        colder_k: How much colder than the road it is.
        label: Class of the ground it lies on.
    """
    if albedo is None:
        level, is_yellow = rng.uniform(0.35, 0.8), rng.random() < 0.3
        albedo = (level, level * (0.8 if is_yellow else 1.0), level * (0.3 if is_yellow else 1.0))
    return builder.material(
        Material(
            label=label, albedo=albedo,
            offset_k=-(rng.uniform(0.0, 1.5) if colder_k is None else colder_k),
            ground_share=1.0, solar=0.8, texture_rgb=rng.uniform(0.03, 0.12), texture_k=0.3,
        )
    )  # fmt: skip


def add_stripes(
    builder: SceneBuilder, stripes: Iterable[Stripe], material: int, *, z: float = 0.0
) -> None:
    """Add painted rectangles on ground of height ``z``."""
    rows = np.array(list(stripes), np.float32).reshape(-1, 5)
    if not len(rows):
        return
    x, y, yaw, length, width = rows.T
    cos, sin = np.cos(yaw), np.sin(yaw)
    along = _QUAD[None, ..., 0] * length[:, None, None]
    across = _QUAD[None, ..., 1] * width[:, None, None]
    mesh = np.empty((len(rows), *_QUAD.shape), np.float32)
    mesh[..., 0] = cos[:, None, None] * along - sin[:, None, None] * across + x[:, None, None]
    mesh[..., 1] = sin[:, None, None] * along + cos[:, None, None] * across + y[:, None, None]
    mesh[..., 2] = np.float32(z + PAINT_M)
    builder.fixed.add(mesh.reshape(-1, 3, 3), material)


def dashes(
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    dash_m: float,
    gap_m: float,
    width_m: float,
) -> list[Stripe]:
    """Return a broken line; ``gap_m`` 0 gives one long stripe."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length, yaw = math.hypot(dx, dy), math.atan2(dy, dx)
    if length < dash_m or gap_m <= 0.0:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        return [(*middle, yaw, length, width_m)]
    step = dash_m + gap_m
    places = [dash_m / 2 + i * step for i in range(int((length - dash_m) / step) + 1)]
    cos, sin = dx / length, dy / length
    return [
        (start[0] + cos * place, start[1] + sin * place, yaw, dash_m, width_m) for place in places
    ]


def zebra(area: Area, *, bar_m: float = 0.5) -> list[Stripe]:
    """Return the bars of a crossing; people walk along the area's length."""
    count = max(2, int(area.length_m / (2.0 * bar_m)))
    step = area.length_m / count
    places = [(i + 0.5) * step - area.length_m / 2 for i in range(count)]
    return [(*area.point(place, 0.0), area.yaw_rad, bar_m, area.width_m) for place in places]


def arrow(x: float, y: float, yaw_rad: float) -> list[Stripe]:
    """Return an arrow on a lane: a shaft and two barbs."""
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    tip = (x + 1.6 * cos, y + 1.6 * sin)
    stripes = [(x, y, yaw_rad, 3.2, 0.16)]
    for side in (-1.0, 1.0):
        bent = yaw_rad + side * 2.6
        middle = (tip[0] + 0.45 * math.cos(bent), tip[1] + 0.45 * math.sin(bent))
        stripes.append((*middle, bent, 0.95, 0.16))
    return stripes


def add_puddles(
    rng: np.random.Generator,
    builder: SceneBuilder,
    places: Iterable[tuple[float, float]],
    *,
    label: Label,
    z: float = 0.0,
) -> None:
    """Add thin, dark, smooth patches: water, or oil and tar of any warmth.

    Args:
        rng: Source of randomness.
        builder: Receives the patches.
        places: Middle of each.
        label: Class of the ground they lie on.
        z: Height of the ground.
    """
    material = builder.material(
        Material(
            label=label, albedo=(0.02, 0.022, 0.025), offset_k=rng.uniform(-4.0, 1.0), solar=0.3,
            texture_rgb=0.02, texture_k=0.1, is_glossy=True,
        )
    )  # fmt: skip
    height = np.float32(z + 1.5 * PAINT_M)
    for x, y in places:
        count, radius = 11, log_uniform(rng, 0.4, 2.2)
        angle = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
        reach = radius * rng.uniform(0.6, 1.0, count)
        ring = np.stack(
            [x + 1.4 * reach * np.cos(angle), y + reach * np.sin(angle), np.full(count, height)],
            axis=1,
        )
        fan = np.stack([np.tile([x, y, height], (count, 1)), ring, np.roll(ring, -1, axis=0)], 1)
        builder.fixed.add(fan.astype(np.float32), material)
