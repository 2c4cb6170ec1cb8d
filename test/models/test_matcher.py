# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import asdict
import json

from made_models import small_model
import numpy as np
import pytest
import torch

from rgbt_models.build import ARCHITECTURES
from rgbt_models.errors import DatasetError, WeightsError
from rgbt_models.heads import Matches
from rgbt_models.matcher import load_matcher
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.tasks import build_task_model
from rgbt_models.weights import save_weights


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, 'made', lambda **_: small_model().train())


def write_run(folder, task='matching', **changes):
    """A folder as rgbt train leaves it, with the weights that the network starts from."""
    config = TrainConfig(
        architecture='made', task=task, size_hws=((96, 64), (64, 128), (64, 96)), **changes
    )
    folder.mkdir()
    save_weights(build_task_model(config), folder / 'weights.safetensors')
    (folder / 'run.json').write_text(json.dumps({'steps': 0, 'config': asdict(config)}))
    return folder


def test_a_matcher_works_at_the_largest_crop_of_its_run(tmp_path):
    matcher = load_matcher(write_run(tmp_path / 'run'))
    assert matcher.size_hw == (64, 128)
    assert matcher.error_px == 3.0
    coarse = load_matcher(write_run(tmp_path / 'coarse', fine_matching=False))
    assert coarse.error_px == 8.0


def test_images_are_normalised_as_the_run_says_and_what_is_not_seen_is_the_mean(tmp_path):
    run = write_run(tmp_path / 'run', rgb_mean=(0.1, 0.2, 0.3), thermal_mean=0.5, thermal_std=0.2)
    matcher, given = load_matcher(run), []

    class Spy:
        def match(self, rgb, thermal):
            given.extend([rgb, thermal])
            return Matches(
                rgb_xy=torch.tensor([[1.0, 2.0]]),
                thermal_xy=torch.tensor([[3.0, 4.0]]),
                scores=torch.ones(1),
            )

    matcher._model = Spy()  # what the network is given cannot be seen otherwise
    thermal = np.full((64, 128), 0.7, np.float32)
    thermal[0, 5] = np.nan
    found = matcher.match(np.full((64, 128, 3), 51, np.uint8), thermal)
    assert found.rgb_xy.tolist() == [[1.0, 2.0]]
    assert found.thermal_xy.tolist() == [[3.0, 4.0]]
    expected = (0.2 - np.array([0.1, 0.2, 0.3])) / 0.27
    np.testing.assert_allclose(given[0][:, 3, 4].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(given[1][:, 3, 4].numpy(), [1.0] * 3, atol=1e-6)
    assert given[1][:, 0, 5].tolist() == [0.0] * 3


def test_thermal_is_stretched_as_in_training(tmp_path):
    matcher = load_matcher(write_run(tmp_path / 'run'))
    thermal = np.arange(30_000, 36_000, dtype=np.uint16).reshape(60, 100)
    expected = TrainConfig().thermal_normaliser(thermal)
    np.testing.assert_array_equal(matcher.stretch(thermal), expected)


def test_points_lie_in_the_images(tmp_path):
    matcher = load_matcher(write_run(tmp_path / 'run'))
    rng = np.random.default_rng(0)
    found = matcher.match(
        rng.integers(0, 255, (64, 128, 3), np.uint8), rng.random((64, 128), np.float32)
    )
    assert found.rgb_xy.shape == found.thermal_xy.shape
    assert (found.rgb_xy < (128, 64)).all()


def test_runs_of_another_task_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="learnt the task 'saliency'; expected 'matching'"):
        load_matcher(write_run(tmp_path / 'run', task='saliency'))


def test_weights_without_the_fine_features_that_the_run_names_are_refused(tmp_path):
    run = write_run(tmp_path / 'run', fine_matching=False)
    about = json.loads((run / 'run.json').read_text())
    about['config']['fine_matching'] = True
    (run / 'run.json').write_text(json.dumps(about))
    with pytest.raises(WeightsError, match='missing: fine'):
        load_matcher(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r'holds no run\.json'):
        load_matcher(tmp_path)
