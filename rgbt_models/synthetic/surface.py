# SPDX-License-Identifier: Apache-2.0
"""What rays hit: the quantities that shading and radiometry share.

Rays come in chunks that fit the processor's cache; vectors are planar, shape (3, n).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import Label, Pattern
from rgbt_models.synthetic.textures import sample_texture

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import BoolArray, FloatArray, IndexArray, IntArray
    from rgbt_models.synthetic.scene import Snapshot

_COARSE_TEXELS_PER_M = 3.1
_SHADOW_OFFSET_M = 0.02
_LEAST_HEATING_K = 0.05
_LEAST_WETNESS = 0.02
_LEAST_MIRRORING = 0.03
_MOVING_M_S = 0.3


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Mirror:
    """What wet ground mirrors. Arrays share length k."""

    index: IntArray  # (k,), into the surface
    share: FloatArray  # (k,), 0..1, of the mirrored in what is seen
    is_hit: BoolArray  # (k,), False = the sky is mirrored
    material: IndexArray  # (k,)
    direction: FloatArray  # (3, k), unit, of the mirrored rays


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
    cos_heat: FloatArray  # (n,), the same for the sun that warmed the surfaces
    u: FloatArray  # (n,), m, surface coordinate that moves with the object
    v: FloatArray  # (n,), m
    fine: FloatArray  # (n,), noise, fading with distance
    coarse: FloatArray  # (n,), noise
    origin: FloatArray  # (3,), m, of all rays
    mirror: Mirror | None  # None = nothing is wet


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Windows:
    """Which rays of a surface see a window. Arrays share length k."""

    index: IntArray  # (k,), into the surface
    cell: FloatArray  # (k,), 0..1, one value per window
    house: FloatArray  # (k,), 0..1, one value per facade


def gather_surface(
    snapshot: Snapshot,
    hits: tuple[IndexArray, FloatArray],
    direction: FloatArray,
    *,
    origin: FloatArray,
    sees_light: bool,
    sees_heat: bool,
) -> Surface:
    """Look up the surfaces behind a chunk of rays.

    Args:
        snapshot: The scene at an instant.
        hits: What ``RayCaster.cast`` returned: triangles and ranges, shape (n,) each.
        direction: Shape (3, n), unit, world frame.
        origin: Camera position, shape (3,), world frame.
        sees_light: Prepare for ``shade_surface``; without it ``cos_sun`` is zero.
        sees_heat: Prepare for ``measure_temperature``; without it ``cos_heat`` is zero.
    """
    triangle, range_m = hits
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
    appearance, environment = snapshot.scene.appearance, snapshot.environment
    fade = 1.0 / (1.0 + np.float32(0.04) * near)
    fine = sample_texture(appearance.fine_texture, u, v, appearance.texels_per_m)
    fine *= fade
    has_sun = sees_light and environment.sun_strength > 0.0
    has_heat = sees_heat and environment.solar_heating_k > _LEAST_HEATING_K
    surface = Surface(
        is_hit=is_hit,
        range_m=near,
        material=material,
        direction=direction,
        position=position,
        normal=normal,
        cos_view=np.abs(facing),
        cos_sun=_sun(snapshot, is_hit, position, normal) if has_sun else np.zeros_like(near),
        cos_heat=_heat(snapshot, is_hit, position, normal) if has_heat else np.zeros_like(near),
        u=u,
        v=v,
        fine=fine,
        coarse=sample_texture(appearance.coarse_texture, u, v, _COARSE_TEXELS_PER_M),
        origin=origin,
        mirror=None,
    )
    if environment.wetness < _LEAST_WETNESS:
        return surface
    return replace(surface, mirror=_mirror(snapshot, surface))


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
    cos_sun = _cosine(sun, is_hit, normal)
    index = np.flatnonzero(cos_sun)
    if len(index):
        origins = _lifted(index, position, normal)
        blocked = snapshot.caster.is_blocked(origins, sun)
        cos_sun[index[blocked]] = 0.0
    return cos_sun


def _heat(
    snapshot: Snapshot, is_hit: BoolArray, position: FloatArray, normal: FloatArray
) -> FloatArray:
    """Cast shadows from where the sun stood; what moves has left no shadow that lasts."""
    sun = snapshot.environment.heat_sun_direction
    cos_heat = _cosine(sun, is_hit, normal)
    index = np.flatnonzero(cos_heat)
    if len(index):
        origins = _lifted(index, position, normal)
        directions = np.empty_like(origins)
        directions[:] = sun
        triangle, _ = snapshot.caster.cast_from(origins, directions)
        frame = snapshot.scene.materials.frame.take(
            snapshot.triangle_materials.take(np.maximum(triangle, 0))
        )
        blocked = (triangle >= 0) & ~_moving_frames(snapshot).take(frame)
        cos_heat[index[blocked]] = 0.0
    return cos_heat


def _cosine(sun: FloatArray, is_hit: BoolArray, normal: FloatArray) -> FloatArray:
    cosine = sun[0] * normal[0] + sun[1] * normal[1] + sun[2] * normal[2]
    cosine[~is_hit] = 0.0
    return np.asarray(np.maximum(cosine, 0.0, out=cosine))


def _lifted(index: IntArray, position: FloatArray, normal: FloatArray) -> FloatArray:
    """Return points a little above their surfaces, shape (k, 3)."""
    points = position.take(index, axis=1)
    points += np.float32(_SHADOW_OFFSET_M) * normal.take(index, axis=1)
    return np.ascontiguousarray(points.T)


def _moving_frames(snapshot: Snapshot) -> BoolArray:
    """Tell which frames move, shape (f,)."""
    moving = np.zeros(snapshot.frames.shape[1], np.bool_)
    for actor in snapshot.scene.actors:
        moving[actor.frame] = actor.course.speed_m_s > _MOVING_M_S
    return moving


def _mirror(snapshot: Snapshot, surface: Surface) -> Mirror:
    """Cast the rays that wet, level ground mirrors: steadily in puddles, scattered elsewhere."""
    table = snapshot.scene.materials
    is_ground = ((table.label == Label.ROAD) | (table.label == Label.SIDEWALK)).take(
        surface.material
    )
    is_ground &= surface.is_hit & (surface.normal[2] > 0.9)
    puddle = np.clip(0.55 + 0.5 * surface.coarse, 0.12, 1.0)
    puddle *= np.float32(snapshot.environment.wetness)
    share = puddle * fresnel(surface.cos_view)
    index = np.flatnonzero(is_ground & (share > _LEAST_MIRRORING))
    direction = surface.direction.take(index, axis=1)
    direction[2] *= -1.0
    # Droplets and grain tilt the film: lamps become upright streaks.
    rough = np.float32(0.08) * (1.1 - puddle[index])
    direction[2] += rough * np.abs(surface.fine[index]) + np.float32(1e-3)
    direction[1] += np.float32(0.3) * rough * surface.fine[index]
    direction /= np.sqrt(np.einsum('in,in->n', direction, direction))
    origins = _lifted(index, surface.position, surface.normal)
    triangle, _ = snapshot.caster.cast_from(origins, np.ascontiguousarray(direction.T))
    return Mirror(
        index=index,
        share=share[index],
        is_hit=triangle >= 0,
        material=snapshot.triangle_materials.take(np.maximum(triangle, 0)),
        direction=direction,
    )


def fresnel(cos_view: FloatArray, straight: float = 0.02) -> FloatArray:
    """Return the share of light that a smooth surface mirrors (Schlick's approximation).

    Args:
        cos_view: 1 = seen face-on, 0 = edge-on.
        straight: What is mirrored face-on: 0.02 water, 0.04 glass and varnish.
    """
    edge = 1.0 - cos_view
    squared = edge * edge
    return np.asarray(np.float32(straight) + np.float32(1.0 - straight) * squared * squared * edge)


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
    house = (seed * 37 % 100 / 100.0).astype(np.float32)
    return Windows(index=index[is_window], cell=cell[is_window], house=house[is_window])
