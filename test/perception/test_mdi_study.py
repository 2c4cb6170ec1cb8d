# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
from dataclasses import replace
import json
import math

import cv2
from made_data import MIDDLE_BOX, write_dataset
from made_models import small_model
import numpy as np
import pytest
from source_tree import ROOT

from rgbt_models.build import load_model, RGBTModel
from rgbt_models.card import load_card
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.degradations import Degradation
from rgbt_perception.errors import DatasetError
from rgbt_perception.mdi_study import (
    choose_pairs,
    DEGRADATIONS,
    ESTIMATORS,
    label_pair,
    measure_source,
    Measurement,
    rank,
    spearman,
    StudyPlan,
    summarise,
)
from rgbt_perception.mdi_study_report import ENTROPY_WARNING, markdown_tables, write_study
from rgbt_perception.registration import Registration
from rgbt_perception.sources import open_source, with_registration
from rgbt_perception.truth import Truth

CARD = replace(load_card('tiny'), input_hw=(48, 64))
NAMES = [estimator.name for estimator in ESTIMATORS]
DARK = Degradation(kind='rgb_dark', amount=0.02)


def measure(folder, plan, model=None):
    config = PerceptionConfig()
    source = open_source(folder, config)
    config = with_registration(config, source.registration)
    return list(measure_source(model or small_model(), CARD, source, config, plan))


def made_measurements(num_pairs=4):
    """The oracle rises with the condition; 'gradient_norm' falls, 'linear_share' is constant."""
    found = []
    for pair in range(num_pairs):
        for level, condition in enumerate(('none', 'rgb_dark_0.1')):
            oracle = 10.0 * level + pair
            values = dict.fromkeys(NAMES, oracle)
            values |= {'oracle': oracle, 'gradient_norm': -oracle, 'linear_share': 0.25}
            found.append(Measurement(pair_name=str(pair), degradation=condition, values=values))
    return found


