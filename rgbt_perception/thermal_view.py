# SPDX-License-Identifier: Apache-2.0
"""A result as the thermal camera sees it: boxes and label map on the thermal pixel grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgbt_perception.types import Detections

if TYPE_CHECKING:
    from rgbt_perception.registration import Registration
    from rgbt_perception.types import ByteArray, Result


def detections_in_thermal(result: Result, registration: Registration) -> Detections:
    """Return the detections of a pair with a thermal frame in thermal pixels.

    Boxes are clipped to the thermal image; what lies outside of it is left out.

    Args:
        result: The result; its pair has a thermal frame.
        registration: How thermal pixels lie on the RGB grid.
    """
    pair, found = result.pair, result.detections
    assert pair.thermal is not None
    if pair.rgb is None:  # the reference is the thermal frame itself
        return found
    height, width = pair.thermal.size_hw
    boxes = registration.boxes_to_thermal(found.boxes_xyxy, pair.rgb.size_hw, (height, width))
    boxes = np.clip(boxes, 0, np.array([width, height, width, height]), dtype=np.float32)
    is_seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # False for NaN
    return Detections(
        boxes_xyxy=boxes[is_seen],
        scores=found.scores[is_seen],
        class_ids=found.class_ids[is_seen],
    )


def label_map_in_thermal(result: Result, registration: Registration) -> ByteArray:
    """Return the label map of a pair with a thermal frame on the thermal grid.

    Args:
        result: The result; its pair has a thermal frame.
        registration: How thermal pixels lie on the RGB grid.

    Returns:
        Class ids, shape of the thermal image, uint8; 255 where nothing is known.
    """
    pair = result.pair
    assert pair.thermal is not None
    if pair.rgb is None:
        return result.label_map
    return registration.label_map_to_thermal(result.label_map, pair.thermal.size_hw)
