# SPDX-License-Identifier: Apache-2.0
"""Visible light: linear RGB radiance of a chunk of rays.

White in full daylight is near 1. Sun with shadows, sky light from above, lamps without shadows,
lit windows, what paint, glass and wet ground mirror, then the air in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.lamps import add_halos, add_lamp_light, smoke_light
from rgbt_models.synthetic.materials import FIRST_OBJECT_LABEL, Label, Pattern
from rgbt_models.synthetic.sky import sky_radiance
from rgbt_models.synthetic.surface import find_windows, fresnel, Surface
from rgbt_models.synthetic.textures import Grain, sample_texture
from rgbt_models.synthetic.weather import add_smoke, haze_transmission

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IntArray
    from rgbt_models.synthetic.scene import Snapshot

_WINDOW_COLOUR = np.array([0.9, 0.75, 0.5], np.float32)
_SKY_REFLECTION = 0.14
_VEIL = 0.8  # radiance of dense haze, relative to the sky at the horizon
_WET_DARKENING = 0.5
_GLINT = 6.0
_GLINT_SHARPNESS = 250.0
_LARGEST_RADIANCE = 20.0
_GRAIN_TEXELS_PER_M = 16.0
_GRAIN_FADE_M = 22.0  # where half of it is left
_GRAIN, _LEAVES, _GRAIN_OF_OBJECTS = 1.5, 2.2, 0.4  # per texture_rgb
_LEAF_SCALE = 0.55  # the size of grains in that of leaves


def shade_surface(
    snapshot: Snapshot, surface: Surface, rig_direction: FloatArray | None
) -> FloatArray:
    """Compute the radiance that reaches the camera.

    Args:
        snapshot: The scene at an instant.
        surface: What the rays hit.
        rig_direction: The rays in the rig frame (3, n), for the rig's head lamps; None = off.

    Returns:
        Linear RGB, shape (3, n), float32, 0..20.
    """
    albedo, emission = _albedo_and_emission(snapshot, surface)
    radiance = _irradiance(snapshot, surface, rig_direction)
    radiance *= albedo
    radiance += emission
    _add_gloss(snapshot, surface, radiance)
    _add_mirrored_light(snapshot, surface, radiance)
    sky = np.flatnonzero(~surface.is_hit)
    if len(sky):
        radiance[:, sky] = sky_radiance(snapshot, surface.direction[:, sky])
    _add_air(snapshot, surface, rig_direction, radiance)
    return np.asarray(np.minimum(radiance, np.float32(_LARGEST_RADIANCE), out=radiance))


def _albedo_and_emission(snapshot: Snapshot, surface: Surface) -> tuple[FloatArray, FloatArray]:
    table, appearance = snapshot.scene.materials, snapshot.scene.appearance
    environment = snapshot.environment
    material = surface.material
    noise = np.float32(0.6) * surface.fine
    noise += np.float32(0.5) * surface.coarse
    noise *= (table.texture_rgb * np.float32(appearance.albedo_contrast)).take(material)
    noise += 1.0
    noise *= _grain(snapshot, surface)
    np.clip(noise, 0.1, 2.8, out=noise)
    base = table.albedo.take(material, axis=1)
    albedo = base * noise
    paved = np.flatnonzero((table.pattern == Pattern.PAVING).take(material))
    if len(paved):
        joint = (surface.u[paved] * 2.0 % 1.0 < 0.06) | (surface.v[paved] * 2.0 % 1.0 < 0.06)
        albedo[:, paved[joint]] *= np.float32(0.7)
    if environment.wetness > 0.0:
        is_ground = (table.label == Label.ROAD) | (table.label == Label.SIDEWALK)
        dark = 1.0 - np.float32(_WET_DARKENING * environment.wetness) * is_ground
        albedo *= dark.astype(np.float32).take(material)
    windows = find_windows(snapshot, surface)
    if len(windows.index):
        albedo[:, windows.index] = 0.03 + 0.1 * windows.cell
    emission = np.zeros((3, 1), np.float32)
    if environment.lights > 0.0:
        strength = table.emission * table.lit_share(environment.lights)
        emission = base * strength.take(material)
        # Windows come on one by one while the lights come up.
        dark_until = appearance.lit_window_from + (1.0 - environment.lights)
        is_lit = windows.cell > dark_until
        lit = windows.index[is_lit]
        level = 0.5 + windows.cell[is_lit] * 7.0 % 1.0
        emission[:, lit] = _WINDOW_COLOUR[:, None] * (
            level * np.float32(appearance.window_radiance)
        )
    if len(windows.index) and environment.sky_radiance.any():
        emission = emission + _mirrored_in_panes(snapshot, surface, windows.index, windows.cell)
    return albedo, emission


def _grain(snapshot: Snapshot, surface: Surface) -> FloatArray:
    """Return the light and dark of grains 3 and 25 cm wide, of leaves 6 and 45, shape (n,).

    Its mean is 1, and it fades where a pixel holds many grains. Gloss has none, clothes little.
    """
    table, texture = snapshot.scene.materials, snapshot.scene.appearance.fine_texture
    is_leafy = table.label == Label.VEGETATION
    strength = np.where(is_leafy, np.float32(_LEAVES), np.float32(_GRAIN)) * table.texture_rgb
    strength[table.label >= FIRST_OBJECT_LABEL] *= np.float32(_GRAIN_OF_OBJECTS)
    strength[table.is_glossy > 0.0] = 0.0
    coarseness = np.where(is_leafy, np.float32(_LEAF_SCALE), np.float32(1.0))
    scale = coarseness.take(surface.material)
    grain = sample_texture(
        texture, surface.u * scale, surface.v * scale, _GRAIN_TEXELS_PER_M, grain=Grain.FINE
    )
    away = scale * surface.range_m * np.float32(1.0 / _GRAIN_FADE_M)
    grain *= strength.take(surface.material) / (1.0 + away * away)
    grain += 1.0
    return np.asarray(grain)


def _mirrored_in_panes(
    snapshot: Snapshot, surface: Surface, index: IntArray, cell: FloatArray
) -> FloatArray:
    """Return the sky that panes mirror, some more than others, shape (3, n)."""
    seen = np.zeros((3, len(surface.range_m)), np.float32)
    share = fresnel(surface.cos_view[index], 0.06) * (0.3 + cell)
    up = np.clip(0.25 + surface.direction[2][index] * 4.0, 0.0, 1.0)
    seen[:, index] = snapshot.environment.sky_radiance[:, None] * (share * up)
    return seen


def _irradiance(
    snapshot: Snapshot, surface: Surface, rig_direction: FloatArray | None
) -> FloatArray:
    environment = snapshot.environment
    upward = np.float32(environment.sky_light_slope) * surface.normal[2]
    upward += 1.0
    light = environment.sky_light[:, None] * upward
    if environment.sun_strength > 0.0:
        colour = environment.sun_colour * np.float32(environment.sun_strength)
        light += colour[:, None] * surface.cos_sun
    add_lamp_light(snapshot, surface, rig_direction, light)
    return np.asarray(light)


def _add_gloss(snapshot: Snapshot, surface: Surface, radiance: FloatArray) -> None:
    """Add the sky, and the sun where it shines, that paint and glass mirror."""
    index = np.flatnonzero(snapshot.scene.materials.is_glossy.take(surface.material))
    if not len(index):
        return
    environment = snapshot.environment
    up = reflected_up(surface)[index]
    share = np.float32(_SKY_REFLECTION) + 0.5 * fresnel(surface.cos_view[index], 0.0)
    radiance[:, index] += environment.sky_radiance[:, None] * (up * share)
    shone = index[surface.cos_sun[index] > 0.0]
    if len(shone):
        direction, normal = surface.direction[:, shone], surface.normal[:, shone]
        mirrored = direction + 2.0 * surface.cos_view[shone] * normal
        to_sun = environment.sun_direction @ mirrored - 1.0
        glint = np.exp(np.float32(_GLINT_SHARPNESS) * to_sun)
        sun = environment.sun_colour * np.float32(_GLINT * environment.sun_strength)
        radiance[:, shone] += sun[:, None] * glint


def reflected_up(surface: Surface) -> FloatArray:
    """Return how far up the mirrored ray points, 0 (level or down) .. 1, shape (n,)."""
    mirrored = surface.direction[2] + 2.0 * surface.cos_view * surface.normal[2]
    return np.asarray(np.clip(mirrored, 0.0, 1.0))


def _add_mirrored_light(snapshot: Snapshot, surface: Surface, radiance: FloatArray) -> None:
    """Mix in what wet ground mirrors: lamps and lit things, the sky, dim outlines of the rest."""
    mirror = surface.mirror
    if mirror is None or not len(mirror.index):
        return
    environment, table = snapshot.environment, snapshot.scene.materials
    sun = np.float32(0.3 * environment.sun_strength) * environment.sun_colour
    strength = table.emission * table.lit_share(environment.lights)
    plain = table.albedo * ((environment.sky_light + sun)[:, None] + strength)
    seen = plain.take(mirror.material, axis=1)
    sky = np.flatnonzero(~mirror.is_hit)
    if len(sky):
        seen[:, sky] = sky_radiance(snapshot, mirror.direction[:, sky])
    radiance[:, mirror.index] += mirror.share * (seen - radiance[:, mirror.index])


def _add_air(
    snapshot: Snapshot,
    surface: Surface,
    rig_direction: FloatArray | None,
    radiance: FloatArray,
) -> None:
    environment = snapshot.environment
    if environment.plumes:
        sun = np.float32(0.35 * environment.sun_strength) * environment.sun_colour
        light = (environment.sky_light * np.float32(1.3) + sun)[:, None]
        if rig_direction is not None:
            light = light + smoke_light(snapshot, rig_direction)
        texture = snapshot.scene.appearance.cloud_texture
        add_smoke(radiance, environment.plumes, surface, light=light, texture=texture)
    if environment.haze_per_m > 0.0:
        clear = haze_transmission(surface, environment.haze_per_m)
        veil = np.float32(_VEIL) * environment.sky_radiance
        radiance *= clear
        radiance += veil[:, None] * (1.0 - clear)
        add_halos(snapshot, surface, rig_direction, radiance)
