# SPDX-License-Identifier: Apache-2.0
"""Statistics by which images of different sources are compared without looking at what they show.

All are taken on grey images of one height, for gradients depend on the resolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT_PX = 256
HISTOGRAM_BINS = 8
_ENTROPY_BINS = 64
_BANDS = ('upper', 'middle', 'lower')

Statistics = dict[str, float]


def measure_image(image: NDArray[np.uint8]) -> Statistics:
    """Measure one image.

    Args:
        image: (h, w) grey or (h, w, 3) RGB, uint8; scaled to a height of 256 px.

    Returns:
        Mean, standard deviation and percentiles in grey levels of 255; mean and 99th percentile
        of the gradient's length in levels per pixel; entropy of the 64-bin histogram in bits;
        mean of each third of the rows minus the mean of all; share of pixels in eighths of the
        range.
    """
    grey = _to_grey(image)
    width = max(1, round(grey.shape[1] * HEIGHT_PX / grey.shape[0]))
    levels = cv2.resize(grey, (width, HEIGHT_PX), interpolation=cv2.INTER_AREA)
    mean = float(levels.mean())
    down, right = np.gradient(levels)
    length = np.hypot(down, right)
    values = {'mean': mean, 'std': float(levels.std())}
    for percentile in (1, 50, 99):
        values[f'p{percentile}'] = float(np.percentile(levels, percentile))
    values['gradient mean'] = float(length.mean())
    values['gradient p99'] = float(np.percentile(length, 99.0))
    values['entropy'] = _entropy(levels)
    for name, band in zip(_BANDS, np.array_split(levels, len(_BANDS)), strict=True):
        values[f'{name} third'] = float(band.mean()) - mean
    counts, _ = np.histogram(levels, HISTOGRAM_BINS, (0.0, 256.0))
    step = 256 // HISTOGRAM_BINS
    for index, count in enumerate((counts / levels.size).tolist()):
        values[f'share {index * step}-{(index + 1) * step - 1}'] = count
    return values


def average(images: Iterable[Mapping[str, float]]) -> Statistics:
    """Return the mean of each statistic over images.

    Raises:
        ValueError: If there is no image.
    """
    measured = list(images)
    if not measured:
        raise ValueError('no images, expected at least one; give a folder that holds some')
    return {name: float(np.mean([values[name] for values in measured])) for name in measured[0]}


def ranges(sources: Iterable[Mapping[str, float]], *, slack: float) -> dict[str, list[float]]:
    """Return smallest and largest value of each statistic over sources, widened.

    Args:
        sources: Averages of each source, at least one.
        slack: Share of the span by which the range grows at either end.

    Returns:
        [low, high] by name.
    """
    measured = list(sources)
    found = {}
    for name in measured[0]:
        low, high = (choose(values[name] for values in measured) for choose in (min, max))
        margin = slack * (high - low)
        found[name] = [low - margin, high + margin]
    return found


def _to_grey(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, np.float32)


def _entropy(levels: NDArray[np.float32]) -> float:
    counts, _ = np.histogram(levels, _ENTROPY_BINS, (0.0, 256.0))
    share = counts[counts > 0] / levels.size
    return float(-(share * np.log2(share)).sum())
