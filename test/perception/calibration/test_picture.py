# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from rgbt_perception.calibration.image_pairs import ImagePair
from rgbt_perception.calibration.picture import (
    choose,
    draw_alignment,
    draw_panel,
    EDGE_COLOR,
    write_picture,
)
from rgbt_perception.calibration.report import parameter_lines
from rgbt_perception.config import load_config
from rgbt_perception.errors import CalibrationError

RIGHT_20 = np.array([[1.0, 0.0, 20.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def pair_with_edge(name='a'):
    thermal = np.full((60, 100), 29000, np.uint16)
    thermal[:, 50:] = 30000
    return ImagePair(name=name, rgb=np.full((60, 100, 3), 128, np.uint8), thermal=thermal)


def orange(picture):
    """How far each column goes from grey towards the colour of edges, 0..1."""
    red, blue = (picture[..., channel].astype(float).mean(axis=0) for channel in (0, 2))
    return (red - blue) / (EDGE_COLOR[0] - EDGE_COLOR[2])


def test_edges_are_drawn_where_the_homography_puts_them():
    assert np.argmax(orange(draw_panel(pair_with_edge(), np.eye(3)))) in (49, 50)
    moved = draw_panel(pair_with_edge(), RIGHT_20)
    assert np.argmax(orange(moved)) in (69, 70)


def test_what_thermal_does_not_see_is_bluish():
    panel = draw_panel(pair_with_edge(), RIGHT_20)
    assert (panel[30, 10].astype(int)[[2, 0]] @ [1, -1]) > 10
    assert panel[30, 40, 0] == panel[30, 40, 2]


def test_picture_has_before_left_and_after_right_for_three_pairs():
    pairs = [pair_with_edge(f'{index}') for index in range(7)]
    picture = draw_alignment(pairs, np.eye(3), RIGHT_20)
    assert picture.shape == (180, 200, 3)
    columns = orange(picture[20:60])
    assert np.argmax(columns[:100]) in (49, 50)
    assert np.argmax(columns[100:]) in (69, 70)


def test_pairs_to_draw_are_chosen_evenly():
    assert choose(list(range(9))) == [1, 4, 7]
    assert choose(['a', 'b']) == ['a', 'b']
    assert choose([]) == []


def test_picture_is_written_in_rgb_order(tmp_path):
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 200
    write_picture(tmp_path / 'p.png', red)
    assert cv2.imread(str(tmp_path / 'p.png'))[0, 0].tolist() == [0, 0, 200]
    with pytest.raises(CalibrationError, match=r"ends in '.bmp', expected .png or .jpg"):
        write_picture(tmp_path / 'p.bmp', red)


def test_parameter_lines_are_a_parameter_file(tmp_path):
    calibration = tmp_path / "it's.yaml"
    path = tmp_path / 'params.yaml'
    path.write_text(parameter_lines(calibration, method='extrinsics', depth_m=2.5))
    registration = load_config(path).registration
    assert registration.method == 'extrinsics'
    assert registration.source == 'file'
    assert registration.calibration_file == str(calibration)
    assert registration.depth_m == 2.5
