# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_perception.calibration_file import Calibration, write_calibration
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import RegistrationConfig
from rgbt_perception.errors import ConfigError
from rgbt_perception.geometry import resize
from rgbt_perception.pixel_mapping import pixel_grid, Surface, SurfaceMapping
from rgbt_perception.registration import Registration
from rgbt_perception.types import Modality


def test_identity_of_equal_sizes_is_free():
    thermal = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert Registration(RegistrationConfig()).register(thermal, (3, 4)) is thermal


def test_identity_resizes_height_and_width_apart():
    thermal = np.zeros((2, 4), np.uint16)
    thermal[0, 3] = 1000
    registered = Registration(RegistrationConfig()).register(thermal, (6, 8))
    assert registered.shape == (6, 8)
    assert registered.dtype == np.uint16
    assert np.unravel_index(registered.argmax(), (6, 8))[1] == 7
    assert registered[0, 7] == 1000


@pytest.mark.parametrize(
    ('rgb_hw', 'thermal_hw', 'problem'),
    [
        ((480, 640), (512, 640), ''),
        ((45, 80), (12, 16), 'stretched by 33% onto RGB: images of 12x16 and 45x80 (h x w)'),
        ((12, 16), (45, 80), 'stretched by 33% onto RGB: images of 45x80 and 12x16 (h x w)'),
    ],
)
def test_identity_says_when_the_sizes_cannot_show_the_same_view(rgb_hw, thermal_hw, problem):
    registration = Registration(RegistrationConfig())
    registration.register(np.zeros(thermal_hw, np.uint8), rgb_hw)
    assert problem in registration.problem
    assert bool(problem) == bool(registration.problem)


def test_homography_moves_x_and_y_apart():
    # Thermal pixel (x=1, y=0) appears at RGB pixel (x=4, y=2).
    config = RegistrationConfig(
        method='homography', homography_thermal_to_rgb=(1, 0, 3, 0, 1, 2, 0, 0, 1)
    )
    thermal = np.zeros((3, 4), np.float32)
    thermal[0, 1] = 5.0
    registered = Registration(config).register(thermal, (4, 7))
    assert registered.shape == (4, 7)
    assert registered[2, 4] == pytest.approx(5.0)
    assert registered[2, 5] == pytest.approx(0.0)


def test_homography_repeats_the_border():
    config = RegistrationConfig(
        method='homography', homography_thermal_to_rgb=(1, 0, 2, 0, 1, 0, 0, 0, 1)
    )
    thermal = np.array([[3, 7], [4, 9]], np.uint8)
    registered = Registration(config).register(thermal, (2, 6))
    np.testing.assert_array_equal(registered, [[3, 3, 3, 7, 7, 7], [4, 4, 4, 9, 9, 9]])


def test_homography_agrees_with_identity_for_a_pure_resize():
    # Twice the size in edge units is x -> 2x + 0.5 in centre units.
    config = RegistrationConfig(
        method='homography', homography_thermal_to_rgb=(2, 0, 0.5, 0, 2, 0.5, 0, 0, 1)
    )
    thermal = np.random.default_rng(0).random((8, 10)).astype(np.float32)
    warped = Registration(config).register(thermal, (16, 20))
    resized = Registration(RegistrationConfig()).register(thermal, (16, 20))
    np.testing.assert_allclose(warped, resized, atol=0.02)


def test_shrinking_averages():
    image = np.array([[0, 10, 0, 10], [20, 30, 20, 30]], np.float32)
    np.testing.assert_allclose(resize(image, (1, 2)), [[15, 15]])


def extrinsics(**changes):
    values = {
        'method': 'extrinsics',
        'translation_thermal_to_rgb': (0.08, 0.0, 0.0),
        'depth_m': 4.0,
        **changes,
    }
    return RegistrationConfig(**values)


def pinhole(size_hw=(40, 60), focal=100.0):
    height, width = size_hw
    intrinsics = np.array(
        [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], np.float64
    )
    return CameraModel(
        intrinsics=intrinsics, distortion_model='none', distortion=(), size_hw=size_hw
    )


