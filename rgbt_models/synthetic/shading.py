# SPDX-License-Identifier: Apache-2.0
"""Visible light: linear RGB radiance of a chunk of rays.

White in full daylight is near 1. Sun with shadows, sky light from above, street lamps and the
rig's own head lamps without shadows, lit windows, a sky reflection on paint and glass, haze.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import Pattern
from rgbt_models.synthetic.surface import find_markings, find_windows, Surface
from rgbt_models.synthetic.textures import sample_texture

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.scene import Snapshot

_SUN_COLOUR = np.array([2.0, 1.94, 1.8], np.float32)
_HEADLIGHT_COLOUR = np.array([60.0, 57.0, 51.0], np.float32)
_WINDOW_COLOUR = np.array([0.9, 0.75, 0.5], np.float32)
_LAMP_GAIN = 0.25
_SKY_REFLECTION = 0.14
_LARGEST_RADIANCE = 20.0


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
    environment = snapshot.environment
    albedo, emission = _albedo_and_emission(snapshot, surface)
    radiance = _irradiance(snapshot, surface, rig_direction)
    radiance *= albedo
    radiance += emission
    _add_sky_reflection(snapshot, surface, radiance)
    if environment.haze_per_m > 0.0:
        clear = np.exp(np.float32(-environment.haze_per_m) * surface.range_m)
        veil = np.float32(0.8) * environment.sky_radiance
        radiance *= clear
        radiance += veil[:, None] * (1.0 - clear)
    sky = np.flatnonzero(~surface.is_hit)
    if len(sky):
        radiance[:, sky] = _sky_radiance(snapshot, surface.direction[:, sky])
    return np.asarray(np.minimum(radiance, np.float32(_LARGEST_RADIANCE), out=radiance))


def sky_noise(snapshot: Snapshot, direction: FloatArray) -> FloatArray:
    """Return cloud texture for directions (3, n), shape (n,)."""
    u = direction[0] * np.float32(3.0)
    v = direction[1] * np.float32(2.0) + direction[2] * np.float32(5.0)
    return sample_texture(snapshot.scene.appearance.cloud_texture, u, v, 30.0)


def _albedo_and_emission(
    snapshot: Snapshot, surface: Surface
) -> tuple[FloatArray, FloatArray | np.float32]:
    table, appearance = snapshot.scene.materials, snapshot.scene.appearance
    environment = snapshot.environment
    material = surface.material
    noise = np.float32(0.6) * surface.fine
    noise += np.float32(0.5) * surface.coarse
    noise *= (table.texture_rgb * np.float32(appearance.albedo_contrast)).take(material)
    noise += 1.0
    np.clip(noise, 0.1, 2.8, out=noise)
    base = table.albedo.take(material, axis=1)
    albedo = base * noise
    paint = find_markings(snapshot, surface)
    if len(paint):
        colour = np.array(snapshot.scene.street.marking_albedo, np.float32)
        albedo[:, paint] = colour[:, None] * np.clip(noise[paint], 0.5, 1.2)
    paved = np.flatnonzero((table.pattern == Pattern.PAVING).take(material))
    if len(paved):
        joint = (surface.u[paved] * 2.0 % 1.0 < 0.06) | (surface.v[paved] * 2.0 % 1.0 < 0.06)
        albedo[:, paved[joint]] *= np.float32(0.7)
    windows = find_windows(snapshot, surface)
    if len(windows.index):
        albedo[:, windows.index] = 0.03 + 0.1 * windows.cell
    emission: FloatArray | np.float32 = np.float32(0.0)
    if environment.lights > 0.0:
        strength = table.emission * table.lit_share(environment.lights)
        emission = base * strength.take(material)
        # Windows come on one by one while the lights come up.
        dark_until = appearance.lit_window_from + (1.0 - environment.lights)
        lit = windows.index[windows.cell > dark_until]
        emission[:, lit] = _WINDOW_COLOUR[:, None] * np.float32(appearance.window_radiance)
    return albedo, emission


def _irradiance(
    snapshot: Snapshot, surface: Surface, rig_direction: FloatArray | None
) -> FloatArray:
    environment = snapshot.environment
    upward = np.float32(environment.sky_light_slope) * surface.normal[2]
    upward += 1.0
    light = environment.sky_light[:, None] * upward
    if environment.sun_strength > 0.0:
        colour = _SUN_COLOUR * np.float32(environment.sun_strength)
        light += colour[:, None] * surface.cos_sun
    if rig_direction is not None:
        light += _HEADLIGHT_COLOUR[:, None] * _head_lamps(snapshot, surface, rig_direction)
    lamps = snapshot.scene.lamps
    intensities = lamps.lit_intensities(environment.lights) * np.float32(_LAMP_GAIN)
    for position, intensity in zip(lamps.positions, intensities, strict=True):
        if intensity.any():
            light += intensity[:, None] * _point_light(surface, position)
    return np.asarray(light)


def _head_lamps(snapshot: Snapshot, surface: Surface, rig_direction: FloatArray) -> FloatArray:
    environment = snapshot.environment
    forward = np.maximum(rig_direction[0], np.float32(1e-3))
    up, across = rig_direction[2] / forward, rig_direction[1] / forward
    # Low beam: a soft upper edge just above the horizon, fading to the sides.
    beam = 0.9 / (1.0 + np.exp(np.clip((up - 0.02) * 60.0, -30.0, 30.0))) + 0.1
    beam *= np.exp(-np.square(across * np.float32(1.0 / 0.35)))
    beam *= surface.cos_view
    beam *= np.float32(environment.ego_headlight * environment.lights)
    beam /= 8.0 + np.square(surface.range_m)
    return np.asarray(beam)


def _point_light(surface: Surface, lamp: FloatArray) -> FloatArray:
    x = lamp[0] - surface.position[0]
    y = lamp[1] - surface.position[1]
    z = lamp[2] - surface.position[2]
    squared = x * x + y * y + z * z
    squared += np.float32(0.3)
    cosine = surface.normal[0] * x + surface.normal[1] * y + surface.normal[2] * z
    np.maximum(cosine, 0.0, out=cosine)
    cosine /= squared * np.sqrt(squared)
    return np.asarray(cosine)


def _add_sky_reflection(snapshot: Snapshot, surface: Surface, radiance: FloatArray) -> None:
    index = np.flatnonzero(snapshot.scene.materials.is_glossy.take(surface.material))
    if len(index):
        up = reflected_up(surface)[index] * np.float32(_SKY_REFLECTION)
        radiance[:, index] += snapshot.environment.sky_radiance[:, None] * up


def reflected_up(surface: Surface) -> FloatArray:
    """Return how far up the mirrored ray points, 0 (level or down) .. 1, shape (n,)."""
    mirrored = surface.direction[2] + 2.0 * surface.cos_view * surface.normal[2]
    return np.asarray(np.clip(mirrored, 0.0, 1.0))


def _sky_radiance(snapshot: Snapshot, direction: FloatArray) -> FloatArray:
    environment = snapshot.environment
    zenith = np.clip(direction[2], 0.0, 1.0)
    level = 1.0 - np.float32(environment.sky_zenith_loss) * zenith
    level += np.float32(environment.cloud_contrast) * sky_noise(snapshot, direction)
    np.maximum(level, 0.0, out=level)
    return np.asarray(environment.sky_radiance[:, None] * level, np.float32)
