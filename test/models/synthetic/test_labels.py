# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.label_sets import DETECTION_CLASSES
from rgbt_models.synthetic.labels import find_objects

PERSON, RIDER, BICYCLE, MOTORBIKE, CAR, TRUCK, ANIMAL = range(len(DETECTION_CLASSES))


def test_class_ids_are_those_of_the_label_set():
    assert DETECTION_CLASSES[PERSON] == 'person'
    assert DETECTION_CLASSES[CAR] == 'car'
    assert DETECTION_CLASSES[ANIMAL] == 'animal'


def one_object(class_id, *, height, width, size_hw=(60, 80)):
    instance_map = np.full(size_hw, -1, np.int32)
    instance_map[5 : 5 + height, 7 : 7 + width] = 0
    return find_objects(instance_map, np.array([class_id]))


def test_box_is_max_exclusive_and_x_first():
    objects = one_object(PERSON, height=20, width=6)
    np.testing.assert_array_equal(objects.boxes_xyxy, [[7.0, 5.0, 13.0, 25.0]])
    assert objects.boxes_xyxy.dtype == np.float32
    assert objects.visible_area_px[0] == 120.0


def test_hidden_instances_are_left_out():
    instance_map = np.full((10, 12), -1, np.int32)
    instance_map[2:6, 3:8] = 2
    objects = find_objects(instance_map, np.array([PERSON, CAR, BICYCLE]))
    np.testing.assert_array_equal(objects.instance_ids, [2])
    np.testing.assert_array_equal(objects.class_ids, [BICYCLE])


def test_empty_image_has_no_objects():
    objects = find_objects(np.full((4, 5), -1, np.int32), np.zeros(0, np.int64))
    assert objects.boxes_xyxy.shape == (0, 4)
    assert objects.ignore.shape == (0,)


@pytest.mark.parametrize(
    ('class_id', 'height', 'width', 'ignore'),
    [
        (PERSON, 12, 4, False),
        (PERSON, 11, 4, True),
        (PERSON, 12, 3, True),
        (CAR, 8, 8, False),
        (CAR, 7, 8, True),
        (CAR, 8, 7, True),
        (BICYCLE, 8, 5, False),
        (BICYCLE, 9, 4, True),
        (BICYCLE, 7, 6, True),
        (PERSON, 12, 16, False),
        (CAR, 48, 60, False),
        (CAR, 49, 60, True),
        (RIDER, 12, 4, False),
        (RIDER, 11, 4, True),
        (MOTORBIKE, 8, 5, False),
        (MOTORBIKE, 9, 4, True),
        (TRUCK, 8, 8, False),
        (TRUCK, 8, 7, True),
        (ANIMAL, 8, 4, False),
        (ANIMAL, 7, 4, True),
    ],
)
def test_smallest_and_largest_objects_that_count(class_id, height, width, ignore):
    assert one_object(class_id, height=height, width=width).ignore[0] == ignore