def equipped(config, thermal_hw=(40, 60)):
    registration = Registration(config)
    registration.set_camera(Modality.RGB, pinhole())
    registration.set_camera(Modality.THERMAL, pinhole(thermal_hw, 100.0 * thermal_hw[1] / 60))
    return registration


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_extrinsics_shift_by_the_parallax_of_the_depth(dtype):
    # f b / z = 100 * 0.08 / 4 = 2 px: thermal column 10 appears at RGB column 12.
    thermal = np.zeros((40, 60), dtype)
    thermal[7, 10] = 200
    registered = equipped(extrinsics()).register(thermal, (40, 60))
    assert registered.dtype == dtype
    assert registered[7, 12] == 200
    assert np.count_nonzero(registered) == 1


def test_extrinsics_map_between_images_of_unequal_size():
    # Thermal has half the pixels of the same view, and no baseline: like identity.
    rng = np.random.default_rng(3)
    thermal = rng.random((20, 30)).astype(np.float32)
    config = extrinsics(translation_thermal_to_rgb=(0.0, 0.0, 0.0))
    registered = equipped(config, (20, 30)).register(thermal, (40, 60))
    np.testing.assert_allclose(registered, resize(thermal, (40, 60)), atol=0.01)


def test_tables_are_the_mapping_of_every_pixel():
    registration = equipped(extrinsics(surface='ground', camera_height_m=1.0, depth_m=20.0))
    ramp_x, ramp_y = np.meshgrid(np.arange(60, dtype=np.float32), np.arange(40, dtype=np.float32))
    found = np.stack([registration.register(ramp, (40, 60)) for ramp in (ramp_x, ramp_y)], -1)
    mapping = SurfaceMapping(
        rgb=pinhole(),
        thermal=pinhole(),
        rotation=np.eye(3),
        translation=np.array([0.08, 0.0, 0.0]),
        surface=Surface(depth_m=20.0, height_m=1.0),
    )
    expected = mapping.to_thermal(pixel_grid((40, 60))).reshape(40, 60, 2)
    # OpenCV 4 rounds to 1/32 px on its way.
    np.testing.assert_allclose(found, np.clip(expected, 0, [59, 39]), atol=1 / 32)


def test_extrinsics_resize_and_say_so_until_everything_is_there():
    thermal = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    registration = Registration(extrinsics(source='tf'))
    for modality in Modality:
        assert f'the {modality.value} camera_info' in registration.problem
        np.testing.assert_array_equal(
            registration.register(thermal, (40, 60)), resize(thermal, (40, 60))
        )
        registration.set_camera(modality, pinhole())
    assert 'lacks the transform between the optical frames' in registration.problem
    registration.set_pose(np.eye(3), np.array([0.08, 0.0, 0.0]))
    assert registration.problem == ''
    assert not np.array_equal(registration.register(thermal, (40, 60)), resize(thermal, (40, 60)))


def test_a_new_pose_is_used_for_the_next_image():
    registration = equipped(extrinsics(source='tf'))
    thermal = np.zeros((40, 60), np.float32)
    thermal[7, 10] = 1.0
    for baseline, column in ((0.08, 12), (0.04, 11), (0.0, 10)):
        registration.set_pose(np.eye(3), np.array([baseline, 0.0, 0.0]))
        assert registration.register(thermal, (40, 60))[7].argmax() == column


def test_what_was_set_before_is_not_worked_out_again():
    registration = equipped(extrinsics())
    thermal = np.zeros((40, 60), np.float32)
    registration.register(thermal, (40, 60))
    tables = registration._tables
    registration.set_camera(Modality.RGB, pinhole())
    registration.register(thermal, (40, 60))
    assert registration._tables is tables


def test_a_pose_that_is_no_pose_is_refused():
    registration = equipped(extrinsics(source='tf'))
    with pytest.raises(ConfigError, match='expected an orthogonal 3x3 matrix'):
        registration.set_pose(2 * np.eye(3), np.zeros(3))


