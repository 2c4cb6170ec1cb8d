# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from rgbt_models.match_geometry import PointMatches
from rgbt_perception.calibration.image_pairs import ImagePair
from rgbt_perception.calibration.matched import (
    calibrate_matched,
    displacement,
    match_pair,
)
from rgbt_perception.calibration.report import summarise_matched
from rgbt_perception.calibration.scene import homography_distance_px
from rgbt_perception.errors import CalibrationError, ConfigError

RGB_HW, THERMAL_HW = (240, 320), (200, 256)
# Not symmetric: scale, roll, both shifts and perspective differ.
TRUTH = np.array([[1.22, -0.02, 6.0], [0.02, 1.22, -9.0], [0.0, 0.0, 1.0]])
SEEN_FROM_THE_SIDE = np.array([[1.25, 0.01, 4.0], [0.02, 1.2, -6.0], [6e-5, -4e-5, 1.0]])


class FlowMatcher:
    """Follows corners of the RGB image into the thermal one: a matcher for equal contrast."""

    size_hw = (192, 256)
    error_px = 2.0

    def stretch(self, thermal):
        return (thermal.astype(np.float32) - 28000) / 2000

    def match(self, rgb, thermal):
        assert rgb.shape == (*self.size_hw, 3)
        assert thermal.shape == self.size_hw
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        seen = (np.nan_to_num(thermal, nan=0.5).clip(0, 1) * 255).astype(np.uint8)
        corners = cv2.goodFeaturesToTrack(grey, 150, 0.02, 5)
        moved, status, _ = cv2.calcOpticalFlowPyrLK(grey, seen, corners, None, maxLevel=4)
        kept = status.ravel() > 0
        return PointMatches(
            rgb_xy=corners[kept, 0].astype(np.float64),
            thermal_xy=moved[kept, 0].astype(np.float64),
        )


class FixedMatcher(FlowMatcher):
    """Says the same points whatever it sees, as an untrained matcher does."""

    def match(self, rgb, thermal):
        del rgb, thermal
        points = np.random.default_rng(0).uniform((8, 8), (248, 184), (60, 2))
        return PointMatches(rgb_xy=points, thermal_xy=points)


class BlindMatcher(FlowMatcher):
    """Finds nothing."""

    def match(self, rgb, thermal):
        del rgb, thermal
        return PointMatches(rgb_xy=np.zeros((0, 2)), thermal_xy=np.zeros((0, 2)))


def painted_pairs(homography, count, *, seed=0):
    """RGB 320x240 and thermal 256x200 of ellipses, the same contrast in both."""
    rng = np.random.default_rng(seed)
    pairs = []
    for index in range(count):
        world = np.full((320, 420), 0.5, np.float32)
        for _ in range(120):
            centre = (int(rng.integers(420)), int(rng.integers(320)))
            axes = (int(rng.integers(4, 22)), int(rng.integers(4, 22)))
            angle, grey = float(rng.uniform(0, 180)), float(rng.uniform(0.1, 0.9))
            cv2.ellipse(world, centre, axes, angle, 0, 360, grey, -1)
        world = cv2.GaussianBlur(world, (0, 0), 1.0)
        shift = np.array([[1.0, 0.0, -50.0], [0.0, 1.0, -40.0], [0.0, 0.0, 1.0]])
        to_thermal = np.linalg.inv(homography) @ shift
        thermal = cv2.warpPerspective(world, to_thermal, THERMAL_HW[::-1])
        grey = (world[40:280, 50:370] * 255).astype(np.uint8)
        pairs.append(
            ImagePair(
                name=f'{index}',
                rgb=np.repeat(grey[..., None], 3, axis=2),
                thermal=(28000 + 2000 * thermal).astype(np.uint16),
            )
        )
    return pairs


@pytest.mark.parametrize('model', ['similarity', 'affine', 'homography'])
def test_the_homography_is_found_within_a_pixel(model):
    found = calibrate_matched(painted_pairs(TRUTH, 6), FlowMatcher(), model=model)
    assert homography_distance_px(TRUTH, found.homography, RGB_HW) < 1.0
    assert (found.rgb_hw, found.thermal_hw) == (RGB_HW, THERMAL_HW)
    assert found.num_inliers > 0.5 * found.num_matches
    assert found.score > found.score_before


