# SPDX-License-Identifier: Apache-2.0
"""Log-average miss rate of pedestrian detection, MR^-2, in the nine settings of KAIST.

MR^-2 = exp(mean(log(miss rate))) at 9 values of false positives per image, 10^-2 to 10^0 in even
steps of the exponent, at IoU .5. A setting says which pedestrians must be found: by height in the
image, occlusion and time of day; the others are neither to be found nor wrong to be found. The
numbers of two settings have nothing to do with each other, so the setting belongs to every number.

Rules, those of the benchmark's own evaluation, in our own code: people, person?, cyclist and boxes
outside the setting are ignored; an ignored box matches by intersection over the area of the
detection, and any number of detections; detections match in the order of their scores, each the
truth of highest overlap, and a box to be found before an ignored one. Detections whose height
lies outside the height range widened by 1.25 are left out (``widen_range``), as the Python
evaluation of the benchmark does; the older MATLAB one keeps them. Boxes reaching within 5 px of
the edge of the image are ignored. Use the improved test annotations (Liu et al.) for comparable
numbers. Source: Hwang et al., CVPR 2015, and the evaluation published with its test annotations;
Dollar et al., PAMI 2012, for the measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLD = 0.5
FPPI_POINTS = 10.0 ** np.arange(-2.0, 0.01, 0.25)
MIN_MISS_RATE = 1e-10
HEIGHT_MARGIN = 1.25
EDGE_PX = 5.0  # a box that comes closer to the edge of the image is taken for cut
KAIST_SIZE_HW = (512, 640)
INFINITY = float('inf')
# Class names of KAIST that are neither to be found nor wrong to be found.
IGNORED_NAMES = ('people', 'person?', 'cyclist', '__ignore__')

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissRateSetting:
    """Which pedestrians must be found.

    Attributes:
        name: As papers call it.
        min_height_px: Smallest height in the image, inclusive.
        max_height_px: Largest height, inclusive.
        occlusions: 0 = none, 1 = partial, 2 = heavy.
        is_night: Time of day, None = both.
    """

    name: str
    min_height_px: float
    max_height_px: float
    occlusions: tuple[int, ...]
    is_night: bool | None


def _setting(
    name: str,
    heights: tuple[float, float],
    occlusions: tuple[int, ...],
    is_night: bool | None = None,
) -> MissRateSetting:
    return MissRateSetting(
        name=name,
        min_height_px=heights[0],
        max_height_px=heights[1],
        occlusions=occlusions,
        is_night=is_night,
    )


MISS_RATE_SETTINGS = (
    _setting('reasonable-all', (55.0, INFINITY), (0, 1)),
    _setting('reasonable-day', (55.0, INFINITY), (0, 1), False),
    _setting('reasonable-night', (55.0, INFINITY), (0, 1), True),
    _setting('scale-near', (115.0, INFINITY), (0,)),
    _setting('scale-medium', (45.0, 115.0), (0,)),
    _setting('scale-far', (1.0, 45.0), (0,)),
    _setting('occlusion-none', (1.0, INFINITY), (0,)),
    _setting('occlusion-partial', (1.0, INFINITY), (1,)),
    _setting('occlusion-heavy', (1.0, INFINITY), (2,)),
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PedestrianTruth:
    """Ground truth of one image. Arrays share length n (may be 0).

    Attributes:
        boxes_xyxy: (n, 4) px, edge units.
        occlusions: (n,) 0 = none, 1 = partial, 2 = heavy.
        ignore: (n,) bool, True = not a single person to be found (people, person?, cyclist).
        is_night: Time of day, None when not known: the image counts in no day or night setting.
        size_hw: Height and width of the image, px.
    """

    boxes_xyxy: FloatArray
    occlusions: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    is_night: bool | None
    size_hw: tuple[int, int] = KAIST_SIZE_HW


class MissRateScorer:
    """Collects detections of persons and ground truth, then computes MR^-2 of each setting."""

    def __init__(self, *, edge_px: float | None = EDGE_PX, widen_range: bool = True) -> None:
        """Score with the rules of the benchmark.

        Args:
            edge_px: Boxes that come closer to the edge are ignored; None = none is.
            widen_range: Leave out detections far outside the height range of a setting.
        """
        self._edge_px = edge_px
        self._widen_range = widen_range
        self._images: list[tuple[PedestrianTruth, FloatArray, FloatArray]] = []

    def add(
        self,
        truth: PedestrianTruth,
        boxes_xyxy: NDArray[np.floating],
        scores: NDArray[np.floating],
    ) -> None:
        """Add one image.

        Args:
            truth: Its ground truth.
            boxes_xyxy: (n, 4) px, detections of persons.
            scores: (n,), any range.
        """
        order = np.argsort(-np.asarray(scores, np.float64), kind='stable')
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)[order]
        self._images.append((truth, boxes, np.asarray(scores, np.float64)[order]))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def compute(
        self, settings: Sequence[MissRateSetting] = MISS_RATE_SETTINGS
    ) -> dict[str, float | None]:
        """Return MR^-2 in 0..1 by the name of the setting; None where no one is to be found."""
        return {setting.name: self.miss_rate(setting) for setting in settings}

    def miss_rate(self, setting: MissRateSetting) -> float | None:
        """Return MR^-2 of one setting, lower is better; None where no one is to be found."""
        scores: list[FloatArray] = []
        rights: list[NDArray[np.bool_]] = []
        num_truth = num_images = 0
        for truth, boxes, values in self._images:
            if setting.is_night is not None and truth.is_night is not setting.is_night:
                continue
            ignore = self._ignored(truth, setting)
            keep = self._in_range(boxes, setting)
            is_right, counted = match_boxes(boxes[keep], truth.boxes_xyxy, ignore)
            scores.append(values[keep][counted])
            rights.append(is_right[counted])
            num_truth += int((~ignore).sum())
            num_images += 1
        if num_truth == 0:
            return None
        return log_average_miss_rate(
            np.concatenate(scores),
            np.concatenate(rights),
            num_truth=num_truth,
            num_images=num_images,
        )

    def _ignored(self, truth: PedestrianTruth, setting: MissRateSetting) -> NDArray[np.bool_]:
        boxes = truth.boxes_xyxy.reshape(-1, 4)
        height = boxes[:, 3] - boxes[:, 1]
        ignore = truth.ignore | (height < setting.min_height_px) | (height > setting.max_height_px)
        ignore = ignore | ~np.isin(truth.occlusions, setting.occlusions)
        if self._edge_px is not None:
            low = self._edge_px
            high = np.array(truth.size_hw[::-1]) - self._edge_px
            ignore = ignore | (boxes[:, :2] < low).any(axis=1) | (boxes[:, 2:] > high).any(axis=1)
        return np.asarray(ignore, np.bool_)

    def _in_range(self, boxes: FloatArray, setting: MissRateSetting) -> NDArray[np.bool_]:
        if not self._widen_range:
            return np.ones(len(boxes), np.bool_)
        height = boxes[:, 3] - boxes[:, 1]
        is_tall = height >= setting.min_height_px / HEIGHT_MARGIN
        return np.asarray(is_tall & (height < setting.max_height_px * HEIGHT_MARGIN), np.bool_)


def match_boxes(
    boxes: FloatArray, truth_boxes: FloatArray, ignore: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Judge the detections of one image, best score first.

    Args:
        boxes: (n, 4) px, sorted by falling score.
        truth_boxes: (m, 4) px.
        ignore: (m,) bool, True = neither to be found nor wrong to be found.

    Returns:
        Whether each detection is right, and whether it counts (is not on an ignored box), (n,).
    """
    is_right = np.zeros(len(boxes), np.bool_)
    counted = np.ones(len(boxes), np.bool_)
    wanted, others = truth_boxes[~ignore], truth_boxes[ignore]
    overlap = _overlaps(boxes, wanted, by_detection=False)
    on_ignored = _overlaps(boxes, others, by_detection=True)
    free = np.ones(len(wanted), np.bool_)
    for index in range(len(boxes)):
        candidates = np.where(free, overlap[index], -1.0)
        best = int(candidates.argmax()) if len(candidates) else -1
        if best >= 0 and candidates[best] >= IOU_THRESHOLD:
            is_right[index] = True
            free[best] = False
        elif (on_ignored[index] >= IOU_THRESHOLD).any():
            counted[index] = False
    return is_right, counted


