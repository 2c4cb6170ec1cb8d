# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_perception.calibration_file import Calibration, load_calibration, write_calibration
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.errors import ConfigError

RGB = CameraModel(
    intrinsics=np.array([[500.0, 0.0, 300.25], [0.0, 501.5, 200.0], [0.0, 0.0, 1.0]]),
    distortion_model='plumb_bob',
    distortion=(-0.1, 0.02, 1e-5, -0.002, 0.0),
    size_hw=(480, 640),
)
THERMAL = CameraModel(
    intrinsics=np.array([[400.0, 0.0, 160.0], [0.0, 400.0, 128.0], [0.0, 0.0, 1.0]]),
    distortion_model='none',
    distortion=(),
    size_hw=(256, 320),
)
QUARTER_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def calibration(**changes):
    values = {
        'method': 'board',
        'num_images': 12,
        'reprojection_error_px': 0.31,
        'rgb': RGB,
        'thermal': THERMAL,
        'rotation_thermal_to_rgb': QUARTER_TURN,
        'translation_thermal_to_rgb': np.array([0.05, -0.01, 0.002]),
        'homography_thermal_to_rgb': np.array([[2.0, 0.1, 3.0], [0.0, 2.1, 4.0], [0, 0, 1.0]]),
        'rgb_size_hw': (480, 640),
        'thermal_size_hw': (256, 320),
        'depth_m': 2.5,
        **changes,
    }
    return Calibration(**values)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / 'calibration.yaml'
    write_calibration(path, calibration())
    read = load_calibration(path)
    assert (read.method, read.num_images, read.reprojection_error_px) == ('board', 12, 0.31)
    assert RGB.is_same(read.rgb)
    assert THERMAL.is_same(read.thermal)
    np.testing.assert_array_equal(read.rotation_thermal_to_rgb, QUARTER_TURN)
    np.testing.assert_array_equal(read.translation_thermal_to_rgb, [0.05, -0.01, 0.002])
    np.testing.assert_array_equal(
        read.homography_thermal_to_rgb, [[2.0, 0.1, 3.0], [0.0, 2.1, 4.0], [0, 0, 1]]
    )
    assert (read.rgb_size_hw, read.thermal_size_hw) == ((480, 640), (256, 320))
    assert read.depth_m == 2.5


def test_the_same_calibration_gives_the_same_bytes(tmp_path):
    paths = [tmp_path / 'a.yaml', tmp_path / 'b.yaml']
    for path in paths:
        write_calibration(path, calibration())
    assert paths[0].read_bytes() == paths[1].read_bytes()
    text = paths[0].read_text()
    assert 'X_rgb = R X_thermal + t' in text
    assert max(len(line) for line in text.splitlines()) <= 99


def test_a_homography_alone_is_a_calibration(tmp_path):
    path = tmp_path / 'scene.yaml'
    alone = calibration(
        method='scene',
        rgb=None,
        thermal=None,
        rotation_thermal_to_rgb=None,
        translation_thermal_to_rgb=None,
        depth_m=None,
        reprojection_error_px=None,
    )
    write_calibration(path, alone)
    read = load_calibration(path)
    assert read.rgb is None
    assert read.rotation_thermal_to_rgb is None
    assert read.depth_m is None


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'rotation_thermal_to_rgb': None}, 'has only one of rotation_thermal_to_rgb'),
        ({'rotation_thermal_to_rgb': 2 * QUARTER_TURN}, 'expected an orthogonal 3x3 matrix'),
        ({'rotation_thermal_to_rgb': np.diag([1.0, 1.0, -1.0])}, 'with determinant 1'),
        ({'translation_thermal_to_rgb': np.array([0.0, np.nan, 0.0])}, '3 finite numbers'),
        ({'thermal': None}, "a pose but no camera 'thermal'"),
        ({'homography_thermal_to_rgb': np.zeros((3, 3))}, 'expected a regular 3x3 matrix'),
        ({'rgb_size_hw': None}, 'rgb_size_hw is None, expected height and width'),
        ({'depth_m': -1.0}, 'depth_m is -1.0, expected a finite number of 0 or more'),
        ({'num_images': -1}, 'num_images is -1'),
        (
            {
                'rotation_thermal_to_rgb': None,
                'translation_thermal_to_rgb': None,
                'homography_thermal_to_rgb': None,
            },
            'neither homography_thermal_to_rgb nor rotation_thermal_to_rgb',
        ),
    ],
)
def test_incomplete_or_absurd_calibrations_are_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        calibration(**changes)


def edited(tmp_path, old, new):
    path = tmp_path / 'calibration.yaml'
    write_calibration(path, calibration())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ('old', 'new', 'text'),
    [
        ('depth_m:', 'depht_m:', "unknown key 'depht_m'.*did you mean 'depth_m'"),
        ('distortion_model:', 'distorsion_model:', "rgb: unknown key 'distorsion_model'"),
        ('format: 1', 'format: 2', 'format is 2, expected 1'),
        ('num_images: 12', "num_images: 'many'", "num_images holds 'many', expected a finite"),
        ('[480, 640]', '[480]', r'size_hw is \[480\], expected \[height, width\]'),
        ('[0.05, ', '[', 'translation_thermal_to_rgb has 2 numbers, expected 3'),
        ('method: board', 'method: [', 'is not valid YAML'),
        ('intrinsics:', 'distortion_model: none\n  unused:', "unknown key 'unused'"),
    ],
)
def test_wrong_files_are_refused_with_their_name(tmp_path, old, new, text):
    path = edited(tmp_path, old, new)
    with pytest.raises(ConfigError, match=text) as error:
        load_calibration(path)
    assert 'calibration.yaml' in str(error.value)


def test_files_that_are_not_there_or_no_mapping_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'cannot read calibration .*No such file'):
        load_calibration(tmp_path / 'absent.yaml')
    path = tmp_path / 'list.yaml'
    path.write_text('- 1\n')
    with pytest.raises(ConfigError, match='the file holds a list, expected keys and values'):
        load_calibration(path)
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ConfigError, match='cannot read calibration'):
        load_calibration(path)


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='cannot write calibration'):
        write_calibration(tmp_path / 'absent' / 'calibration.yaml', calibration())
