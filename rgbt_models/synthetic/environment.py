# SPDX-License-Identifier: Apache-2.0
"""Light and heat of the surroundings, as continuous quantities.

Nothing here is a switch: day, fog and night are ways to draw an ``Environment``, and
``interpolate`` walks between them, so a drive can go from afternoon into night.
Radiance is relative: a white surface in full daylight is near 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import Enum
import math
from typing import Any, TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.daylight import compute_daylight
from rgbt_models.synthetic.weather import mix_plumes, Plume, sample_plumes

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray


class Condition(str, Enum):
    """What kind of light and weather to draw."""

    DAY = 'day'
    DUSK = 'dusk'  # dawn too
    NIGHT = 'night'
    FOG = 'fog'
    RAIN = 'rain'
    SMOKE = 'smoke'
    CROSSOVER = 'crossover'  # objects and background nearly equally warm


CONDITION_RATES = {
    Condition.DAY: 0.38,
    Condition.DUSK: 0.10,
    Condition.NIGHT: 0.32,
    Condition.FOG: 0.06,
    Condition.RAIN: 0.06,
    Condition.SMOKE: 0.03,
    Condition.CROSSOVER: 0.05,
}
"""How often each condition is drawn when none is asked for."""


def _white_sun() -> FloatArray:
    return np.array([2.0, 1.94, 1.8], np.float32)


def _no_light() -> FloatArray:
    return np.zeros(3, np.float32)


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
    haze_per_m: float  # extinction of visible light: haze, fog, rain
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
    sun_colour: FloatArray = field(default_factory=_white_sun)  # (3,), at strength 1
    sky_glow: FloatArray = field(default_factory=_no_light)  # (3,), at the horizon under the sun
    cloud_cover: float = 0.0  # share of the sky with clouds that can be told apart, 0..1
    heat_lag_rad: float = 0.0  # surfaces are warm where the sun stood this much further east
    heat_rise_rad: float = 0.0  # and this much higher
    thermal_contrast: float = 1.0  # multiplies every difference to the air, bodies included
    wind: float = 0.0  # 0..1: takes heat from clothes and sunlit surfaces
    sky_cooling_k: float = 0.0  # real cooling of thin surfaces that face a clear night sky
    wetness: float = 0.0  # 0..1: water on the ground, dark and mirroring
    rain: float = 0.0  # 0..1: falling now
    plumes: tuple[Plume, ...] = ()  # smoke

    @property
    def is_night(self) -> bool:
        """True when more than half of the lights are on."""
        return self.lights > 0.5

    @property
    def heat_sun_direction(self) -> FloatArray:
        """Where the sun stood when it warmed the surfaces, about an hour ago, shape (3,)."""
        if self.heat_lag_rad == 0.0 and self.heat_rise_rad == 0.0:
            return self.sun_direction
        x, y, z = (float(value) for value in self.sun_direction)
        # Seen from above the sun goes clockwise, so it was further anticlockwise.
        azimuth = math.atan2(y, x) + self.heat_lag_rad
        elevation = math.asin(min(max(z, -1.0), 1.0)) + self.heat_rise_rad
        return direction_to(azimuth, min(max(elevation, 0.03), 1.5))


def direction_to(azimuth_rad: float, elevation_rad: float) -> FloatArray:
    """Return the unit vector towards a point of the sky, shape (3,)."""
    level = math.cos(elevation_rad)
    return np.array(
        [math.cos(azimuth_rad) * level, math.sin(azimuth_rad) * level, math.sin(elevation_rad)],
        np.float32,
    )


# Light fades by ratios, temperature by differences.
_RATIO_FIELDS = frozenset({'sky_light', 'sky_radiance'})
_SMALLEST_LIGHT = 1e-4

_TOWN_GLOW_TINT: FloatArray = np.array([1.0, 0.9, 0.75], np.float32)
_NIGHT_SKY_TINT: FloatArray = np.array([0.6, 0.7, 0.9], np.float32)
_FOG_TINT: FloatArray = np.array([0.9, 0.93, 0.96], np.float32)


def _mix(first: float, second: float, fraction: float) -> float:
    return first + (second - first) * fraction


def _sample_cover(rng: np.random.Generator) -> float:
    """Draw the clouds: three in ten overcast, the rest from clear to broken."""
    return 1.0 if rng.random() < 0.3 else rng.uniform(0.0, 0.9) ** 2


def _sample_haze(rng: np.random.Generator) -> float:
    """Draw haze by day: hardly seen within 300 m, one time in ten at 60 m."""
    return rng.uniform(0.001, 0.006) if rng.random() < 0.1 else rng.uniform(0.0, 0.0012)


def _sample_headlight(rng: np.random.Generator) -> float:
    return rng.uniform(0.0, 1.0) if rng.random() < 0.7 else 0.0


def _under_sun(
    rng: np.random.Generator, elevation_rad: float, cover: float, *, is_morning: bool
) -> Environment:
    """Draw an environment for a sun and clouds; everything follows from these."""
    light = compute_daylight(elevation_rad, cover)
    floor = _TOWN_GLOW_TINT * np.float32(0.5 * rng.uniform(0.003, 0.05) * light.lights)
    sun_strength = light.sun_strength * rng.uniform(0.6, 1.0)
    is_sunny = sun_strength > 0.15
    warmth = sun_strength if elevation_rad > 0.15 else max(sun_strength, 0.3 * (1.0 - cover))
    heating_k = warmth * rng.uniform(5.0, 26.0)
    # In the morning the ground lags behind sheet metal, in the afternoon it has stored the sun.
    ground_k = rng.uniform(-3.0, 3.0)
    if is_sunny:
        lag_k = rng.uniform(0.0, 0.6) * heating_k
        ground_k = ground_k - lag_k if is_morning else rng.uniform(-1.0, 6.0)
    away = _mix(rng.uniform(22.0, 48.0), rng.uniform(3.0, 14.0), cover)
    low = min(max(1.0 - elevation_rad / 0.3, 0.0), 1.0)
    blue = 1.0 - 0.3 * (1.0 - cover) * (1.0 - low)  # a blue sky is no brighter than a sunlit road
    return Environment(
        sun_direction=direction_to(rng.uniform(0.0, 2.0 * math.pi), max(elevation_rad, 0.02)),
        sun_strength=sun_strength,
        sun_colour=light.sun_colour,
        sky_light=light.sky_light * np.float32(rng.uniform(0.6, 1.0) * blue) + floor,
        sky_light_slope=1.0,
        sky_radiance=light.sky_radiance * np.float32(rng.uniform(0.7, 1.5) * blue),
        sky_zenith_loss=light.sky_zenith_loss,
        sky_glow=light.sky_glow * np.float32(rng.uniform(0.3, 1.3)),
        cloud_contrast=rng.uniform(0.02, 0.1),
        cloud_cover=cover if cover < 1.0 else 0.0,
        haze_per_m=_sample_haze(rng),
        lights=light.lights,
        ego_headlight=_sample_headlight(rng),
        ambient_c=rng.uniform(-3.0, 34.0) - 3.0 * is_morning,
        solar_heating_k=heating_k * (0.4 if is_morning and low > 0 else 1.0),
        ground_offset_k=ground_k,
        heat_lag_rad=rng.uniform(0.1, 0.35),
        heat_rise_rad=(-0.12 if is_morning else 0.15) * low,
        sky_depression_k=away,
        cloud_k=rng.uniform(0.0, 3.0),
        sky_reflection_k=away * rng.uniform(0.0, 0.16),
        sky_cooling_k=rng.uniform(0.0, 4.0) * low * (1.0 - cover),
        grazing_k=rng.uniform(0.0, 2.0),
        thermal_haze_per_m=rng.uniform(0.0, 0.006),
        wind=rng.uniform(0.0, 1.0) ** 2,
    )


def sample_day(rng: np.random.Generator) -> Environment:
    """Draw a day: -6..34 C, the sun 9 to 66 degrees high, three of ten overcast."""
    cover, is_morning = _sample_cover(rng), rng.random() < 0.4
    day = _under_sun(rng, rng.uniform(0.16, 1.15), cover, is_morning=is_morning)
    return replace(day, lights=0.0)


def sample_dusk(rng: np.random.Generator) -> Environment:
    """Draw dusk or dawn: the sun from 6 degrees above the horizon to as many below."""
    cover, is_dawn = _sample_cover(rng), rng.random() < 0.35
    return _under_sun(rng, rng.uniform(-0.1, 0.1), cover, is_morning=is_dawn)


def sample_night(rng: np.random.Generator) -> Environment:
    """Draw a night: -5..25 C, from nearly black to lit streets.

    In one of four the evening's warmth is still in walls, roads and shadows.
    """
    level = rng.uniform(0.003, 0.05)
    cover, is_evening = rng.uniform(0.0, 1.0), rng.random() < 0.25
    away = _mix(rng.uniform(25.0, 50.0), rng.uniform(4.0, 15.0), cover)
    return Environment(
        sun_direction=direction_to(rng.uniform(0.0, 2.0 * math.pi), rng.uniform(0.25, 1.0)),
        sun_strength=0.0,
        sky_light=_TOWN_GLOW_TINT * np.float32(0.74 * level),
        sky_light_slope=0.19,
        sky_radiance=_NIGHT_SKY_TINT * np.float32(0.04 * rng.uniform(0.0, 1.0) ** 2),
        sky_zenith_loss=rng.uniform(0.0, 0.5),
        cloud_contrast=rng.uniform(0.0, 0.12),
        haze_per_m=0.0,
        lights=1.0,
        ego_headlight=_sample_headlight(rng),
        ambient_c=rng.uniform(-5.0, 25.0),
        solar_heating_k=rng.uniform(0.5, 4.0) if is_evening else 0.0,
        ground_offset_k=rng.uniform(0.0, 4.5) if is_evening else rng.uniform(-2.0, 3.0),
        sky_depression_k=away,
        cloud_k=rng.uniform(0.0, 3.0),
        sky_reflection_k=away * rng.uniform(0.0, 0.14),
        sky_cooling_k=rng.uniform(0.0, 9.0) * (1.0 - cover),
        grazing_k=rng.uniform(0.0, 2.0),
        thermal_haze_per_m=rng.uniform(0.0, 0.006),
        wind=rng.uniform(0.0, 1.0) ** 2,
    )


def _sample_base(rng: np.random.Generator, day: float, dusk: float) -> Environment:
    choice = rng.random()
    if choice < day:
        return sample_day(rng)
    return sample_dusk(rng) if choice < day + dusk else sample_night(rng)


def _overcast(rng: np.random.Generator, base: Environment) -> Environment:
    """Hide sun and sky behind low clouds; by day the light becomes grey and weaker."""
    grey = float(base.sky_radiance.mean()) * rng.uniform(0.5, 1.0)
    return replace(
        base,
        sun_strength=0.0,
        solar_heating_k=0.0,
        sky_light=np.full(3, float(base.sky_light.mean()) * rng.uniform(0.5, 0.9), np.float32),
        sky_radiance=_FOG_TINT * np.float32(grey),
        sky_zenith_loss=-0.15,
        sky_glow=_no_light(),
        cloud_cover=0.0,
        lights=max(base.lights, rng.uniform(0.2, 0.7)),
        sky_depression_k=rng.uniform(2.0, 9.0),
        sky_reflection_k=rng.uniform(0.0, 0.8),
        sky_cooling_k=0.0,
    )


def sample_fog(rng: np.random.Generator) -> Environment:
    """Draw fog by day, at dusk or by night: visibility 25 to 150 m, the thermal camera's more."""
    base = _overcast(rng, _sample_base(rng, 0.55, 0.15))
    haze = math.exp(rng.uniform(math.log(0.02), math.log(0.12)))
    town_glow = _TOWN_GLOW_TINT * np.float32(rng.uniform(0.003, 0.04) * base.lights)
    return replace(
        base,
        haze_per_m=haze,
        sky_radiance=base.sky_radiance + town_glow,
        cloud_contrast=rng.uniform(0.0, 0.03),
        ambient_c=rng.uniform(-4.0, 16.0),
        ground_offset_k=rng.uniform(-2.0, 3.0),
        thermal_haze_per_m=haze * rng.uniform(0.04, 0.2),
        thermal_contrast=rng.uniform(0.6, 1.0),
        wetness=rng.uniform(0.0, 0.3),
        wind=0.0,
    )