def log_average_miss_rate(
    scores: FloatArray, is_right: NDArray[np.bool_], *, num_truth: int, num_images: int
) -> float:
    """Return MR^-2 of the detections of a whole data set.

    The miss rate at a number of false positives per image is that of the lowest score threshold
    that stays at or below it; 1 where even the best detection exceeds it.

    Args:
        scores: (n,) of the detections that count.
        is_right: (n,) bool.
        num_truth: Persons to be found, > 0.
        num_images: Images, > 0.
    """
    order = np.argsort(-scores, kind='stable')
    right = is_right[order]
    # A point of the curve for every number of detections kept, from none on.
    fppi = np.concatenate([[0.0], np.cumsum(~right) / num_images])
    miss = np.concatenate([[1.0], 1.0 - np.cumsum(right) / num_truth])
    positions = np.searchsorted(fppi, FPPI_POINTS * (1.0 + 1e-9), side='right') - 1
    sampled = np.maximum(miss[positions], MIN_MISS_RATE)
    return float(np.exp(np.log(sampled).mean()))


def _overlaps(boxes: FloatArray, others: FloatArray, *, by_detection: bool) -> FloatArray:
    """Return intersection over union, or over the detection's area, shape (n, m)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.clip(high - low, 0.0, None).prod(axis=2)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(axis=1)[:, None]
    if by_detection:
        whole = np.broadcast_to(area, both.shape)
    else:
        whole = area + np.clip(others[:, 2:] - others[:, :2], 0.0, None).prod(axis=1) - both
    return np.asarray(both / np.maximum(whole, 1e-12), np.float64)
