# SPDX-License-Identifier: Apache-2.0
"""Light and heat of the surroundings, as continuous quantities.

Nothing here is a switch: day and night are two ways to draw an ``Environment``, and
``interpolate`` walks between them, so a drive can go from afternoon into night.
Radiance is relative: a white surface in full daylight is near 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Environment:
    """Everything that light and temperature depend on besides the objects."""

    sun_direction: FloatArray  # (3,), unit, from the ground to the sun, world frame
    sun_strength: float  # 0 (overcast, night) .. 1.2
    sky_light: FloatArray  # (3,), diffuse irradiance on a vertical wall
    sky_light_slope: float  # 0 = the same from all sides, 1 = all from above
    sky_radiance: FloatArray  # (3,), at the horizon
    sky_zenith_loss: float  # share of the horizon's radiance missing at the zenith, 0..1
    cloud_contrast: float  # radiance per unit of cloud texture, relative to sky_radiance
    haze_per_m: float  # extinction of visible light
    lights: float  # 0..1: how many street lamps, windows and head lamps are on
    ego_headlight: float  # 0..1, scaled by lights
    ambient_c: float  # air temperature
    solar_heating_k: float  # warming of a dark, sunlit surface; outlives the sun
    ground_offset_k: float  # road surface minus air
    sky_depression_k: float  # air minus sky temperature at 40 degrees elevation
    cloud_k: float  # temperature per unit of cloud texture
    sky_reflection_k: float  # apparent cooling of paint and glass that face the sky
    grazing_k: float  # apparent cooling of surfaces seen edge-on
    thermal_haze_per_m: float  # extinction of thermal radiation

    @property
    def is_night(self) -> bool:
        """True when more than half of the lights are on."""
        return self.lights > 0.5


# Light fades by ratios, temperature by differences.
_RATIO_FIELDS = frozenset({'sky_light', 'sky_radiance'})
_SMALLEST_LIGHT = 1e-4

_DAYLIGHT_TINT: FloatArray = np.array([0.9, 0.97, 1.08], np.float32)
_TOWN_GLOW_TINT: FloatArray = np.array([1.0, 0.9, 0.75], np.float32)
_NIGHT_SKY_TINT: FloatArray = np.array([0.6, 0.7, 0.9], np.float32)


def _sun_direction(rng: np.random.Generator) -> FloatArray:
    azimuth, elevation = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(0.25, 1.2)
    return np.array(
        [
            math.cos(azimuth) * math.cos(elevation),
            math.sin(azimuth) * math.cos(elevation),
            math.sin(elevation),
        ],
        np.float32,
    )


def sample_day(rng: np.random.Generator) -> Environment:
    """Draw a day: -3..32 C, seven of ten with direct sun."""
    sun_strength = rng.uniform(0.0, 1.2) if rng.random() < 0.7 else 0.0
    is_blue = rng.random() < 0.5
    sky = np.array([0.5, 0.65, 0.95] if is_blue else [0.85, 0.85, 0.85], np.float32)
    gain = rng.uniform(0.7, 1.5)
    has_sun = sun_strength > 0.0
    return Environment(
        sun_direction=_sun_direction(rng),
        sun_strength=sun_strength,
        sky_light=_DAYLIGHT_TINT * np.float32(0.35 * rng.uniform(0.6, 1.0)),
        sky_light_slope=1.0,
        sky_radiance=sky * np.float32(gain),
        sky_zenith_loss=0.5 if is_blue else 0.0,
        cloud_contrast=0.15 * rng.uniform(0.0, 1.0) if is_blue else 0.07,
        haze_per_m=rng.uniform(0.0, 0.008),
        lights=0.0,
        ego_headlight=rng.uniform(0.0, 1.0) if rng.random() < 0.7 else 0.0,
        ambient_c=rng.uniform(-3.0, 32.0),
        solar_heating_k=sun_strength * rng.uniform(2.0, 16.0),
        ground_offset_k=rng.uniform(0.0, 10.0) if has_sun else rng.uniform(-2.0, 3.0),
        **_sample_thermal_sky(rng),
    )


def sample_night(rng: np.random.Generator) -> Environment:
    """Draw a night: -5..27 C, from nearly black to lit streets."""
    level = rng.uniform(0.003, 0.05)
    return Environment(
        sun_direction=_sun_direction(rng),
        sun_strength=0.0,
        sky_light=_TOWN_GLOW_TINT * np.float32(0.74 * level),
        sky_light_slope=0.19,
        sky_radiance=_NIGHT_SKY_TINT * np.float32(0.04 * rng.uniform(0.0, 1.0) ** 2),
        sky_zenith_loss=rng.uniform(0.0, 0.5),
        cloud_contrast=rng.uniform(0.0, 0.12),
        haze_per_m=0.0,
        lights=1.0,
        ego_headlight=rng.uniform(0.0, 1.0) if rng.random() < 0.7 else 0.0,
        ambient_c=rng.uniform(-5.0, 27.0),
        solar_heating_k=0.0,
        ground_offset_k=rng.uniform(-2.0, 3.0),
        **_sample_thermal_sky(rng),
    )


def _sample_thermal_sky(rng: np.random.Generator) -> dict[str, float]:
    return {
        'sky_depression_k': rng.uniform(8.0, 45.0),
        'cloud_k': rng.uniform(0.0, 3.0),
        'sky_reflection_k': rng.uniform(0.0, 6.0),
        'grazing_k': rng.uniform(0.0, 2.0),
        'thermal_haze_per_m': rng.uniform(0.0, 0.006),
    }


def sample_environment(rng: np.random.Generator, *, night: bool | None = None) -> Environment:
    """Draw an environment: a day, a night, or (one in ten, if not asked) the time between."""
    day, dark = sample_day(rng), sample_night(rng)
    choice, fraction = rng.random(), rng.uniform(0.2, 0.95)
    if night is None and choice < 0.1:
        return interpolate(day, dark, fraction)
    is_night = choice < 0.55 if night is None else night
    return dark if is_night else day


def interpolate(first: Environment, second: Environment, fraction: float) -> Environment:
    """Return the environment between two others.

    Args:
        first: Environment at fraction 0.
        second: Environment at fraction 1.
        fraction: 0..1, not checked.
    """
    values = {}
    for field in fields(Environment):
        one, two = getattr(first, field.name), getattr(second, field.name)
        if field.name in _RATIO_FIELDS:
            one, two = np.maximum(one, _SMALLEST_LIGHT), np.maximum(two, _SMALLEST_LIGHT)
            value = np.exp((1.0 - fraction) * np.log(one) + fraction * np.log(two))
        else:
            value = one + (two - one) * fraction
        values[field.name] = value
    sun = values['sun_direction']
    values['sun_direction'] = (sun / max(float(np.linalg.norm(sun)), 1e-6)).astype(np.float32)
    return Environment(**values)
