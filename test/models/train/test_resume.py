# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys

from made_models import random_painted_samples, write_shard
from made_shards import damage, make_shards
import numpy as np
import pytest
from safetensors.torch import load_file
import torch
import train_peer

from rgbt_models import encoder
from rgbt_models.build import ARCHITECTURES
from rgbt_models.errors import DatasetError, WeightsError
from rgbt_models.train import loop, supervised
from rgbt_models.train.checkpoint import KEPT, newest_checkpoint
from rgbt_models.train.loop import RunPlace
from rgbt_models.train.supervised import train

TEST_DIR = Path(train_peer.__file__).parent
DEADLINE_S = 300.0


def run_peer(*arguments: object) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(TEST_DIR.parent), str(TEST_DIR)])
    return subprocess.run(
        [sys.executable, train_peer.__file__, *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """Train to the end in this process; return the folder with pool and run."""
    folder = tmp_path_factory.mktemp('resume')
    for name, seed in (('shard_0', 3), ('shard_1', 4)):
        write_shard(folder / 'pool', name, random_painted_samples(6, seed=seed))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(ARCHITECTURES, train_peer.ARCHITECTURE, None)
        monkeypatch.setattr(loop, 'LOG_EVERY', 1)
        train_peer.register()
        train(train_peer.CONFIG, pool_dir=folder / 'pool', place=RunPlace(folder=folder / 'whole'))
        yield folder


def test_a_killed_run_goes_on_to_the_same_weights(uninterrupted):
    """Killed at a random step, then while it writes a checkpoint; resumed each time."""
    pool, run = uninterrupted / 'pool', uninterrupted / 'killed'
    step = int(np.random.default_rng(7).integers(4, 9))
    assert run_peer(pool, run, '--kill-at', step).returncode == -signal.SIGKILL
    first = newest_checkpoint(run)
    assert first is not None
    assert first.name == f'checkpoint_{(step - 1) // 3 * 3:09d}'
    assert not (run / 'run.json').exists()
    # Four files make a checkpoint; the sixth is the state of the second one that follows.
    assert run_peer(pool, run, '--kill-at-write', 6).returncode == -signal.SIGKILL
    assert (run / f'checkpoint_{(step - 1) // 3 * 3 + 6:09d}.partial').is_dir()
    train(train_peer.CONFIG, pool_dir=pool, place=RunPlace(folder=run, resume=True))
    whole = uninterrupted / 'whole' / 'weights.safetensors'
    assert (run / 'weights.safetensors').read_bytes() == whole.read_bytes()
    described = [
        json.loads((uninterrupted / name / 'run.json').read_text()) for name in ('whole', 'killed')
    ]
    for name in ('steps', 'samples', 'final_loss'):
        assert described[0][name] == described[1][name]


def test_the_last_checkpoint_is_equal_too(uninterrupted):
    run = uninterrupted / 'again'
    pool = uninterrupted / 'pool'
    assert run_peer(pool, run, '--kill-at', 13).returncode == -signal.SIGKILL
    found = [newest_checkpoint(uninterrupted / name) for name in ('whole', 'again')]
    assert [path.name for path in found if path] == ['checkpoint_000000012'] * 2
    for name in ('tensors.safetensors', 'rank_0.safetensors', 'rank_0.json'):
        contents = [(path / name).read_bytes() for path in found if path]
        assert contents[0] == contents[1]


def test_old_checkpoints_are_removed(uninterrupted):
    names = sorted(path.name for path in (uninterrupted / 'whole').glob('checkpoint*'))
    assert names == ['checkpoint_000000009', 'checkpoint_000000012']
    assert len(names) == KEPT


def test_a_resumed_log_has_each_step_once(uninterrupted, tmp_path):
    run = tmp_path / 'run'
    run.mkdir()
    whole = (uninterrupted / 'whole' / 'log.jsonl').read_text().splitlines()
    newest = newest_checkpoint(uninterrupted / 'whole')
    assert newest is not None
    (run / newest.name).symlink_to(newest)
    (run / 'log.jsonl').write_text('\n'.join([*whole, '{"step": 15, "lo']))  # half a line
    place = RunPlace(folder=run, resume=True)
    train(train_peer.CONFIG, pool_dir=uninterrupted / 'pool', place=place)
    entries = [json.loads(line) for line in (run / 'log.jsonl').read_text().splitlines()]
    wanted = [json.loads(line) for line in whole]
    for entry in (*entries, *wanted):
        del entry['samples_per_s']
    assert entries == wanted
    assert [entry['step'] for entry in entries] == list(range(1, 15))


def test_other_settings_are_refused(uninterrupted, tmp_path):
    checkpoint = newest_checkpoint(uninterrupted / 'whole')
    assert checkpoint is not None
    (tmp_path / checkpoint.name).symlink_to(checkpoint)
    config = replace(train_peer.CONFIG, learning_rate=1.0, ema_decay=0.5)
    place = RunPlace(folder=tmp_path, resume=True)
    with pytest.raises(
        DatasetError, match=r'was written with another \w+, \w+; expected the sett'
    ) as error:
        train(config, pool_dir=uninterrupted / 'pool', place=place)
    assert 'learning_rate' in str(error.value)
    assert 'ema_decay' in str(error.value)


def test_a_checkpoint_from_before_a_setting_goes_on_as_it_was(uninterrupted, tmp_path):
    newest = newest_checkpoint(uninterrupted / 'whole')
    assert newest is not None
    old = shutil.copytree(newest, tmp_path / newest.name)
    state = json.loads((old / 'state.json').read_text())
    del state['config']['lovasz_weight']
    (old / 'state.json').write_text(json.dumps(state))
    pool, place = uninterrupted / 'pool', RunPlace(folder=tmp_path, resume=True)
    with pytest.raises(DatasetError, match='was written with another lovasz_weight; expected'):
        train(replace(train_peer.CONFIG, lovasz_weight=1.0), pool_dir=pool, place=place)
    assert train(train_peer.CONFIG, pool_dir=pool, place=place).steps == 14


def test_a_finished_run_is_not_resumed(uninterrupted):
    place = RunPlace(folder=uninterrupted / 'whole', resume=True)
    with pytest.raises(DatasetError, match=r'holds a finished run \(run.json\)'):
        train(train_peer.CONFIG, pool_dir=uninterrupted / 'pool', place=place)


def test_a_folder_with_a_checkpoint_alone_is_not_empty(tmp_path):
    """A run killed before its first line in the log."""
    (tmp_path / 'checkpoint_000000003').mkdir()
    with pytest.raises(DatasetError, match='holds checkpoint_000000003 of another run'):
        loop.check_place(RunPlace(folder=tmp_path))
    loop.check_place(RunPlace(folder=tmp_path, resume=True))


def test_a_run_killed_after_its_last_step_tells_its_loss(uninterrupted, tmp_path):
    config = replace(train_peer.CONFIG, max_steps=2, checkpoint_every=2)
    pool, run = uninterrupted / 'pool', tmp_path / 'run'
    whole = train(config, pool_dir=pool, place=RunPlace(folder=run))
    (run / 'run.json').unlink()
    ended = train(config, pool_dir=pool, place=RunPlace(folder=run, resume=True))
    assert ended.steps == 2
    assert ended.final_loss == whole.final_loss


def test_a_lost_shard_is_said(uninterrupted, tmp_path):
    checkpoint = newest_checkpoint(uninterrupted / 'whole')
    assert checkpoint is not None
    (tmp_path / checkpoint.name).symlink_to(checkpoint)
    (tmp_path / 'pool').mkdir()
    (tmp_path / 'pool' / 'shard_0').symlink_to(uninterrupted / 'pool' / 'shard_0')
    place = RunPlace(folder=tmp_path, resume=True)
    with pytest.raises(DatasetError, match="lacks 1 shards, the first 'shard_1'"):
        train(train_peer.CONFIG, pool_dir=tmp_path / 'pool', place=place)


@pytest.mark.parametrize(
    ('name', 'content', 'error', 'said'),
    [
        ('state.json', b'{"format": 0}', DatasetError, 'has format 0; expected 1'),
        ('state.json', b'{', DatasetError, 'cannot read .*state.json'),
        ('tensors.safetensors', b'x', WeightsError, 'cannot read .*remove that folder'),
    ],
)
def test_a_damaged_checkpoint_is_said(uninterrupted, tmp_path, name, content, error, said):
    checkpoint = newest_checkpoint(uninterrupted / 'whole')
    assert checkpoint is not None
    copied = tmp_path / checkpoint.name
    copied.mkdir()
    for path in checkpoint.iterdir():
        (copied / path.name).write_bytes(content if path.name == name else path.read_bytes())
    with pytest.raises(error, match=said):
        train(
            train_peer.CONFIG,
            pool_dir=uninterrupted / 'pool',
            place=RunPlace(folder=tmp_path, resume=True),
        )


def test_two_processes_give_the_gradient_of_one(tmp_path, monkeypatch):
    """After one step of AdamW its first moment is a tenth of the gradient."""
    result = run_peer(tmp_path, tmp_path / 'two', '--devices', 2, '--first-batches')
    assert result.returncode == 0, result.stderr
    monkeypatch.setitem(ARCHITECTURES, train_peer.ARCHITECTURE, None)
    monkeypatch.setattr(encoder, 'MAX_POSITION_SHIFT', 0)
    for name in ('open_sampler', 'iterate_batches'):  # restored after the test
        monkeypatch.setattr(supervised, name, getattr(supervised, name))
    train_peer.register()
    train_peer.give_fixed_batches(1)
    config = replace(train_peer.ONE_STEP, accumulate=2)
    train(config, pool_dir=tmp_path, place=RunPlace(folder=tmp_path / 'one'))
    tensors = [
        load_file(tmp_path / name / 'checkpoint_000000001' / 'tensors.safetensors')
        for name in ('one', 'two')
    ]
    moments = [name for name in tensors[0] if name.endswith('exp_avg')]
    assert len(moments) > 30
    largest = 0.0
    for name in moments:
        one, two = (10.0 * side[name] for side in tensors)
        largest = max(largest, float(one.abs().max()))
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-6)
    assert largest > 0.01
    described = json.loads((tmp_path / 'two' / 'run.json').read_text())
    assert (described['processes'], described['samples']) == (2, 6)


def test_two_processes_count_together_what_they_left_out(tmp_path):
    """Each meets other shards: what one of them left out is in the sum, and once."""
    shards = make_shards(tmp_path)
    damage(shards, 'shard-000001.tar', 4)
    damage(shards, 'shard-000002.tar', 6)
    result = run_peer(shards, tmp_path / 'run', '--few-steps', '--devices', 2)
    assert result.returncode == 0, result.stderr
    about = json.loads((tmp_path / 'run' / 'run.json').read_text())
    assert (about['processes'], about['pool_skipped']) == (2, 2)
    lines = (tmp_path / 'run' / 'skipped.jsonl').read_text().splitlines()
    names = ['shard-000001.tar:000000004', 'shard-000002.tar:000000006']
    assert sorted(json.loads(line)['name'] for line in lines) == names
