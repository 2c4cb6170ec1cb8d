# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rgbt_models.contrast import CLUTTER_SHARE, FLOOR_SHARE
from rgbt_models.synthetic.contrast import compare_cameras, measure_contrast, stretched_span
from rgbt_models.synthetic.labels import find_objects

PERSON = 0


def quiet(noise):
    return lambda _level: noise


def one_person(size_hw=(60, 80)):
    instance_map = np.full(size_hw, -1, np.int32)
    instance_map[20:40, 30:38] = 0
    return instance_map, find_objects(instance_map, np.array([PERSON]))


def ratio(image, noise=2.0, span=0.0):
    instance_map, objects = one_person(image.shape[:2])
    return measure_contrast(image, instance_map, objects, noise_at=quiet(noise), span=span)[0]


def test_contrast_is_the_difference_over_the_noise():
    image = np.full((60, 80), 100.0)
    image[20:40, 30:38] = 130.0
    assert ratio(image, noise=2.0) == pytest.approx(15.0)
    image[20:40, 30:38] = 70.0
    assert ratio(image, noise=2.0) == pytest.approx(15.0)


def test_object_like_its_surroundings_has_no_contrast():
    assert ratio(np.full((60, 80), 7, np.uint16)) == 0.0


def test_clutter_in_the_ring_counts_as_noise():
    image = np.full((60, 80), 100.0)
    image[::2] = 120.0  # variance 100 around 110
    image[20:40, 30:38] = 130.0
    expected = 20.0 / np.sqrt(4.0 + CLUTTER_SHARE * 100.0)
    assert ratio(image, noise=2.0) == pytest.approx(expected, rel=0.01)


def test_a_part_of_the_range_of_the_image_counts_as_noise():
    image = np.full((60, 80), 100.0)
    image[20:40, 30:38] = 130.0
    floor = FLOOR_SHARE * 200.0
    assert ratio(image, noise=6.0, span=200.0) == pytest.approx(30.0 / np.hypot(6.0, floor))


def test_fog_that_fades_object_and_clutter_alike_lowers_the_contrast():
    image = np.full((60, 80), 100.0)
    image[::2] = 120.0
    image[20:40, 30:38] = 140.0
    faded = 200.0 + 0.1 * (image - 100.0)
    assert ratio(faded, noise=1e-3) == pytest.approx(ratio(image, noise=1e-3), rel=1e-3)
    assert ratio(faded, noise=1e-3, span=255.0) < 0.15 * ratio(image, noise=1e-3, span=255.0)


def test_a_stretched_image_shows_the_same_whatever_its_counts():
    rng = np.random.default_rng(3)
    image = rng.normal(28_000.0, 150.0, (60, 80))
    image[20:40, 30:38] += 300.0
    louder = 10_000.0 + 7.0 * image
    expected = ratio(image, noise=4.0, span=stretched_span(image))
    assert ratio(louder, noise=28.0, span=stretched_span(louder)) == pytest.approx(expected)


def test_the_span_is_from_the_first_to_the_last_half_percentile():
    # One of the percentiles' pixels in 9: rows and columns 0, 3, ...
    values = np.linspace(0.0, 100.0, 20 * 30)
    image = np.zeros((60, 90))
    image[::3, ::3] = values.reshape(20, 30)
    assert stretched_span(image) == pytest.approx(99.5 - 1.0, rel=1e-4)
    assert stretched_span(np.full((9, 9), 7, np.uint16)) == 0.0


def test_colour_counts_like_brightness():
    image = np.full((60, 80, 3), 100, np.uint8)
    image[20:40, 30:38] = [130, 100, 60]
    expected = np.sqrt((30**2 + 40**2) / 3) / 2.0
    assert ratio(image, noise=2.0) == pytest.approx(expected, rel=1e-5)


def test_noise_is_asked_for_at_the_level_of_the_ring():
    asked = []
    image = np.full((60, 80), 44.0)
    image[20:40, 30:38] = 90.0
    instance_map, objects = one_person()
    measure_contrast(
        image,
        instance_map,
        objects,
        noise_at=lambda level: asked.append(level) or 1.0,
        span=255.0,
    )
    assert asked == [44.0]


def test_far_pixels_and_the_pixels_next_to_the_object_do_not_count():
    image = np.full((60, 80), 100.0)
    image[20:40, 30:38] = 130.0
    expected = ratio(image)
    image[19, 30:38] = 250.0  # one pixel above it
    image[:14] = 0.0  # the ring is 3 px wide, one away
    image[:, 50:] = 200.0
    assert ratio(image) == pytest.approx(expected)


def test_object_that_fills_the_image_has_no_contrast():
    instance_map = np.zeros((12, 9), np.int32)
    objects = find_objects(instance_map, np.array([PERSON]))
    image = np.arange(108.0).reshape(12, 9)
    found = measure_contrast(image, instance_map, objects, noise_at=quiet(1.0), span=108.0)
    np.testing.assert_array_equal(found, [0.0])


def two_people(first, second):
    instance_map = np.full((60, 80), -1, np.int32)
    instance_map[20:40, 10:18] = first
    instance_map[20:40, 50:58] = second
    return find_objects(instance_map, np.array([PERSON] * 4))


def test_objects_are_matched_by_instance_not_by_position():
    # Instance 3 is seen by both, 1 by RGB only, 0 by thermal only.
    found = compare_cameras(
        two_people(1, 3),
        np.array([4.0, 2.0], np.float32),
        two_people(3, 0),
        np.array([9.0, 6.0], np.float32),
    )
    np.testing.assert_array_equal(found.contrast_rgb, [4.0, 2.0])
    np.testing.assert_array_equal(found.contrast_thermal, [0.0, 6.0])
    assert found.contrast_advantage == pytest.approx(0.0)


def test_ignored_objects_count_only_if_there_are_no_others():
    objects = two_people(1, 3)
    rgb, thermal = np.array([4.0, 2.0], np.float32), np.array([1.0, 6.0], np.float32)
    one_ignored = replace(objects, ignore=np.array([True, False]))
    found = compare_cameras(one_ignored, rgb, one_ignored, thermal)
    assert found.contrast_advantage == pytest.approx((2.0 - 6.0) / 8.0)
    all_ignored = replace(objects, ignore=np.array([True, True]))
    found = compare_cameras(all_ignored, rgb, all_ignored, thermal)
    assert found.contrast_advantage == pytest.approx((3.0 - 3.5) / 6.5)
