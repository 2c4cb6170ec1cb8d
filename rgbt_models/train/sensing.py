# SPDX-License-Identifier: Apache-2.0
"""What cameras that are drawn make of a clean pair, afresh for every sample.

The cameras are those of the simulated world, drawn by its rules. Real thermal cameras differ far
more in tone mapping than in optics, so every sample has a gain control of its own. Two things
differ from the world: a light sensor is that of a larger camera whose image was made smaller, for
that is what networks mostly see; a heavy one is poorer than real ones, and sees structure that has
no cause (``noise_field``). Source: ours.
"""

from __future__ import annotations

from dataclasses import replace
import math
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rgbt_models.synthetic.gain_control import sample_tone_map, tone_map
from rgbt_models.synthetic.rgb_sensor import (
    expose_rgb,
    Exposure,
    GAMMA,
    light_of,
    RgbSensor,
    sample_night_gain,
    sample_rgb_sensor,
)
from rgbt_models.synthetic.thermal_sensor import (
    count_thermal,
    PLAIN_THERMAL,
    sample_thermal_sensor,
    temperature_from_counts,
    ThermalSensor,
)
from rgbt_models.tlinear import COUNTS_PER_K

FloatImage = NDArray[np.float32]

NOISE_FIELD_CELLS_PX = (4, 8, 16, 40)
_DAY_LOG_GAINS = (-0.7, 1.4)  # 0.5..4, about as the world exposes by day
_MOTTLING = 0.2  # largest share of light that a noise field of unit scale adds or takes
_FIELD_K = 0.6  # the same of temperature, kelvin
_SIZES = (0.4, 1.0)  # of images in training, of those that cameras take
_SMALLEST_SPANS_K = (1.0, 4.0)  # that a gain control shows with full contrast


def sense_rgb(
    rgb: NDArray[np.uint8],
    rng: Generator,
    *,
    is_heavy: bool,
    is_night: bool,
    brightness: float = 1.0,
) -> NDArray[np.uint8]:
    """Take an image again, with an RGB camera that is drawn.

    Glare and rain are not drawn: they are of the scene and in the image already.

    Args:
        rgb: (h, w, 3) uint8, as a clean camera took it.
        rng: Source of the draws.
        is_heavy: A poor camera instead of a good one.
        is_night: Night images had more gain, so they are noisier, and more are shaken.
        brightness: Share of the grey levels that is left before the noise; 1 = as it was.

    Returns:
        (h, w, 3) uint8.
    """
    light = light_of(rgb)
    sensor = replace(sample_rgb_sensor(rng, lights=float(is_night)), glare=0.0)
    # The image had a gain already, which amplifies noise too: unknown, so it is drawn.
    gain_before = sample_night_gain(rng) if is_night else math.exp(rng.uniform(*_DAY_LOG_GAINS))
    if is_heavy:
        sensor, levels = _worsen_rgb(sensor, rng), rng.uniform(0.6, 1.5)
        if rng.random() < 0.5:
            mottled = 1.0 + _MOTTLING * rng.random() * noise_field(rng, *light.shape[:2])
            light *= np.maximum(mottled, np.float32(0.0))[..., None]
    else:
        sensor, levels = _reduce_rgb(sensor, rng), rng.uniform(0.7, 1.4)
    light *= np.float32(brightness ** (1.0 / GAMMA) / gain_before)
    exposure = Exposure(gain=gain_before * levels ** (1.0 / GAMMA), glow=0.0)
    return np.asarray(expose_rgb(light, rng, exposure=exposure, sensor=sensor))


