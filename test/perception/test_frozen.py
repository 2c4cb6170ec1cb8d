# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from rgbt_perception.frozen import FrozenDetector, mean_difference
from rgbt_perception.types import NS_PER_S

IMAGE = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16) + 29_000
PERIOD_NS = NS_PER_S // 10


def feed(detector: FrozenDetector, image: np.ndarray, index: int, limit: float = 0.02) -> float:
    return detector.update(image, index * PERIOD_NS, max_difference=limit)


def test_time_counts_from_the_first_of_the_same_images():
    detector = FrozenDetector()
    assert [feed(detector, IMAGE.copy(), index) for index in range(4)] == [0.0, 0.1, 0.2, 0.3]
    assert feed(detector, IMAGE + 1, 4) == 0.0
    assert feed(detector, IMAGE + 1, 6) == 0.2  # a frame was missing in between


def test_same_stamp_changes_nothing():
    detector = FrozenDetector()
    feed(detector, IMAGE, 0)
    feed(detector, IMAGE, 2)
    assert feed(detector, IMAGE + 9, 2) == 0.2
    assert feed(detector, IMAGE, 3) == pytest.approx(0.3)


def test_difference_equal_to_the_limit_is_the_same_image():
    for limit, expected in ((1.0, 0.1), (0.99, 0.0)):
        detector = FrozenDetector()
        feed(detector, IMAGE, 0, limit)
        assert feed(detector, IMAGE + 1, 1, limit) == expected


def test_slow_change_adds_up():
    detector = FrozenDetector()
    spans = [feed(detector, IMAGE + index, index, 1.5) for index in range(5)]
    assert spans == pytest.approx([0.0, 0.1, 0.0, 0.1, 0.0])


def test_step_is_the_unit_of_the_limit():
    kelvin = (IMAGE / 100.0).astype(np.float32)
    for step, expected in ((0.01, 0.1), (0.001, 0.0)):
        detector = FrozenDetector()
        detector.update(kelvin, 0, max_difference=1.1, step=step)
        span = detector.update(kelvin + np.float32(0.01), PERIOD_NS, max_difference=1.1, step=step)
        assert span == expected


def test_change_of_size_or_type_is_a_new_image_and_reset_forgets():
    detector = FrozenDetector()
    feed(detector, IMAGE, 0)
    assert feed(detector, IMAGE[:6].copy(), 1) == 0.0
    assert feed(detector, IMAGE[:6].astype(np.uint8), 2) == 0.0
    detector.reset()
    assert feed(detector, IMAGE[:6].astype(np.uint8), 3) == 0.0


def test_clipped_pixels_do_not_count():
    first = np.zeros((10, 20), np.uint8)
    first[0] = np.arange(20) + 100
    first[1] = 255
    second = first.copy()
    second[0, 1:] += 3
    # 19 of 20 live pixels differ by 3; over all 200 pixels the mean would be 0.285.
    assert mean_difference(first, second) == pytest.approx(19 * 3 / 20)


def test_next_to_no_live_pixel_counts_all():
    first, second = np.zeros((10, 20), np.uint8), np.zeros((10, 20), np.uint8)
    second[0, 0] = 40
    assert mean_difference(first, second) == pytest.approx(0.2)


def test_pixels_without_a_finite_value_do_not_count():
    first = (IMAGE / 100.0).astype(np.float32)
    second = first + np.float32(0.5)
    second[0], first[1, 3] = np.nan, np.inf
    assert mean_difference(first, second) == pytest.approx(0.5, abs=1e-4)
    assert math.isnan(mean_difference(np.full_like(first, np.nan), second))
