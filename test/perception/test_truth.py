# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from rgbt_perception.errors import FrameError, ShapeError
from rgbt_perception.truth import decode_label_map, encode_label_map, map_class_ids, Truth


def test_label_map_survives_png_with_rows_and_columns_apart():
    label_map = np.array([[0, 1, 2], [255, 4, 5]], np.uint8)
    np.testing.assert_array_equal(decode_label_map(encode_label_map(label_map)), label_map)


def test_classes_are_renumbered_by_name_and_unknown_ones_become_unlabeled():
    label_map = np.array([[0, 1, 2], [255, 3, 0]], np.uint8)
    mapped = map_class_ids(label_map, ('road', 'sky', 'tram'), ('sky', 'person', 'road'))
    np.testing.assert_array_equal(mapped, [[2, 0, 255], [255, 255, 2]])


def test_equal_class_lists_leave_the_label_map_alone():
    label_map = np.array([[7, 255]], np.uint8)
    assert map_class_ids(label_map, ('a', 'b'), ('a', 'b')) is label_map


@pytest.mark.parametrize('data', [b'', b'no image', b'\x89PNG\r\n\x1a\n'])
def test_data_that_is_no_label_map_is_refused(data):
    with pytest.raises(FrameError, match='label map is no image, expected an 8-bit grey PNG'):
        decode_label_map(data)


def test_colour_label_map_is_refused():
    _, data = cv2.imencode('.png', np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(FrameError, match=r'label map is uint8 \(2, 3, 3\), expected'):
        decode_label_map(data.tobytes())


def test_truth_arrays_must_fit_together():
    boxes = np.zeros((2, 4), np.float32)
    with pytest.raises(ShapeError, match='boxes_xyxy'):
        Truth(boxes_xyxy=boxes, class_names=('person',), ignore=np.zeros(1, np.bool_))
    with pytest.raises(ShapeError, match='ignore'):
        Truth(boxes_xyxy=boxes, class_names=('person', 'car'), ignore=np.zeros(1, np.bool_))
