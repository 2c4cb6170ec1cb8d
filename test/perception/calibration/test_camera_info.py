# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from rgbt_perception.calibration.camera_info import load_camera_info
from rgbt_perception.errors import CalibrationError

TEXT = """\
image_width: 640
image_height: 512
camera_name: thermal
camera_matrix: {rows: 3, cols: 3, data: [543.0, 0.0, 317.0, 0.0, 541.0, 257.0, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.2, 0.05, 0.001, -0.002, 0.0]}
"""


def write(tmp_path, text):
    path = tmp_path / 'info.yaml'
    path.write_text(text)
    return path


def test_camera_info_of_a_driver_becomes_a_camera_model(tmp_path):
    model = load_camera_info(write(tmp_path, TEXT), name='thermal')
    assert model.size_hw == (512, 640)
    assert model.intrinsics.tolist() == [[543, 0, 317], [0, 541, 257], [0, 0, 1]]
    assert model.distortion_model == 'plumb_bob'
    assert model.distortion[:3] == (-0.2, 0.05, 0.001)


@pytest.mark.parametrize(
    ('old', 'new', 'text'),
    [
        ('camera_matrix', 'matrix', 'is not complete'),
        ('0.0, 0.0, 1.0]', '0.0, 0.0]', 'expected 9 numbers'),
        ('543.0, 0.0, 317.0, 0.0, 541.0, 257.0, 0.0, 0.0, 1.0', '0,0,0,0,0,0,0,0,0', 'all zero'),
        ('plumb_bob', 'fancy', "'fancy'"),
        ('image_width: 640', 'image_width: [', 'cannot read'),
    ],
)
def test_files_that_are_no_camera_info_are_refused(tmp_path, old, new, text):
    path = write(tmp_path, TEXT.replace(old, new))
    with pytest.raises(CalibrationError, match=text) as caught:
        load_camera_info(path, name='thermal')
    assert 'info.yaml' in str(caught.value)
    assert '\n' not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CalibrationError, match=r"cannot read camera_info '.*none.yaml'"):
        load_camera_info(tmp_path / 'none.yaml', name='rgb')
