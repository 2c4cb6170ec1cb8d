# SPDX-License-Identifier: Apache-2.0
"""The whole line on real images, where they are at hand: conversion, replay, evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rgbt_perception.cli.main import main

REAL_PAIRS = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'kaist_sample'

pytestmark = pytest.mark.skipif(not REAL_PAIRS.is_dir(), reason='needs ../shared/data')


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('real') / 'bag'
    assert main(['convert', 'pairs', str(REAL_PAIRS), '--out', str(path)]) == 0
    return path


def test_replay_gives_a_fused_result_for_every_real_pair(tmp_path, bag):
    assert main(['replay', str(bag), '--out', str(tmp_path / 'out')]) == 0
    lines = (tmp_path / 'out/results.jsonl').read_text().splitlines()
    results = [json.loads(line) for line in lines]
    assert len(results) == 8
    assert {result['mode'] for result in results} == {'fused'}
    assert all(-1.0 <= result['mdi'] <= 1.0 for result in results)


def test_bag_and_folder_evaluate_to_the_same_numbers(tmp_path, bag, record_property):
    metrics = {}
    for name, source in (('folder', REAL_PAIRS), ('bag', bag)):
        arguments = ['--out', str(tmp_path / name), '--scale', '0.75', '--overlays', '8']
        assert main(['evaluate', str(source), *arguments]) == 0
        metrics[name] = json.loads((tmp_path / name / 'metrics.json').read_text())
        assert len(list((tmp_path / name / 'overlays').glob('*.png'))) == 8
    for variant in ('fused', 'rgb_only', 'thermal_only'):
        # Heights and occlusions are in the annotations of the folder; a bag has no place for them.
        assert metrics['folder'][variant].pop('MR-2')
        assert 'MR-2' not in metrics['bag'][variant]
    assert metrics['folder'] == metrics['bag']
    for variant in ('fused', 'rgb_only', 'thermal_only'):
        ap50 = metrics['folder'][variant]['AP50']['person']
        assert 0.0 <= ap50 <= 1.0
        record_property(f'person_ap50_{variant}', ap50)
        assert metrics['folder'][variant]['mIoU'] is None
    assert metrics['folder']['pairs'] == 8
    # The boxes of groups and doubtful people are not scored and their classes not evaluated.
    assert 'person' not in metrics['folder']['classes_left_out']
