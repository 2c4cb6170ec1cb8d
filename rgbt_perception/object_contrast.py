# SPDX-License-Identifier: Apache-2.0
"""Dominance from the images: how much better what was found shows in RGB than in thermal.

The fusion shares say what the network draws on; this says what there is to draw on. Detections
and label map mark the objects, and each is compared with its surroundings in both images. Source:
ours, on MDACL's idea of a modality dominance index (https://arxiv.org/abs/2601.00598); not the
paper's formula.
"""

from __future__ import annotations

import numpy as np

from rgbt_models.card import ModelCard
from rgbt_models.contrast import contrast_advantage, label_ids, MarkedObjects
from rgbt_perception.types import ByteArray, Detections, FloatArray, Image

MIN_SCORE = 0.2  # below this too many are none; above it those that one camera hides are missed
MAX_OBJECTS = 20  # the best ones, so that a crowd costs no more


class ObjectContrast:
    """Measures the objects of a model's results."""

    def __init__(self, card: ModelCard) -> None:
        """Find which label each detection class has in the label map."""
        self._labels = np.array(
            label_ids(card.detection_classes, card.segmentation_classes), np.int64
        )

    def __call__(
        self, rgb: Image, thermal: FloatArray, detections: Detections, label_map: ByteArray
    ) -> float:
        """Return the contrast advantage of RGB, -1..1; see ``contrast_advantage``.

        Args:
            rgb: Shape (h, w, 3), uint8.
            thermal: Normalised, on the grid of RGB, shape (h, w).
            detections: In pixels of RGB; from ``MIN_SCORE`` on they count.
            label_map: Shape (h, w).

        Returns:
            NaN when nothing was found.
        """
        num_found = int((detections.scores >= MIN_SCORE).sum())  # the best come first
        chosen = slice(min(num_found, MAX_OBJECTS))
        class_ids = detections.class_ids[chosen]
        objects = MarkedObjects(
            boxes_xyxy=detections.boxes_xyxy[chosen],
            labels=self._labels[class_ids],
            counts=np.ones(len(class_ids), np.bool_),
            label_map=label_map,
        )
        return contrast_advantage(rgb, thermal, objects)
