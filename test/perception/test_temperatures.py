# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_perception.config import RegistrationConfig
from rgbt_perception.registration import Registration
from rgbt_perception.temperatures import measure_boxes, measure_temperatures
from rgbt_perception.types import Detections

NAN = float('nan')


def scene(height=40, width=56):
    """Every pixel differs: 20.00 C, one hundredth more to the right, one more per row."""
    rows, columns = np.mgrid[:height, :width]
    return (20.0 + rows + columns / 100.0).astype(np.float32)


def measure(boxes, image):
    found = measure_boxes(np.asarray(boxes, np.float32), image)
    return np.stack([found.min_c, found.mean_c, found.max_c], axis=1)


def detections(*boxes):
    count = len(boxes)
    return Detections(
        boxes_xyxy=np.asarray(boxes, np.float32).reshape(-1, 4),
        scores=np.full(count, 0.5, np.float32),
        class_ids=np.zeros(count, np.int64),
    )


def test_pixels_whose_centre_is_in_the_box_are_measured():
    # Columns 3, 4, 5 and rows 7, 8: edges at .6 and .4 take half a pixel neither in nor out.
    (found,) = measure([[2.6, 6.6, 6.4, 9.4]], scene())
    np.testing.assert_allclose(found, [27.03, 27.54, 28.05], atol=0.02)
    assert found[1] == pytest.approx(27.54, abs=1e-3)
    # One pixel more on every side, as soon as its centre is in the box.
    (found,) = measure([[2.4, 6.4, 6.6, 9.6]], scene())
    assert found[1] == pytest.approx(scene()[6:10, 2:7].mean(), abs=1e-3)


def test_x_and_y_are_not_mixed_up():
    image = np.zeros((10, 30), np.float32)
    image[2:4, 20:26] = 50.0
    found = measure([[20, 2, 26, 4], [2, 20, 4, 26]], image)
    np.testing.assert_array_equal(found[0], [50.0, 50.0, 50.0])
    assert np.isnan(found[1]).all()


def test_one_defective_pixel_is_no_hot_spot_and_two_pixels_are():
    image = np.full((20, 20), 20.0, np.float32)
    image[4, 4] = 300.0
    image[5, 5] = image[15, 15] = -100.0
    image[12, 3], image[12, 4] = 90.0, 80.0
    found = measure([[0, 0, 10, 10], [0, 10, 10, 20], [10, 10, 20, 20]], image)
    np.testing.assert_array_equal(found[:, 2], [20.0, 80.0, 20.0])
    np.testing.assert_array_equal(found[:, 0], [20.0, 20.0, 20.0])
    assert found[0, 1] == pytest.approx((98 * 20 + 300 - 100) / 100)


def test_broken_pixels_are_left_out():
    image = scene()
    image[5:10, 5:8] = NAN
    image[7, 10] = NAN
    found = measure([[5, 5, 12, 10], [5, 5, 8, 10]], image)
    part = image[5:10, 5:12]
    assert found[0, 1] == pytest.approx(np.nanmean(part), abs=1e-4)
    np.testing.assert_allclose(found[0, [0, 2]], [np.nanmin(part), np.nanmax(part)], atol=0.02)
    assert np.isnan(found[1]).all()


def test_a_valid_pixel_alone_among_broken_ones_is_measured():
    image = np.full((9, 9), NAN, np.float32)
    image[4, 4] = 33.5
    np.testing.assert_array_equal(measure([[0, 0, 9, 9]], image), [[33.5, 33.5, 33.5]])


def test_beyond_the_range_of_the_camera_is_the_hottest_but_not_the_mean():
    image = np.full((9, 9), 20.0, np.float32)
    image[4, 4:6] = np.inf
    np.testing.assert_array_equal(measure([[0, 0, 9, 9]], image), [[20.0, 20.0, np.inf]])
    np.testing.assert_array_equal(
        measure([[0, 0, 2, 2]], np.full((2, 2), np.inf, np.float32)), [[np.inf, NAN, np.inf]]
    )


@pytest.mark.parametrize(
    'box',
    [
        [-30, 5, 0, 10],
        [56, 5, 60, 10],
        [5, -9, 10, 0],
        [5, 40, 10, 41],
        [5, 5, 5, 9],
        [NAN, 5, 10, 10],
        [NAN] * 4,
    ],
)
def test_a_box_outside_the_image_or_without_area_is_unknown(box):
    assert np.isnan(measure([box, [0, 0, 2, 2]], scene())[0]).all()


