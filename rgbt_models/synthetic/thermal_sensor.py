# SPDX-License-Identifier: Apache-2.0
"""The thermal camera's electronics: temperature to counts of 14 or 16 bit.

Counts are linear in temperature. ``tlinear_sensor`` builds cameras whose count 0 is absolute zero
(TLinear, 0.01 or 0.1 K); any other gain and offset is an uncalibrated linear camera.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rgbt_models.errors import RGBTError
from rgbt_models.synthetic.ranges import check_ranges, NOT_NEGATIVE, SHARE
from rgbt_models.tlinear import COARSE_COUNTS_PER_K, COUNTS_PER_K, ZERO_C_IN_K

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import CountArray, FloatArray, IntArray

_LINEAR_SHARE = 0.25  # of drawn cameras
_SHADING_CELLS = 4  # of the slow pattern, per direction

_BOUNDS = {
    'zero_c_counts': (-1e6, 1e6), 'netd_k': NOT_NEGATIVE, 'blur_px': NOT_NEGATIVE,
    'column_k': NOT_NEGATIVE, 'row_k': NOT_NEGATIVE, 'shading_k': NOT_NEGATIVE,
    'dead_share': SHARE, 'ffc_period_s': NOT_NEGATIVE, 'ffc_s': NOT_NEGATIVE,
}  # fmt: skip


class ThermalSensorError(RGBTError, ValueError):
    """A thermal camera cannot exist as described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalSensor:
    """A camera whose counts are ``zero_c_counts + counts_per_k * temperature_c``, and its noise.

    The defaults are TLinear 0.01 K in 16 bit with little noise.
    """

    bits: int = 16
    counts_per_k: float = COUNTS_PER_K
    zero_c_counts: float = COUNTS_PER_K * ZERO_C_IN_K
    netd_k: float = 0.05  # standard deviation of the noise of each pixel and frame
    blur_px: float = 0.6  # standard deviation of the lens blur
    column_k: float = 0.03  # standard deviation of the pattern that columns share
    row_k: float = 0.0  # the same of rows
    shading_k: float = 0.0  # half the range of the slow pattern: lens and housing
    dead_share: float = 0.0  # of pixels that always give one value
    ffc_period_s: float = 0.0  # time between flat-field corrections, 0 = none
    ffc_s: float = 0.5  # how long the picture then stands still

    def __post_init__(self) -> None:
        if self.bits not in {14, 16}:
            raise ThermalSensorError(
                f'thermal sensor has {self.bits} bits; expected 14 or 16; choose one of them'
            )
        if not 0.0 < self.counts_per_k < math.inf:
            raise ThermalSensorError(
                f'thermal sensor has {self.counts_per_k} counts per kelvin; expected a positive '
                f'number; pass 100 for 0.01 K'
            )
        check_ranges(self, _BOUNDS, what='thermal sensor', error=ThermalSensorError)

    @property
    def largest_count(self) -> int:
        """Where the sensor saturates."""
        return (1 << self.bits) - 1

    @property
    def is_tlinear(self) -> bool:
        """True if count 0 is absolute zero."""
        return math.isclose(self.zero_c_counts, self.counts_per_k * ZERO_C_IN_K, rel_tol=1e-6)

    @property
    def noise_k(self) -> float:
        """Standard deviation of all noise that varies from pixel to pixel, kelvin."""
        quantum = 1.0 / (math.sqrt(12.0) * self.counts_per_k)
        return math.hypot(self.netd_k, self.column_k, self.row_k, quantum)

    def is_frozen_at(self, time_s: float) -> bool:
        """Tell whether a flat-field correction holds the picture; the first is a period late."""
        if self.ffc_period_s <= 0.0 or time_s < self.ffc_period_s:
            return False
        return time_s % self.ffc_period_s < self.ffc_s


PLAIN_THERMAL = ThermalSensor()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FixedPattern:
    """What a camera adds to every frame until its next flat-field correction."""

    offset_k: FloatArray  # (h, w)
    dead_index: IntArray  # (n,), into the flattened image
    dead_counts: CountArray  # (n,)


def tlinear_sensor(*, step_k: float = 0.01, bits: int = 16) -> ThermalSensor:
    """Return a TLinear camera: count 0 is absolute zero.

    Args:
        step_k: Kelvin per count: 0.01 or 0.1.
        bits: 14 or 16; 14 bits of 0.01 K end at -109 C, so they go with 0.1 K only.

    Raises:
        ThermalSensorError: If the camera could not measure a street.
    """
    counts_per_k = {0.01: COUNTS_PER_K, 0.1: COARSE_COUNTS_PER_K}.get(step_k)
    if counts_per_k is None or (bits == 14 and step_k < 0.1):
        raise ThermalSensorError(
            f'TLinear step is {step_k} K in {bits} bits; expected 0.1 K, or 0.01 K in 16 bits; '
            f'use a coarser step or more bits'
        )
    return ThermalSensor(
        bits=bits, counts_per_k=counts_per_k, zero_c_counts=counts_per_k * ZERO_C_IN_K
    )