def test_boxes_go_to_thermal_and_back():
    registration = equipped(extrinsics(), thermal_hw=(20, 30))
    boxes = np.array([[10.0, 6.0, 20.0, 30.0], [30.0, 2.0, 50.0, 8.0]], np.float32)
    # 2 RGB px to the left, then half of everything.
    expected = [[4.0, 3.0, 9.0, 15.0], [14.0, 1.0, 24.0, 4.0]]
    mapped = registration.boxes_to_thermal(boxes, (40, 60), (20, 30))
    np.testing.assert_allclose(mapped, expected, atol=1e-5)
    np.testing.assert_allclose(
        registration.boxes_to_rgb(mapped, (40, 60), (20, 30)), boxes, atol=1e-4
    )


@pytest.mark.parametrize(
    'config',
    [
        RegistrationConfig(),
        RegistrationConfig(
            method='homography', homography_thermal_to_rgb=(2, 0, 0.5, 0, 2, 0.5, 0, 0, 1)
        ),
    ],
    ids=['identity', 'homography'],
)
def test_boxes_and_label_maps_of_a_pure_resize(config):
    registration = Registration(config)
    boxes = registration.boxes_to_thermal(np.array([[2.0, 4.0, 6.0, 12.0]]), (16, 20), (8, 10))
    np.testing.assert_allclose(boxes, [[1.0, 2.0, 3.0, 6.0]], atol=1e-5)
    small = np.random.default_rng(1).integers(0, 8, (8, 10)).astype(np.uint8)
    label_map = small.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(registration.label_map_to_thermal(label_map, (8, 10)), small)


def test_label_maps_take_the_nearest_rgb_pixel():
    # Thermal pixel 1 lies at RGB pixel 1.6 across and 1.4 down.
    matrix = (1, 0, 0.6, 0, 1, 0.4, 0, 0, 1)
    config = RegistrationConfig(method='homography', homography_thermal_to_rgb=matrix)
    label_map = np.arange(20, dtype=np.uint8).reshape(4, 5)
    mapped = Registration(config).label_map_to_thermal(label_map, (3, 3))
    np.testing.assert_array_equal(mapped, label_map[:3, 1:4])


def test_label_maps_are_unlabeled_where_rgb_does_not_see():
    # RGB column 12 is thermal column 10; thermal columns 58 and 59 would be RGB 60 and 61.
    label_map = np.zeros((40, 60), np.uint8)
    label_map[7, 12] = 5
    mapped = equipped(extrinsics()).label_map_to_thermal(label_map, (40, 60))
    assert mapped[7, 10] == 5
    np.testing.assert_array_equal(np.unique(mapped[:, :58]), [0, 5])
    assert (mapped[:, 58:] == 255).all()


def test_the_share_of_rgb_that_thermal_sees_is_known():
    # Thermal is the left quarter of the columns and the upper half of the rows.
    config = RegistrationConfig(method='homography')
    registration = Registration(config)
    assert np.isnan(registration.covered_share)
    registration.register(np.zeros((20, 15), np.float32), (40, 60))
    assert registration.covered_share == pytest.approx(0.125)
    assert 'thermal covers 12% of the RGB image, expected at least 20%' in registration.problem
    registration.register(np.zeros((40, 60), np.float32), (40, 60))
    assert registration.covered_share == 1.0
    assert registration.problem == ''


def test_a_mirroring_homography_is_named():
    config = RegistrationConfig(
        method='homography', homography_thermal_to_rgb=(-1, 0, 59, 0, 1, 0, 0, 0, 1)
    )
    registration = Registration(config)
    registration.register(np.zeros((40, 60), np.float32), (40, 60))
    assert 'mirrors the thermal image' in registration.problem


def test_images_of_another_size_than_their_camera_info_are_named_and_scaled():
    registration = equipped(extrinsics())
    thermal = np.zeros((20, 30), np.float32)
    thermal[3, 5] = 1.0
    registered = registration.register(thermal, (40, 60))
    # Thermal pixel 5 covers 10..12 of the full image, 12..14 with the parallax of 2 px.
    np.testing.assert_allclose(registered[6, 12:14], registered[6].max())
    assert (
        'thermal images are 20x30 (h x w) but its camera_info is for 40x60' in registration.problem
    )


