# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_perception.errors import ShapeError
from rgbt_perception.geometry import (
    clip_boxes,
    cxcywh_to_xyxy,
    letterbox_boxes,
    letterbox_transform,
    map_boxes,
    map_points,
    scaled_homography,
    unletterbox_boxes,
    xyxy_to_cxcywh,
)


def test_letterbox_of_a_wide_source_pads_above_and_below():
    # 2 high and 3 wide into 8x8: scale 8/3, 16/3 px high, 4/3 px above.
    transform = letterbox_transform((2, 3), (8, 8))
    assert transform.scale == pytest.approx(8 / 3)
    assert (transform.pad_x, transform.pad_y) == pytest.approx((0.0, 4 / 3))


def test_letterbox_of_a_high_source_pads_left_and_right():
    transform = letterbox_transform((512, 320), (256, 640))
    assert (transform.scale, transform.pad_x, transform.pad_y) == (0.5, 240.0, 0.0)


def test_letterbox_roundtrip_keeps_x_and_y_apart():
    transform = letterbox_transform((2, 3), (8, 8))
    boxes = np.array([[1.0, 0.0, 3.0, 2.0]], np.float32)
    network = letterbox_boxes(boxes, transform)
    np.testing.assert_allclose(network, [[8 / 3, 4 / 3, 8.0, 20 / 3]], atol=1e-5)
    np.testing.assert_allclose(unletterbox_boxes(network, transform), boxes, atol=1e-5)


def test_letterbox_keeps_no_boxes():
    transform = letterbox_transform((480, 640), (256, 320))
    empty = np.zeros((0, 4), np.float32)
    assert letterbox_boxes(empty, transform).shape == (0, 4)
    assert unletterbox_boxes(empty, transform).dtype == np.float32


# x doubles and moves by 7, y triples and moves by -5; both unequal, so that a swap fails.
STRETCH = np.array([[2.0, 0.0, 7.0], [0.0, 3.0, -5.0], [0.0, 0.0, 1.0]])


def test_points_are_mapped_in_centre_units():
    np.testing.assert_allclose(map_points(STRETCH, np.array([[10.0, 20.0]])), [[27.0, 55.0]])


def test_points_are_divided_by_the_perspective():
    homography = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.1, 0.0, 1.0]])
    np.testing.assert_allclose(map_points(homography, np.array([[10.0, 4.0]])), [[5.0, 2.0]])


def test_point_on_the_horizon_is_not_finite():
    homography = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-0.1, 0.0, 1.0]])
    assert not np.isfinite(map_points(homography, np.array([[10.0, 4.0]]))).any()


def test_boxes_are_shifted_to_centre_units_and_back():
    # Edge 10 is centre 9.5, maps to 26, is edge 26.5; without the shifts it would be 27.
    boxes = map_boxes(STRETCH, np.array([[10.0, 20.0, 14.0, 26.0]], np.float32))
    np.testing.assert_allclose(boxes, [[26.5, 54.0, 34.5, 72.0]])


def test_boxes_of_the_identity_stay():
    boxes = np.array([[1.0, 2.0, 3.5, 7.0]], np.float32)
    np.testing.assert_allclose(map_boxes(np.eye(3), boxes), boxes)


def test_rotated_box_is_enclosed():
    # A quarter turn (x, y) -> (-y, x) about the first pixel's centre.
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    boxes = map_boxes(quarter, np.array([[2.0, 3.0, 6.0, 4.0]], np.float32))
    np.testing.assert_allclose(boxes, [[-3.0, 2.0, -2.0, 6.0]])


def test_homography_of_a_doubled_source_moves_by_half_a_pixel():
    # Pixel centre 0 of the old image lies at 0.5 in the image of twice the width.
    scaled = scaled_homography(np.eye(3), source_scale_xy=(2.0, 4.0))
    np.testing.assert_allclose(
        map_points(scaled, np.array([[0.5, 1.5]])), [[0.0, 0.0]], atol=1e-12
    )
    np.testing.assert_allclose(
        map_points(scaled, np.array([[2.5, 1.5]])), [[1.0, 0.0]], atol=1e-12
    )


def test_homography_of_a_resized_destination_agrees_with_boxes_in_edge_units():
    boxes = np.array([[3.0, 5.0, 10.0, 7.0]], np.float32)
    scaled = scaled_homography(STRETCH, destination_scale_xy=(0.5, 0.25))
    wanted = map_boxes(STRETCH, boxes) * [0.5, 0.25, 0.5, 0.25]
    np.testing.assert_allclose(map_boxes(scaled, boxes), wanted, atol=1e-4)


def test_corner_boxes_become_centre_and_size():
    boxes = np.array([[1.0, 2.0, 5.0, 12.0]], np.float32)
    np.testing.assert_allclose(xyxy_to_cxcywh(boxes), [[3.0, 7.0, 4.0, 10.0]])
    np.testing.assert_allclose(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


def test_boxes_are_clipped_to_width_in_x_and_height_in_y():
    boxes = np.array([[-5.0, -5.0, 999.0, 999.0], [20.0, 1.0, 30.0, 2.0]], np.float32)
    clipped = clip_boxes(boxes, (3, 9))
    np.testing.assert_allclose(clipped, [[0, 0, 9, 3], [9, 1, 9, 2]])
    assert clipped.dtype == np.float32


def test_wrong_shapes_are_named():
    with pytest.raises(ShapeError, match=r'boxes_xyxy is \(4,\), expected \(n, 4\)'):
        map_boxes(np.eye(3), np.zeros(4))
    with pytest.raises(ShapeError, match=r'homography is \(2, 3\), expected \(3, 3\)'):
        map_points(np.eye(3)[:2], np.zeros((1, 2)))
    with pytest.raises(ShapeError, match=r'xy is \(1, 3\), expected \(n, 2\)'):
        map_points(np.eye(3), np.zeros((1, 3)))