def sample_thermal_sensor(rng: np.random.Generator) -> ThermalSensor:
    """Draw a camera: three of four TLinear 0.01 K, the rest linear 14-bit; NETD .02 to .15 K."""
    poorness = rng.uniform(0.0, 1.0) ** 2  # poor ones are rarer
    counts_per_k, zero_c_counts, bits = COUNTS_PER_K, COUNTS_PER_K * ZERO_C_IN_K, 16
    gain, offset = rng.uniform(20.0, 60.0), rng.uniform(2500.0, 5000.0)
    if rng.random() < _LINEAR_SHARE:
        counts_per_k, zero_c_counts, bits = gain, offset, 14
    return ThermalSensor(
        bits=bits,
        counts_per_k=counts_per_k,
        zero_c_counts=zero_c_counts,
        netd_k=0.02 + 0.13 * poorness,
        blur_px=rng.uniform(0.7, 1.6),
        column_k=rng.uniform(0.0, 0.02 + 0.08 * poorness),
        row_k=rng.uniform(0.0, 0.06) * poorness,
        shading_k=rng.uniform(0.0, 0.8) if rng.random() < 0.5 else 0.0,
        dead_share=rng.uniform(0.0, 5e-4) if rng.random() < 0.3 else 0.0,
    )


def draw_pattern(
    sensor: ThermalSensor, size_hw: tuple[int, int], rng: np.random.Generator
) -> FixedPattern:
    """Draw what a camera adds to all its frames: columns, rows, shading and dead pixels."""
    height, width = size_hw
    offset = np.zeros(size_hw, np.float32)
    if sensor.column_k > 0.0:
        offset += np.float32(sensor.column_k) * rng.standard_normal((1, width), dtype=np.float32)
    if sensor.row_k > 0.0:
        offset += np.float32(sensor.row_k) * rng.standard_normal((height, 1), dtype=np.float32)
    if sensor.shading_k > 0.0:
        offset += np.float32(sensor.shading_k) * _shading(rng, height, width)
    count = round(sensor.dead_share * height * width)
    index = rng.choice(height * width, count, replace=False) if count else np.zeros(0, np.int64)
    stuck = rng.integers(0, 2, count) * sensor.largest_count
    return FixedPattern(
        offset_k=offset,
        dead_index=np.asarray(index, np.int64),
        dead_counts=stuck.astype(np.uint16),
    )


def _shading(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Return a smooth field in -1..1: a few random cells and darker or brighter corners."""
    cells = rng.uniform(-1.0, 1.0, (_SHADING_CELLS, _SHADING_CELLS)).astype(np.float32)
    smooth = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = (
        np.linspace(-1, 1, width, dtype=np.float32),
        np.linspace(-1, 1, height, dtype=np.float32),
    )
    bowl = (x * x)[None, :] + (y * y)[:, None] - np.float32(2.0 / 3.0)
    field = smooth + np.float32(rng.uniform(-1.5, 1.5)) * bowl
    return np.asarray(field / max(float(np.abs(field).max()), 1e-6), np.float32)


def count_thermal(
    temperature_c: FloatArray,
    rng: np.random.Generator,
    *,
    sensor: ThermalSensor | None = None,
    pattern: FixedPattern | None = None,
) -> CountArray:
    """Turn temperature into counts.

    Without noise, pattern and blur, counts = zero_c_counts + counts_per_k * temperature_c.

    Args:
        temperature_c: Apparent temperature, shape (h, w), degrees Celsius.
        rng: Draws the noise, and the pattern if none is given.
        sensor: The camera; ``ThermalSensor()`` if None.
        pattern: What the camera adds to every frame; drawn anew if None.

    Returns:
        Shape (h, w), uint16; the sensor saturates at 0 and its largest count.
    """
    camera = PLAIN_THERMAL if sensor is None else sensor
    # Kelvin above the temperature of count 0, which is absolute zero for TLinear.
    kelvin = temperature_c + np.float32(camera.zero_c_counts / camera.counts_per_k)
    if camera.blur_px > 0.0:
        kelvin = np.asarray(cv2.GaussianBlur(kelvin, (0, 0), camera.blur_px), np.float32)
    if camera.netd_k > 0.0:
        noise = rng.standard_normal(kelvin.shape, dtype=np.float32)
        kelvin = kelvin + np.float32(camera.netd_k) * noise
    height, width = temperature_c.shape
    used = draw_pattern(camera, (height, width), rng) if pattern is None else pattern
    kelvin = kelvin + used.offset_k
    counts = np.rint(kelvin * np.float32(camera.counts_per_k))
    np.clip(counts, 0.0, float(camera.largest_count), out=counts)
    image = counts.astype(np.uint16)
    image.reshape(-1)[used.dead_index] = used.dead_counts
    return np.asarray(image)


def temperature_from_counts(counts: CountArray, sensor: ThermalSensor) -> FloatArray:
    """Return degrees Celsius, shape of the counts; the inverse of a camera without noise."""
    kelvin = counts.astype(np.float32) / np.float32(sensor.counts_per_k)
    return np.asarray(kelvin - np.float32(sensor.zero_c_counts / sensor.counts_per_k))