def test_the_visible_part_of_a_box_is_measured():
    found = measure([[-50, -50, 2, 2], [54, 38, 99, 99]], scene())
    np.testing.assert_allclose(found[:, 1], [20.505, 58.5 + 0.545], atol=1e-3)


@pytest.mark.parametrize('box', [[3.1, 4.1, 3.2, 4.2], [3.6, 4.6, 3.9, 4.9], [3.0, 4.0, 4.0, 4.3]])
def test_a_box_smaller_than_a_pixel_measures_the_pixel_it_is_in(box):
    assert measure([box], scene())[0, 1] == pytest.approx(24.03, abs=1e-4)


def test_no_boxes_and_a_single_pixel_image():
    assert measure(np.zeros((0, 4)), scene()).shape == (0, 3)
    image = np.array([[7.5]], np.float32)
    np.testing.assert_array_equal(measure([[0, 0, 1, 1]], image), [[7.5, 7.5, 7.5]])


def test_boxes_go_through_the_registration_from_reference_to_thermal_pixels():
    # RGB 80x112 over thermal 40x56: half the pixels each way.
    measured = measure_temperatures(
        detections([20, 14, 30, 20]),
        scene(),
        Registration(RegistrationConfig()),
        (80, 112),
        is_thermal_grid=False,
    )
    assert measured.mean_c[0] == pytest.approx(28.12, abs=1e-3)  # columns 10..14, rows 7..9
    moved = RegistrationConfig(
        method='homography', homography_thermal_to_rgb=(1, 0, 4, 0, 1, -3, 0, 0, 1)
    )
    measured = measure_temperatures(
        detections([20, 14, 30, 20]), scene(), Registration(moved), (40, 56), is_thermal_grid=False
    )
    # Thermal pixels 4 to the left of and 3 below the RGB ones: columns 16..25, rows 17..22.
    assert measured.mean_c[0] == pytest.approx(39.5 + 0.205, abs=1e-3)


def test_boxes_on_the_thermal_image_itself_are_not_mapped():
    moved = RegistrationConfig(
        method='homography', homography_thermal_to_rgb=(1, 0, 9, 0, 1, 9, 0, 0, 1)
    )
    measured = measure_temperatures(
        detections([10, 7, 15, 10]), scene(), Registration(moved), (40, 56), is_thermal_grid=True
    )
    assert measured.mean_c[0] == pytest.approx(28.12, abs=1e-3)


def test_without_temperatures_all_is_unknown():
    registration = Registration(RegistrationConfig())
    measured = measure_temperatures(
        detections([0, 0, 2, 2], [1, 1, 2, 2]), None, registration, (4, 4), is_thermal_grid=True
    )
    assert len(measured) == 2
    assert np.isnan(np.stack([measured.min_c, measured.mean_c, measured.max_c])).all()


def test_many_boxes_give_what_each_of_them_gives_alone():
    rng = np.random.default_rng(0)
    image = rng.normal(20.0, 5.0, (60, 90)).astype(np.float32)
    image[rng.random((60, 90)) < 0.2] = NAN
    corners = rng.uniform(-10.0, 80.0, (100, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.1, 30.0, (100, 2))], axis=1)
    alone = np.concatenate([measure([box], image) for box in boxes])
    assert np.isnan(alone[:, 1]).any()
    assert np.isfinite(alone[:, 1]).sum() > 40
    np.testing.assert_allclose(measure(boxes, image), alone, rtol=1e-5)


def test_the_extremes_are_those_of_two_pixels_side_by_side():
    rng = np.random.default_rng(1)
    image = rng.normal(20.0, 5.0, (12, 17)).astype(np.float32)
    pairs = [
        (image[y, x], image[y + dy, x + dx])
        for y in range(12)
        for x in range(17)
        for dy, dx in ((0, 1), (1, 0))
        if y + dy < 12 and x + dx < 17
    ]
    ((low, mean, high),) = measure([[0, 0, 17, 12]], image)
    assert high == max(min(pair) for pair in pairs)
    assert low == min(max(pair) for pair in pairs)
    assert mean == pytest.approx(image.mean(), abs=1e-4)
