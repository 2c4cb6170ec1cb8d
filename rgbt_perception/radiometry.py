# SPDX-License-Identifier: Apache-2.0
"""What thermal pixel values mean: counts to temperatures, by the settings.

========== ======================== ==================== ==================
reading    mono8                    mono16, 16UC1        32FC1
========== ======================== ==================== ==================
auto       no temperature           no temperature       C, or K by median
counts     no temperature           no temperature       no temperature
tlinear_*  no temperature           0.01 or 0.1 K each   no temperature
linear     gain * value + offset    the same             the same
celsius    no temperature           whole degrees        degrees C
kelvin     no temperature           whole kelvins        kelvins
========== ======================== ==================== ==================

8-bit images are tone-mapped by the camera, so only a stated linear calibration gives them a
temperature. NaN stays NaN and infinity infinity (REP-117). What cannot be, at or below absolute
zero, becomes NaN, and so do counts that need more than ``signal_bits``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgbt_models.normalise import find_finite, sample_finite
from rgbt_models.tlinear import (
    celsius_from_counts,
    COARSE_COUNTS_PER_K,
    COUNTS_PER_K,
    ZERO_C_IN_K,
)
from rgbt_perception.config import ThermalConfig
from rgbt_perception.types import FloatArray, Image

# A 32FC1 image with a median above this is in kelvin: no scene is that hot in Celsius, and none
# is colder than -123 C.
KELVIN_ABOVE = 150.0
COUNTS_PER_K_OF = {'tlinear_10mk': COUNTS_PER_K, 'tlinear_100mk': COARSE_COUNTS_PER_K}
FULL_BITS = 16


class Radiometry:
    """Turns thermal pixels into temperatures.

    Attributes:
        config: Settings; may be replaced between two calls.
    """

    def __init__(self, config: ThermalConfig) -> None:
        """Take over the settings."""
        self.config = config
        self._last: tuple[Image, ThermalConfig, FloatArray | None] | None = None

    def temperature_c(self, pixels: Image) -> FloatArray | None:
        """Return temperatures in degrees C; None when the image is not radiometric.

        The last answer is kept, for one image is asked about by several stages.

        Args:
            pixels: Thermal image, shape (h, w), uint8, uint16 or float32.

        Returns:
            Same shape, float32, degrees C; NaN where invalid or impossible. Do not change it.
        """
        if self._last is not None and self._last[0] is pixels and self._last[1] is self.config:
            return self._last[2]
        celsius = self._convert(pixels)
        self._last = (pixels, self.config, celsius)
        return celsius

    def describe(self, pixels: Image | None = None) -> str:
        """Say in one line how the values of an image are read.

        Args:
            pixels: The image; None when there was none yet.
        """
        config, unit = self.config, self.unit(pixels)
        if unit == 'counts':
            levels = 'grey levels' if pixels is not None and pixels.dtype == np.uint8 else 'counts'
            return f'not radiometric: {levels}'
        texts = {
            '': 'no thermal image yet',
            'tlinear_10mk': 'TLinear 0.01 K',
            'tlinear_100mk': 'TLinear 0.1 K',
            'linear': f'linear, {config.linear_gain:g} C per count, {config.linear_offset_c:g} C '
            f'at 0',
            'celsius': 'degrees Celsius',
            'kelvin': 'kelvin',
        }
        return texts[unit]

    def unit(self, pixels: Image | None) -> str:
        """Return the reading that holds for an image: never 'auto', and 'counts' for none.

        Args:
            pixels: The image; None gives '' where it depends on the image.
        """
        reading = self.config.reading
        if reading in ('counts', 'linear'):
            return reading
        if pixels is None:
            return '' if reading == 'auto' else reading
        is_float = pixels.dtype == np.float32
        if reading == 'auto':
            return _unit_of_temperatures(pixels) if is_float else 'counts'
        is_read = pixels.dtype == np.uint16 or (is_float and reading in ('celsius', 'kelvin'))
        return reading if is_read else 'counts'

    def mark_overflow(self, pixels: Image) -> Image:
        """Return the image with counts that need more than ``signal_bits`` as NaN.

        Returns:
            The image itself when there are none, else float32.
        """
        limit = 1 << self.config.signal_bits
        if limit >= 1 << FULL_BITS or pixels.dtype != np.uint16 or pixels.max() < limit:
            return pixels
        marked = pixels.astype(np.float32)
        marked[marked >= limit] = np.nan
        return marked

    def _convert(self, pixels: Image) -> FloatArray | None:
        unit = self.unit(pixels)
        if unit == 'counts':
            return None
        values: NDArray[Any] = self.mark_overflow(pixels)
        if unit in COUNTS_PER_K_OF:
            celsius = celsius_from_counts(values, counts_per_k=COUNTS_PER_K_OF[unit])
        elif unit == 'linear':
            celsius = values * np.float32(self.config.linear_gain)
            celsius = celsius + np.float32(self.config.linear_offset_c)
        elif unit == 'kelvin':
            celsius = np.asarray(values, np.float32) - np.float32(ZERO_C_IN_K)
        else:
            celsius = np.asarray(values, np.float32)
        is_impossible = (celsius <= np.float32(-ZERO_C_IN_K)) & (celsius > -np.inf)
        if is_impossible.any():
            celsius = np.where(is_impossible, np.float32(np.nan), celsius)
        return celsius


def _unit_of_temperatures(pixels: Image) -> str:
    values = np.asarray(pixels, np.float32)
    sample = sample_finite(values, find_finite(values))
    return 'kelvin' if sample.size and float(np.median(sample)) > KELVIN_ABOVE else 'celsius'
