# SPDX-License-Identifier: Apache-2.0
"""Ground truth boxes from the instance map: visible pixels only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.label_sets import DETECTION_CLASSES

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import BoolArray, FloatArray, IndexArray, IntArray

_PEOPLE = np.array([DETECTION_CLASSES.index(name) for name in ('person', 'rider')])
# By class: person, rider, bicycle, motorbike, car, truck, animal.
_LEAST_AREA_PX = np.array([25.0, 25.0, 40.0, 40.0, 60.0, 60.0, 25.0])
_LEAST_HEIGHT_PX = np.array([12.0, 12.0, 8.0, 8.0, 8.0, 8.0, 8.0])
_LEAST_WIDTH_PX = 4.0
_LARGEST_IMAGE_SHARE = 0.6
# A person seen wider than high is a fragment behind something; it must at least be large.
_LYING_PERSON_AREA_PX = 80.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ObjectTruth:
    """Visible objects of one image, in its own pixels. Arrays share length n (may be 0)."""

    boxes_xyxy: FloatArray  # (n, 4) float32, px edges, max edge exclusive
    class_ids: IntArray  # (n,) int64, index into DETECTION_CLASSES
    ignore: BoolArray  # (n,), True = too small, too hidden or too close to be judged
    visible_area_px: FloatArray  # (n,) float32
    instance_ids: IntArray  # (n,) int64, value in the instance map


def find_objects(instance_map: IndexArray, instance_class_ids: IntArray) -> ObjectTruth:
    """Box the visible pixels of every instance.

    An object is to be found (not ``ignore``) if it is large enough. Persons and riders: 12 px
    high and 25 px of area, and more than 80 px if the height is less than 0.8 of the width,
    which is a fragment behind something. Bicycles and motorbikes: 8 px high, 40 px of area;
    cars and trucks: 8 px, 60 px; animals: 8 px, 25 px. All: 4 px wide. What fills more than
    60 % of the image with its box is ignored.

    Args:
        instance_map: Shape (h, w), int32, -1 = no object.
        instance_class_ids: Shape (k,), class of every instance.
    """
    height, width = instance_map.shape
    count = len(instance_class_ids)
    row, column = np.nonzero(instance_map >= 0)
    instance = instance_map[row, column].astype(np.int64)
    by_row = np.bincount(instance * height + row, minlength=count * height)
    by_column = np.bincount(instance * width + column, minlength=count * width)
    has_row = by_row.reshape(count, height) > 0
    has_column = by_column.reshape(count, width) > 0
    area = np.bincount(instance, minlength=count).astype(np.float32)
    seen = np.flatnonzero(area > 0)
    has_row, has_column = has_row[seen], has_column[seen]
    boxes = np.zeros((len(seen), 4), np.float32)
    if len(seen):
        boxes[:, 0] = has_column.argmax(axis=1)
        boxes[:, 1] = has_row.argmax(axis=1)
        boxes[:, 2] = width - has_column[:, ::-1].argmax(axis=1)
        boxes[:, 3] = height - has_row[:, ::-1].argmax(axis=1)
    class_ids = np.asarray(instance_class_ids, np.int64)[seen]
    return ObjectTruth(
        boxes_xyxy=boxes,
        class_ids=class_ids,
        ignore=_is_ignored(boxes, class_ids, area[seen], height * width),
        visible_area_px=area[seen],
        instance_ids=seen.astype(np.int64),
    )


def _is_ignored(
    boxes: FloatArray, class_ids: IntArray, area: FloatArray, image_area: int
) -> BoolArray:
    box_width, box_height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    is_small = (area < _LEAST_AREA_PX[class_ids]) | (box_height < _LEAST_HEIGHT_PX[class_ids])
    is_small |= box_width < _LEAST_WIDTH_PX
    is_lying = np.isin(class_ids, _PEOPLE) & (box_height < 0.8 * box_width)
    is_small |= is_lying & (area <= _LYING_PERSON_AREA_PX)
    return np.asarray(is_small | (box_width * box_height > _LARGEST_IMAGE_SHARE * image_area))
