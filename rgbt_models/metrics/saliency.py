# SPDX-License-Identifier: Apache-2.0
"""Saliency metrics: S, F (maximal, mean, adaptive), weighted F, E (the same three) and MAE.

Scores are stretched to 0..1 per image first, as the benchmarks' tools do. Means are over images;
F and E curves are averaged over images at 256 thresholds before their maximum or mean is taken.
Sources: S, Fan et al., ICCV 2017 (alpha .5); F, Achanta et al., CVPR 2009 (beta^2 = .3); weighted
F, Margolin et al., CVPR 2014 (beta^2 = 1); E, Fan et al., IJCAI 2018. Own code after the papers:
the usual package pins versions of numpy and OpenCV that are older than ours; by hand the values
were compared with it (pysodmetrics 1.6.2).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.errors import DatasetError

S_ALPHA = 0.5
F_BETA_SQUARED = 0.3
NUM_THRESHOLDS = 256
DECAY_PX = 5.0  # of the weight of errors with the distance to the object, half per 5 px
EPSILON = float(np.spacing(1.0))
_NEIGHBOURS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class SaliencyMetrics:
    """Means over a data set, all in 0..1; all but ``mae`` are better when higher."""

    s: float
    f_max: float
    f_mean: float
    f_adaptive: float
    f_weighted: float
    e_max: float
    e_mean: float
    e_adaptive: float
    mae: float

    def as_dict(self) -> dict[str, float]:
        """Return the values by name."""
        return asdict(self)


class SaliencyScorer:
    """Collects saliency maps and masks."""

    def __init__(self) -> None:
        """Start without images."""
        self._single: list[tuple[float, float, float, float, float]] = []
        self._f_curve: FloatArray = np.zeros(NUM_THRESHOLDS)
        self._e_curve: FloatArray = np.zeros(NUM_THRESHOLDS)

    def add(self, mask: BoolArray, scores: NDArray[np.floating]) -> None:
        """Add one image.

        Args:
            mask: (h, w) bool, True = salient.
            scores: (h, w) in 0..1.

        Raises:
            DatasetError: If the sizes differ.
        """
        if mask.shape != scores.shape:
            raise DatasetError(
                f'saliency scores have size {scores.shape} and the mask {mask.shape}, expected '
                f'the same; resize the scores to the mask'
            )
        values = _stretch(scores)
        inside = np.asarray(mask, np.bool_)
        adaptive = min(2.0 * float(values.mean()), 1.0)
        f_curve, e_curve = _curves(inside, values)
        self._f_curve += f_curve
        self._e_curve += e_curve
        found = values >= adaptive
        self._single.append(
            (
                s_measure(inside, values),
                float(_f_measure(*_counts(inside, found))),
                weighted_f_measure(inside, values),
                float(_e_measure(*_counts(inside, found), inside.size)),
                float(np.abs(values - inside).mean()),
            )
        )

    def compute(self) -> SaliencyMetrics | None:
        """Return the means, None without images."""
        if not self._single:
            return None
        s, f_adaptive, f_weighted, e_adaptive, mae = np.mean(self._single, axis=0).tolist()
        f_curve = self._f_curve / len(self._single)
        e_curve = self._e_curve / len(self._single)
        return SaliencyMetrics(
            s=s,
            f_max=float(f_curve.max()),
            f_mean=float(f_curve.mean()),
            f_adaptive=f_adaptive,
            f_weighted=f_weighted,
            e_max=float(e_curve.max()),
            e_mean=float(e_curve.mean()),
            e_adaptive=e_adaptive,
            mae=mae,
        )


def s_measure(mask: BoolArray, scores: FloatArray) -> float:
    """Return the structure measure: half object similarity, half region similarity.

    Args:
        mask: (h, w) bool.
        scores: (h, w) in 0..1.
    """
    share = float(mask.mean())
    if share in {0.0, 1.0}:
        mean = float(scores.mean())
        return mean if share else 1.0 - mean
    of_object = share * _object_similarity(scores[mask])
    of_object += (1.0 - share) * _object_similarity(1.0 - scores[~mask])
    value = S_ALPHA * of_object + (1.0 - S_ALPHA) * _region_similarity(mask, scores)
    return max(0.0, value)


def weighted_f_measure(mask: BoolArray, scores: FloatArray) -> float:
    """Return the F measure whose errors depend on where they are, beta^2 = 1.

    Errors inside the object are smoothed over their neighbourhood, those outside weigh more with
    the distance to the object.

    Args:
        mask: (h, w) bool; without any True the value is 0.
        scores: (h, w) in 0..1.
    """
    if not mask.any():
        return 0.0
    distance, y, x = _nearest_object(mask)
    error = np.abs(scores - mask)
    carried = np.where(mask, error, error[y, x])
    smooth = cv2.GaussianBlur(carried, (7, 7), sigmaX=5.0, borderType=cv2.BORDER_CONSTANT)
    least = np.where(mask & (smooth < error), smooth, error)
    weight = np.where(mask, 1.0, 2.0 - np.exp(np.log(0.5) / DECAY_PX * distance))
    weighted = least * weight
    right = float(mask.sum() - weighted[mask].sum())
    wrong = float(weighted[~mask].sum())
    recall = 1.0 - float(weighted[mask].mean())
    precision = right / (right + wrong + EPSILON)
    return 2.0 * recall * precision / (recall + precision + EPSILON)


def _stretch(scores: NDArray[np.floating]) -> FloatArray:
    values = np.asarray(scores, np.float64)
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else values


def _object_similarity(values: FloatArray) -> float:
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return 2.0 * mean / (mean * mean + 1.0 + spread + EPSILON)


def _region_similarity(mask: BoolArray, scores: FloatArray) -> float:
    """Return the mean SSIM of the four parts around the centre of the object, by area."""
    y, x = (int(np.rint(value)) + 1 for value in np.argwhere(mask).mean(axis=0))
    total = 0.0
    for rows in (slice(None, y), slice(y, None)):
        for columns in (slice(None, x), slice(x, None)):
            part = mask[rows, columns]
            if part.size:
                total += part.size / mask.size * _ssim(part, scores[rows, columns])
    return total


def _ssim(mask: BoolArray, scores: FloatArray) -> float:
    truth = mask.astype(np.float64)
    mean_x, mean_y = float(scores.mean()), float(truth.mean())
    divisor = mask.size - 1 + EPSILON
    var_x = float(((scores - mean_x) ** 2).sum() / divisor)
    var_y = float(((truth - mean_y) ** 2).sum() / divisor)
    cov = float(((scores - mean_x) * (truth - mean_y)).sum() / divisor)
    above = 4.0 * mean_x * mean_y * cov
    below = (mean_x**2 + mean_y**2) * (var_x + var_y)
    if above != 0.0:
        return above / (below + EPSILON)
    return 1.0 if below == 0.0 else 0.0


def _counts(mask: BoolArray, found: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return pixels found inside the object, found at all, and of the object."""
    return (
        np.asarray((found & mask).sum(), np.float64),
        np.asarray(found.sum(), np.float64),
        np.asarray(mask.sum(), np.float64),
    )