def sample_rain(rng: np.random.Generator) -> Environment:
    """Draw rain, or wet ground just after it, by day, at dusk or by night."""
    base = _overcast(rng, _sample_base(rng, 0.45, 0.15))
    rain = rng.uniform(0.2, 1.0) if rng.random() < 0.75 else 0.0
    return replace(
        base,
        haze_per_m=0.004 + 0.014 * rain * rng.uniform(0.5, 1.0),
        ambient_c=rng.uniform(1.0, 24.0),
        ground_offset_k=rng.uniform(-1.5, 2.0),
        thermal_haze_per_m=0.002 + 0.01 * rain * rng.uniform(0.3, 1.0),
        thermal_contrast=rng.uniform(0.35, 0.85),
        wetness=rng.uniform(0.6, 1.0),
        rain=rain,
    )


def sample_smoke(rng: np.random.Generator) -> Environment:
    """Draw plumes of smoke by day, at dusk or by night."""
    base = _sample_base(rng, 0.55, 0.15)
    haze = rng.uniform(0.0, 0.012)
    return replace(base, plumes=sample_plumes(rng), haze_per_m=max(base.haze_per_m, haze))


def sample_crossover(rng: np.random.Generator) -> Environment:
    """Draw an hour at which everything is nearly as warm as the air, which is nearly a body."""
    base = _sample_base(rng, 0.5, 0.35)
    is_equal = rng.random() < 0.5
    return replace(
        base,
        ambient_c=rng.uniform(26.0, 35.0) if is_equal else rng.uniform(29.0, 36.0),
        thermal_contrast=rng.uniform(0.1, 0.3) if is_equal else rng.uniform(0.3, 0.7),
        ground_offset_k=rng.uniform(-3.0, 6.0),
        solar_heating_k=min(base.solar_heating_k, rng.uniform(0.0, 8.0)),
        sky_depression_k=base.sky_depression_k * rng.uniform(0.15, 0.6),
        sky_reflection_k=base.sky_reflection_k * 0.3,
        sky_cooling_k=0.0,
        grazing_k=rng.uniform(0.0, 0.4),
    )