def test_equal_values_share_the_mean_of_their_ranks():
    assert rank(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [1.5, 0.0, 1.5, 3.0]


def test_rank_correlation_literals():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert spearman(x, -x) == pytest.approx(-1.0)
    # Differences of ranks 1, 1, 2, 1, 1: 1 - 6 * 8 / (5 * 24) = 0.6.
    assert spearman(x, np.array([2.0, 1.0, 5.0, 3.0, 4.0])) == pytest.approx(0.6)
    assert math.isnan(spearman(x, np.ones(5)))
    assert math.isnan(spearman(x, np.array([2.0, 1.0, np.nan, 3.0, 4.0])))


@pytest.mark.parametrize(
    ('available', 'wanted', 'expected'),
    [(5, 0, {0, 1, 2, 3, 4}), (5, 9, {0, 1, 2, 3, 4}), (10, 2, {0, 5}), (7, 3, {0, 2, 4})],
)
def test_pairs_are_spread_evenly(available, wanted, expected):
    assert choose_pairs(available, wanted) == expected


def test_every_estimator_is_measured_in_every_condition(tmp_path):
    plan = StudyPlan(degradations=(Degradation(), DARK), chosen={0, 2})
    found = measure(write_dataset(tmp_path), plan)
    assert [(item.pair_name, item.degradation) for item in found] == [
        ('0_rgb', 'none'),
        ('0_rgb', 'rgb_dark_0.02'),
        ('2_rgb', 'none'),
        ('2_rgb', 'rgb_dark_0.02'),
    ]
    for item in found:
        assert set(item.values) == {*NAMES, 'oracle'}
        assert all(math.isfinite(value) for value in item.values.values())
        bounded = set(NAMES) - {'shapley_pseudo_difference'}
        assert all(abs(item.values[name]) <= 1.0 for name in bounded)


def test_a_pair_measures_the_same_alone_and_among_others(tmp_path):
    folder = write_dataset(tmp_path)
    among = measure(folder, StudyPlan(degradations=(DARK,)))
    alone = measure(folder, StudyPlan(degradations=(DARK,), chosen={1}))
    assert [dict(item.values) for item in alone] == [dict(among[1].values)]
    other = measure(folder, StudyPlan(degradations=(DARK,), chosen={1}, seed=1))
    assert dict(other[0].values) != dict(among[1].values)


def test_ground_truth_is_brought_into_network_pixels(tmp_path):
    # 48x64 into 48x96: scale 1, 16 px on either side.
    card = replace(CARD, input_hw=(48, 96), detection_classes=('person', 'car', 'bicycle'))
    config = PerceptionConfig()
    item = next(iter(open_source(write_dataset(tmp_path), config).pairs()))
    registration = Registration(config.registration)
    pair = label_pair(item, item.pair, card, registration, ('sky', 'road'))
    x_min, y_min, x_max, y_max = MIDDLE_BOX
    wanted = [x_min + 16, y_min, x_max + 16, y_max]
    # The cyclist, which the card lacks, is left out.
    assert pair.boxes_xyxy.tolist() == [wanted] * 3
    assert pair.class_ids.tolist() == [0, 1, 0]
    assert pair.ignore.tolist() == [False, True, True]
    assert pair.label_map.shape == (48, 96)
    assert set(np.unique(pair.label_map[:, 16:80])) == {1}
    assert set(np.unique(pair.label_map[:, :16])) == {255}
    assert pair.rgb.shape == pair.thermal.shape == (1, 3, 48, 96)


def test_without_a_label_map_nothing_is_labeled(tmp_path):
    item = next(iter(open_source(write_dataset(tmp_path), PerceptionConfig()).pairs()))
    bare = Truth(boxes_xyxy=np.zeros((0, 4), np.float32), class_names=(), ignore=np.zeros(0, bool))
    registration = Registration(PerceptionConfig().registration)
    pair = label_pair(replace(item, truth=bare), item.pair, CARD, registration, ('sky',))
    assert (pair.label_map == 255).all()
    assert pair.boxes_xyxy.shape == (0, 4)


def test_summary_correlates_over_everything_and_by_condition():
    summary = summarise(made_measurements())
    results = summary['estimators']
    assert (summary['pairs'], summary['degradations']) == (4, ['none', 'rgb_dark_0.1'])
    assert results['drop_kl']['rho'] == 1.0
    assert results['gradient_norm']['rho'] == -1.0
    assert results['gradient_norm']['rho_by_degradation'] == {'none': -1, 'rgb_dark_0.1': -1}
    assert results['linear_share']['rho'] is None
    assert results['linear_share']['interval'] == [None, None]
    assert results['linear_share']['mean_by_degradation'] == {'none': 0.25, 'rgb_dark_0.1': 0.25}
    assert summary['oracle']['mean_by_degradation'] == {'none': 1.5, 'rgb_dark_0.1': 11.5}


def test_two_pairs_are_too_few():
    with pytest.raises(DatasetError, match='2 pairs measured; expected at least 3'):
        summarise(made_measurements(2))


def test_study_is_written_as_figures_tables_and_pictures(tmp_path):
    measurements = made_measurements()
    summary = summarise(measurements)
    write_study(tmp_path / 'out', summary, measurements)
    written = {path.name for path in (tmp_path / 'out').iterdir()}
    assert written == {
        'study.json',
        'measurements.csv',
        'table.md',
        'by_degradation.png',
        'against_oracle.png',
    }
    assert json.loads((tmp_path / 'out' / 'study.json').read_text('utf-8')) == summary
    with (tmp_path / 'out' / 'measurements.csv').open(encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert rows[3]['pair'] == '1'
    assert float(rows[3]['gradient_norm']) == -11.0
    for name in ('by_degradation.png', 'against_oracle.png'):
        assert cv2.imread(str(tmp_path / 'out' / name)).std() > 5.0


def test_tables_warn_of_entropy_and_have_a_row_per_estimator():
    text = markdown_tables(summarise(made_measurements()))
    assert ENTROPY_WARNING in text
    row = next(line for line in text.splitlines() if line.startswith('| gradient norm '))
    assert row == '| gradient norm | yes | backward | -1.00 [-1.00, -1.00] | -1.00 | -1.00 |'
    assert '| linear share, raw | no | none | n/a [n/a, n/a] | n/a | n/a |' in text


@pytest.mark.parametrize(
    ('lacking', 'constant'),
    [('detection', 'drop_kl_detection'), ('segmentation', 'drop_kl_segmentation')],
)
def test_a_model_of_one_task_is_measured_without_the_other(tmp_path, lacking, constant):
    counts = {'num_detection_classes': 3, 'num_segmentation_classes': 8}
    counts[f'num_{lacking}_classes'] = 0
    model = RGBTModel(encoder=small_model().encoder, channels=(16, 24, 32), **counts).eval()
    card = replace(CARD, **{f'{lacking}_classes': ()})
    source = open_source(write_dataset(tmp_path), PerceptionConfig())
    config = with_registration(PerceptionConfig(), source.registration)
    plan = StudyPlan(degradations=(Degradation(),))
    found = list(measure_source(model, card, source, config, plan))
    assert all(math.isfinite(value) for value in found[0].values.values())
    assert {item.values[constant] for item in found} == {0.0}
    assert abs(found[0].values['drop_kl']) <= 1.0
    assert summarise(found)['estimators'][constant]['rho'] is None


def test_conditions_have_distinct_names():
    names = [degradation.name for degradation in DEGRADATIONS]
    assert len(set(names)) == len(names)
    assert names[0] == 'none'


def test_darkening_moves_the_shipped_model_steadily_to_thermal():
    card = replace(load_card('tiny'), input_hw=(192, 256))
    steps = (Degradation(), *(Degradation(kind='rgb_dark', amount=a) for a in (0.3, 0.1, 0.02)))
    config = PerceptionConfig()
    source = open_source(ROOT / 'bags' / 'sample_drive', config)
    config = with_registration(config, source.registration)
    plan = StudyPlan(degradations=steps, chosen={0})
    found = list(measure_source(load_model(card), card, source, config, plan))
    for name in ('linear_share', 'linear_share_calibrated', 'drop_kl', 'shapley_pseudo'):
        values = [item.values[name] for item in found]
        assert values == sorted(values, reverse=True), name
        assert values[0] - values[-1] > 0.2, name
    assert found[-1].values['oracle'] < 0.0
