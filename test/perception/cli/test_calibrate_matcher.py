# SPDX-License-Identifier: Apache-2.0
"""`rgbt train` with the task matching, then `rgbt calibrate scene --matcher` with that run."""

from __future__ import annotations

import json

import cv2
from made_models import painted_sample, random_painted_samples, small_model, write_shard
import numpy as np
import pytest

from rgbt_models import matcher as matcher_module
from rgbt_models.build import ARCHITECTURES
from rgbt_models.label_sets import PACKAGE_LABEL_SET
from rgbt_models.match_geometry import PointMatches
from rgbt_models.train.pool import CONVERTED_KEY, POOL_FILE
from rgbt_perception.calibration_file import load_calibration
from rgbt_perception.cli.main import main

TRAIN = """
architecture: made
task: TASK
max_steps: 2
size_hws: [[64, 96]]
pixels_per_step: 12288
precision: 32-true
modality_dropout: 0.0
"""


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Return a function that trains two steps of a task, and a folder of image pairs."""
    monkeypatch.setitem(ARCHITECTURES, 'made', lambda **_: small_model().train())
    pool = tmp_path / 'pool'
    write_shard(pool, 'shard_0', random_painted_samples(4, seed=2))
    (pool / POOL_FILE).write_text(
        json.dumps({CONVERTED_KEY: 'made', **PACKAGE_LABEL_SET.to_json()})
    )

    def train(task):
        config, run = tmp_path / f'{task}.yaml', tmp_path / task
        config.write_text(TRAIN.replace('TASK', task))
        assert main(['train', str(config), '--pool', str(pool), '--out', str(run)]) == 0
        return run

    images = tmp_path / 'images'
    rng = np.random.default_rng(7)
    for index in range(6):
        corners = rng.integers((4, 4), (104, 72), (9, 2))
        sample = painted_sample(*((x, y, x + 12, y + 16) for x, y in corners.tolist()))
        for name, image in (('rgb', sample.rgb), ('thermal', sample.thermal)):
            (images / name).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(images / name / f'{index}.png'), image)
    return train, images


def test_a_run_of_two_steps_calibrates_or_says_why_not(tmp_path, folders, capsys):
    train, images = folders
    run = train('matching')
    capsys.readouterr()
    out = tmp_path / 'c.yaml'
    command = ['calibrate', 'scene', str(images), '--out', str(out), '--matcher', str(run)]
    status = main(command)
    captured = capsys.readouterr()
    if status == 0:
        assert load_calibration(out).method == 'matcher'
    else:
        assert status == 2
        assert captured.err.startswith('rgbt calibrate: ')
        assert captured.err.count('\n') == 1
        assert 'train the matcher longer' in captured.err
        assert not out.exists()


def test_a_matcher_that_knows_writes_the_same_files_as_edges_do(
    tmp_path, folders, monkeypatch, capsys
):
    train, images = folders
    run = train('matching')

    def follow_corners(self, rgb, thermal):
        del self
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        seen = (np.nan_to_num(thermal).clip(0, 1) * 230).astype(np.uint8)
        corners = cv2.goodFeaturesToTrack(grey, 40, 0.02, 3)
        moved, status, _ = cv2.calcOpticalFlowPyrLK(grey, seen, corners, None)
        kept = status.ravel() > 0
        return PointMatches(rgb_xy=corners[kept, 0], thermal_xy=moved[kept, 0])

    monkeypatch.setattr(matcher_module.Matcher, 'match', follow_corners)
    out, picture = tmp_path / 'c.yaml', tmp_path / 'p.png'
    command = ['calibrate', 'scene', str(images), '--out', str(out), '--matcher', str(run)]
    assert main([*command, '--model', 'translation', '--picture', str(picture)]) == 0
    text = capsys.readouterr().out
    assert 'pairs used: 6, model: translation' in text
    assert "method: 'homography'" in text
    found = load_calibration(out)
    assert found.homography_thermal_to_rgb is not None
    np.testing.assert_allclose(found.homography_thermal_to_rgb, np.eye(3), atol=1.0)
    assert cv2.imread(str(picture)).shape == (3 * 96, 2 * 128, 3)
    again = tmp_path / 'again.yaml'
    command[4] = str(again)
    assert main([*command, '--model', 'translation', '--initial', str(out)]) == 0
    assert 'moved by 0.' in capsys.readouterr().out


def test_runs_of_another_task_are_refused_in_one_line(tmp_path, folders, capsys):
    train, images = folders
    run = train('saliency')
    capsys.readouterr()
    command = ['calibrate', 'scene', str(images), '--out', str(tmp_path / 'c.yaml')]
    assert main([*command, '--matcher', str(run)]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert "learnt the task 'saliency'; expected 'matching'" in error


def test_a_folder_that_is_no_run_is_said_before_images_are_read(tmp_path, capsys):
    command = ['calibrate', 'scene', 'none', '--out', str(tmp_path / 'c.yaml')]
    assert main([*command, '--matcher', str(tmp_path)]) == 2
    assert 'holds no run.json' in capsys.readouterr().err
