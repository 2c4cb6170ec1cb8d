# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from bench.board_images import (
    board_pairs,
    camera_model,
    render_pair_of_board,
    rig_pose,
    THERMAL_DISTORTION,
    true_homography,
)
from rgbt_models.synthetic import default_rig
from rgbt_perception.calibration.board import calibrate_board, detect_boards, plane_homography
from rgbt_perception.calibration.image_pairs import ImagePair
from rgbt_perception.calibration.pattern import BoardPattern
from rgbt_perception.calibration.scene import homography_distance_px
from rgbt_perception.calibration_file import load_calibration, write_calibration
from rgbt_perception.errors import CalibrationError

RIG = default_rig()
RGB_HW = (480, 640)
CIRCLES = BoardPattern(kind='circles', rows=5, columns=7, square_m=0.08)
CHARUCO = BoardPattern(kind='charuco', rows=6, columns=8, square_m=0.08)


@pytest.fixture(scope='module')
def circles():
    return board_pairs(CIRCLES, 10, seed=1, lenses=True)


def angle_deg(first, second):
    return np.degrees(np.linalg.norm(cv2.Rodrigues(first @ second.T)[0]))


def blank(pair: ImagePair, modality: str) -> ImagePair:
    pixels = np.full_like(getattr(pair, modality), 100)
    return replace(pair, name=f'{pair.name}-{modality}', **{modality: pixels})


def test_cameras_pose_and_homography_are_found_through_lenses(circles):
    pairs, rgb, thermal = circles
    found = calibrate_board(pairs, CIRCLES)
    rotation, translation = rig_pose(RIG)
    truth, _ = plane_homography(rgb, thermal, rotation, translation, depth_m=found.depth_m)
    # The bound of the project is 1.0 px.
    assert homography_distance_px(truth, found.homography, RGB_HW) < 0.3
    assert angle_deg(found.rotation, rotation) < 0.15
    np.testing.assert_allclose(found.translation, translation, atol=0.003)
    np.testing.assert_allclose(found.rgb.intrinsics, rgb.intrinsics, atol=4.0)
    np.testing.assert_allclose(found.thermal.distortion[:2], THERMAL_DISTORTION[:2], atol=0.03)
    assert found.error_px < 0.1
    assert 0.9 < found.depth_m < 2.4


def test_charuco_homography_is_within_one_pixel_at_its_depth():
    pairs, rgb, thermal = board_pairs(CHARUCO, 8, seed=2, is_hot=False)
    found = calibrate_board(pairs, CHARUCO, rgb=rgb, thermal=thermal, depth_m=1.7)
    assert homography_distance_px(true_homography(RIG, 1.7), found.homography, RGB_HW) < 0.3
    assert found.homography_error_px < 1e-4
    assert found.error_px < 0.3


def test_pairs_that_one_camera_misses_are_named_with_the_reason(circles):
    pairs, rgb, thermal = circles
    shown = [
        pairs[4],
        blank(pairs[5], 'rgb'),
        blank(pairs[6], 'thermal'),
        blank(blank(pairs[7], 'rgb'), 'thermal'),
    ]
    found, rejected = detect_boards(shown, CIRCLES)
    assert [pair.name for pair in found] == ['0104']
    assert [(item.name, item.reason) for item in rejected] == [
        ('0105-rgb', 'rgb does not see the board'),
        ('0106-thermal', 'thermal does not see the board'),
        ('0107-rgb-thermal', 'neither camera sees the board'),
    ]
    with pytest.raises(CalibrationError, match='1 of 4 pairs show the board to both cameras'):
        calibrate_board(shown, CIRCLES, rgb=rgb, thermal=thermal)


def test_pair_of_two_instants_is_left_out_as_an_outlier(circles):
    pairs, rgb, thermal = circles
    wrong = ImagePair(name='late', rgb=pairs[4].rgb, thermal=pairs[5].thermal)
    found = calibrate_board([*pairs[4:], wrong], CIRCLES, rgb=rgb, thermal=thermal)
    assert len(found.pairs) == 6
    assert [item.name for item in found.rejected] == ['late']
    assert 'reprojection error' in found.rejected[0].reason
    assert found.error_px < 0.1


