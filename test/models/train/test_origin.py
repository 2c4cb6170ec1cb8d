# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from rgbt_models.train.origin import describe_origin, read_encoder_origin


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


def test_an_encoder_without_a_run_is_of_unknown_data(tmp_path):
    (tmp_path / 'pool').mkdir()
    about = describe_origin(str(tmp_path / 'timm' / 'vit.safetensors'), tmp_path / 'pool')
    assert about == {'encoder_origin': 'unknown, of timm/vit.safetensors', 'pool_origin': ''}
    assert describe_origin('', tmp_path / 'pool') == {'encoder_origin': '', 'pool_origin': ''}
