# SPDX-License-Identifier: Apache-2.0
"""Cameras' electronics: radiance to 8-bit RGB, temperature to 16-bit counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import ByteArray, CountArray, FloatArray
from rgbt_models.tlinear import COUNTS_PER_K, ZERO_C_IN_K

_GAMMA = 1.0 / 2.2
_GLOW_SIGMA_SHARE = 0.0125  # of the image's width: 4 px of 320
_SMALLEST_RADIANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How an RGB camera turns radiance into pixel values."""

    gain: float  # pixel value before gamma = gain * radiance
    glow: float  # share of what exceeds radiance 1 that spreads around it
    noise: float = 0.0  # standard deviation of the electronics' noise, of full scale


def measure_exposure(
    radiance: FloatArray, *, percentile: float, level: float, max_gain: float, glow: float
) -> Exposure:
    """Choose the gain that brings a percentile of the radiance to a level.

    Args:
        radiance: Linear RGB, shape (h, w, 3).
        percentile: Which brightness counts, 0..100.
        level: Pixel value before gamma that it gets, 0..1.
        max_gain: What the camera can do; dark scenes stay dark beyond it.
        glow: See ``Exposure``.
    """
    sparse = radiance[::4, ::4]
    bright = float(np.percentile(sparse, percentile))
    gain = min(level / (bright + _SMALLEST_RADIANCE), max_gain)
    return Exposure(gain=gain, glow=glow)


def sample_exposure(
    radiance: FloatArray, rng: np.random.Generator, *, lights: float = 0.0
) -> Exposure:
    """Draw how a camera exposes: well by day, up to a gain of 0.8..14 with the lights on."""
    night_gain = math.exp(rng.uniform(math.log(0.8), math.log(14.0)))
    max_gain = math.exp((1.0 - lights) * math.log(100.0) + lights * math.log(night_gain))
    return measure_exposure(
        radiance,
        percentile=rng.uniform(55.0, 85.0),
        level=rng.uniform(0.15, 0.5),
        max_gain=max_gain,
        glow=rng.uniform(0.0, 0.5) * lights,
    )


def expose_rgb(
    radiance: FloatArray,
    rng: np.random.Generator,
    *,
    exposure: Exposure | None = None,
    lights: float = 0.0,
    noise: float = 0.0,
) -> ByteArray:
    """Turn radiance into an image.

    Args:
        radiance: Linear RGB, shape (h, w, 3), float32.
        rng: Draws gain and glow if no exposure is given, and the noise.
        exposure: Gain, glow and noise; None draws gain and glow.
        lights: ``Environment.lights``, for drawing.
        noise: Standard deviation of the noise if no exposure is given, of full scale.

    Returns:
        Shape (h, w, 3), uint8, RGB order, gamma 2.2.
    """
    if exposure is None:
        used = replace(sample_exposure(radiance, rng, lights=lights), noise=noise)
    else:
        used = exposure
    light = radiance
    if used.glow > 0.0:
        excess = np.maximum(radiance - np.float32(1.0), np.float32(0.0))
        if excess.any():
            sigma = max(_GLOW_SIGMA_SHARE * radiance.shape[1], 0.5)
            light = radiance + np.float32(used.glow) * _blur(excess, sigma)
    value = light * np.float32(used.gain)
    if used.noise > 0.0:
        value += np.float32(used.noise) * rng.standard_normal(value.shape, dtype=np.float32)
    np.clip(value, 0.0, 1.0, out=value)
    return np.asarray(
        _GAMMA_TABLE.take((value * np.float32(len(_GAMMA_TABLE) - 1)).astype(np.int32))
    )


def _blur(image: FloatArray, sigma: float) -> FloatArray:
    """Blur widely at a quarter of the resolution, which cannot be told apart."""
    height, width = image.shape[:2]
    if min(height, width) < 16:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    small = cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / 4.0)
    return np.asarray(cv2.resize(small, (width, height)), np.float32)


_GAMMA_TABLE: ByteArray = np.rint(255.0 * (np.arange(65536) / 65535.0) ** _GAMMA).astype(np.uint8)


def count_thermal(
    temperature_c: FloatArray,
    rng: np.random.Generator,
    *,
    netd_k: float = 0.05,
    blur_px: float = 0.6,
    pattern_k: float = 0.03,
) -> CountArray:
    """Turn temperature into counts of 0.01 K (TLinear).

    Without noise and blur, counts = (temperature_c + 273.15) * 100, rounded.

    Args:
        temperature_c: Apparent temperature, shape (h, w), degrees Celsius.
        rng: Draws the noise.
        netd_k: Standard deviation of the noise of each pixel, kelvin.
        blur_px: Standard deviation of the lens blur, pixels; 0 = none.
        pattern_k: Standard deviation of the noise that columns share, kelvin.

    Returns:
        Shape (h, w), uint16; the sensor saturates at 0 and 65535.
    """
    kelvin = temperature_c + np.float32(ZERO_C_IN_K)
    if blur_px > 0.0:
        kelvin = np.asarray(cv2.GaussianBlur(kelvin, (0, 0), blur_px), np.float32)
    if netd_k > 0.0:
        noise = rng.standard_normal(kelvin.shape, dtype=np.float32)
        kelvin = kelvin + np.float32(netd_k) * noise
    if pattern_k > 0.0:
        columns = rng.standard_normal((1, kelvin.shape[1]), dtype=np.float32)
        kelvin = kelvin + np.float32(pattern_k) * columns
    counts = np.rint(kelvin * np.float32(COUNTS_PER_K))
    return np.asarray(np.clip(counts, 0.0, 65535.0).astype(np.uint16))
