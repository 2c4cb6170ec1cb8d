# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from bench.board_images import board_pairs
from rgbt_models.match_geometry import MODELS
from rgbt_models.synthetic import default_rig
from rgbt_perception.calibration.intrinsics import DISTORTIONS
from rgbt_perception.calibration.pattern import BoardPattern, PATTERNS
from rgbt_perception.calibration.scene import homography_distance_px
from rgbt_perception.calibration_file import load_calibration
from rgbt_perception.cli import calibrate
from rgbt_perception.cli.main import main
from rgbt_perception.config import load_config
from rgbt_perception.registration import Registration

BOARD = ['--pattern', 'circles', '--rows', '4', '--columns', '6', '--square-m', '0.09']


def write_pairs(folder, pairs):
    for pair in pairs:
        for name, image in (('rgb', pair.rgb[..., ::-1]), ('thermal', pair.thermal)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / name / f'{pair.name}.png'), image)


def write_infos(folder, **models):
    for name, model in models.items():
        (folder / f'{name}.yaml').write_text(
            f'image_width: {model.size_hw[1]}\nimage_height: {model.size_hw[0]}\n'
            f'camera_matrix: {{data: {model.intrinsics.ravel().tolist()}}}\n'
            f'distortion_model: plumb_bob\ndistortion_coefficients: {{data: [0, 0, 0, 0, 0]}}\n'
        )


def printed_settings(text, folder):
    """The parameter file that the command prints after its findings."""
    path = folder / 'node.yaml'
    path.write_text(text.partition('settings for the node:')[2])
    return load_config(path)


def test_choices_are_those_of_the_library():
    assert calibrate.PATTERN_CHOICES == PATTERNS
    assert calibrate.MODEL_CHOICES == MODELS
    assert calibrate.DISTORTION_CHOICES == DISTORTIONS


def test_board_writes_a_calibration_that_the_node_can_use(tmp_path, capsys):
    pattern = BoardPattern(kind='circles', rows=4, columns=6, square_m=0.09)
    pairs, rgb, thermal = board_pairs(pattern, 4, seed=5, rig=default_rig().scaled(0.5))
    write_pairs(tmp_path / 'in', pairs)
    write_infos(tmp_path, rgb=rgb, thermal=thermal)
    out, picture = tmp_path / 'c.yaml', tmp_path / 'overlay.png'
    options = [*BOARD, '--out', str(out), '--picture', str(picture), '--depth-m', '1.5']
    infos = [f'--{name}-info={tmp_path / name}.yaml' for name in ('rgb', 'thermal')]
    assert main(['calibrate', 'board', str(tmp_path / 'in'), *options, *infos]) == 0
    text = capsys.readouterr().out
    assert 'error (px)' in text
    assert 'homography holds at a depth of 1.50 m' in text
    found = load_calibration(out)
    assert found.depth_m == 1.5
    assert found.reprojection_error_px < 0.3
    width = 2 * rgb.size_hw[1]
    assert cv2.imread(str(picture)).shape == (3 * rgb.size_hw[0], width, 3)
    # The node maps by the file as the file says.
    config = printed_settings(text, tmp_path).registration
    assert (config.method, config.source) == ('extrinsics', 'file')
    registration = Registration(config)
    box = np.array([[100.0, 80.0, 140.0, 120.0]], np.float32)
    mapped = registration.boxes_to_thermal(box, rgb.size_hw, thermal.size_hw)
    centre = (mapped[:, :2] + mapped[:, 2:]) / 2 - 0.5
    back = cv2.perspectiveTransform(centre[None].astype(float), found.homography_thermal_to_rgb)
    np.testing.assert_allclose(back[0, 0], [119.5, 99.5], atol=0.6)


def test_scene_writes_a_homography_and_says_how_sure_it_is(tmp_path, capsys):
    rng = np.random.default_rng(0)
    truth = np.array([[1.1, 0.0, -12.0], [0.0, 1.1, 5.0], [0.0, 0.0, 1.0]])
    for index in range(8):
        small = rng.uniform(0, 1, (12, 16)).astype(np.float32)
        grey = cv2.resize(small, (160, 120), interpolation=cv2.INTER_NEAREST)
        thermal = cv2.warpPerspective(1 - grey, np.linalg.inv(truth), (160, 120))
        for name, image in (('rgb', grey * 255), ('thermal', thermal * 255)):
            (tmp_path / 'in' / name).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(tmp_path / 'in' / name / f'{index}.png'), image.astype('u1'))
    out = tmp_path / 'c.yaml'
    command = ['calibrate', 'scene', str(tmp_path / 'in'), '--out', str(out)]
    assert main([*command, '--picture', str(tmp_path / 'p.jpg')]) == 0
    text = capsys.readouterr().out
    assert 'two halves of the pairs agree within' in text
    found = load_calibration(out)
    assert found.method == 'scene'
    assert homography_distance_px(truth, found.homography_thermal_to_rgb, (120, 160)) < 0.5
    assert printed_settings(text, tmp_path).registration.method == 'homography'
    assert (tmp_path / 'p.jpg').is_file()
    # Starting from the result finds the result again.
    again = tmp_path / 'again.yaml'
    assert main([*command[:-1], str(again), '--initial', str(out)]) == 0
    second = load_calibration(again).homography_thermal_to_rgb
    assert homography_distance_px(found.homography_thermal_to_rgb, second, (120, 160)) < 0.1


def test_target_is_drawn(tmp_path, capsys):
    out = tmp_path / 'board.png'
    assert main(['calibrate', 'target', *BOARD, '--dpi', '50', '--out', str(out)]) == 0
    assert 'board of 630.0 x 450.0 mm' in capsys.readouterr().out
    assert out.is_file()


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['scene', 'none', '--out', 'c.yaml'], "there is no bag at 'none'"),
        (['scene', 'none', '--out', 'no/c.yaml'], "folder 'no' does not exist"),
        (['scene', 'none', '--out', 'c.yaml', '--picture', 'c.gif'], 'expected a .png or .jpg'),
        (['board', 'none', *BOARD, '--out', 'c.yaml'], "there is no bag at 'none'"),
        (['target', *BOARD, '--out', 'board.pdf'], "ends in '.pdf'"),
    ],
)
def test_mistakes_are_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(tmp_path)
    assert main(['calibrate', *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith('rgbt calibrate: ')
    assert captured.err.count('\n') == 1
    assert text in captured.err
    assert captured.out == ''
