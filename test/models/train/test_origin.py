# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from rgbt_models.card import CARDS_DIR, load_card
from rgbt_models.train.origin import (
    describe_origin,
    describe_scenes,
    read_encoder_origin,
    scenes_of,
)
from rgbt_models.train.pool import CONVERTED_KEY, POOL_FILE


@pytest.mark.parametrize(
    ('run', 'origin'),
    [
        ({'encoder_origin': '', 'pool_origin': ''}, ''),
        ({'encoder_origin': '', 'pool_origin': 'kaist'}, 'kaist'),
        ({'encoder_origin': 'kaist', 'pool_origin': ''}, 'kaist'),
        ({'encoder_origin': 'kaist', 'pool_origin': 'flir'}, 'kaist, then flir'),
        ({'pool_origin': ''}, 'unknown, of run/weights.safetensors'),
    ],
)
def test_the_run_beside_an_encoder_says_what_it_has_seen(tmp_path, run, origin):
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / 'run.json').write_text(json.dumps(run))
    assert read_encoder_origin(folder / 'weights.safetensors') == origin


def test_so_does_the_card_that_weights_are_of(tmp_path):
    weights = CARDS_DIR / 'tiny' / 'model.safetensors'
    assert read_encoder_origin(weights) == ''
    scenes = load_card('tiny').training['scenes_read']
    assert describe_scenes(str(weights), tmp_path, None) == {'scenes_read': scenes}


def test_an_encoder_without_a_run_is_of_unknown_data(tmp_path):
    (tmp_path / 'pool').mkdir()
    about = describe_origin(str(tmp_path / 'timm' / 'vit.safetensors'), tmp_path / 'pool')
    assert about == {'encoder_origin': 'unknown, of timm/vit.safetensors', 'pool_origin': ''}
    assert describe_origin('', tmp_path / 'pool') == {'encoder_origin': '', 'pool_origin': ''}


def test_scenes_are_those_of_the_shards_read_and_of_the_encoder(tmp_path):
    (tmp_path / 'run.json').write_text(json.dumps({'scenes_read': [[0, 64], [5000, 5064]]}))
    encoder = str(tmp_path / 'weights.safetensors')
    state = {'shards': ['shard_000001064', 'shard_000001000', 'shard_000005064']}
    about = describe_scenes(encoder, tmp_path, state)
    assert about == {'scenes_read': [[0, 64], [1000, 1128], [5000, 5128]]}
    assert describe_scenes('', tmp_path, state) == {'scenes_read': [[1000, 1128], [5064, 5128]]}
    (tmp_path / POOL_FILE).write_text(json.dumps({CONVERTED_KEY: 'made'}))
    assert describe_scenes('', tmp_path, state) == {'scenes_read': []}
    assert describe_scenes(encoder, tmp_path, None) == {'scenes_read': [[0, 64], [5000, 5064]]}
    assert describe_scenes(str(tmp_path / 'timm' / 'vit'), tmp_path, None) == {'scenes_read': []}


@pytest.mark.parametrize(
    ('run', 'scenes'),
    [
        ({'config': {'pool_seed': 1000, 'pool_pairs': 100}}, [range(1000, 1128)]),
        (
            {'config': {'pool_seed': 1000, 'pool_pairs': 64}, 'pool_pairs_read': 192},
            [range(1000, 1192)],
        ),
        ({'config': {'pool_seed': 1000, 'pool_pairs': 64}, 'pool_origin': 'kaist'}, []),
        ({'config': {'pool_seed': 1000}, 'scenes_read': [[7, 71]]}, [range(7, 71)]),
        ({}, []),
    ],
)
def test_scenes_of_older_runs_are_those_of_their_settings(run, scenes):
    assert scenes_of(run) == scenes
