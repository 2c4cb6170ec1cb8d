# SPDX-License-Identifier: Apache-2.0
"""What rays hit: the quantities that shading and radiometry share.

Rays come in chunks that fit the processor's cache; vectors are planar, shape (3, n).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import Pattern
from rgbt_models.synthetic.textures import sample_texture

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import BoolArray, FloatArray, IndexArray, IntArray
    from rgbt_models.synthetic.scene import Snapshot

_COARSE_TEXELS_PER_M = 3.1
_SHADOW_OFFSET_M = 0.02


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Surface:
    """A chunk of rays and what they hit. Where ``is_hit`` is False the rest is meaningless."""

    is_hit: BoolArray  # (n,)
    range_m: FloatArray  # (n,), along the ray, 0 where nothing is hit
    material: IndexArray  # (n,)
    direction: FloatArray  # (3, n), unit, world frame
    position: FloatArray  # (3, n), m, world frame
    normal: FloatArray  # (3, n), unit, towards the camera
    cos_view: FloatArray  # (n,), 0 = seen edge-on, 1 = seen face-on
    cos_sun: FloatArray  # (n,), 0 where the sun does not reach
    u: FloatArray  # (n,), m, surface coordinate that moves with the object
    v: FloatArray  # (n,), m
    fine: FloatArray  # (n,), noise, fading with distance
    coarse: FloatArray  # (n,), noise


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Windows:
    """Which rays of a surface see a window. Arrays share length k."""

    index: IntArray  # (k,), into the surface
    cell: FloatArray  # (k,), 0..1, one value per window


def gather_surface(
    snapshot: Snapshot,
    triangle: IndexArray,
    range_m: FloatArray,
    direction: FloatArray,
    *,
    origin: FloatArray,
    needs_sun: bool,
) -> Surface:
    """Look up the surfaces behind a chunk of rays.

    Args:
        snapshot: The scene at an instant.
        triangle: Shape (n,), -1 = nothing.
        range_m: Shape (n,), inf = nothing.
        direction: Shape (3, n), unit, world frame.
        origin: Camera position, shape (3,), world frame.
        needs_sun: Cast shadow rays; without them ``cos_sun`` is zero.
    """
    is_hit = triangle >= 0
    index = np.maximum(triangle, 0)
    near = np.where(is_hit, range_m, np.float32(0.0))
    material = snapshot.triangle_materials.take(index)
    normal = np.ascontiguousarray(snapshot.normals.take(index, axis=0).T)
    facing = direction[0] * normal[0]
    facing += direction[1] * normal[1]
    facing += direction[2] * normal[2]
    normal *= np.where(facing > 0, np.float32(-1.0), np.float32(1.0))
    position = direction * near
    position += origin[:, None]
    u, v = _surface_coordinates(snapshot, material, position, normal)
    appearance = snapshot.scene.appearance
    fade = 1.0 / (1.0 + np.float32(0.04) * near)
    fine = sample_texture(appearance.fine_texture, u, v, appearance.texels_per_m)
    fine *= fade
    return Surface(
        is_hit=is_hit,
        range_m=near,
        material=material,
        direction=direction,
        position=position,
        normal=normal,
        cos_view=np.abs(facing),
        cos_sun=_sun(snapshot, is_hit, position, normal) if needs_sun else np.zeros_like(near),
        u=u,
        v=v,
        fine=fine,
        coarse=sample_texture(appearance.coarse_texture, u, v, _COARSE_TEXELS_PER_M),
    )


def _surface_coordinates(
    snapshot: Snapshot, material: IndexArray, position: FloatArray, normal: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return two coordinates on the surface, measured in the frame of the object."""
    x, y, cos, sin = snapshot.frames[:, snapshot.scene.materials.frame].take(material, axis=1)
    offset_x, offset_y = position[0] - x, position[1] - y
    own_x = cos * offset_x + sin * offset_y
    own_y = cos * offset_y - sin * offset_x
    faces_x = np.abs(cos * normal[0] + sin * normal[1]) > np.abs(cos * normal[1] - sin * normal[0])
    is_level = np.abs(normal[2]) > 0.7
    u = np.where(faces_x & ~is_level, own_y, own_x)
    v = np.where(is_level, own_y, position[2])
    return u, v


def _sun(
    snapshot: Snapshot, is_hit: BoolArray, position: FloatArray, normal: FloatArray
) -> FloatArray:
    sun = snapshot.environment.sun_direction
    cos_sun = sun[0] * normal[0] + sun[1] * normal[1] + sun[2] * normal[2]
    cos_sun[~is_hit] = 0.0
    np.maximum(cos_sun, 0.0, out=cos_sun)
    index = np.flatnonzero(cos_sun)
    if len(index):
        origins = position.take(index, axis=1)
        origins += np.float32(_SHADOW_OFFSET_M) * normal.take(index, axis=1)
        blocked = snapshot.caster.is_blocked(np.ascontiguousarray(origins.T), sun)
        cos_sun[index[blocked]] = 0.0
    return np.asarray(cos_sun)


def find_windows(snapshot: Snapshot, surface: Surface) -> Windows:
    """Find the rays that see windows of a facade.

    Storeys and window widths follow from the facade's seed, so they are fixed to the house.
    """
    table = snapshot.scene.materials
    is_facade = (table.pattern == Pattern.FACADE).take(surface.material)
    is_facade &= surface.is_hit & (np.abs(surface.normal[2]) < 0.5)
    index = np.flatnonzero(is_facade)
    seed = table.pattern_seed.take(surface.material[index]).astype(np.int64)
    across = surface.u[index] / (1.6 + (seed % 7) * 0.4).astype(np.float32)
    up = surface.position[2][index] / (2.6 + (seed % 5) * 0.25).astype(np.float32)
    column, row = np.floor(across), np.floor(up)
    width = (0.3 + (seed % 4) * 0.12).astype(np.float32)
    is_window = (across - column < width) & (up - row > 0.35) & (up - row < 0.85)
    mixed = column.astype(np.int64) * 73856093
    mixed ^= row.astype(np.int64) * 19349663
    mixed ^= seed * 83492791
    cell = ((mixed % 1000) / 1000.0).astype(np.float32)
    return Windows(index=index[is_window], cell=cell[is_window])


def find_markings(snapshot: Snapshot, surface: Surface) -> IntArray:
    """Return the indices of rays that see paint on the road."""
    street = snapshot.scene.street
    if not street.has_markings:
        return np.zeros(0, np.int64)
    is_road = (snapshot.scene.materials.pattern == Pattern.ROAD).take(surface.material)
    index = np.flatnonzero(is_road & surface.is_hit & (surface.normal[2] > 0.9))
    x = surface.position[0][index]
    y = surface.position[1][index] - np.float32(street.centre_y)
    is_paint = np.abs(np.abs(y) - np.float32(street.half_width_m - 0.3)) < 0.07
    is_paint |= (np.abs(y) < 0.08) & (x % 6.0 < 3.2)
    ahead = x - np.float32(min(street.crossing_x, 1e6))
    is_paint |= (ahead > 0.0) & (ahead < 3.0) & (y % 1.0 < 0.5)
    return np.asarray(index[is_paint])
