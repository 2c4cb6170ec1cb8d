# SPDX-License-Identifier: Apache-2.0
"""Normalisation of images before the network: the one implementation training and robot share.

Thermal cameras deliver 8-bit tone-mapped grey, 16-bit counts or temperatures, each with its own
range. The percentile stretch maps any of them to roughly 0..1, so one set of weights serves all.
Where a robot wants grey levels that do not move with every hot object, there are two more rules:
a fixed temperature window, and percentiles that follow the scene slowly (``smoothing``).
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from rgbt_models.errors import CardError

FloatArray = NDArray[np.float32]

# Percentiles are taken on every third row and column: 9 times less work, and the difference is
# below the quantisation of an 8-bit camera.
PERCENTILE_STRIDE = 3
# What weights pretrained by UNIV (https://arxiv.org/abs/2509.15642) expect of thermal images, for
# ``thermal_mean`` and ``thermal_std`` of their card, in 0..1 units: 8-bit files over 255, without
# a stretch. Weights of M-SpecGene take ImageNet's statistics.
UNIV_THERMAL_MEAN = 0.5338
UNIV_THERMAL_STD = 0.2519


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalNormaliser:
    """Percentile stretch of one thermal image, as stored in the model card.

    Attributes:
        low_percentile: Percentile mapped to 0, in 0..100.
        high_percentile: Percentile mapped to 1, in 0..100.
        min_value: Lower clip after the stretch (below 0 keeps some contrast in the cold tail).
        max_value: Upper clip after the stretch (above 1 keeps some contrast in the hot tail).
    """

    low_percentile: float = 1.0
    high_percentile: float = 99.5
    min_value: float = -0.1
    max_value: float = 1.3

    def __post_init__(self) -> None:
        """Check the order of the percentiles and of the clip values.

        Raises:
            CardError: If a pair is out of order or a percentile is outside 0..100.
        """
        if not 0.0 <= self.low_percentile < self.high_percentile <= 100.0:
            raise CardError(
                f'thermal normaliser has percentiles {self.low_percentile} and '
                f'{self.high_percentile}; expected 0 <= low < high <= 100; correct the card'
            )
        if not self.min_value < self.max_value:
            raise CardError(
                f'thermal normaliser clips to {self.min_value}..{self.max_value}; expected '
                f'min_value < max_value; correct the card'
            )

    def __call__(self, thermal: NDArray[np.generic]) -> FloatArray:
        """Stretch one thermal image to about 0..1.

        Non-finite pixels (NaN or infinite temperatures) do not count towards the percentiles and
        become 0. Where both percentiles are the same value, as in a flat scene with one small
        hot object, the whole range is stretched instead. A flat image becomes all 0.

        Args:
            thermal: Image, shape (h, w), any real dtype and unit; only its order matters.

        Returns:
            Stretched image, shape (h, w), float32 in ``[min_value, max_value]``.

        Source: ours (percentile stretch); measured best on real pairs against fixed windows.
        """
        values = np.asarray(thermal, dtype=np.float32)
        finite = find_finite(values)
        sample = sample_finite(values, finite)
        if sample.size == 0:
            return np.zeros_like(values)
        low, high = self.limits_of(sample)
        if not high > low:
            rest = values if finite is None else values[finite]
            low, high = float(rest.min()), float(rest.max())
        return self.stretch(values, finite, low=low, high=high)

    def limits_of(self, sample: FloatArray) -> tuple[float, float]:
        """Return the two percentiles of finite values, at least one of them."""
        low, high = np.percentile(sample, (self.low_percentile, self.high_percentile))
        return float(low), float(high)

    def stretch(
        self, values: FloatArray, finite: NDArray[np.bool_] | None, *, low: float, high: float
    ) -> FloatArray:
        """Map ``low`` to 0 and ``high`` to 1, linearly, and clip.

        Args:
            values: Image, shape (h, w), float32.
            finite: Mask of the same shape, True = finite; None when all are.
            low: Value shown as 0.
            high: Value shown as 1; where it is not above ``low`` all becomes 0.

        Returns:
            Image, shape (h, w), float32 in ``[min_value, max_value]``, 0 where not finite.
        """
        if not high > low:
            return np.zeros_like(values)
        stretched: FloatArray = (values - np.float32(low)) / np.float32(high - low)
        np.clip(stretched, self.min_value, self.max_value, out=stretched)
        if finite is not None:
            stretched[~finite] = 0.0
        return stretched


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowNormaliser:
    """Fixed temperature window: a temperature has the same grey level in every image.

    Attributes:
        low_c: Temperature mapped to 0, degrees C.
        high_c: Temperature mapped to 1, degrees C.
        rule: Gives the clip values; its percentiles are not used.
    """

    low_c: float
    high_c: float
    rule: ThermalNormaliser

    def __post_init__(self) -> None:
        """Check the order of the temperatures.

        Raises:
            CardError: If the window is empty or not finite.
        """
        is_finite = math.isfinite(self.low_c) and math.isfinite(self.high_c)
        if not is_finite or not self.low_c < self.high_c:
            raise CardError(
                f'thermal window is {self.low_c}..{self.high_c} C; expected finite low < high; '
                f'correct the window'
            )

    def __call__(self, temperature_c: FloatArray) -> FloatArray:
        """Map temperatures to about 0..1.

        Args:
            temperature_c: Image, shape (h, w), float32, degrees C; NaN = invalid.

        Returns:
            Image, shape (h, w), float32 in the clip values of ``rule``, 0 where not finite.
        """
        values = np.asarray(temperature_c, np.float32)
        return self.rule.stretch(values, find_finite(values), low=self.low_c, high=self.high_c)


def find_finite(values: FloatArray) -> NDArray[np.bool_] | None:
    """Return where values are finite, or None when all are."""
    finite = np.isfinite(values)
    return None if finite.all() else finite


def sample_finite(values: FloatArray, finite: NDArray[np.bool_] | None) -> FloatArray:
    """Return the pixels that percentiles are taken on: every third row and column.

    Args:
        values: Image, shape (h, w), float32.
        finite: Mask of the same shape, True = finite; None when all are.

    Returns:
        The finite ones; shape (h', w'), or (n,) when some are left out; may be empty.
    """
    sample = values[::PERCENTILE_STRIDE, ::PERCENTILE_STRIDE]
    return sample if finite is None else sample[finite[::PERCENTILE_STRIDE, ::PERCENTILE_STRIDE]]


def standardise(image: FloatArray, mean: tuple[float, ...], std: tuple[float, ...]) -> FloatArray:
    """Subtract the mean and divide by the standard deviation, channel by channel.

    Args:
        image: Image in 0..1 units, shape (h, w, c), float32.
        mean: One value per channel, 0..1 units.
        std: One value per channel, 0..1 units, > 0.

    Returns:
        Channels-first image, shape (c, h, w), float32, contiguous.
    """
    scale = np.asarray(std, np.float32)
    standardised = (image - np.asarray(mean, np.float32)) / scale
    return np.ascontiguousarray(standardised.transpose(2, 0, 1))
