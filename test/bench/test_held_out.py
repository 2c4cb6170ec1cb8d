# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

from fakes import build_card, build_outputs, build_pair, FakeEngine
import pytest

from bench import held_out
from bench.held_out import (
    COLUMNS,
    CONDITIONS,
    HELD_OUT_SEED,
    HeldOut,
    in_order,
    MIXED,
    read_rows,
    render_column,
    render_columns,
    render_sequence_of,
    StillPool,
    world_digest,
)
from rgbt_models.calibrate import CALIBRATION_SEED
from rgbt_models.synthetic import default_rig, WORLD_VERSION
from rgbt_models.train.config import load_train_config
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.datasets import load_dataset

ROOT = Path(__file__).resolve().parents[2]


def test_there_is_a_column_for_every_condition_and_one_for_all():
    assert (MIXED, *CONDITIONS) == COLUMNS
    assert {'day', 'dusk', 'night', 'fog', 'rain', 'crossover'} <= set(CONDITIONS)
    assert in_order(['fog', 'mixed', 'day', 'fog']) == ['mixed', 'day', 'fog']


@pytest.mark.parametrize('name', ['tiny', 'small'])
def test_no_training_and_no_calibration_sees_the_held_out_scenes(name):
    config = load_train_config(ROOT / 'config' / 'train' / f'{name}.yaml')
    assert config.pool_seed + config.pool_pairs < CALIBRATION_SEED < HELD_OUT_SEED


def test_other_pairs_lie_elsewhere(tmp_path):
    plan = HeldOut(work=tmp_path)
    folders = {
        plan.folder('day', 4),
        plan.folder('day', 5),
        plan.folder('fog', 4),
        HeldOut(work=tmp_path, seed=1).folder('day', 4),
        HeldOut(work=tmp_path, has_drawn_sensors=True).folder('day', 4),
    }
    assert len(folders) == 5
    assert plan.folder('day', 4).parent.name == f'{WORLD_VERSION}-{world_digest()}'


def test_only_what_is_missing_is_rendered(tmp_path, monkeypatch):
    plan, rendered = HeldOut(work=tmp_path), []
    monkeypatch.setattr(held_out, 'render_column', lambda _, *item: rendered.append(item))
    there = plan.folder('day', 2)
    there.mkdir(parents=True)
    (there / 'annotations.json').write_text('{}')
    folders = render_columns(plan, {'day': 2, 'fog': 3})
    assert folders == {'day': there, 'fog': plan.folder('fog', 3)}
    assert rendered == [('fog', 3)]


def test_a_column_has_its_condition_and_the_truth_about_the_cameras(tmp_path, monkeypatch):
    monkeypatch.setattr('rgbt_models.synthetic.default_rig', lambda: default_rig().scaled(0.1))
    plan = HeldOut(work=tmp_path, seed=7)
    render_column(plan, 'fog', 1)
    folder = plan.folder('fog', 1)
    (row,) = read_rows(folder)
    assert row['condition'] == 'fog'
    assert -1.0 <= row['contrast_advantage'] <= 1.0
    info = json.loads((folder / 'annotations.json').read_text())['info']
    assert (info['column'], info['seed'], info['world_version']) == ('fog', 7, WORLD_VERSION)
    assert load_dataset(folder).registration.method == 'homography'


def test_a_pipeline_for_single_pairs_forgets(tmp_path):
    shares = iter([0.9, 0.1])
    engine = FakeEngine(lambda _: build_outputs((64, 80), rgb_share=next(shares)))
    pool = StillPool(card=build_card(tmp_path), engine=engine, config=PerceptionConfig())
    found = []
    for stamp_ns in (1_000_000_000, 1_100_000_000):  # a tenth of a second: far less than memory
        pair = build_pair(stamp_ns)
        found.append(pool.pipeline_for(pair.reference.size_hw).run(pair).dominance.mdi)
    assert found[0] > 0.9
    assert found[1] < -0.9


def test_a_sequence_is_rendered_once_with_the_truth_about_the_cameras(tmp_path):
    scenario = tmp_path / 'short.yaml'
    scenario.write_text('duration_s: 1.0\nrig: {scale: 0.1}\n')
    plan = HeldOut(work=tmp_path / 'work', seed=3)
    folder = render_sequence_of(plan, str(scenario), 1.0)
    rows = read_rows(folder)
    assert folder.name.startswith('short-')
    assert rows
    assert all(-1.0 <= row['contrast_advantage'] <= 1.0 for row in rows)
    before = (folder / 'annotations.json').stat().st_mtime_ns
    assert render_sequence_of(plan, str(scenario), 1.0) == folder
    assert (folder / 'annotations.json').stat().st_mtime_ns == before
    assert render_sequence_of(plan, str(scenario), 2.0) != folder
