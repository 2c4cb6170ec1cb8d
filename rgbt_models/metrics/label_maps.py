# SPDX-License-Identifier: Apache-2.0
"""IoU and accuracy of label maps over a whole data set.

Papers differ in whether the background counts as a class (FMB is reported with 15 classes and with
14), and the mean changes by points. So the mean is over all classes unless ``without`` names those
that are left out, and the caller says so beside the number.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


class LabelMapScorer:
    """Confusion matrix of label maps over all pairs, and what follows from it by class."""

    def __init__(self, num_classes: int) -> None:
        """Count ids 0..num_classes-1; ground truth with another id is not counted."""
        self._num_classes = num_classes
        # The last column counts pixels that the prediction left unlabeled.
        self._counts: IntArray = np.zeros((num_classes, num_classes + 1), np.int64)

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Add one pair of label maps, both shape (h, w) uint8."""
        k = self._num_classes
        inside = truth < k
        columns = np.minimum(predicted[inside], k).astype(np.int64)
        cells = truth[inside].astype(np.int64) * (k + 1) + columns
        self._counts += np.bincount(cells, minlength=k * (k + 1)).reshape(k, k + 1)

    def merged(self, groups: Sequence[Collection[int]]) -> LabelMapScorer:
        """Return a scorer of coarser classes, as if both sides had been labeled with them.

        Args:
            groups: By new class id, the class ids that count as it, each in one group at most.
                Ground truth of an id in none is not counted; predicted, it is an error.
        """
        to_group = np.zeros((self._num_classes + 1, len(groups) + 1), np.int64)
        for index, ids in enumerate(groups):
            to_group[list(ids), index] = 1
        to_group[~to_group.any(axis=1), -1] = 1
        coarse = LabelMapScorer(len(groups))
        coarse._counts = to_group[:-1, :-1].T @ self._counts @ to_group
        return coarse

    def iou(self) -> list[float | None]:
        """Return the IoU of each class, None for a class without ground truth pixels."""
        found = np.diag(self._counts).astype(np.float64)
        of_truth, of_prediction = self._counts.sum(1), self._counts[:, :-1].sum(0)
        union = of_truth + of_prediction - found
        return [
            float(found[index] / union[index]) if of_truth[index] else None
            for index in range(self._num_classes)
        ]

    def accuracy(self) -> list[float | None]:
        """Return the share of each class's pixels that is right, None for a class without any."""
        found = np.diag(self._counts).astype(np.float64)
        of_truth = self._counts.sum(1)
        return [
            float(found[index] / of_truth[index]) if of_truth[index] else None
            for index in range(self._num_classes)
        ]

    def mean_iou(self, *, without: Collection[int] = ()) -> float | None:
        """Return the mean IoU over the classes with ground truth pixels, None without any.

        Args:
            without: Class ids left out of the mean, for instance that of the background. Their
                pixels still count as errors of the other classes.
        """
        return _mean(self.iou(), without)

    def mean_accuracy(self, *, without: Collection[int] = ()) -> float | None:
        """Return the mean accuracy over the classes (mAcc), None without any; see ``mean_iou``."""
        return _mean(self.accuracy(), without)


def _mean(values: list[float | None], without: Collection[int]) -> float | None:
    kept = [v for index, v in enumerate(values) if v is not None and index not in without]
    return float(np.mean(kept)) if kept else None
