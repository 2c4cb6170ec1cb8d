# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from rgbt_models.synthetic import build_camera, CameraTiming, default_rig, random_rig, Rig
from rgbt_models.synthetic.rig import RigError


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


def test_homography_of_a_depth_is_exact_there():
    rig = default_rig()
    points = np.array([[12.0, 3.0, -1.5], [12.0, -5.0, 4.2], [12.0, 0.1, 0.2]])  # 12 m ahead
    thermal_xy = rig.thermal.project(points)
    mapped = np.c_[thermal_xy, np.ones(3)] @ rig.homography_thermal_to_rgb(12.0).T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], rig.rgb.project(points), atol=1e-9)
    far = np.c_[thermal_xy, np.ones(3)] @ rig.homography_thermal_to_rgb().T
    beside_px = (far[:, :2] / far[:, 2:] - rig.rgb.project(points))[:, 0]
    np.testing.assert_allclose(np.abs(beside_px), 602 * 0.05 / 12.0, atol=0.2)


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
    # A lens moves the edges of the view by up to 6 %, a little more seen as an angle.
    assert math.radians(33.0) < rig.rgb.hfov_rad < math.radians(77.0)
    assert np.linalg.norm(rig.rgb.position - rig.thermal.position) <= 0.3
    assert (rig.rgb.height, rig.rgb.width) == (480, 640)
    if rig.thermal is not rig.rgb:
        assert rig.thermal.hfov_rad > rig.rgb.hfov_rad - math.radians(6.0)
        assert (rig.thermal.height, rig.thermal.width) == (512, 640)
    rig.scaled(0.25).rgb.rays()
    rig.scaled(0.25).thermal.rays()


def test_random_rigs_are_aligned_bent_and_apart_as_often_as_said():
    rigs = [random_rig(np.random.default_rng(seed)) for seed in range(600)]
    is_aligned = np.array([rig.rgb is rig.thermal for rig in rigs])
    has_lens = np.array([bool(rig.rgb.distortion and rig.thermal.distortion) for rig in rigs])
    distance = np.array([np.linalg.norm(rig.rgb.position - rig.thermal.position) for rig in rigs])
    # Three standard deviations of 600 draws.
    assert is_aligned.mean() == pytest.approx(0.2, abs=0.05)
    assert has_lens.mean() == pytest.approx(1 / 3, abs=0.06)
    assert (distance > 0.08).mean() == pytest.approx(0.1, abs=0.04)
    assert not has_lens[is_aligned].any()


def test_aligned_rig_needs_no_registration():
    rigs = (random_rig(np.random.default_rng(seed)) for seed in range(50))
    rig = next(rig for rig in rigs if rig.rgb is rig.thermal)
    np.testing.assert_allclose(rig.homography_thermal_to_rgb(), np.eye(3), atol=1e-12)


def test_rig_without_lenses_is_otherwise_the_same():
    rigs = (random_rig(np.random.default_rng(seed)) for seed in range(50))
    rig = next(rig for rig in rigs if rig.rgb.distortion)
    plain = rig.without_lenses()
    assert plain.rgb.distortion == plain.thermal.distortion == ()
    np.testing.assert_array_equal(
        plain.homography_thermal_to_rgb(), rig.homography_thermal_to_rgb()
    )


def test_scaled_rig_keeps_timing():
    timing = CameraTiming(rate_hz=9.0, offset_s=-0.02, jitter_s=0.003)
    rig = Rig(rgb=default_rig().rgb, thermal=default_rig().thermal, thermal_timing=timing)
    assert rig.scaled(0.5).thermal_timing == timing
    assert rig.scaled(0.5).rgb_timing == CameraTiming()


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'rate_hz': 0.0}, 'rate_hz is 0.0; expected a positive number'),
        ({'rate_hz': math.nan}, 'rate_hz is nan; expected a positive number'),
        ({'jitter_s': -0.1}, 'jitter_s is -0.1; expected 0 or more'),
        ({'offset_s': math.inf}, 'offset_s is inf; expected a finite number'),
    ],
)
def test_impossible_timing_is_refused(values, message):
    with pytest.raises(RigError, match=message):
        CameraTiming(**values)


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
