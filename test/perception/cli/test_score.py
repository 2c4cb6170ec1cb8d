# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from made_models import random_painted_samples, small_model, write_shard
from made_runs import config_of
import pytest

from rgbt_models.build import ARCHITECTURES
from rgbt_models.train.config import TASK_NAMES
from rgbt_models.train.loop import RunPlace
from rgbt_models.train.supervised import train
from rgbt_perception.cli.main import main
from rgbt_perception.run_scores import flatten


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, 'made', lambda **_: small_model().train())


@pytest.mark.parametrize('task', TASK_NAMES)
def test_a_run_of_every_task_is_scored_and_twice_alike(task, tmp_path, capsys):
    pool, run = tmp_path / 'pool', tmp_path / 'run'
    write_shard(pool, 'shard_0', random_painted_samples(3, seed=2))
    train(config_of(task), pool_dir=pool, place=RunPlace(folder=run))
    for out in ('a', 'b'):
        command = ['score', str(run), '--pool', str(pool), '--out', str(tmp_path / out)]
        assert main([*command, '--pairs', '2']) == 0
    first, again = ((tmp_path / out / 'score.json').read_bytes() for out in ('a', 'b'))
    assert first == again
    document = json.loads(first)
    assert (document['task'], document['pairs'], document['steps']) == (task, 2, 2)
    shown = capsys.readouterr().out
    assert 'fused' in shown
    assert 'RGB only' in shown
    assert ('needs both' in shown) == (task == 'matching')
    if task == 'saliency':  # a count, not a score
        row = next(line for line in shown.splitlines() if 'pairs_without_object' in line)
        assert '.' not in row
    for value in flatten(document['fused']).values():
        assert value is None or value >= 0.0


def test_by_default_the_score_lies_in_the_run(tmp_path):
    pool, run = tmp_path / 'pool', tmp_path / 'run'
    write_shard(pool, 'shard_0', random_painted_samples(2, seed=2))
    train(config_of('segmentation'), pool_dir=pool, place=RunPlace(folder=run))
    assert main(['score', str(run), '--pool', str(pool)]) == 0
    assert json.loads((run / 'score.json').read_text())['pairs'] == 2


def test_a_device_that_is_not_there_is_one_line(tmp_path, capsys):
    pool, run = tmp_path / 'pool', tmp_path / 'run'
    write_shard(pool, 'shard_0', random_painted_samples(2, seed=2))
    train(config_of('segmentation'), pool_dir=pool, place=RunPlace(folder=run))
    assert main(['score', str(run), '--pool', str(pool), '--device', 'abacus']) == 2
    error = capsys.readouterr().err
    assert error.startswith("rgbt score: device 'abacus' cannot be used")
    assert error.count('\n') == 1
