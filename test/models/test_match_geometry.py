# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from rgbt_models.errors import MatchingError
from rgbt_models.heads import match, refine_matches
from rgbt_models.match_geometry import (
    estimate_homography,
    estimate_registration,
    MODELS,
    warp,
)
from rgbt_models.metrics import corner_error

# Not symmetric: scales, shear, shift and a little perspective all differ.
HOMOGRAPHY = np.array([[1.1, 0.02, 12.0], [-0.01, 0.95, -7.0], [1e-5, -2e-5, 1.0]])


def points(count, seed=0):
    return np.random.default_rng(seed).uniform((0, 0), (640, 480), (count, 2))


def test_homography_is_recovered_in_spite_of_wrong_matches():
    thermal = points(60)
    rgb = warp(thermal, HOMOGRAPHY)
    rgb[:20] += 150.0
    estimate = estimate_homography(rgb, thermal)
    np.testing.assert_allclose(estimate.homography_thermal_to_rgb, HOMOGRAPHY, atol=1e-3)
    assert estimate.is_inlier.tolist() == [False] * 20 + [True] * 40
    assert estimate.median_error_px < 1e-3


def test_it_maps_thermal_to_rgb_and_not_back():
    thermal = np.array([[10.0, 20.0]])
    np.testing.assert_allclose(
        warp(thermal, np.array([[1, 0, 5], [0, 1, -3], [0, 0, 1]])), [[15.0, 17.0]]
    )


def test_the_same_points_give_the_same_result():
    thermal = points(40)
    rgb = warp(thermal, HOMOGRAPHY) + np.random.default_rng(1).normal(0, 2, (40, 2))
    first = estimate_homography(rgb, thermal).homography_thermal_to_rgb
    again = estimate_homography(rgb, thermal).homography_thermal_to_rgb
    np.testing.assert_array_equal(first, again)


def test_three_points_are_too_few():
    with pytest.raises(MatchingError, match='3 matched points, expected at least 4'):
        estimate_homography(points(3), points(3))


def test_points_that_fit_no_homography_are_refused():
    with pytest.raises(MatchingError, match='fit one homography, expected at least 8'):
        estimate_homography(points(30, seed=1), points(30, seed=2), max_error_px=1.0)


def test_unequal_numbers_of_points_are_refused():
    with pytest.raises(MatchingError, match='5 RGB points and 4 thermal points'):
        estimate_homography(points(5), points(4))


def waves(points_xy):
    """Features that vary smoothly over a scene, at positions in px of the RGB image: (32, ...)."""
    generator = torch.Generator().manual_seed(1)
    frequency = (torch.rand(32, 2, generator=generator) - 0.5) / 8.0
    phase = torch.rand(32, generator=generator) * 6.28
    return torch.einsum('cx,...x->c...', frequency, points_xy).add(phase[:, None, None]).sin()


def grid(height, width, stride):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    return (torch.stack([x, y], dim=-1) + 0.5) * stride - 0.5


def test_matched_features_register_a_thermal_camera_to_an_rgb_camera():
    # The thermal camera sees the scene 1.05 times as large, shifted by (13, -6) px.
    true = np.array([[1.05, 0.0, 13.0], [0.0, 1.05, -6.0], [0.0, 0.0, 1.0]])

    def features(stride, homography):
        points = grid(384 // stride, 512 // stride, stride)
        mapped = torch.from_numpy(warp(points.reshape(-1, 2).numpy(), homography))
        return waves(mapped.float().reshape(*points.shape))

    matches = match(features(16, np.eye(3)), features(16, true))
    fine = refine_matches(
        matches, features(4, np.eye(3)), features(4, true), stride=4, temperature=0.02
    )
    coarse_fit = estimate_homography(matches.rgb_xy.numpy(), matches.thermal_xy.numpy())
    fine_fit = estimate_homography(fine.rgb_xy.numpy(), fine.thermal_xy.numpy(), max_error_px=3.0)
    errors = [
        corner_error(fit.homography_thermal_to_rgb, true, (384, 512))
        for fit in (coarse_fit, fine_fit)
    ]
    assert errors[0] < 16.0  # one token
    assert errors[1] < 2.0, errors
    assert errors[1] < errors[0]


def similarity(scale, degrees, x, y):
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[c, -s, x], [s, c, y], [0.0, 0.0, 1.0]])


TRUTHS = {
    'translation': np.array([[1.0, 0.0, 12.0], [0.0, 1.0, -7.0], [0.0, 0.0, 1.0]]),
    'similarity': similarity(1.1, 2.0, 12.0, -7.0),
    'affine': np.array([[1.1, 0.02, 12.0], [-0.01, 0.95, -7.0], [0.0, 0.0, 1.0]]),
    'homography': HOMOGRAPHY,
}


@pytest.mark.parametrize('model', MODELS)
def test_each_model_is_recovered_in_spite_of_wrong_matches(model):
    thermal = points(60)
    rgb = warp(thermal, TRUTHS[model])
    rgb[:20] = points(20, seed=5)
    found = estimate_registration(rgb, thermal, model=model, max_error_px=3.0)
    np.testing.assert_allclose(found.homography_thermal_to_rgb, TRUTHS[model], atol=2e-3)
    assert found.is_inlier[20:].all()
    again = estimate_registration(rgb, thermal, model=model, max_error_px=3.0)
    np.testing.assert_array_equal(found.homography_thermal_to_rgb, again.homography_thermal_to_rgb)


def test_a_translation_shifts_its_start_in_rgb_pixels():
    start = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 2.0], [0.0, 0.0, 1.0]])
    thermal = points(30)
    rgb = warp(thermal, start) + np.array([5.0, -4.0])
    found = estimate_registration(rgb, thermal, model='translation', max_error_px=2, start=start)
    expected = [[2.0, 0.0, 6.0], [0.0, 3.0, -2.0], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(found.homography_thermal_to_rgb, expected, atol=1e-9)


def test_registration_refuses_too_few_points_and_unknown_models():
    with pytest.raises(MatchingError, match='3 matched points, expected at least 4'):
        estimate_registration(points(3), points(3), model='similarity', max_error_px=3.0)
    with pytest.raises(MatchingError, match='points fit one homography, expected at least 8'):
        estimate_registration(points(30), points(30, seed=2), model='affine', max_error_px=1.0)
    with pytest.raises(MatchingError, match="model is 'spline'; expected one of translation"):
        estimate_registration(points(9), points(9), model='spline', max_error_px=1.0)