_SAMPLERS = {
    Condition.DAY: sample_day,
    Condition.DUSK: sample_dusk,
    Condition.NIGHT: sample_night,
    Condition.FOG: sample_fog,
    Condition.RAIN: sample_rain,
    Condition.SMOKE: sample_smoke,
    Condition.CROSSOVER: sample_crossover,
}


def sample_condition(rng: np.random.Generator) -> Condition:
    """Draw a condition by ``CONDITION_RATES``."""
    rates = list(CONDITION_RATES.values())
    return list(CONDITION_RATES)[int(rng.choice(len(rates), p=rates))]


def sample_environment(
    rng: np.random.Generator, condition: Condition | None = None
) -> Environment:
    """Draw an environment of a condition; None draws the condition too."""
    drawn = sample_condition(rng) if condition is None else condition
    return _SAMPLERS[drawn](rng)


def interpolate(first: Environment, second: Environment, fraction: float) -> Environment:
    """Return the environment between two others.

    Args:
        first: Returned as it is at fraction 0.
        second: Returned as it is at fraction 1.
        fraction: 0..1, not checked.
    """
    if fraction in (0.0, 1.0):
        return second if fraction else first
    values: dict[str, Any] = {}
    for item in fields(Environment):
        one, two = getattr(first, item.name), getattr(second, item.name)
        if item.name == 'plumes':
            values[item.name] = mix_plumes(one, two, fraction)
            continue
        if item.name in _RATIO_FIELDS:
            one, two = np.maximum(one, _SMALLEST_LIGHT), np.maximum(two, _SMALLEST_LIGHT)
            value = np.exp((1.0 - fraction) * np.log(one) + fraction * np.log(two))
        else:
            value = one + (two - one) * fraction
        values[item.name] = value
    sun = values['sun_direction']
    values['sun_direction'] = (sun / max(float(np.linalg.norm(sun)), 1e-6)).astype(np.float32)
    return Environment(**values)
