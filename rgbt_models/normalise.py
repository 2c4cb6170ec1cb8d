# SPDX-License-Identifier: Apache-2.0
"""Normalisation of images before the network: the one implementation training and robot share.

Thermal cameras deliver 8-bit tone-mapped grey, 16-bit counts or temperatures, each with its own
range. The percentile stretch maps any of them to roughly 0..1, so one set of weights serves all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rgbt_models.errors import CardError

FloatArray = NDArray[np.float32]

# Percentiles are taken on every third row and column: 9 times less work, and the difference is
# below the quantisation of an 8-bit camera.
PERCENTILE_STRIDE = 3


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
        become 0. A flat image becomes all 0.

        Args:
            thermal: Image, shape (h, w), any real dtype and unit; only its order matters.

        Returns:
            Stretched image, shape (h, w), float32 in ``[min_value, max_value]``.

        Source: ours (percentile stretch); measured best on real pairs against fixed windows.
        """
        values = np.asarray(thermal, dtype=np.float32)
        finite = np.isfinite(values)
        all_finite = bool(finite.all())
        sample = values[::PERCENTILE_STRIDE, ::PERCENTILE_STRIDE]
        if not all_finite:
            sample = sample[finite[::PERCENTILE_STRIDE, ::PERCENTILE_STRIDE]]
        if sample.size == 0:
            return np.zeros_like(values)
        low, high = np.percentile(sample, (self.low_percentile, self.high_percentile))
        if not high > low:
            return np.zeros_like(values)
        stretched: FloatArray = (values - np.float32(low)) / np.float32(high - low)
        np.clip(stretched, self.min_value, self.max_value, out=stretched)
        if not all_finite:
            stretched[~finite] = 0.0
        return stretched


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
