# SPDX-License-Identifier: Apache-2.0
"""Recognition of a camera that repeats the same image under new stamps.

A thermal core repeats its last image while its shutter is closed (flat-field correction), and a
driver may repeat its last buffer for ever. A real sensor that looks at a static scene has noise,
also when it is tone-mapped to 8 bits. An image without any noise, as a simulator renders it,
cannot be told from a frozen one while nothing moves in it: set ``fallback.frozen_after_s`` to 0
there.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.types import NS_PER_S

# Fewer samples than this between the darkest and the brightest value say nothing.
MIN_LIVE_SAMPLES = 16


class FrozenDetector:
    """Measures how long a camera has been showing the same image."""

    def __init__(self) -> None:
        """Start without an image."""
        self._first: NDArray[Any] | None = None
        self._first_ns = self._last_ns = 0

    def reset(self) -> None:
        """Forget the image."""
        self._first = None

    def update(
        self, sample: NDArray[Any], stamp_ns: int, *, max_difference: float, step: float = 1.0
    ) -> float:
        """Take in one image, and return for how long it has been the same, s.

        Every image is compared with the first of those that were the same, so that a slow change
        adds up. An image whose stamp was here before (one that is used again) changes nothing.

        Args:
            sample: Some pixels of the image, shape (h, w); kept, must not change afterwards.
            stamp_ns: Its stamp, nanoseconds.
            max_difference: Images are the same up to this mean difference, in steps, inclusive.
            step: One quantisation step of the sensor, in units of ``sample``.

        Returns:
            Time between the first and the last of the images that are the same; 0 = a new image.
        """
        first = self._first
        if first is not None and stamp_ns == self._last_ns:
            return self._span_s()
        is_same = (
            first is not None
            and first.shape == sample.shape
            and first.dtype == sample.dtype
            and mean_difference(first, sample) <= max_difference * step
        )
        if not is_same:
            self._first, self._first_ns = sample, stamp_ns
        self._last_ns = stamp_ns
        return self._span_s()

    def _span_s(self) -> float:
        return (self._last_ns - self._first_ns) / NS_PER_S


def mean_difference(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the mean absolute difference of two images over the pixels that could differ.

    Pixels at the darkest or the brightest value of the second image do not count: they may be
    clipped, and clipped pixels have no noise. Neither do pixels that are not finite in both.

    Args:
        first: Shape (h, w), any type that OpenCV knows.
        second: Same shape and type.

    Returns:
        The mean, in units of the images; over all pixels when next to none would count; NaN when
        the images have no finite pixel in common.
    """
    difference = cv2.absdiff(first, second)
    if second.dtype == np.float32:
        is_finite = np.isfinite(difference)
        if not is_finite.any():
            return float('nan')
        low, high = float(second[is_finite].min()), float(second[is_finite].max())
        is_live = is_finite & (second > low) & (second < high)
        counted = is_live if np.count_nonzero(is_live) >= MIN_LIVE_SAMPLES else is_finite
        return float(difference[counted].mean())
    low, high, _, _ = cv2.minMaxLoc(second)
    live = cv2.inRange(second, low + 1, high - 1)
    if cv2.countNonZero(live) < MIN_LIVE_SAMPLES:
        return float(cv2.mean(difference)[0])
    return float(cv2.mean(difference, mask=live)[0])
