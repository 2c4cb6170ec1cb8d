# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.synthetic import default_rig
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.errors import ShapeError
from rgbt_perception.geometry import map_points
from rgbt_perception.pixel_mapping import (
    HomographyMapping,
    inside,
    map_outlines,
    pixel_grid,
    ResizeMapping,
    Surface,
    SurfaceMapping,
)

K = np.array([[500.0, 0.0, 300.0], [0.0, 400.0, 200.0], [0.0, 0.0, 1.0]])


def camera(intrinsics=K, size_hw=(420, 640)):
    return CameraModel(
        intrinsics=intrinsics, distortion_model='none', distortion=(), size_hw=size_hw
    )


def side_by_side(surface, translation=(0.08, 0.0, 0.0)):
    return SurfaceMapping(
        rgb=camera(),
        thermal=camera(),
        rotation=np.eye(3),
        translation=np.array(translation),
        surface=surface,
    )


def test_resizing_scales_edges_of_height_and_width_apart():
    # 3 thermal columns become 6, 2 rows become 8: x -> 2 x + 0.5, y -> 4 y + 1.5.
    mapping = ResizeMapping(rgb_hw=(8, 6), thermal_hw=(2, 3))
    np.testing.assert_allclose(mapping.to_rgb([[1.0, 0.0]]), [[2.5, 1.5]])
    np.testing.assert_allclose(mapping.to_thermal([[2.5, 1.5]]), [[1.0, 0.0]])


def test_homography_maps_from_thermal_to_rgb_and_back():
    mapping = HomographyMapping(np.array([[1, 0, 3], [0, 1, 2], [0, 0, 1]], float), (4, 5))
    np.testing.assert_allclose(mapping.to_rgb([[1.0, 0.0]]), [[4.0, 2.0]])
    np.testing.assert_allclose(mapping.to_thermal([[4.0, 2.0]]), [[1.0, 0.0]])
    assert not mapping.is_mirrored


def test_the_sign_of_a_homography_means_nothing():
    matrix = np.array([[1.1, 0.1, 3.0], [0.0, 0.9, 2.0], [1e-4, 0.0, 1.0]])
    mapped = [HomographyMapping(sign * matrix, (40, 50)).to_rgb([[7.0, 5.0]]) for sign in (1, -1)]
    np.testing.assert_allclose(mapped[0], mapped[1])


def test_points_beyond_the_horizon_of_a_homography_are_nowhere():
    # w = 1 - x / 100 vanishes at x = 100.
    mapping = HomographyMapping(np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1]], float), (40, 50))
    np.testing.assert_allclose(mapping.to_rgb([[50.0, 4.0]]), [[100.0, 8.0]])
    assert np.isnan(mapping.to_rgb([[101.0, 4.0], [100.0, 4.0]])).all()


def test_a_mirrored_image_is_recognised():
    mirrored = np.array([[-1, 0, 49], [0, 1, 0], [0, 0, 1]], float)
    assert HomographyMapping(mirrored, (40, 50)).is_mirrored


@pytest.mark.parametrize('depth_m', [1.0, 4.0, 40.0])
def test_a_sideways_thermal_camera_shifts_by_focal_length_times_baseline_over_depth(depth_m):
    # Thermal is 8 cm right of RGB, so a point lies f b / z further left in thermal.
    mapping = side_by_side(Surface(depth_m=depth_m))
    shift = 500.0 * 0.08 / depth_m
    np.testing.assert_allclose(mapping.to_thermal([[320.0, 50.0]]), [[320.0 - shift, 50.0]])
    np.testing.assert_allclose(mapping.to_rgb([[320.0, 50.0]]), [[320.0 + shift, 50.0]])


def test_a_thermal_camera_below_sees_things_higher_up():
    mapping = side_by_side(Surface(depth_m=2.0), translation=(0.0, 0.05, 0.0))
    np.testing.assert_allclose(mapping.to_thermal([[320.0, 50.0]]), [[320.0, 50.0 - 10.0]])


def test_rotation_turns_thermal_points_into_the_rgb_frame():
    # A quarter turn about the optical axis: thermal right is RGB down.
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    mapping = SurfaceMapping(
        rgb=camera(),
        thermal=camera(),
        rotation=turn,
        translation=np.zeros(3),
        surface=Surface(depth_m=5.0),
    )
    # Thermal (350, 200) looks along (0.1, 0, 1), which is (0, 0.1, 1) for RGB.
    np.testing.assert_allclose(mapping.to_rgb([[350.0, 200.0]]), [[300.0, 240.0]])
    np.testing.assert_allclose(mapping.to_thermal([[300.0, 240.0]]), [[350.0, 200.0]], atol=1e-9)


def test_the_ground_is_met_at_height_over_slope_and_the_wall_above_it():
    surface = Surface(depth_m=30.0, height_m=1.5, pitch_rad=0.0)
    rays = np.array([[0.1, 0.5, 1.0], [0.1, 0.01, 1.0], [0.1, -0.3, 1.0]])
    # 1.5 m below the camera at slope 0.5: 3 m ahead. At slope 0.01 only after 150 m: the wall.
    np.testing.assert_allclose(
        surface.meet(np.zeros(3), rays), [[0.3, 1.5, 3.0], [3.0, 0.3, 30.0], [3.0, -9.0, 30.0]]
    )


