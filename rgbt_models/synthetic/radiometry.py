# SPDX-License-Identifier: Apache-2.0
"""Heat: the apparent temperature of a chunk of rays, in degrees Celsius."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import BODY_C, Label
from rgbt_models.synthetic.shading import reflected_up
from rgbt_models.synthetic.sky import cloud_cover, sky_noise
from rgbt_models.synthetic.surface import find_windows, Surface
from rgbt_models.synthetic.weather import add_hot_smoke

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.scene import Snapshot

_SKY_RANGE_M = 200.0
_WIND_ON_CLOTHES = 0.4  # share of the body's warmth that wind takes from thick clothes
_WIND_ON_SUN = 0.5
_WET_TEXTURE = 0.7  # share of its texture that wet ground loses
_DARK_METAL = 1.8  # times its share of the sun's heat: what black sheet metal takes
_CLOUD_WARMTH = 0.7  # share of the sky's coldness that a cloud hides
_LEAST_SKY_K = 3.0  # even the warmest clouds are this much colder than the air
_CLOUD_EDGE = 0.8  # softer than in visible light
_CLOUD_FADE = 3.0  # per sine of the elevation
_WARM_HOUSES, _WARMEST_PANE_K = 0.12, 14.0  # share of facades whose panes let heat out
_WALL_SKY = 0.1  # a wall loses this share of what a roof loses to the sky


def material_temperature(snapshot: Snapshot) -> FloatArray:
    """Return every material's temperature before sun, sky and texture, shape (m,), Celsius."""
    table, environment = snapshot.scene.materials, snapshot.environment
    # Wind cools what insulates (clothes, fur) more than what is near the body (skin).
    calm = 1.0 - _WIND_ON_CLOTHES * environment.wind * np.clip(1.0 - table.body_share, 0.0, 1.0)
    offset = table.offset_k * (1.0 - 0.6 * environment.wetness * _is_ground(snapshot))
    offset = offset + table.body_share * calm * (BODY_C - environment.ambient_c)
    offset = offset + table.ground_share * environment.ground_offset_k
    offset = offset + table.soak * _sunlit_k(snapshot)
    offset = offset + table.lamp_k * table.lit_share(environment.lights)
    return np.asarray(environment.ambient_c + environment.thermal_contrast * offset, np.float32)


def _is_ground(snapshot: Snapshot) -> FloatArray:
    """Return 1 for materials of paved or bare ground, else 0, shape (m,)."""
    label = snapshot.scene.materials.label
    return np.asarray((label == Label.ROAD) | (label == Label.SIDEWALK), np.float32)


def _sunlit_k(snapshot: Snapshot) -> float:
    """Return what is left of the sun's heating in wind."""
    environment = snapshot.environment
    return environment.solar_heating_k * (1.0 - _WIND_ON_SUN * environment.wind)


def measure_temperature(snapshot: Snapshot, surface: Surface) -> FloatArray:
    """Compute the apparent temperature behind every ray.

    Args:
        snapshot: The scene at an instant.
        surface: What the rays hit; ``cos_heat`` must be filled while solar heating is present.

    Returns:
        Degrees Celsius, shape (n,), float32.
    """
    table, material = snapshot.scene.materials, surface.material
    environment = snapshot.environment
    level = material_temperature(snapshot)
    temperature = level.take(material)
    temperature += _texture(snapshot, surface)
    windows = find_windows(snapshot, surface)
    if len(windows.index):
        contrast = np.float32(environment.thermal_contrast)
        pane_k = (windows.cell - 0.5) * 6.0 - 1.5
        leak = np.maximum(1.0 - windows.house / np.float32(_WARM_HOUSES), np.float32(0.0))
        pane_k += np.float32(_WARMEST_PANE_K) * leak
        temperature[windows.index] += pane_k * contrast
        # Panes mirror the sky above the roofs opposite.
        mirrored = np.clip(surface.direction[2][windows.index] * 3.0, 0.0, 1.0)
        temperature[windows.index] -= mirrored * np.float32(environment.sky_reflection_k)
    if environment.solar_heating_k > 0.0:
        temperature += _solar_heating(snapshot, surface)
    glossy = np.flatnonzero(table.is_glossy.take(material))
    if len(glossy):
        reflection_k = np.float32(environment.sky_reflection_k)
        temperature[glossy] -= reflected_up(surface)[glossy] * reflection_k
    if environment.sky_cooling_k > 0.0:
        temperature -= _sky_cooling(snapshot, surface)
    edge_on = 1.0 - surface.cos_view
    temperature -= np.float32(environment.grazing_k) * edge_on * edge_on * edge_on
    _add_mirrored_heat(snapshot, surface, level, temperature)
    sky = np.flatnonzero(~surface.is_hit)
    if len(sky):
        temperature[sky] = _sky_temperature(snapshot, surface.direction[:, sky])
    return _through_air(snapshot, surface, temperature)


