# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from rgbt_perception.calibration.alignment import build_level, refine, score_homography
from rgbt_perception.calibration.gradients import BORDER_PX, inner_mask, orientation_features


def ramp(angle_deg, size=64):
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) - size / 2
    angle = np.radians(angle_deg)
    return (0.5 + 0.005 * (x * np.cos(angle) + y * np.sin(angle))).astype(np.float32)


def test_hot_on_cold_and_cold_on_hot_have_the_same_features():
    image = np.random.default_rng(0).uniform(0, 1, (40, 50)).astype(np.float32)
    first = orientation_features(image, smooth_px=1.0)
    second = orientation_features(1.0 - image, smooth_px=1.0)
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_features_hold_the_doubled_angle():
    # Gradient along x: (1, 0); along y: (-1, 0); downwards to the right: (0, 1).
    for angle_deg, expected in ((0, (1, 0)), (90, (-1, 0)), (45, (0, 1))):
        feature = orientation_features(ramp(angle_deg), smooth_px=1.0)[32, 32]
        np.testing.assert_allclose(feature / np.linalg.norm(feature), expected, atol=0.01)
        assert 0.3 < np.linalg.norm(feature) <= 1.0


def test_flat_image_has_no_features():
    features = orientation_features(np.full((20, 20), 0.4, np.float32), smooth_px=1.0)
    assert np.abs(features).max() < 1e-4  # rounding errors remain


def test_mask_shrinks_from_holes_and_from_the_border():
    mask = np.ones((30, 40), np.uint8)
    mask[15, 20] = 0
    inner = inner_mask(mask)
    assert inner[BORDER_PX, BORDER_PX] == 1
    assert not inner[:BORDER_PX].any()
    assert not inner[15 - BORDER_PX : 16 + BORDER_PX, 20].any()
    assert inner[15, 20 + BORDER_PX + 1] == 1


def test_score_of_an_image_with_itself_is_one_and_refining_leaves_it():
    image = np.random.default_rng(3).uniform(0, 1, (60, 80)).astype(np.float32)
    level = build_level([image], [image], width=80, smooth_px=1.0)
    assert score_homography(level, np.eye(3)) > 0.999
    refined = refine(level, np.eye(3), model='homography')
    np.testing.assert_allclose(refined.homography, np.eye(3), atol=1e-3)
    assert refined.overlap == 1.0


def test_score_of_nothing_is_zero():
    flat = np.full((60, 80), 0.5, np.float32)
    level = build_level([flat], [flat], width=80, smooth_px=1.0)
    assert score_homography(level, np.eye(3)) == 0.0
    assert refine(level, np.eye(3), model='similarity').score == 0.0
