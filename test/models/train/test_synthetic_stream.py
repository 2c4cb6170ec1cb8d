# SPDX-License-Identifier: Apache-2.0
"""Pairs rendered when they are drawn; what draws them is painted here, but for the last tests."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

from made_models import painted_sample, small_model
import numpy as np
import pytest

from rgbt_models.build import ARCHITECTURES
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import PACKAGE_LABEL_SET
from rgbt_models.train import synthetic_stream
from rgbt_models.train.batches import open_sampler
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.loop import RunPlace
from rgbt_models.train.pool import (
    claim_stream,
    CONVERTED_KEY,
    POOL_FILE,
    read_label_set,
    render_pool,
    render_sample,
)
from rgbt_models.train.supervised import train
from rgbt_models.train.synthetic_stream import (
    is_stream,
    open_stream,
    StreamSettings,
    SyntheticStream,
)
from rgbt_perception.cli.main import main

RNG = np.random.default_rng(0)
SETTINGS = StreamSettings(seed=100, scale=0.2)


@pytest.fixture
def painted_world(monkeypatch):
    def render(seed, *, scale):
        return painted_sample((seed % 60, 20, seed % 60 + 20, 70))

    monkeypatch.setattr(synthetic_stream, 'render_sample', render)


def seeds_of(samples):
    """The painted boxes begin at the seed, modulo 60."""
    return [int(sample.boxes_xyxy[0, 0]) + 60 for sample in samples]


def test_the_pairs_are_the_scenes_from_the_seed_on(painted_world):
    stream = SyntheticStream(SETTINGS)
    assert seeds_of(itertools.islice(stream, 3)) == [100, 101, 102]
    assert seeds_of([stream.draw(RNG)]) == [103]
    assert len(stream) == 4


def test_processes_take_the_scenes_in_turn(painted_world):
    streams = [SyntheticStream(SETTINGS, rank=rank, num_processes=3) for rank in range(3)]
    assert [seeds_of(itertools.islice(stream, 2)) for stream in streams] == [
        [100, 103],
        [101, 104],
        [102, 105],
    ]
    assert streams[1].state()['scenes'] == [[100, 106]]


def test_a_stream_goes_on_where_its_state_says(painted_world):
    stream = SyntheticStream(SETTINGS, rank=1, num_processes=2)
    list(itertools.islice(stream, 2))
    state = json.loads(json.dumps(stream.state()))
    again = SyntheticStream(SETTINGS, rank=1, num_processes=2, state=state)
    assert seeds_of([again.draw(RNG)]) == seeds_of([stream.draw(RNG)]) == [105]
    assert len(again) == 6


@pytest.mark.parametrize('wrong', [{'seed': -1}, {'scale': 0.0}, {'num_workers': -1}])
def test_settings_that_cannot_be_used_are_said(wrong):
    with pytest.raises(DatasetError, match=r'expected a seed from 0, a scale above 0 and at most'):
        StreamSettings(**{'seed': 0, 'scale': 0.5, **wrong})


def test_a_folder_says_that_its_pairs_are_rendered_when_drawn(painted_world, tmp_path):
    assert not is_stream(tmp_path)
    claim_stream(tmp_path, seed=100, scale=0.2, num_workers=0)
    claim_stream(tmp_path, seed=100, scale=0.2, num_workers=0)
    assert is_stream(tmp_path)
    assert read_label_set(tmp_path) == PACKAGE_LABEL_SET
    pool, rng, drawn = open_sampler(tmp_path, (7, 1), None, num_processes=2)
    assert drawn == 0
    assert seeds_of([pool.draw(rng), pool.draw(rng)]) == [101, 103]
    state = {'rng': rng.bit_generator.state, 'drawn': 1, **pool.state()}
    again, rng, drawn = open_sampler(tmp_path, (7, 1), state, num_processes=2)
    assert drawn == 1
    assert seeds_of([again.draw(rng)]) == [105]


def test_the_number_of_workers_may_change_and_nothing_else(tmp_path):
    claim_stream(tmp_path, seed=100, scale=0.2, num_workers=0)
    claim_stream(tmp_path, seed=100, scale=0.2, num_workers=3)
    assert open_stream(tmp_path, rank=0, num_processes=1, state=None).settings == StreamSettings(
        seed=100, scale=0.2, num_workers=3
    )
    with pytest.raises(DatasetError, match=r'was rendered with .* use another folder'):
        claim_stream(tmp_path, seed=100, scale=0.3, num_workers=3)
    with pytest.raises(DatasetError, match=r'was rendered with .* use another folder'):
        render_pool(tmp_path, num_pairs=0, seed=100, scale=0.2, num_workers=1)


def test_neither_a_pool_nor_a_data_set_becomes_a_stream(tmp_path):
    for name in ('pool', 'set'):
        (tmp_path / name).mkdir()
    render_pool(tmp_path / 'pool', num_pairs=0, seed=1, scale=0.2, num_workers=1)
    with pytest.raises(DatasetError, match=r'was rendered with .* use another folder'):
        claim_stream(tmp_path / 'pool', seed=1, scale=0.2, num_workers=0)
    (tmp_path / 'set' / POOL_FILE).write_text(json.dumps({CONVERTED_KEY: 'made'}))
    with pytest.raises(DatasetError, match=r"'.*set' holds a data set; expected an empty folder"):
        claim_stream(tmp_path / 'set', seed=1, scale=0.2, num_workers=0)


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        ({'world_version': '0.9'}, r'is a stream of world 0.9; expected this one'),
        ({'workers': 'many'}, r'cannot be used \(ValueError.*expected seed, scale and workers'),
    ],
)
def test_a_description_of_another_world_or_without_sense_is_said(tmp_path, change, problem):
    claim_stream(tmp_path, seed=1, scale=0.2, num_workers=0)
    path = tmp_path / POOL_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DatasetError, match=problem):
        open_stream(tmp_path, rank=0, num_processes=1, state=None)


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, 'made', lambda **_: small_model().train())


def test_a_run_learns_from_a_stream_and_names_its_scenes(painted_world, made, tmp_path):
    claim_stream(tmp_path / 'pool', seed=100, scale=0.2, num_workers=0)
    config = TrainConfig(
        architecture='made',
        max_steps=2,
        size_hws=((64, 96),),
        pixels_per_step=3 * 64 * 96,
        precision='32-true',
    )
    train(config, pool_dir=tmp_path / 'pool', place=RunPlace(folder=tmp_path / 'run'))
    about = json.loads((tmp_path / 'run' / 'run.json').read_text())
    assert about['scenes_read'] == [[100, 106]]  # two steps of three pairs
    assert about['pool_origin'] == ''


def test_rendering_beforehand_and_on_the_fly_exclude_each_other(tmp_path, capsys):
    (tmp_path / 't.yaml').write_text('max_steps: 1')
    command = ['train', str(tmp_path / 't.yaml'), '--pool', str(tmp_path / 'pool')]
    command += ['--out', str(tmp_path / 'run'), '--on-the-fly', '--render-only']
    assert main(command) == 2
    assert '--render-only is given with --on-the-fly; expected one of' in capsys.readouterr().err
    assert not (tmp_path / 'pool').exists()


def assert_same(sample, expected):
    for name in ('rgb', 'thermal', 'label_map', 'boxes_xyxy', 'class_ids', 'ignore'):
        np.testing.assert_array_equal(getattr(sample, name), getattr(expected, name))


def test_workers_render_what_the_process_itself_would():
    stream = SyntheticStream(StreamSettings(seed=5, scale=0.1, num_workers=2))
    drawn = [stream.draw(RNG) for _ in range(3)]
    stream.close()
    for seed, sample in enumerate(drawn, start=5):
        assert_same(sample, render_sample(seed, scale=0.1))
    assert_same(stream.draw(RNG), render_sample(8, scale=0.1))  # goes on after a close
    stream.close()


def test_rendering_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        'from rgbt_models.train.synthetic_stream import StreamSettings, SyntheticStream\n'
        'print(next(iter(SyntheticStream(StreamSettings(seed=1, scale=0.05)))).rgb.shape)'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == '(24, 32, 3)'