def _curves(mask: BoolArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return F and E at 256 thresholds, from high to low."""
    levels = np.asarray(scores * (NUM_THRESHOLDS - 1), np.uint8)
    inside = np.bincount(levels[mask], minlength=NUM_THRESHOLDS)[::-1].cumsum().astype(np.float64)
    everywhere = np.bincount(levels.ravel(), minlength=NUM_THRESHOLDS)[::-1].cumsum()
    found = everywhere.astype(np.float64)
    size = np.asarray(mask.sum(), np.float64)
    return _f_measure(inside, found, size), _e_measure(inside, found, size, mask.size)


def _f_measure(inside: FloatArray, found: FloatArray, size: FloatArray) -> FloatArray:
    precision = inside / np.maximum(found, 1.0)
    recall = inside / np.maximum(size, 1.0)
    below = F_BETA_SQUARED * precision + recall
    value = (1.0 + F_BETA_SQUARED) * precision * recall / np.where(below == 0.0, 1.0, below)
    return np.asarray(value, np.float64)


def _e_measure(
    inside: FloatArray, found: FloatArray, size: FloatArray, num_pixels: int
) -> FloatArray:
    """Return the mean alignment of binary maps, from the counts of their four kinds of pixels."""
    if float(size) == 0.0:
        total = num_pixels - found
    elif float(size) == num_pixels:
        total = found
    else:
        mean_found, mean_truth = found / num_pixels, size / num_pixels
        kinds = (
            (inside, 1.0 - mean_found, 1.0 - mean_truth),
            (found - inside, 1.0 - mean_found, -mean_truth),
            (size - inside, -mean_found, 1.0 - mean_truth),
            (num_pixels - found - size + inside, -mean_found, -mean_truth),
        )
        total = np.zeros_like(found)
        for count, a, b in kinds:
            alignment = 2.0 * a * b / (a * a + b * b + EPSILON)
            total = total + count * (alignment + 1.0) ** 2 / 4.0
    return np.asarray(total / (num_pixels - 1 + EPSILON), np.float64)


def _nearest_object(
    mask: BoolArray,
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """Return distance to, row and column of the nearest pixel of the object, each (h, w).

    OpenCV names the nearest pixel by a distance that is not quite Euclidean; two rounds in which
    each pixel also tries the answers of its neighbours repair that.
    """
    outside = np.where(mask, 0, 255).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, columns = np.nonzero(mask)
    order = np.zeros(len(rows) + 1, np.int64)
    order[labels[rows, columns]] = np.arange(len(rows))
    nearest = order[labels]
    y, x = rows[nearest].astype(np.int64), columns[nearest].astype(np.int64)
    own_y, own_x = np.indices(mask.shape)
    best = (own_y - y) ** 2 + (own_x - x) ** 2
    for _ in range(2):
        padded_y, padded_x = np.pad(y, 1, mode='edge'), np.pad(x, 1, mode='edge')
        h, w = mask.shape
        for step_y, step_x in _NEIGHBOURS:
            other_y = padded_y[1 + step_y : 1 + step_y + h, 1 + step_x : 1 + step_x + w]
            other_x = padded_x[1 + step_y : 1 + step_y + h, 1 + step_x : 1 + step_x + w]
            distance = (own_y - other_y) ** 2 + (own_x - other_x) ** 2
            closer = distance < best
            best = np.where(closer, distance, best)
            y, x = np.where(closer, other_y, y), np.where(closer, other_x, x)
    return np.sqrt(best.astype(np.float64)), y, x
