# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_results import build_result, rgb_frame, thermal_frame
import numpy as np

from rgbt_perception.config import RegistrationConfig
from rgbt_perception.registration import Registration
from rgbt_perception.thermal_view import detections_in_thermal, label_map_in_thermal
from rgbt_perception.types import Pair

# RGB is 6 wide, 4 high; thermal 5 wide, 3 high. Boxes in RGB: (1, 0, 4, 2) and (0.5, 1, 1.5, 4).
PAIR = Pair(rgb=rgb_frame(), thermal=thermal_frame())
SAME_VIEW = Registration(RegistrationConfig())


def moved_by(x: float, y: float) -> Registration:
    """Thermal pixel (0, 0) lies at RGB pixel (x, y), of the same size."""
    matrix = (1.0, 0.0, x, 0.0, 1.0, y, 0.0, 0.0, 1.0)
    return Registration(RegistrationConfig(method='homography', homography_thermal_to_rgb=matrix))


def test_with_the_same_view_boxes_scale_with_the_image():
    found = detections_in_thermal(build_result(PAIR), SAME_VIEW)
    scale = np.array([5 / 6, 3 / 4, 5 / 6, 3 / 4])
    np.testing.assert_allclose(found.boxes_xyxy[0], [1, 0, 4, 2] * scale, atol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy[1], [0.5, 1, 1.5, 4] * scale, atol=1e-5)
    assert found.scores.tolist() == [0.75, 0.5]
    assert found.class_ids.tolist() == [0, 2]


def test_boxes_are_clipped_and_those_outside_left_out():
    found = detections_in_thermal(build_result(PAIR), moved_by(2.0, 1.0))
    # The first becomes (-1, -1, 2, 1), the second (-1.5, 0, -0.5, 3): left of the image.
    np.testing.assert_allclose(found.boxes_xyxy, [[0.0, 0.0, 2.0, 1.0]], atol=1e-5)
    assert found.scores.tolist() == [0.75]
    assert found.class_ids.tolist() == [0]


def test_labels_move_with_the_pixels():
    seen = label_map_in_thermal(build_result(PAIR), moved_by(-1.0, -1.0))
    expected = np.full((3, 5), 255, np.uint8)
    expected[1, 2] = 5  # RGB pixel (1, 0) is thermal pixel (2, 1)
    np.testing.assert_array_equal(seen, expected)


def test_thermal_alone_is_its_own_view():
    result = build_result(Pair(rgb=None, thermal=thermal_frame()))
    assert detections_in_thermal(result, moved_by(2.0, 1.0)) is result.detections
    assert label_map_in_thermal(result, moved_by(2.0, 1.0)) is result.label_map
