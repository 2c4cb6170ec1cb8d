# SPDX-License-Identifier: Apache-2.0
"""Heat: the apparent temperature of a chunk of rays, in degrees Celsius."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import BODY_C, Label
from rgbt_models.synthetic.shading import reflected_up, sky_noise
from rgbt_models.synthetic.surface import find_markings, find_windows, Surface

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.scene import Snapshot

_SKY_RANGE_M = 200.0


def material_temperature(snapshot: Snapshot) -> FloatArray:
    """Return every material's temperature before sun, sky and texture, shape (m,), Celsius."""
    table, environment = snapshot.scene.materials, snapshot.environment
    temperature = environment.ambient_c + table.offset_k
    temperature = temperature + table.body_share * (BODY_C - environment.ambient_c)
    temperature = temperature + table.ground_share * environment.ground_offset_k
    temperature = temperature + table.soak * environment.solar_heating_k
    temperature = temperature + table.lamp_k * table.lit_share(environment.lights)
    return np.asarray(temperature, np.float32)


def measure_temperature(snapshot: Snapshot, surface: Surface) -> FloatArray:
    """Compute the apparent temperature behind every ray.

    Args:
        snapshot: The scene at an instant.
        surface: What the rays hit; ``cos_sun`` must be filled while solar heating is present.

    Returns:
        Degrees Celsius, shape (n,), float32.
    """
    scene, environment = snapshot.scene, snapshot.environment
    table, material = scene.materials, surface.material
    noise = np.float32(0.6) * surface.coarse
    noise += np.float32(0.4) * surface.fine
    noise *= (table.texture_k * np.float32(scene.appearance.thermal_contrast)).take(material)
    temperature = material_temperature(snapshot).take(material)
    temperature += noise
    windows = find_windows(snapshot, surface)
    if len(windows.index):
        temperature[windows.index] += (windows.cell - 0.5) * 6.0 - 1.5
    paint = find_markings(snapshot, surface)
    if len(paint):
        temperature[paint] -= np.float32(scene.street.marking_k)
    if environment.solar_heating_k > 0.0:
        temperature += _solar_heating(snapshot, surface)
    glossy = np.flatnonzero(table.is_glossy.take(material))
    if len(glossy):
        reflection_k = np.float32(environment.sky_reflection_k)
        temperature[glossy] -= reflected_up(surface)[glossy] * reflection_k
    edge_on = 1.0 - surface.cos_view
    temperature -= np.float32(environment.grazing_k) * edge_on * edge_on * edge_on
    sky = np.flatnonzero(~surface.is_hit)
    if len(sky):
        temperature[sky] = _sky_temperature(snapshot, surface.direction[:, sky])
    return _through_air(snapshot, surface, temperature)


def _solar_heating(snapshot: Snapshot, surface: Surface) -> FloatArray:
    environment, table = snapshot.environment, snapshot.scene.materials
    is_ground = table.label <= Label.SIDEWALK
    share = np.float32(0.6) * surface.cos_sun
    level = np.maximum(surface.normal[2], np.float32(0.0))
    share += level * (np.float32(0.4) * is_ground.astype(np.float32)).take(surface.material)
    share *= (table.solar * np.float32(environment.solar_heating_k)).take(surface.material)
    return np.asarray(share)


def _sky_temperature(snapshot: Snapshot, direction: FloatArray) -> FloatArray:
    environment = snapshot.environment
    elevation = np.clip(np.clip(direction[2], 0.0, 1.0) * 2.0 + 0.25, 0.0, 1.0)
    temperature = environment.ambient_c - np.float32(environment.sky_depression_k) * elevation
    cloud = np.float32(environment.cloud_k) * sky_noise(snapshot, direction)
    return np.asarray(temperature + cloud, np.float32)


def _through_air(snapshot: Snapshot, surface: Surface, temperature: FloatArray) -> FloatArray:
    environment = snapshot.environment
    depth = np.where(surface.is_hit, surface.range_m, np.float32(_SKY_RANGE_M))
    clear = np.exp(np.float32(-environment.thermal_haze_per_m) * depth)
    ambient = np.float32(environment.ambient_c)
    return np.asarray((temperature - ambient) * clear + ambient, np.float32)
