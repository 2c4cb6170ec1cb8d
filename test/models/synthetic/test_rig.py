# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from rgbt_models.synthetic import build_camera, default_rig, random_rig, Rig, RigError


def test_homography_maps_the_axis_of_a_turned_thermal_camera():
    # Turned 0.1 rad to the left and 0.2 rad up, RGB with its own focal length and centre.
    rgb = build_camera(height=180, width=240, hfov_rad=2 * math.atan(120 / 200))
    thermal = build_camera(
        height=80, width=100, hfov_rad=2 * math.atan(50 / 100), angles_rad=(0.1, 0.2, 0.0)
    )
    homography = Rig(rgb=rgb, thermal=thermal).homography_thermal_to_rgb()
    x, y, w = homography @ [49.5, 39.5, 1.0]
    assert x / w == pytest.approx(119.5 - 200 * math.tan(0.1), abs=1e-9)
    assert y / w == pytest.approx(89.5 - 200 * math.tan(0.2) / math.cos(0.1), abs=1e-9)


def test_homography_maps_far_points_within_half_a_pixel():
    rig = default_rig()
    points = np.array([[2000.0, 300.0, -150.0], [2000.0, -500.0, 420.0]])
    thermal_xy = rig.thermal.project(points)
    mapped = np.c_[thermal_xy, np.ones(2)] @ rig.homography_thermal_to_rgb().T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], rig.rgb.project(points), atol=0.5)


def test_point_to_the_left_and_above_projects_left_and_above():
    camera = build_camera(height=40, width=60, hfov_rad=2 * math.atan(30 / 50))
    # Middle (29.5, 19.5), focal length 50 px: 1/10 to the left, 2/10 up.
    np.testing.assert_allclose(camera.project(np.array([[10.0, 1.0, 2.0]])), [[24.5, 9.5]])


def test_rays_and_project_are_inverse():
    camera = default_rig().thermal.scaled(0.1)
    rays = camera.rays().reshape(camera.height, camera.width, 3)
    point = camera.position + 7.0 * rays[11, 23].astype(np.float64)
    np.testing.assert_allclose(camera.project(point[None]), [[23.0, 11.0]], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1.0, atol=1e-6)


def test_scaled_keeps_the_edges_of_the_view():
    camera = build_camera(height=40, width=60, hfov_rad=1.0, centre_shift_px=(3.0, -2.0))
    half = camera.scaled(0.5)
    assert (half.height, half.width) == (20, 30)
    # Centre of the pixel grid in edge units: (29.5 + 3 + 0.5) / 2, (19.5 - 2 + 0.5) / 2.
    np.testing.assert_allclose(half.intrinsics[:2, 2] + 0.5, [16.5, 9.0])
    assert half.hfov_rad == pytest.approx(camera.hfov_rad)


def test_default_rig_sees_all_of_rgb_with_thermal():
    rig = default_rig()
    corners = np.array([[-0.5, -0.5], [639.5, -0.5], [639.5, 479.5], [-0.5, 479.5]])
    inverse = np.linalg.inv(rig.homography_thermal_to_rgb())
    mapped = np.c_[corners, np.ones(4)] @ inverse.T
    xy = mapped[:, :2] / mapped[:, 2:]
    assert (xy > -0.5).all()
    assert (xy < [639.5, 511.5]).all()
    assert np.linalg.norm(rig.rgb.position - rig.thermal.position) == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize('seed', range(20))
def test_random_rig_stays_in_its_ranges(seed):
    rig = random_rig(np.random.default_rng(seed))
    assert math.radians(33.9) < rig.rgb.hfov_rad < math.radians(72.1)
    assert rig.thermal.hfov_rad > rig.rgb.hfov_rad
    assert np.linalg.norm(rig.rgb.position - rig.thermal.position) <= 0.08
    assert (rig.rgb.height, rig.rgb.width) == (480, 640)
    assert (rig.thermal.height, rig.thermal.width) == (512, 640)


def test_scale_that_leaves_nothing_is_refused():
    with pytest.raises(RigError, match=r'leaves 0x1 \(h x w\) pixels; expected at least 1x1'):
        default_rig().rgb.scaled(0.001)


def test_wrong_shape_of_a_matrix_is_refused():
    camera = default_rig().rgb
    with pytest.raises(RigError, match=r'intrinsics has shape \(4, 4\); expected \(3, 3\)'):
        type(camera)(
            intrinsics=np.eye(4),
            rotation=camera.rotation,
            position=camera.position,
            height=2,
            width=3,
        )
