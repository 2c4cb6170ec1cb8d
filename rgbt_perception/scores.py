# SPDX-License-Identifier: Apache-2.0
"""Metrics of one way to run a set of pairs: boxes and label maps together, as JSON values."""

from __future__ import annotations

from typing import Any

from rgbt_models.card import ModelCard
from rgbt_perception.metrics import BoxMetrics, BoxScorer, LabelMapScorer
from rgbt_perception.truth import TruthPair
from rgbt_perception.types import ByteArray, Result

DIGITS = 6


class Scores:
    """Collects the results of one sequence of pairs.

    Attributes:
        boxes: Scorer of the detections.
        label_maps: Scorer of the label maps.
    """

    def __init__(self, card: ModelCard) -> None:
        """Start with the classes of ``card``."""
        self.boxes = BoxScorer(card.detection_classes)
        self.label_maps = LabelMapScorer(len(card.segmentation_classes))
        self._segmentation_classes = card.segmentation_classes

    def add(self, item: TruthPair, truth_map: ByteArray | None, result: Result) -> None:
        """Score the result of one pair.

        Args:
            item: The pair with its ground truth.
            truth_map: Label map in the card's classes, None when there is none.
            result: What the pipeline made of the pair.
        """
        self.boxes.add(item.truth, result.detections)
        if truth_map is not None:
            self.label_maps.add(truth_map, result.label_map)

    def metrics(self) -> dict[str, Any]:
        """Compute mAP, AP50 by class, mIoU and IoU by class."""
        iou = dict(zip(self._segmentation_classes, self.label_maps.iou(), strict=True))
        return {
            **box_values(self.boxes.compute()),
            'mIoU': rounded(self.label_maps.mean_iou()),
            'IoU': {name: rounded(value) for name, value in iou.items() if value is not None},
        }


def box_values(metrics: BoxMetrics) -> dict[str, Any]:
    """Return box metrics as JSON values."""
    return {
        'mAP': rounded(metrics.mean_ap),
        'AP50': {
            name: rounded(value) for name, value in metrics.ap50.items() if value is not None
        },
    }


def rounded(value: float | None) -> float | None:
    """Round to six digits; None stays None."""
    return None if value is None else round(value, DIGITS)
