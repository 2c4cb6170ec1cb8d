# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import math

import cv2
import numpy as np
import pytest

from rgbt_models.synthetic import build_camera, Rig
from rgbt_models.synthetic.lens import distort, LensError, undistort, undistorted_grid

LENSES = {
    'none': (),
    'barrel, four': (-0.25, 0.08, 0.001, -0.002),
    'pincushion, five': (0.12, -0.02, -0.001, 0.0015, 0.003),
    'rational': (-0.3, 0.1, 0.001, -0.001, 0.01, 0.02, 0.01, 0.002),
}


def camera_with(distortion, *, height=120, width=160):
    camera = build_camera(
        height=height, width=width, hfov_rad=math.radians(65.0), centre_shift_px=(3.0, -2.0)
    )
    return replace(camera, distortion=distortion)


@pytest.mark.parametrize('name', LENSES)
def test_rays_project_back_to_their_pixels(name):
    camera = camera_with(LENSES[name])
    xy = camera.project(camera.position + 5.0 * camera.rays().astype(np.float64))
    columns, rows = np.meshgrid(np.arange(160), np.arange(120))
    expected = np.column_stack([columns.ravel(), rows.ravel()])
    assert np.abs(xy - expected).max() < 1e-3


@pytest.mark.parametrize('name', ['barrel, four', 'pincushion, five', 'rational'])
def test_formula_is_that_of_opencv(name):
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (20, 2))
    expected, _ = cv2.projectPoints(
        np.c_[points, np.ones(20)], np.zeros(3), np.zeros(3), np.eye(3), np.array(LENSES[name])
    )
    np.testing.assert_allclose(distort(points, LENSES[name]), expected[:, 0], atol=1e-12)


def test_tangential_terms_keep_x_and_y_apart():
    # r2 = .05, x y = .02: x + 2 p1 x y + p2 (r2 + 2 x^2), y + p1 (r2 + 2 y^2) + 2 p2 x y.
    moved = distort(np.array([[0.1, 0.2]]), (0.0, 0.0, 0.01, 0.03))
    np.testing.assert_allclose(moved, [[0.1 + 4e-4 + 0.03 * 0.07, 0.2 + 0.01 * 0.13 + 12e-4]])


def test_barrel_distortion_widens_the_field_of_view():
    plain, barrel = camera_with(()), camera_with((-0.2, 0.0, 0.0, 0.0))
    # The edges are solved for: x (1 - .2 x^2) = edge.
    left, right = (smallest_root([-0.2, 0, 1, -edge]) for edge in edges(plain))
    assert barrel.hfov_rad == pytest.approx(math.atan(right) - math.atan(left), abs=1e-6)
    assert barrel.hfov_rad > plain.hfov_rad


def smallest_root(polynomial):
    roots = np.roots(polynomial).real
    return float(roots[np.abs(roots).argmin()])


def edges(camera):
    focal, centre = camera.intrinsics[0, 0], camera.intrinsics[0, 2]
    return (-0.5 - centre) / focal, (camera.width - 0.5 - centre) / focal


def test_scaled_keeps_the_lens():
    camera = camera_with(LENSES['barrel, four'])
    point = np.array([[10.0, 3.0, -1.5]])
    edge_units = camera.project(point) + 0.5
    np.testing.assert_allclose(camera.scaled(0.5).project(point) + 0.5, 0.5 * edge_units)


def test_grid_is_kept_for_the_next_call_and_cannot_be_changed():
    camera = camera_with(LENSES['barrel, four'])
    one = undistorted_grid(camera.intrinsics, camera.distortion, height=120, width=160)
    two = undistorted_grid(camera.intrinsics.copy(), camera.distortion, height=120, width=160)
    assert one is two
    with pytest.raises(ValueError, match='read-only'):
        one[0] = 0.0


def test_strong_lens_that_no_polynomial_follows_is_solved_for_every_pixel():
    camera = build_camera(height=40, width=60, hfov_rad=math.radians(110.0))
    camera = replace(camera, distortion=(-0.12, 0.016, 0.001, -0.002, -0.0008))
    xy = camera.project(10.0 * camera.rays().astype(np.float64))
    columns, rows = np.meshgrid(np.arange(60), np.arange(40))
    assert np.abs(xy - np.column_stack([columns.ravel(), rows.ravel()])).max() < 1e-3


def test_formula_that_folds_back_in_the_image_is_refused():
    camera = camera_with((-1.5, 0.0, 0.0, 0.0))
    with pytest.raises(LensError, match=r'cannot be inverted inside the image .*; use smaller'):
        camera.rays()


@pytest.mark.parametrize('count', [1, 3, 6, 12])
def test_other_numbers_of_coefficients_are_refused(count):
    with pytest.raises(LensError, match=rf'has {count} coefficients; expected \(0, 4, 5, 8\)'):
        camera_with((0.0,) * count)


def test_coefficients_that_are_no_numbers_are_refused():
    with pytest.raises(LensError, match='expected finite numbers'):
        camera_with((0.1, math.nan, 0.0, 0.0))


def test_undistort_without_a_lens_is_the_pinhole():
    intrinsics = np.array([[50.0, 0.0, 30.0], [0.0, 40.0, 20.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(undistort(np.array([[35.0, 12.0]]), intrinsics, ()), [[0.1, -0.2]])


def test_warp_brings_a_far_scene_onto_the_rgb_pixels_through_both_lenses():
    rgb = camera_with(LENSES['barrel, four'])
    thermal = build_camera(
        height=256, width=320, hfov_rad=math.radians(95.0), angles_rad=(0.01, -0.02, 0.03)
    )
    thermal = replace(thermal, distortion=LENSES['barrel, four'])

    # A scene at infinity: a smooth function of the direction of view.
    def scene(camera):
        rays = camera.rays().reshape(camera.height, camera.width, 3)
        return np.asarray(np.sin(9.0 * rays[..., 1]) + np.cos(7.0 * rays[..., 2]), np.float32)

    warped = Rig(rgb=rgb, thermal=thermal).warp_thermal_to_rgb(scene(thermal))
    assert warped.shape == (120, 160)
    assert np.abs(warped - scene(rgb)).max() < 3e-3


def test_warp_without_lenses_is_the_homography():
    rgb = camera_with(())
    thermal = build_camera(height=128, width=160, hfov_rad=math.radians(72.0))
    rig = Rig(rgb=rgb, thermal=thermal)
    image = np.random.default_rng(0).uniform(0, 1, (128, 160)).astype(np.float32)
    expected = cv2.warpPerspective(
        image, rig.homography_thermal_to_rgb(), (160, 120), borderMode=cv2.BORDER_REPLICATE
    )
    np.testing.assert_array_equal(rig.warp_thermal_to_rgb(image), expected)
