# SPDX-License-Identifier: Apache-2.0
"""Objects marked by boxes and a label map, measured in both images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rgbt_models.contrast import (
    advantage,
    contrast_advantage,
    draw_objects,
    ENOUGH_CONTRAST,
    estimate_noise,
    FLOOR_SHARE,
    MarkedObjects,
    WHOLE_BOX,
)

ROAD, PERSON = 0, 1
SIZE_HW = (96, 128)


def mark(*boxes, label_ids=None, is_measured=None, label_map=None, is_in_thermal=None):
    """Persons that fill their boxes, unless said otherwise."""
    if label_map is None:
        label_map = np.full(SIZE_HW, ROAD, np.uint8)
        for left, top, right, bottom in boxes:
            label_map[top:bottom, left:right] = PERSON
    return MarkedObjects(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        label_ids=np.array([PERSON] * len(boxes) if label_ids is None else label_ids, np.int64),
        is_measured=np.array(
            [True] * len(boxes) if is_measured is None else is_measured, np.bool_
        ),
        label_map=label_map,
        is_in_thermal=None if is_in_thermal is None else np.array(is_in_thermal),
    )


def test_an_object_has_the_pixels_of_its_label_in_its_box_and_the_smaller_box_is_on_top():
    objects = mark((10, 10, 50, 60), (30, 20, 40, 30))
    objects.label_map[50:60, 10:50] = ROAD
    found = draw_objects(objects)
    assert found[15, 15] == 0
    assert found[25, 35] == 1
    assert found[55, 15] == -1  # in the box, but road
    assert found[70, 15] == -1
    np.testing.assert_array_equal(np.bincount(found.ravel() + 1), [96 * 128 - 1600, 1500, 100])


def test_an_object_without_a_label_has_its_whole_box_of_whole_pixels():
    label_map = np.full(SIZE_HW, ROAD, np.uint8)
    found = draw_objects(mark((3.6, 4.2, 6.1, 200.0), label_ids=[WHOLE_BOX], label_map=label_map))
    rows, columns = np.nonzero(found == 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 95, 3, 6)


def test_each_object_that_counts_is_compared_with_its_ring():
    objects = mark((20, 20, 40, 70), (80, 20, 100, 70))
    rgb = np.full((*SIZE_HW, 3), 40, np.uint8)
    thermal = np.zeros(SIZE_HW, np.float32)
    rgb[20:70, 20:40] += 51  # the first shows in RGB, by less than enough; the second in thermal
    thermal[20:70, 80:100] = 1.0
    first = 51 / (FLOOR_SHARE * 255)
    expected = (first - ENOUGH_CONTRAST) / (first + ENOUGH_CONTRAST)
    assert contrast_advantage(rgb, thermal, objects) == pytest.approx(expected, abs=1e-5)
    only_first = mark((20, 20, 40, 70), (80, 20, 100, 70), is_measured=[True, False])
    assert contrast_advantage(rgb, thermal, only_first) == pytest.approx(1.0)


@pytest.mark.parametrize('objects', [mark(), mark((20, 20, 40, 70), is_measured=[False])])
def test_without_objects_that_count_there_is_no_advantage(objects):
    rgb, thermal = np.zeros((*SIZE_HW, 3), np.uint8), np.zeros(SIZE_HW, np.float32)
    assert math.isnan(contrast_advantage(rgb, thermal, objects))


WITHOUT_PIXELS = mark((20, 20, 40, 70), label_map=np.full(SIZE_HW, ROAD, np.uint8))
WITHOUT_RING = mark((0, 0, 128, 96))


@pytest.mark.parametrize('objects', [WITHOUT_PIXELS, WITHOUT_RING])
def test_what_has_no_pixels_or_no_surroundings_is_not_measured(objects):
    rgb, thermal = np.zeros((*SIZE_HW, 3), np.uint8), np.zeros(SIZE_HW, np.float32)
    thermal[20:70, 20:40] = 1.0
    assert math.isnan(contrast_advantage(rgb, thermal, objects))


def test_what_the_thermal_camera_cannot_see_shows_in_rgb_only():
    """Beyond its view the border of the thermal image is repeated, whatever that looks like."""
    rgb, thermal = np.zeros((*SIZE_HW, 3), np.uint8), np.zeros(SIZE_HW, np.float32)
    rgb[20:70, 20:40] = 200
    thermal[20:70, 20:40] = 1.0
    assert contrast_advantage(rgb, thermal, mark((20, 20, 40, 70))) == 0.0
    beyond = mark((20, 20, 40, 70), is_in_thermal=[False])
    assert contrast_advantage(rgb, thermal, beyond) == 1.0


def test_noise_that_was_smoothed_is_given():
    rgb, thermal = np.zeros((*SIZE_HW, 3), np.uint8), np.zeros(SIZE_HW, np.float32)
    rgb[20:70, 20:40] = 200
    thermal[20:70, 20:40] = 0.5
    objects = mark((20, 20, 40, 70))
    assert contrast_advantage(rgb, thermal, objects) == 0.0
    ratio = 0.5 / math.hypot(FLOOR_SHARE, 0.2)
    expected = (ENOUGH_CONTRAST - ratio) / (ENOUGH_CONTRAST + ratio)
    found = contrast_advantage(rgb, thermal, objects, thermal_noise=0.2)
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_noise_is_found_beside_edges():
    rng = np.random.default_rng(2)
    image = np.where(np.arange(320) < 100, 20.0, 200.0) + np.zeros((256, 1))
    assert estimate_noise(image.astype(np.float32)) == 0.0
    noisy = (image + rng.normal(0.0, 5.0, image.shape)).astype(np.float32)
    assert estimate_noise(noisy) == pytest.approx(5.0, rel=0.05)


@pytest.mark.parametrize(
    ('rgb', 'thermal', 'expected'),
    [
        ([3.0, 5.0], [1.0, 1.0], 0.6),
        ([0.0], [2.0], -1.0),
        ([2.0], [0.0], 1.0),
        ([0.0], [0.0], 0.0),
        ([], [], 0.0),
        ([math.nan, 1.0], [1.0, 1.0], math.nan),
        ([ENOUGH_CONTRAST * 9], [ENOUGH_CONTRAST], 0.0),
    ],
)
def test_advantage_is_the_normalised_difference_of_the_means(rgb, thermal, expected):
    found = advantage(np.array(rgb, np.float32), np.array(thermal, np.float32))
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)