def test_perspective_is_found_by_the_model_homography():
    pairs = painted_pairs(SEEN_FROM_THE_SIDE, 6, seed=1)
    found = calibrate_matched(pairs, FlowMatcher(), model='homography')
    assert homography_distance_px(SEEN_FROM_THE_SIDE, found.homography, RGB_HW) < 1.0
    simpler = calibrate_matched(pairs, FlowMatcher(), model='similarity')
    assert homography_distance_px(SEEN_FROM_THE_SIDE, simpler.homography, RGB_HW) > 1.0


def test_a_translation_moves_the_initial_homography_and_keeps_its_scale():
    initial = TRUTH.copy()
    initial[:2, 2] += (7.0, -4.0)
    found = calibrate_matched(
        painted_pairs(TRUTH, 4), FlowMatcher(), model='translation', initial=initial
    )
    np.testing.assert_allclose(found.homography, TRUTH, atol=0.8)
    np.testing.assert_allclose(found.homography[:2, :2], TRUTH[:2, :2], atol=1e-9)
    np.testing.assert_array_equal(found.start, initial)


def test_points_are_in_pixels_of_the_images_themselves():
    pair = painted_pairs(TRUTH, 1)[0]
    points = match_pair(pair, FlowMatcher(), TRUTH, displacement_xy=(12.0, -5.0))
    mapped = cv2.perspectiveTransform(points.thermal_xy[None], TRUTH)[0]
    assert len(mapped) > 50
    assert np.median(np.linalg.norm(mapped - points.rgb_xy, axis=1)) < 0.5
    assert (points.thermal_xy < np.array([255.5, 199.5])).all()


def test_displacements_differ_and_stay_below_6_percent_of_each_side():
    shifts = np.array([displacement(index, (100, 200)) for index in range(40)])
    assert len({tuple(shift) for shift in shifts.round(6)}) == 40
    assert (np.abs(shifts) <= (12.0, 6.0)).all()
    assert (np.abs(shifts).max(axis=0) > (10.0, 5.0)).all()


def test_the_calibration_and_its_words_say_what_was_found():
    found = calibrate_matched(painted_pairs(TRUTH, 4), FlowMatcher())
    written = found.to_calibration()
    assert (written.method, written.num_images) == ('matcher', 4)
    np.testing.assert_array_equal(written.homography_thermal_to_rgb, found.homography)
    lines = summarise_matched(found)
    assert lines[0] == 'pairs used: 4, model: similarity'
    assert f'matched points: {found.num_matches}, of which ' in lines[1]
    assert 'fit within 2.5 px' in lines[1]  # 2 px of a grid that is 0.8 times as large


def test_a_matcher_that_confirms_whatever_it_is_shown_is_refused():
    with pytest.raises(CalibrationError, match='the matcher contradicts itself'):
        calibrate_matched(painted_pairs(TRUTH, 8), FixedMatcher())


def test_too_few_points_are_refused():
    with pytest.raises(CalibrationError, match='found 0 points in 4 pairs, expected at least 40'):
        calibrate_matched(painted_pairs(TRUTH, 4), BlindMatcher())


def test_too_few_pairs_are_refused():
    with pytest.raises(CalibrationError, match='3 pairs of images, expected at least 4'):
        calibrate_matched(painted_pairs(TRUTH, 3), FlowMatcher())


def test_an_unknown_model_is_refused():
    with pytest.raises(ConfigError, match="model is 'spline', expected one of translation"):
        calibrate_matched(painted_pairs(TRUTH, 4), FlowMatcher(), model='spline')


def test_pairs_that_no_single_homography_explains_are_refused():
    moved = TRUTH.copy()
    moved[0, 2] += 30.0
    pairs = [
        pair
        for both in zip(painted_pairs(TRUTH, 4), painted_pairs(moved, 4, seed=3), strict=True)
        for pair in both
    ]
    with pytest.raises(CalibrationError, match='two halves of the pairs give alignments'):
        calibrate_matched(pairs, FlowMatcher())