def sense_thermal(
    counts: NDArray[Any], rng: Generator, *, is_heavy: bool, contrast: float = 1.0
) -> NDArray[np.uint8]:
    """Measure an image again, with a thermal camera and a gain control that are drawn.

    The counts keep their unit, 0.01 K in 16 bit: no gain control notices it, and those of a data
    set, whatever they count, would not fit into the 14 bits that some cameras of the world have.

    Args:
        counts: (h, w), 0.01 K counts, as a clean camera took them.
        rng: Source of the draws.
        is_heavy: A poor camera instead of an ordinary one.
        contrast: Share of the contrast that is left before the noise; 1 = as it was.

    Returns:
        (h, w) uint8, white is hot.
    """
    drawn = replace(
        sample_thermal_sensor(rng),
        bits=PLAIN_THERMAL.bits,
        counts_per_k=PLAIN_THERMAL.counts_per_k,
        zero_c_counts=PLAIN_THERMAL.zero_c_counts,
    )
    sensor = _worsen_thermal(drawn, rng) if is_heavy else _reduce_thermal(drawn, rng)
    temperature_c = temperature_from_counts(counts, PLAIN_THERMAL)
    if contrast != 1.0:
        mean = temperature_c.mean()
        temperature_c = mean + np.float32(contrast) * (temperature_c - mean)
    if is_heavy and rng.random() < 0.6:
        field = noise_field(rng, *temperature_c.shape)
        temperature_c = temperature_c + np.float32(rng.uniform(0.0, _FIELD_K)) * field
    measured = count_thermal(temperature_c, rng, sensor=sensor)
    span = COUNTS_PER_K * rng.uniform(*_SMALLEST_SPANS_K)
    return np.asarray(
        tone_map(measured, rng, curve=replace(sample_tone_map(rng), smallest_span=span))
    )


def noise_field(rng: Generator, height: int, width: int) -> FloatImage:
    """Return smooth random structure of several cell sizes, shape (h, w), about unit scale."""
    field = np.zeros((height, width), np.float32)
    for cell in NOISE_FIELD_CELLS_PX:
        coarse = rng.standard_normal((height // cell + 2, width // cell + 2), np.float32)
        field += rng.uniform(0, 1) * cv2.resize(coarse, (width, height))
    return field


def _worsen_rgb(sensor: RgbSensor, rng: Generator) -> RgbSensor:
    """Make a drawn RGB camera poorer: colours, focus and noise."""
    red, green, blue = rng.uniform(0.7, 1.45, 3).tolist()
    return replace(
        sensor,
        white_balance=(red, green, blue),
        saturation=rng.uniform(0.0, 1.4) if rng.random() < 0.5 else sensor.saturation,
        blur_px=rng.uniform(0.4, 1.3) if rng.random() < 0.5 else 0.0,
        read_noise=rng.uniform(0.0005, 0.004),
        shot_noise=rng.uniform(0.005, 0.03),
        tone=rng.uniform(0.7, 1.5),
    )


def _reduce_rgb(sensor: RgbSensor, rng: Generator) -> RgbSensor:
    """Let a network see the image of a larger RGB camera made smaller, with half its faults."""
    size = rng.uniform(*_SIZES)
    red, green, blue = (math.sqrt(gain) for gain in sensor.white_balance)
    return replace(
        sensor,
        white_balance=(red, green, blue),
        saturation=0.5 + 0.5 * sensor.saturation,
        vignetting=0.5 * sensor.vignetting,
        motion_blur_px=size * sensor.motion_blur_px,
        blur_px=size * sensor.blur_px,
        read_noise=size * sensor.read_noise,
        shot_noise=size * sensor.shot_noise,
        tone=rng.uniform(0.8, 1.3),
        jpeg_quality=(sensor.jpeg_quality + 100) // 2 if sensor.jpeg_quality else 0,
    )


def _worsen_thermal(sensor: ThermalSensor, rng: Generator) -> ThermalSensor:
    """Make a drawn thermal camera poorer: focus, noise and columns."""
    return replace(
        sensor,
        blur_px=rng.uniform(0.4, 1.6) if rng.random() < 0.8 else 0.0,
        netd_k=rng.uniform(0.02, 0.35),
        column_k=rng.uniform(0.0, 0.25) if rng.random() < 0.5 else sensor.column_k,
    )


def _reduce_thermal(sensor: ThermalSensor, rng: Generator) -> ThermalSensor:
    """Let a network see the image of a larger camera made smaller: sharper and less noisy."""
    size = rng.uniform(*_SIZES)
    return replace(sensor, blur_px=size * sensor.blur_px, netd_k=size * sensor.netd_k)