def _texture(snapshot: Snapshot, surface: Surface) -> FloatArray:
    environment = snapshot.environment
    noise = np.float32(0.6) * surface.coarse
    noise += np.float32(0.4) * surface.fine
    scale = snapshot.scene.appearance.thermal_contrast * environment.thermal_contrast
    dry = 1.0 - np.float32(_WET_TEXTURE * environment.wetness) * _is_ground(snapshot)
    noise *= (snapshot.scene.materials.texture_k * np.float32(scale) * dry).take(surface.material)
    return np.asarray(noise)


def _solar_heating(snapshot: Snapshot, surface: Surface) -> FloatArray:
    environment, table = snapshot.environment, snapshot.scene.materials
    is_ground = table.label <= Label.SIDEWALK
    share = np.float32(0.6) * surface.cos_heat
    level = np.maximum(surface.normal[2], np.float32(0.0))
    share += level * (np.float32(0.4) * is_ground.astype(np.float32)).take(surface.material)
    heating_k = np.float32(_sunlit_k(snapshot) * environment.thermal_contrast)
    # Sheet metal is thin: black paint becomes far hotter than white paint.
    absorbed = _DARK_METAL - 1.2 * table.albedo.mean(axis=0)
    absorbed = np.where(table.is_glossy > 0.0, absorbed, np.float32(1.0)).astype(np.float32)
    share *= (table.solar * absorbed * heating_k).take(surface.material)
    return np.asarray(share)


def _sky_cooling(snapshot: Snapshot, surface: Surface) -> FloatArray:
    """Return the cooling of what faces the sky: sheet metal and roofs most, roads least."""
    environment, table = snapshot.environment, snapshot.scene.materials
    share = table.sky_cooling * np.clip(1.0 - 0.8 * table.ground_share, 0.0, 1.0)
    share = np.where(table.is_glossy > 0.0, np.float32(1.0), share)
    share = share * np.clip(1.0 - table.body_share, 0.0, 1.0)
    share = (share * np.float32(environment.sky_cooling_k)).astype(np.float32)
    upward = np.float32(1.0 - _WALL_SKY) * np.maximum(surface.normal[2], np.float32(0.0))
    upward += np.float32(_WALL_SKY)
    return np.asarray(upward * share.take(surface.material))


def _add_mirrored_heat(
    snapshot: Snapshot, surface: Surface, level: FloatArray, temperature: FloatArray
) -> None:
    mirror = surface.mirror
    if mirror is None or not len(mirror.index):
        return
    seen = np.where(
        mirror.is_hit,
        level.take(mirror.material),
        _sky_temperature(snapshot, mirror.direction),
    )
    # Water mirrors long waves less than light.
    share = np.float32(0.5) * mirror.share
    temperature[mirror.index] += share * (seen - temperature[mirror.index])


def _sky_temperature(snapshot: Snapshot, direction: FloatArray) -> FloatArray:
    environment = snapshot.environment
    level = np.clip(direction[2], 0.0, 1.0)
    colder = np.minimum(level * 2.0 + 0.25, np.float32(1.0))
    noise = sky_noise(snapshot, direction, is_smooth=True)
    if environment.cloud_cover > 0.0:
        hidden = cloud_cover(environment.cloud_cover, noise, edge=_CLOUD_EDGE)
        colder *= 1.0 - np.float32(_CLOUD_WARMTH) * hidden
    colder *= np.float32(environment.sky_depression_k)
    # Seen through more air, clouds at the horizon differ less.
    fade = np.minimum(level * np.float32(_CLOUD_FADE), np.float32(1.0))
    colder -= np.float32(environment.cloud_k) * noise * fade
    np.maximum(colder, np.float32(_LEAST_SKY_K), out=colder)
    return np.asarray(environment.ambient_c - colder, np.float32)


def _through_air(snapshot: Snapshot, surface: Surface, temperature: FloatArray) -> FloatArray:
    environment = snapshot.environment
    depth = np.where(surface.is_hit, surface.range_m, np.float32(_SKY_RANGE_M))
    clear = np.exp(np.float32(-environment.thermal_haze_per_m) * depth)
    ambient = np.float32(environment.ambient_c)
    seen = np.asarray((temperature - ambient) * clear + ambient, np.float32)
    add_hot_smoke(seen, environment.plumes, surface, environment.ambient_c)
    return seen
