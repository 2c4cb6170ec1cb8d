# SPDX-License-Identifier: Apache-2.0
"""Automatic gain control: thermal counts to the 8-bit grey image that most cameras deliver.

Real sources differ far more in this curve than in optics: the mean of an image lies anywhere from
44 to 125 of 255, its 99th percentile from 84 to 228 and its 1st from 0 to 50. So the curve's shape
and these levels are drawn apart from each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import ByteArray, FloatArray

_LEVELS = 1024  # steps of the histogram
_SMALLEST_SPAN = 1e-3  # of the range of an image that is nearly flat
_CLAHE_TILES = (8, 8)
_DETAIL_SHARE = 0.25  # of drawn gain controls
_LOG_EXPONENTS, _BISECTIONS = (-4.0, 4.0), 11  # powers of two


class ToneCurve(str, Enum):
    """How an image uses its grey levels, before levels are set."""

    PERCENTILE = 'percentile'  # linear between two percentiles
    PLATEAU = 'plateau'  # histogram equalisation with clipped bins
    CLAHE = 'clahe'  # the same, tile by tile


@dataclass(frozen=True, slots=True, kw_only=True)
class ToneMap:
    """A gain control. Without levels the image spans 0..255."""

    curve: ToneCurve = ToneCurve.PERCENTILE
    low_percentile: float = 1.0
    high_percentile: float = 99.5
    plateau: float = 3.0  # PLATEAU: highest bin, in multiples of the mean bin
    clip_limit: float = 2.0  # CLAHE: the same in OpenCV's units
    strength: float = 1.0  # share of the equalised image, the rest is linear
    levels: tuple[float, float, float] | None = None  # 1st percentile, mean, 99th, of 255
    smallest_span: float = 0.0  # counts between the percentiles below which contrast is kept low
    detail: float = 0.0  # enhancement: bright things get dark rims, as real cameras draw them
    detail_px: float = 4.0  # standard deviation of what counts as coarse
    is_inverted: bool = False  # black = hot


def sample_tone_map(rng: np.random.Generator) -> ToneMap:
    """Draw a gain control; white is hot."""
    curve = (ToneCurve.PERCENTILE, ToneCurve.PLATEAU, ToneCurve.CLAHE)[
        int(rng.choice(3, p=(0.5, 0.3, 0.2)))
    ]
    mean = rng.uniform(38.0, 132.0)
    detail = rng.uniform(0.3, 1.2) if rng.random() < _DETAIL_SHARE else 0.0
    return ToneMap(
        curve=curve,
        low_percentile=rng.uniform(0.0, 3.0),
        high_percentile=rng.uniform(98.5, 100.0),
        plateau=rng.uniform(1.5, 8.0),
        clip_limit=rng.uniform(1.0, 4.0),
        strength=rng.uniform(0.4, 1.0),
        detail=detail,
        detail_px=rng.uniform(2.0, 10.0),
        levels=(
            mean * max(rng.uniform(-0.2, 0.5), 0.0),
            mean,
            min(mean + rng.uniform(35.0, 135.0), 250.0),
        ),
    )


def tone_map(
    counts: NDArray[Any], rng: np.random.Generator, *, curve: ToneMap | None = None
) -> ByteArray:
    """Turn counts into grey levels.

    Args:
        counts: Shape (h, w), any real dtype; only their order and ratios of differences matter,
            and their unit if the gain control has a ``smallest_span``.
        rng: Draws the gain control if none is given.
        curve: The gain control.

    Returns:
        Shape (h, w), uint8.
    """
    used = sample_tone_map(rng) if curve is None else curve
    values = np.asarray(counts, np.float32)
    sparse = values[::2, ::2]
    low, high = np.percentile(sparse, [used.low_percentile, used.high_percentile])
    grey = (values - np.float32(low)) / np.float32(max(float(high - low), _SMALLEST_SPAN))
    np.clip(grey, 0.0, 1.0, out=grey)
    if used.curve is not ToneCurve.PERCENTILE:
        equalised = (
            _equalise(grey, used) if used.curve is ToneCurve.PLATEAU else _clahe(grey, used)
        )
        grey += np.float32(used.strength) * (equalised - grey)
    if used.detail > 0.0:
        coarse = cv2.GaussianBlur(grey, (0, 0), used.detail_px)
        grey = grey + np.float32(used.detail) * (grey - coarse)
    grey *= np.float32(255.0)
    if used.levels is not None:
        grey = _set_levels(grey, used.levels)
    if high - low < used.smallest_span:
        # A real gain is limited: a scene of nearly one temperature stays nearly one grey.
        mean = grey.mean()
        grey = mean + np.float32((high - low) / used.smallest_span) * (grey - mean)
    if used.is_inverted:
        grey = np.asarray(np.float32(255.0) - grey)
    return np.asarray(np.clip(np.rint(grey), 0.0, 255.0).astype(np.uint8))


def _equalise(grey: FloatArray, used: ToneMap) -> FloatArray:
    index = (grey * np.float32(_LEVELS - 1)).astype(np.int32)
    histogram = np.bincount(index[::2, ::2].ravel(), minlength=_LEVELS).astype(np.float64)
    np.minimum(histogram, used.plateau * histogram.mean(), out=histogram)
    curve = np.cumsum(histogram) - 0.5 * histogram
    return np.asarray((curve / histogram.sum()).astype(np.float32).take(index))


def _clahe(grey: FloatArray, used: ToneMap) -> FloatArray:
    fine = grey * np.float32(255.0)
    coarse = fine.astype(np.uint8)  # of 16 bits, no bin would reach the limit
    equalised = cv2.createCLAHE(used.clip_limit, _CLAHE_TILES).apply(coarse)
    return np.asarray((equalised + (fine - coarse)) / np.float32(255.0), np.float32)


def _set_levels(grey: FloatArray, levels: tuple[float, float, float]) -> FloatArray:
    """Bend and stretch so that the 1st percentile, the mean and the 99th get their levels.

    Between the percentiles the curve is a power, whose exponent gives the mean: bending keeps the
    dark half that stretching would clip. The mean falls with the exponent: bisection.
    """
    lowest, mean, highlight = levels
    sparse = grey[::3, ::3]
    dark, bright = (float(level) for level in np.percentile(grey[::2, ::2], [1.0, 99.0]))
    scale = np.float32(1.0 / max(bright - dark, _SMALLEST_SPAN * 255.0))

    def stretch(image: FloatArray, exponent: float) -> FloatArray:
        share = np.maximum((image - np.float32(dark)) * scale, np.float32(0.0))
        bent = np.float32(highlight - lowest) * np.power(share, np.float32(exponent))
        return np.asarray(np.minimum(bent + np.float32(lowest), np.float32(255.0)))

    low, high = _LOG_EXPONENTS
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        is_bright = float(stretch(sparse, 2.0**middle).mean()) > mean
        low, high = (middle, high) if is_bright else (low, middle)
    return stretch(grey, 2.0 ** (0.5 * (low + high)))