def calibration_file(tmp_path, **changes):
    values = {
        'method': 'board',
        'num_images': 9,
        'rgb': pinhole(),
        'thermal': pinhole(),
        'rotation_thermal_to_rgb': np.eye(3),
        'translation_thermal_to_rgb': np.array([0.08, 0.0, 0.0]),
        'homography_thermal_to_rgb': np.array([[1, 0, 3], [0, 1, 2], [0, 0, 1]], np.float64),
        'rgb_size_hw': (40, 60),
        'thermal_size_hw': (40, 60),
        **changes,
    }
    path = tmp_path / 'calibration.yaml'
    write_calibration(path, Calibration(**values))
    return str(path)


def test_the_file_gives_cameras_and_pose(tmp_path):
    config = extrinsics(
        source='file',
        calibration_file=calibration_file(tmp_path),
        translation_thermal_to_rgb=(9.0, 9.0, 9.0),
    )
    registration = Registration(config)
    registration.set_camera(Modality.RGB, pinhole(focal=999.0))  # the file is what was asked for
    thermal = np.zeros((40, 60), np.float32)
    thermal[7, 10] = 1.0
    assert registration.register(thermal, (40, 60))[7, 12] == pytest.approx(1.0)
    assert registration.problem == ''


def test_the_homography_of_a_file_follows_the_size_of_the_images(tmp_path):
    config = RegistrationConfig(
        method='homography', source='file', calibration_file=calibration_file(tmp_path)
    )
    registration = Registration(config)
    thermal = np.zeros((40, 60), np.float32)
    thermal[7, 10] = 1.0
    # Twice the RGB pixels: the box 10..11 x 7..8 moves to 13..14 x 9..10, doubled.
    registered = registration.register(thermal, (80, 120))
    np.testing.assert_allclose(registered[18:20, 26:28], registered.max())
    assert registration.problem == ''
    registration.register(thermal, (80, 90))
    assert 'rgb images are 80x90 (h x w) but the calibration is for 40x60' in registration.problem


@pytest.mark.parametrize(
    ('method', 'missing', 'text'),
    [
        ('homography', ('homography_thermal_to_rgb',), 'holds no homography, expected one'),
        (
            'extrinsics',
            ('rotation_thermal_to_rgb', 'translation_thermal_to_rgb'),
            'holds no pose of the cameras, expected one',
        ),
    ],
)
def test_a_file_without_what_the_method_needs_is_refused(tmp_path, method, missing, text):
    path = calibration_file(tmp_path, **dict.fromkeys(missing))
    with pytest.raises(ConfigError, match=text):
        Registration(RegistrationConfig(method=method, source='file', calibration_file=path))


def test_an_absent_file_and_a_homography_from_tf_are_refused(tmp_path):
    absent = str(tmp_path / 'absent.yaml')
    config = RegistrationConfig(method='homography', source='file', calibration_file=absent)
    with pytest.raises(ConfigError, match='cannot read calibration'):
        Registration(config)
    with pytest.raises(ConfigError, match='tf knows poses only'):
        Registration(RegistrationConfig(method='homography', source='tf'))


def test_rgb_pixels_behind_a_fold_of_the_thermal_lens_show_something_finite():
    barrel = CameraModel(
        intrinsics=pinhole().intrinsics,
        distortion_model='plumb_bob',
        distortion=(-3.0, 0.0, 0.0, 0.0, 0.0),
        size_hw=(40, 60),
    )
    registration = Registration(extrinsics())
    registration.set_camera(Modality.RGB, pinhole(focal=20.0))
    registration.set_camera(Modality.THERMAL, barrel)
    registered = registration.register(np.full((40, 60), 3.0, np.float32), (40, 60))
    np.testing.assert_allclose(registered, 3.0)
    assert 0.0 < registration.covered_share < 0.9
