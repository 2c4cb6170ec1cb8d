# SPDX-License-Identifier: Apache-2.0
"""Live check of the registration: how far thermal lies beside RGB, from the images alone.

Edges are what both cameras share, whichever side of them is brighter or warmer. Each image becomes
a field of edge orientations modulo 180 degrees, weighted by contrast against the surroundings; the
shift is where the two fields correlate best. How much the best shift stands out against the second
best tells how far it can be trusted. Source: ours, on orientation correlation.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from rgbt_perception.config import RegistrationConfig
from rgbt_perception.types import FloatArray, Image, Misregistration, UNKNOWN_MISREGISTRATION

LONG_SIDE_PX = 256  # the images are measured at this size
MAX_SHIFT_SHARE = 0.075  # of the long side: 48 px in VGA
NUM_RECENT = 5  # measurements the median is over
CERTAIN = 0.5  # a single measurement below this does not count
# Peak over second peak: 1 is confidence 0, 2 is confidence 1. At 1.5 (CERTAIN) none of the checked
# pairs was wrong.
FULL_RATIO = 2.0
_NUM_TO_TRUST = 3  # measurements that must agree before the median is trusted fully
_AGREEMENT_SHARE = 0.005  # of the long side: so near the median a measurement agrees (3 px in VGA)
_SURROUNDINGS_PX = 15  # contrast is relative to this neighbourhood
_NOISE_LEVEL = 16.0  # weaker gradients than this fade out, grey levels of a 3x3 Sobel filter
_PEAK_RADIUS_PX = 4  # beyond it, another peak is a second one


class MisregistrationMonitor:
    """Measures the shift between the registered images now and then, and smooths it.

    Attributes:
        config: Settings; may be replaced between two calls.
    """

    def __init__(self, config: RegistrationConfig) -> None:
        """Start without history."""
        self.config = config
        self._recent: deque[Misregistration] = deque(maxlen=NUM_RECENT)
        self._smoothed = UNKNOWN_MISREGISTRATION
        self._num_pairs = 0

    def reset(self) -> None:
        """Forget the history."""
        self._recent.clear()
        self._smoothed = UNKNOWN_MISREGISTRATION
        self._num_pairs = 0

    def update(self, rgb: Image, thermal: FloatArray) -> Misregistration:
        """Take in the images of one fused pair.

        Args:
            rgb: RGB image, shape (h, w, 3), uint8.
            thermal: Registered, normalised thermal image on the same grid, shape (h, w), float32.

        Returns:
            Median of the recent measurements; unknown while none is certain.
        """
        every = self.config.score_every
        if every == 0:
            return UNKNOWN_MISREGISTRATION
        is_due = self._num_pairs % every == 0
        self._num_pairs += 1
        if is_due:
            self._recent.append(measure_shift(rgb, thermal))
            agreement_px = max(1.0, _AGREEMENT_SHARE * max(rgb.shape[:2]))
            self._smoothed = _summarise(list(self._recent), agreement_px)
        return self._smoothed


def measure_shift(rgb: Image, thermal: FloatArray) -> Misregistration:
    """Measure the shift between two images of one scene.

    Args:
        rgb: RGB image, shape (h, w, 3), uint8.
        thermal: Normalised thermal image on the same grid, shape (h, w), float32, finite.

    Returns:
        How far thermal lies to the right of and below RGB; at most ``MAX_SHIFT_SHARE`` of the long
        side in x and y. Confidence 0 when the images share no structure or are too small.
    """
    height, width = thermal.shape
    scale = min(1.0, LONG_SIDE_PX / max(height, width))
    size = (round(width * scale), round(height * scale))
    reach = round(MAX_SHIFT_SHARE * max(size))
    if reach < 2 or min(size) < 4 * reach:
        return UNKNOWN_MISREGISTRATION
    grey = cv2.cvtColor(np.asarray(rgb, np.uint8), cv2.COLOR_RGB2GRAY)
    rgb_field = _orientations(_reduce(grey, size))
    thermal_field = _orientations(255.0 * _reduce(thermal, size))
    inner = np.ascontiguousarray(rgb_field[reach:-reach, reach:-reach])
    scores = cv2.matchTemplate(thermal_field, inner, cv2.TM_CCORR_NORMED)
    return _find_peak(np.asarray(scores, np.float32), reach, width / size[0], height / size[1])


def _reduce(image: Image, size: tuple[int, int]) -> FloatArray:
    reduced = cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(reduced.astype(np.float32), (3, 3), 0), np.float32)


def _orientations(grey: FloatArray) -> FloatArray:
    """Return the field of edge orientations, shape (h, w, 2), float32.

    A vector of twice the gradient's angle: opposite gradients give the same one, crossing edges
    give opposite ones.
    """
    right = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3)
    right_squared, down_squared = right * right, down * down
    squared = right_squared + down_squared
    # The filter's running sums can fall a little below zero.
    mean_squared = cv2.blur(squared, (_SURROUNDINGS_PX, _SURROUNDINGS_PX))
    surroundings = np.sqrt(np.maximum(mean_squared, np.float32(0.0)))
    contrast = np.sqrt(squared) / (surroundings + np.float32(_NOISE_LEVEL))
    # The root keeps a few very hot or bright things from deciding alone.
    weight = np.sqrt(np.minimum(contrast, np.float32(2.0))) / (squared + np.float32(1e-6))
    field = np.empty((*grey.shape, 2), np.float32)
    field[..., 0] = (right_squared - down_squared) * weight
    field[..., 1] = 2.0 * right * down * weight
    return field


def _find_peak(scores: FloatArray, reach: int, scale_x: float, scale_y: float) -> Misregistration:
    """Return the shift of the best score, by a parabola to a fraction of a pixel.

    Args:
        scores: Score of every shift, shape (2 * reach + 1, 2 * reach + 1).
        reach: Largest shift, reduced px.
        scale_x: RGB pixels per reduced pixel, x.
        scale_y: The same in y.
    """
    _, best, _, (x, y) = cv2.minMaxLoc(scores)
    level = float(np.median(scores))
    is_at_the_rim = not (0 < x < 2 * reach and 0 < y < 2 * reach)
    if is_at_the_rim or not best > max(level, 0.0):
        return UNKNOWN_MISREGISTRATION
    elsewhere = np.full(scores.shape, 255, np.uint8)
    cv2.circle(elsewhere, (x, y), _PEAK_RADIUS_PX, 0, cv2.FILLED)
    second = cv2.minMaxLoc(scores, elsewhere)[1]
    ratio = (best - level) / max(second - level, 1e-9)
    x_part = _vertex(scores[y, x - 1 : x + 2])
    y_part = _vertex(scores[y - 1 : y + 2, x])
    return Misregistration(
        shift_x_px=(x + x_part - reach) * scale_x,
        shift_y_px=(y + y_part - reach) * scale_y,
        confidence=float(np.clip((ratio - 1.0) / (FULL_RATIO - 1.0), 0.0, 1.0)),
    )


def _vertex(three: FloatArray) -> float:
    """Return where the parabola through scores at -1, 0 and 1 is highest, in -0.5..0.5."""
    left, middle, right = (float(value) for value in three)
    bend = left + right - 2.0 * middle
    return 0.0 if bend >= 0.0 else float(np.clip((left - right) / (2.0 * bend), -0.5, 0.5))


def _summarise(recent: list[Misregistration], agreement_px: float) -> Misregistration:
    """Return the median of the certain measurements; trusted when several agree on it."""
    certain = [item for item in recent if item.confidence >= CERTAIN]
    if not certain:
        return UNKNOWN_MISREGISTRATION
    shifts = np.array([(item.shift_x_px, item.shift_y_px) for item in certain])
    median = np.median(shifts, axis=0)
    agree = np.hypot(*(shifts - median).T) <= agreement_px
    confidence = float(np.median([item.confidence for item in certain]))
    trust = min(1.0, float(agree.sum()) / _NUM_TO_TRUST) * float(agree.mean())
    return Misregistration(
        shift_x_px=float(median[0]), shift_y_px=float(median[1]), confidence=confidence * trust
    )
