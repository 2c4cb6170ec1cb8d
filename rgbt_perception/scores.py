# SPDX-License-Identifier: Apache-2.0
"""Metrics of one way to run a set of pairs: boxes and label maps together, as JSON values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from rgbt_models.card import ModelCard
from rgbt_models.metrics.miss_rate import MissRateScorer, PedestrianTruth
from rgbt_perception.metrics import BoxMetrics, BoxScorer, LabelMapScorer
from rgbt_perception.truth import TruthPair
from rgbt_perception.types import ByteArray, Detections, IntArray, Result

DIGITS = 6
PERSON = 'person'


class Scores:
    """Collects the results of one sequence of pairs.

    Attributes:
        boxes: Scorer of the detections.
        label_maps: Scorer of the label maps.
        miss_rates: Scorer of persons, of the pairs whose boxes say their occlusion.
    """

    def __init__(self, card: ModelCard) -> None:
        """Start with the classes of ``card``."""
        self.boxes = BoxScorer(card.detection_classes)
        self.label_maps = LabelMapScorer(len(card.segmentation_classes))
        self.miss_rates = MissRateScorer()
        self._segmentation_classes = card.segmentation_classes
        classes = card.detection_classes
        self._person_id = classes.index(PERSON) if PERSON in classes else None

    def add(self, item: TruthPair, truth_map: ByteArray | None, result: Result) -> None:
        """Score the result of one pair.

        Args:
            item: The pair with its ground truth.
            truth_map: Label map in the card's classes, None when there is none.
            result: What the pipeline made of the pair.
        """
        self.boxes.add(item.truth, result.detections)
        if item.truth.occlusions is not None and self._person_id is not None:
            self._add_persons(item, item.truth.occlusions, result.detections)
        if truth_map is not None:
            self.label_maps.add(truth_map, result.label_map)

    def _add_persons(self, item: TruthPair, occlusions: IntArray, found: Detections) -> None:
        truth = item.truth
        names = np.array(truth.class_names, np.str_)
        chosen = found.class_ids == self._person_id
        self.miss_rates.add(
            PedestrianTruth(
                boxes_xyxy=truth.boxes_xyxy.astype(np.float64),
                occlusions=occlusions,
                ignore=truth.ignore | (names != PERSON),
                is_night=truth.is_night,
                size_hw=item.pair.reference.size_hw,
            ),
            found.boxes_xyxy[chosen],
            found.scores[chosen],
        )

    def metrics(self) -> dict[str, Any]:
        """Compute mAP, AP50 and AP75 by class, mIoU, mAcc and IoU by class, and MR-2 where known.

        Means are over all classes with ground truth, a background included.
        """
        return {
            **box_values(self.boxes.compute()),
            **miss_rate_values(self.miss_rates),
            **label_map_values(self.label_maps, self._segmentation_classes),
        }


def box_values(metrics: BoxMetrics) -> dict[str, Any]:
    """Return box metrics as JSON values."""
    return {
        'mAP': rounded(metrics.mean_ap),
        'AP50': {
            name: rounded(value) for name, value in metrics.ap50.items() if value is not None
        },
        'AP75': {
            name: rounded(value) for name, value in metrics.ap75.items() if value is not None
        },
    }


def label_map_values(
    scorer: LabelMapScorer, class_names: Sequence[str], *, without: Collection[str] = ()
) -> dict[str, Any]:
    """Return mIoU, mAcc and the IoU of each class with ground truth pixels as JSON values.

    Args:
        scorer: Holds the label maps.
        class_names: By id.
        without: Names of classes that the two means leave out.
    """
    ids = [index for index, name in enumerate(class_names) if name in without]
    iou = dict(zip(class_names, scorer.iou(), strict=True))
    return {
        'mIoU': rounded(scorer.mean_iou(without=ids)),
        'mAcc': rounded(scorer.mean_accuracy(without=ids)),
        'IoU': {name: rounded(value) for name, value in iou.items() if value is not None},
    }


def miss_rate_values(scorer: MissRateScorer) -> dict[str, Any]:
    """Return MR^-2 by setting as JSON values; nothing where no box says its occlusion."""
    if not len(scorer):
        return {}
    return {'MR-2': {name: rounded(value) for name, value in scorer.compute().items()}}


def rounded(value: float | None) -> float | None:
    """Round to six digits; None stays None."""
    return None if value is None else round(value, DIGITS)