def test_a_camera_pitched_down_meets_the_ground_on_its_axis():
    surface = Surface(depth_m=100.0, height_m=2.0, pitch_rad=np.deg2rad(30.0))
    np.testing.assert_allclose(
        surface.meet(np.zeros(3), np.array([[0.0, 0.0, 1.0]])), [[0.0, 0.0, 4.0]]
    )


def test_rays_away_from_the_wall_meet_nothing():
    points = Surface(depth_m=10.0).meet(np.zeros(3), np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]))
    assert np.isnan(points).all()


@pytest.mark.parametrize(
    'surface',
    [Surface(depth_m=8.0), Surface(depth_m=25.0, height_m=1.4, pitch_rad=np.deg2rad(6.0))],
    ids=['plane', 'ground'],
)
def test_there_and_back_is_where_it_began(surface):
    distorted = CameraModel(
        intrinsics=K,
        distortion_model='plumb_bob',
        distortion=(-0.2, 0.05, 0.001, 0.001, 0.0),
        size_hw=(420, 640),
    )
    mapping = SurfaceMapping(
        rgb=distorted,
        thermal=camera(),
        rotation=default_rig().rgb.rotation.T @ default_rig().thermal.rotation,
        translation=np.array([0.05, 0.02, 0.01]),
        surface=surface,
    )
    pixels = pixel_grid((42, 64)) * 8.0 + 50.0
    np.testing.assert_allclose(mapping.to_rgb(mapping.to_thermal(pixels)), pixels, atol=0.01)


def test_a_far_plane_of_the_synthetic_rig_is_its_homography():
    rig = default_rig()
    rotation = rig.rgb.rotation.T @ rig.thermal.rotation
    mapping = SurfaceMapping(
        rgb=camera(rig.rgb.intrinsics, (rig.rgb.height, rig.rgb.width)),
        thermal=camera(rig.thermal.intrinsics, (rig.thermal.height, rig.thermal.width)),
        rotation=rotation,
        translation=rig.rgb.rotation.T @ (rig.thermal.position - rig.rgb.position),
        surface=Surface(depth_m=1e7),
    )
    pixels = pixel_grid((16, 20)) * 32.0
    expected = map_points(rig.homography_thermal_to_rgb(), pixels)
    np.testing.assert_allclose(mapping.to_rgb(pixels), expected, atol=1e-4)


def test_a_near_point_of_the_synthetic_rig_is_where_its_cameras_see_it():
    rig = default_rig()
    mapping = SurfaceMapping(
        rgb=camera(rig.rgb.intrinsics, (rig.rgb.height, rig.rgb.width)),
        thermal=camera(rig.thermal.intrinsics, (rig.thermal.height, rig.thermal.width)),
        rotation=rig.rgb.rotation.T @ rig.thermal.rotation,
        translation=rig.rgb.rotation.T @ (rig.thermal.position - rig.rgb.position),
        surface=Surface(depth_m=3.0),
    )
    point = np.array([[3.0, 0.4, -0.2]])  # x forward: 3 m deep for the RGB camera
    np.testing.assert_allclose(
        mapping.to_thermal(rig.rgb.project(point)), rig.thermal.project(point), atol=1e-6
    )


def test_boxes_are_mapped_by_their_edges():
    # Twice the size: edges scale about 0.
    mapping = ResizeMapping(rgb_hw=(20, 10), thermal_hw=(10, 5))
    boxes = map_outlines(mapping.to_thermal, np.array([[2.0, 4.0, 6.0, 12.0]]))
    np.testing.assert_allclose(boxes, [[1.0, 2.0, 3.0, 6.0]])
    assert boxes.dtype == np.float32
    assert map_outlines(mapping.to_thermal, np.zeros((0, 4))).shape == (0, 4)


def test_a_curved_edge_bulges_beyond_its_corners():
    barrel = CameraModel(
        intrinsics=K,
        distortion_model='plumb_bob',
        distortion=(-0.3, 0.05, 0.0, 0.0, 0.0),
        size_hw=(420, 640),
    )
    mapping = SurfaceMapping(
        rgb=camera(),
        thermal=barrel,
        rotation=np.eye(3),
        translation=np.zeros(3),
        surface=Surface(depth_m=5.0),
    )
    box = np.array([[300.5 - 200, 200.5 - 150, 300.5 + 200, 200.5 + 150]])
    corner = mapping.to_thermal(box[:, :2] - 0.5)[0] + 0.5
    enclosing = map_outlines(mapping.to_thermal, box)[0]
    assert enclosing[0] < corner[0] - 5
    assert enclosing[1] < corner[1] - 5


def test_boxes_behind_the_other_camera_are_nan():
    behind = SurfaceMapping(
        rgb=camera(),
        thermal=camera(),
        rotation=np.diag([-1.0, 1.0, -1.0]),
        translation=np.zeros(3),
        surface=Surface(depth_m=5.0),
    )
    assert np.isnan(map_outlines(behind.to_thermal, np.array([[1.0, 2.0, 3.0, 4.0]]))).all()


def test_boxes_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r'boxes_xyxy is \(4,\), expected \(n, 4\)'):
        map_outlines(ResizeMapping(rgb_hw=(2, 2), thermal_hw=(2, 2)).to_rgb, np.zeros(4))


def test_the_grid_goes_row_by_row_and_the_outer_edge_is_inside():
    np.testing.assert_array_equal(
        pixel_grid((2, 3)), [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]
    )
    points = np.array([[-0.5, 1.5], [2.5, -0.5], [-0.51, 0], [0, 1.51], [np.nan, 0]])
    np.testing.assert_array_equal(inside(points, (2, 3)), [True, True, False, False, False])