def test_wrong_view_does_not_spoil_the_estimated_cameras(circles, monkeypatch):
    pairs, rgb, _ = circles
    honest = detect_boards(pairs, CIRCLES)

    def detect_wrongly(given, pattern):
        # One board found a column too far to the right, the new column at a guessed place.
        found, rejected = list(honest[0]), list(honest[1])
        grid = found[3].rgb.pixels.reshape(5, 7, 2)
        guessed = np.concatenate([grid[:, 1:], grid[:, -1:] + [9.0, 30.0]], axis=1)
        view = replace(found[3].rgb, pixels=guessed.reshape(-1, 2))
        found[3] = replace(found[3], rgb=view)
        return found, rejected

    monkeypatch.setattr('rgbt_perception.calibration.board.detect_boards', detect_wrongly)
    found = calibrate_board(pairs, CIRCLES)
    assert honest[0][3].name in [item.name for item in found.rejected]
    np.testing.assert_allclose(found.rgb.intrinsics, rgb.intrinsics, atol=4.0)


def test_pairs_that_contradict_each_other_are_refused(circles):
    pairs, rgb, thermal = circles
    shuffled = [
        ImagePair(name=first.name, rgb=first.rgb, thermal=second.thermal)
        for first, second in zip(pairs[2:], [*pairs[5:], *pairs[2:5]], strict=True)
    ]
    with pytest.raises(CalibrationError, match='contradict the others'):
        calibrate_board(shuffled, CIRCLES, rgb=rgb, thermal=thermal)


def test_too_few_views_for_intrinsics_ask_for_camera_info(circles):
    pairs, rgb, thermal = circles
    with pytest.raises(CalibrationError, match='give them with --rgb-info'):
        calibrate_board(pairs[4:8], CIRCLES, thermal=thermal)
    found = calibrate_board(pairs[4:8], CIRCLES, rgb=rgb, thermal=thermal)
    assert len(found.pairs) == 4


def test_boards_that_are_all_parallel_do_not_give_intrinsics():
    rgb, thermal = camera_model(RIG.rgb), camera_model(RIG.thermal)
    pairs = [
        render_pair_of_board(
            (rgb, thermal),
            rig_pose(RIG),
            CIRCLES,
            (np.eye(3), np.array([0.02 * index - 0.05, 0.0, 1.2 + 0.1 * index])),
            seed=index,
        )
        for index in range(5)
    ]
    with pytest.raises(CalibrationError, match='tilted alike'):
        calibrate_board(pairs, CIRCLES)


def test_plane_homography_is_the_closed_form_without_lenses():
    rgb, thermal = camera_model(RIG.rgb), camera_model(RIG.thermal)
    homography, error_px = plane_homography(rgb, thermal, *rig_pose(RIG), depth_m=3.0)
    assert homography_distance_px(true_homography(RIG, 3.0), homography, RGB_HW) < 1e-4
    assert error_px < 1e-4


def test_cameras_that_look_elsewhere_have_no_homography():
    rgb, thermal = camera_model(RIG.rgb), camera_model(RIG.thermal)
    aside = cv2.Rodrigues(np.array([0.0, 1.5, 0.0]))[0]
    with pytest.raises(CalibrationError, match='the thermal camera sees 0 % of the RGB image'):
        plane_homography(rgb, thermal, aside, np.zeros(3), depth_m=2.0)


def test_what_is_written_is_what_was_found(tmp_path, circles):
    pairs, rgb, thermal = circles
    found = calibrate_board(pairs[4:], CIRCLES, rgb=rgb, thermal=thermal)
    write_calibration(tmp_path / 'c.yaml', found.to_calibration())
    loaded = load_calibration(tmp_path / 'c.yaml')
    assert loaded.method == 'board'
    assert loaded.num_images == len(found.pairs)
    assert loaded.depth_m == found.depth_m
    np.testing.assert_array_equal(loaded.homography_thermal_to_rgb, found.homography)
    np.testing.assert_array_equal(loaded.translation_thermal_to_rgb, found.translation)
    assert loaded.thermal.is_same(thermal)
