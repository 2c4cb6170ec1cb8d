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
from rgbt_models.contrast import (
    contrast_advantage,
    estimate_noise,
    find_label_ids,
    MarkedObjects,
)
from rgbt_perception.registration import Registration
from rgbt_perception.types import BoolArray, ByteArray, Detections, FloatArray, Image

MIN_SCORE = 0.2  # below this too many are none; above it those that one camera hides are missed
MAX_OBJECTS = 20  # the best ones, so that a crowd costs no more
MAX_SIDE_PX = 640  # larger images are measured on every second, third ... pixel


class ObjectContrast:
    """Measures the objects of a model's results."""

    def __init__(self, card: ModelCard, registration: Registration) -> None:
        """Find which label each detection class has in the label map.

        Args:
            card: Of the model.
            registration: Tells what the thermal camera sees of RGB.
        """
        self._registration = registration
        self._label_ids = np.array(
            find_label_ids(card.detection_classes, card.segmentation_classes), np.int64
        )

    def __call__(
        self,
        rgb: Image,
        thermal: FloatArray,
        native_thermal: FloatArray,
        detections: Detections,
        label_map: ByteArray,
    ) -> float:
        """Return the contrast advantage of RGB, -1..1; see ``contrast_advantage``.

        Args:
            rgb: Shape (h, w, 3), uint8.
            thermal: Normalised, on the grid of RGB, shape (h, w).
            native_thermal: The same at its own resolution, shape (h2, w2).
            detections: In pixels of RGB; the best from ``MIN_SCORE`` on are measured.
            label_map: Shape (h, w).

        Returns:
            NaN when nothing was found that can be measured.
        """
        found = detections.at_least(MIN_SCORE)
        boxes, class_ids = found.boxes_xyxy[:MAX_OBJECTS], found.class_ids[:MAX_OBJECTS]
        height, width = label_map.shape
        step = -(-max(height, width) // MAX_SIDE_PX)  # rounded up; skipping keeps noise as it is
        objects = MarkedObjects(
            boxes_xyxy=boxes / step,
            label_ids=self._label_ids[class_ids],
            is_measured=np.ones(len(boxes), np.bool_),
            label_map=label_map[::step, ::step],
            is_in_thermal=self._are_in_thermal(boxes, (height, width), native_thermal),
        )
        return contrast_advantage(
            np.ascontiguousarray(rgb[::step, ::step]),
            np.ascontiguousarray(thermal[::step, ::step]),
            objects,
            thermal_noise=estimate_noise(native_thermal),
        )

    def _are_in_thermal(
        self, boxes_xyxy: FloatArray, rgb_hw: tuple[int, int], native_thermal: FloatArray
    ) -> BoolArray:
        """Return whose centre the thermal camera sees; beyond its view its border is repeated."""
        height, width = native_thermal.shape
        mapped = self._registration.boxes_to_thermal(boxes_xyxy, rgb_hw, (height, width))
        centres = (mapped[:, :2] + mapped[:, 2:]) / 2
        return np.asarray(((centres >= 0) & (centres < (width, height))).all(axis=1))
