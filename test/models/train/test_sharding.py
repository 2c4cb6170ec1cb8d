# SPDX-License-Identifier: Apache-2.0
"""Sharded parameters (FSDP) over two processes, on the CPU."""

from __future__ import annotations

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

from made_models import random_painted_samples, small_model, write_shard
import pytest
from safetensors.torch import load_file
import timm
import torch
import train_peer

from rgbt_models.build import ARCHITECTURES
from rgbt_models.errors import DatasetError, PretrainError
from rgbt_models.pretrain.run import PretrainLearner
from rgbt_models.pretrain.univ import UnivTask
from rgbt_models.train.checkpoint import newest_checkpoint
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.loop import RunPlace
from rgbt_models.train.sharding import own_part, split_like, whole
from rgbt_models.train.supervised import SupervisedLearner
from rgbt_models.weights import load_weights

# float32 sums in another order: of two steps, and of four, where running statistics add theirs.
ROUNDING, ADDED_ROUNDING = 1e-6, 2e-6
TEST_DIR = Path(train_peer.__file__).parent
DEADLINE_S = 300.0
CPU = torch.device('cpu')


def run_peer(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(TEST_DIR.parent), str(TEST_DIR)])
    command = [sys.executable, train_peer.__file__, str(run.parent / 'no_pool'), str(run)]
    return subprocess.run(
        [*command, '--first-batches', '--few-steps', '--devices', '2', *options],
        env={**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Four steps of two processes with each strategy."""
    folder = tmp_path_factory.mktemp('sharding')
    for strategy in ('ddp', 'fsdp'):
        result = run_peer(folder / strategy, '--strategy', strategy)
        assert result.returncode == 0, result.stderr
    return folder


def largest_difference(one: Path, other: Path, *, of: tuple[str, ...] = ('',)) -> float:
    tensors, others = load_file(one), load_file(other)
    assert set(tensors) == set(others)
    names = [name for name in tensors if name.startswith(of)]
    return max(float((tensors[n].double() - others[n].double()).abs().max()) for n in names)


@pytest.mark.parametrize(
    ('step', 'parts', 'rounding'),
    [
        # Moments of AdamW: the gradients are equal.
        (2, ('model.', 'average.', 'optimiser.'), ROUNDING),
        (4, ('model.', 'average.'), ADDED_ROUNDING),
    ],
)
def test_checkpoints_are_whole_and_equal_to_those_of_whole_parameters(runs, step, parts, rounding):
    name = f'checkpoint_{step:09d}/tensors.safetensors'
    assert largest_difference(runs / 'ddp' / name, runs / 'fsdp' / name, of=parts) < rounding
    tensors = load_file(runs / 'fsdp' / name)
    shapes = {name: value.shape for name, value in small_model().state_dict().items()}
    for part in ('model', 'average'):
        for key, shape in shapes.items():
            assert tensors[f'{part}.{key}'].shape == shape


def test_the_averaged_weights_are_whole_and_have_moved(runs):
    path = runs / 'fsdp' / 'weights.safetensors'
    assert largest_difference(runs / 'ddp' / 'weights.safetensors', path) < ADDED_ROUNDING
    model, start = small_model(), small_model().state_dict()
    load_weights(model, path)
    moved = [n for n, value in model.state_dict().items() if not torch.equal(value, start[n])]
    assert len(moved) > 30
    about = json.loads((runs / 'fsdp' / 'run.json').read_text())
    assert (about['strategy'], about['processes']) == ('fsdp', 2)


@pytest.mark.parametrize('strategy', ['fsdp', 'ddp'])
def test_a_killed_run_goes_on_with_either_strategy(runs, tmp_path, strategy):
    assert run_peer(tmp_path / 'run', '--strategy', 'fsdp', '--kill-at', '3').returncode != 0
    newest = newest_checkpoint(tmp_path / 'run')
    assert newest is not None
    assert newest.name == 'checkpoint_000000002'
    result = run_peer(tmp_path / 'run', '--strategy', strategy)
    assert result.returncode == 0, result.stderr
    name = 'weights.safetensors'
    limit = 1e-12 if strategy == 'fsdp' else 1e-6
    assert largest_difference(runs / 'fsdp' / name, tmp_path / 'run' / name) < limit


def test_another_number_of_processes_is_refused(runs, tmp_path):
    shutil.copytree(runs / 'fsdp', tmp_path / 'run')
    (tmp_path / 'run' / 'run.json').unlink()
    result = run_peer(tmp_path / 'run', '--devices', '1', '--strategy', 'fsdp')
    assert result.returncode != 0
    assert 'is of 2 processes; this run has 1; expected the same number' in result.stderr


def test_balanced_cameras_are_refused_with_sharded_parameters(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, 'made', lambda **_: small_model().train())
    learner = SupervisedLearner(TrainConfig(architecture='made', is_balanced=True), device=CPU)
    with pytest.raises(DatasetError, match="is_balanced is on with the strategy 'fsdp'; expected"):
        learner.shard(None)  # type: ignore[arg-type]  # refused before it is looked at


def test_an_unknown_strategy_is_said(tmp_path):
    with pytest.raises(DatasetError, match="strategy is 'dp'; expected one of ddp, fsdp"):
        RunPlace(folder=tmp_path, strategy='dp')


def test_a_tensor_that_is_not_split_is_itself():
    value = torch.arange(3.0)
    assert whole(value) is value
    assert own_part(value) is value
    assert split_like(value, torch.zeros(3)) is value


PRETRAINING = """
method: mae
batch_size: 2
max_steps: 2
checkpoint_every: 2
warmup_steps: 0
precision: 32-true
mae: {encoder: vit_tiny_patch16_224, image_size: 64, decoder_dim: 32, decoder_depth: 1,
      decoder_heads: 2}
"""


def test_pretraining_by_command_gives_the_same_encoder_with_sharded_parameters(tmp_path):
    write_shard(tmp_path / 'pool', 'shard_0', random_painted_samples(6, seed=1))
    (tmp_path / 'pool' / 'pool.json').write_text('{"converted_from": "made"}')
    (tmp_path / 'run.yaml').write_text(PRETRAINING)
    command = [sys.executable, '-m', 'rgbt_perception.cli.main', 'pretrain', 'run.yaml']
    for strategy in ('ddp', 'fsdp'):
        options = ['--pool', 'pool', '--out', strategy, '--devices', '2', '--strategy', strategy]
        result = subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(TEST_DIR.parent), 'OMP_NUM_THREADS': '1'},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert result.returncode == 0, result.stderr
    paths = [tmp_path / name / 'weights.safetensors' for name in ('ddp', 'fsdp')]
    assert largest_difference(*paths) < 1e-6
    moments = load_file(tmp_path / 'fsdp/checkpoint_000000002/tensors.safetensors')
    assert any(float(v.abs().max()) > 0 for name, v in moments.items() if 'exp_avg' in name)


def test_a_method_that_reads_parameters_is_refused():
    encoder = timm.create_model('vit_tiny_patch16_224', depth=2, img_size=64, num_classes=0)
    learner = PretrainLearner(UnivTask(encoder), device=CPU)
    with pytest.raises(PretrainError, match="method is 'univ' with the strategy 'fsdp'; expected"):
        learner.shard(None)  # type: ignore[arg-type]  # refused before it is looked at
