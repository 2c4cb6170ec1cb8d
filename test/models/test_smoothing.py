# SPDX-License-Identifier: Apache-2.0
"""A street-like scene around 20 C in 0.01 K counts, at 10 frames per second, with sensor noise."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.smoothing import SmoothedPercentileNormaliser

RULE = ThermalNormaliser()
STEP_NS = 100_000_000
HW = (120, 160)
HOT_K = 200.0


class Camera:
    """Frames of a scene, through a normaliser."""

    def __init__(self, time_constant_s=5.0, scale=100.0):
        self.normaliser = SmoothedPercentileNormaliser(RULE, time_constant_s=time_constant_s)
        self.stamp_ns, self.scale = 0, scale
        self.rng = np.random.default_rng(3)
        coarse = self.rng.normal(0.0, 4.0, (9, 12)).astype(np.float32)
        self.scene_c = 20.0 + cv2.resize(coarse, HW[::-1], interpolation=cv2.INTER_CUBIC)

    def counts(self, celsius):
        noisy = celsius + self.rng.normal(0.0, 0.05, HW)
        return np.rint((noisy + 273.15) * self.scale).astype(np.uint16)

    def show(self, celsius, *, seconds=0.1):
        """Show the scene for a while; return the last frame and its image."""
        for _ in range(round(seconds * 10)):
            counts = self.counts(celsius)
            image = self.normaliser(counts, stamp_ns=self.stamp_ns)
            self.stamp_ns += STEP_NS
        return counts, image


def with_hot(scene_c, share, *, hotter_k=HOT_K, entered=1.0):
    """Put an object with a soft edge into the scene, the right part of which has entered."""
    height, width = (round(side * share**0.5) for side in HW)
    part = np.zeros(HW, np.float32)
    part[30 : 30 + height, : round(width * entered)] = 1.0
    return scene_c + hotter_k * cv2.GaussianBlur(part, (0, 0), 1.0), cv2.dilate(
        part, np.ones((13, 13), np.uint8)
    ).astype(bool)


def shift(image, before, hot):
    """Mean and largest change of the background, of 255 grey levels."""
    change = np.abs(cv2.blur(image, (5, 5)) - cv2.blur(before, (5, 5)))[~hot] * 255.0
    return change.mean(), change.max()


def test_the_first_frame_is_that_of_the_rule():
    camera = Camera()
    counts, image = camera.show(camera.scene_c)
    np.testing.assert_array_equal(image, RULE(counts))


@pytest.mark.parametrize('share', [0.003, 0.01, 0.05, 0.3, 0.45])
def test_a_hot_object_that_appears_moves_the_background_by_less_than_3_levels(share):
    camera = Camera()
    _, before = camera.show(camera.scene_c, seconds=2.0)
    scene_c, hot = with_hot(camera.scene_c, share)
    for _ in range(20):  # looked at every second for 20 s
        counts, image = camera.show(scene_c, seconds=1.0)
        mean, largest = shift(image, before, hot)
        assert mean < 3.0
        assert largest < 6.0  # noise of the frames included
    assert image[34, 4] == pytest.approx(RULE.max_value)
    if share >= 0.01:  # the rule on every frame alone fails
        assert shift(RULE(counts), before, hot)[0] > 60.0


def test_a_hot_object_that_moves_in_slowly_and_leaves_moves_the_background_by_less_than_3_levels():
    camera = Camera()
    _, before = camera.show(camera.scene_c, seconds=2.0)
    for entered in (*np.linspace(0.0, 1.0, 31), *np.linspace(1.0, 0.0, 31)):
        scene_c, _ = with_hot(camera.scene_c, 0.3, entered=entered)
        _, image = camera.show(scene_c, seconds=0.2)
        _, hot = with_hot(camera.scene_c, 0.3)
        assert shift(image, before, hot)[0] < 3.0
    _, image = camera.show(camera.scene_c, seconds=2.0)
    assert shift(image, before, hot)[0] < 1.0


def test_a_cold_object_does_not_disturb_either():
    camera = Camera()
    _, before = camera.show(camera.scene_c, seconds=2.0)
    scene_c, cold = with_hot(camera.scene_c, 0.3, hotter_k=-60.0)
    _, image = camera.show(scene_c, seconds=10.0)
    assert shift(image, before, cold)[0] < 3.0
    assert image[34, 4] == pytest.approx(RULE.min_value)


def error_of_range(camera, celsius):
    """Mean difference to the rule on the frame alone."""
    counts, image = camera.show(celsius)
    return np.abs(image - RULE(counts)).mean()


def test_a_slow_change_of_the_scene_is_followed():
    camera = Camera()
    for minute in np.linspace(0.0, 1.0, 60):  # the sun warms everything by 12 K in a minute
        camera.show(camera.scene_c + 12.0 * minute, seconds=1.0)
    # The range lags by one time constant of the warming: 1 K of some 20 K.
    assert error_of_range(camera, camera.scene_c + 12.0) < 0.07


@pytest.mark.parametrize('hotter_k', [6.0, 20.0, 60.0])
def test_panning_to_a_hotter_scene_is_followed_within_four_time_constants(hotter_k):
    camera = Camera()
    hotter_c = camera.scene_c[::-1] * 1.3 + hotter_k
    camera.show(camera.scene_c, seconds=2.0)
    for part in range(1, 40):  # 4 s
        edge = part * HW[1] // 40
        camera.show(np.concatenate([camera.scene_c[:, edge:], hotter_c[:, :edge]], axis=1))
    camera.show(hotter_c, seconds=20.0)
    assert error_of_range(camera, hotter_c) < 0.05


def test_what_stays_becomes_part_of_the_scene_after_six_time_constants():
    camera = Camera(time_constant_s=1.0)
    camera.show(camera.scene_c, seconds=2.0)
    scene_c, _ = with_hot(camera.scene_c, 0.3, hotter_k=40.0)
    camera.show(scene_c, seconds=5.5)
    assert error_of_range(camera, scene_c) > 0.2
    camera.show(scene_c, seconds=5.0)
    assert error_of_range(camera, scene_c) < 0.02


def test_a_gain_switch_starts_anew_at_once():
    camera = Camera()
    camera.show(camera.scene_c, seconds=3.0)
    camera.scale = 40.0
    counts, image = camera.show(camera.scene_c)
    np.testing.assert_array_equal(image, RULE(counts))
    assert error_of_range(camera, camera.scene_c) < 0.01


def test_stamps_that_run_backwards_start_anew():
    camera = Camera()
    camera.show(camera.scene_c, seconds=3.0)
    camera.stamp_ns = STEP_NS
    counts, image = camera.show(camera.scene_c + 5.0)
    np.testing.assert_array_equal(image, RULE(counts))


def test_another_type_of_values_starts_anew():
    camera = Camera()
    camera.show(camera.scene_c, seconds=3.0)
    celsius = camera.scene_c.astype(np.float32)
    image = camera.normaliser(celsius, stamp_ns=camera.stamp_ns)
    np.testing.assert_array_equal(image, RULE(celsius))


def test_reset_starts_anew():
    camera = Camera()
    camera.show(camera.scene_c, seconds=3.0)
    camera.normaliser.reset()
    counts, image = camera.show(camera.scene_c + 5.0)
    np.testing.assert_array_equal(image, RULE(counts))


def test_the_same_frame_twice_gives_the_same_image():
    camera = Camera()
    camera.show(camera.scene_c, seconds=1.0)
    counts, image = camera.show(camera.scene_c + 3.0)
    again = camera.normaliser(counts, stamp_ns=camera.stamp_ns - STEP_NS)
    np.testing.assert_array_equal(again, image)


def test_without_a_time_constant_every_frame_is_stretched_alone():
    camera = Camera(time_constant_s=0.0)
    camera.show(camera.scene_c)
    counts, image = camera.show(camera.scene_c + 7.0)
    np.testing.assert_array_equal(image, RULE(counts))


@pytest.mark.parametrize('flat', [np.zeros(HW, np.uint16), np.full(HW, 29_315, np.uint16)])
def test_a_flat_first_frame_leaves_no_trace(flat):
    camera = Camera()
    assert not camera.normaliser(flat, stamp_ns=0).any()
    camera.stamp_ns = STEP_NS
    counts, image = camera.show(camera.scene_c)
    np.testing.assert_array_equal(image, RULE(counts))


def test_a_flat_frame_beyond_the_range_leaves_no_trace():
    # The shutter of the camera, hotter than the scene; then a hot object that the range ignores.
    camera = Camera()
    _, before = camera.show(camera.scene_c, seconds=1.0)
    assert not camera.normaliser(np.full(HW, 34_000, np.uint16), stamp_ns=camera.stamp_ns).any()
    scene_c, hot = with_hot(camera.scene_c, 0.3)
    _, image = camera.show(scene_c)
    assert shift(image, before, hot)[0] < 3.0


def test_broken_pixels_do_not_count_and_become_zero():
    camera = Camera()
    celsius = camera.scene_c.astype(np.float32)
    broken = celsius.copy()
    broken[40:80] = np.nan
    broken[0, 0] = np.inf
    camera.normaliser(celsius, stamp_ns=0)
    image = camera.normaliser(broken, stamp_ns=STEP_NS)
    assert np.isfinite(image).all()
    assert not image[40:80].any()
    assert image[0, 0] == 0.0
    assert not camera.normaliser(np.full(HW, np.nan, np.float32), stamp_ns=2 * STEP_NS).any()
    after = camera.normaliser(celsius, stamp_ns=3 * STEP_NS)
    assert np.abs(after - RULE(celsius)).max() < 0.05


def test_a_heavy_tail_does_not_shrink_the_range():
    # What is beyond does not count, so the range could shrink, find more beyond, and so on.
    camera = Camera(time_constant_s=1.0)
    tail = np.random.default_rng(0).exponential(3.0, HW)
    camera.show(camera.scene_c * 0.0 + 10.0 + tail, seconds=60.0)
    assert error_of_range(camera, camera.scene_c * 0.0 + 10.0 + tail) < 0.03
