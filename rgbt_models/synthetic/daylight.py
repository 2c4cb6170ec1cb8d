# SPDX-License-Identifier: Apache-2.0
"""The light of the sky as a consequence of two causes: the sun's height and the clouds."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray

_SUN_COLOUR: FloatArray = np.array([2.0, 1.94, 1.8], np.float32)
_REDDENING: FloatArray = np.array([0.0, 0.05, 0.13], np.float32)  # per air mass beyond the first
_DIMMING = 0.10  # per air mass beyond the first
_MOST_AIR_MASSES = 12.0
_BLUE_SKY: FloatArray = np.array([0.5, 0.65, 0.95], np.float32)
_GREY_SKY: FloatArray = np.array([0.85, 0.85, 0.85], np.float32)
_LOW_SUN_SKY: FloatArray = np.array([0.95, 0.75, 0.62], np.float32)
_GLOW: FloatArray = np.array([1.5, 0.75, 0.32], np.float32)
_SHADE_TINT: FloatArray = np.array([0.9, 0.97, 1.08], np.float32)
_OVERCAST_TINT: FloatArray = np.array([0.97, 0.99, 1.0], np.float32)
_SKY_LIGHT = 0.35
_FADE_PER_RAD = 35.0  # of twilight: 5 degrees below the horizon a twentieth is left
_LIGHTS_ON_FROM_RAD, _LIGHTS_RAMP_RAD = 0.1, 0.17


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Daylight:
    """Light by day and in twilight; the same quantities as in ``Environment``."""

    sun_strength: float
    sun_colour: FloatArray  # (3,)
    sky_light: FloatArray  # (3,)
    sky_radiance: FloatArray  # (3,)
    sky_zenith_loss: float
    sky_glow: FloatArray  # (3,)
    lights: float


def compute_daylight(elevation_rad: float, cover: float) -> Daylight:
    """Compute the light for a sun and a share of sky that clouds cover.

    Args:
        elevation_rad: Of the sun; negative in twilight.
        cover: 0 = clear, 1 = overcast.

    Returns:
        Of average strength; nothing is drawn.
    """
    sine = max(math.sin(elevation_rad), 1.0 / _MOST_AIR_MASSES)
    mass = 1.0 / sine - 1.0
    clear = 1.0 - cover
    risen = min(max((elevation_rad + 0.01) / 0.06, 0.0), 1.0)
    low = math.exp(-max(elevation_rad, 0.0) / 0.12)
    height = min(max(math.sin(elevation_rad), 0.0) / 0.7, 1.0)
    twilight = math.exp(_FADE_PER_RAD * min(elevation_rad, 0.0))
    level = (0.14 + 0.86 * height**0.6) * twilight
    blue = _BLUE_SKY + np.float32(0.7 * low) * (_LOW_SUN_SKY - _BLUE_SKY)
    sky = blue + np.float32(cover) * (_GREY_SKY - blue)
    tint = _SHADE_TINT + np.float32(cover) * (_OVERCAST_TINT - _SHADE_TINT)
    glow = clear * math.exp(-((elevation_rad / 0.16) ** 2)) * math.sqrt(twilight)
    return Daylight(
        sun_strength=1.2 * clear * risen * math.exp(-_DIMMING * mass),
        sun_colour=_SUN_COLOUR * np.exp(-_REDDENING * np.float32(mass)),
        sky_light=tint * np.float32(_SKY_LIGHT * level),
        sky_radiance=sky * np.float32(level),
        sky_zenith_loss=(0.5 + 0.25 * low) * (1.0 - cover),
        sky_glow=_GLOW * np.float32(0.6 * glow),
        lights=min(max((_LIGHTS_ON_FROM_RAD - elevation_rad) / _LIGHTS_RAMP_RAD, 0.0), 1.0),
    )
