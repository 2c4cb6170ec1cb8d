# SPDX-License-Identifier: Apache-2.0
"""Index against truth on made numbers, and with an engine whose share follows the brightness."""

from __future__ import annotations

import json
import math

from fakes import build_card, build_outputs, build_pair, FakeEngine
from made_data import write_dataset
import numpy as np
import pytest

from bench import dominance_truth, mdi_probe
from bench.dominance_truth import (
    correlate,
    DARK_STEPS,
    darken,
    describe_curves,
    list_bounds,
    main,
)
from bench.mdi_probe import ESTIMATORS, Measured, Probed, ProbeEngine, Prober
from rgbt_models.label_sets import SEGMENTATION_CLASSES
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.types import Pair

BOX = (16.0, 8.0, 32.0, 40.0)


def trusts_rgb(batch):
    """Find a person that is seen in RGB only; the share follows the brightness of RGB."""
    has_rgb = batch.available[0, 0] > 0
    share = float(np.clip(0.5 + 0.05 * batch.rgb.mean(), 0.0, 1.0))
    boxes = ((0, 0.9 if has_rgb else 0.05, BOX),)
    person = SEGMENTATION_CLASSES.index('person')
    return build_outputs(batch.rgb.shape[2:], boxes=boxes, class_id=person, rgb_share=share)


@pytest.fixture
def card(tmp_path):
    return build_card(tmp_path / 'card')


def measured(values, truths, columns=None, sources=None):
    columns = columns or ['day'] * len(values)
    sources = sources or [str(index) for index in range(len(values))]
    return [
        Measured(
            column=column,
            source=source,
            advantage=truth,
            indices=dict.fromkeys(ESTIMATORS, value),
        )
        for value, truth, column, source in zip(values, truths, columns, sources, strict=True)
    ]


def test_the_order_of_pairs_counts_in_all_and_within_a_condition():
    items = measured([0.1, 0.2, 0.9, 0.8], [1.0, 2.0, 4.0, 3.0])
    found = correlate(items)['linear_share']
    assert found['rho'] == pytest.approx(1.0)
    columns = ['fog', 'day', 'day', 'fog']
    items = measured([0.1, 0.2, 0.9, 0.8], [1.0, 4.0, 2.0, 3.0], columns)
    found = correlate(items)['drop_kl_detection']
    assert list(found['by_condition']) == ['fog', 'day']
    assert found['by_condition']['day']['rho'] == pytest.approx(-1.0)
    assert found['by_condition']['fog']['rho'] == pytest.approx(1.0)
    assert found['by_condition']['fog']['mean'] == pytest.approx(0.45)
    assert found['by_condition']['fog']['mean_advantage'] == pytest.approx(2.0)
    # Ranks 1 2 4 3 against 1 4 2 3: 1 - 6 * (0 + 4 + 4 + 0) / (4 * 15).
    assert found['rho'] == pytest.approx(0.2)


def test_the_bootstrap_draws_whole_drives_as_their_pairs_are_alike():
    values, truths = list(range(40)), [*range(20), *range(19, -1, -1)]
    drives = ['up'] * 20 + ['down'] * 20
    of_pairs = correlate(measured(values, truths))['linear_share']
    of_drives = correlate(measured(values, truths, sources=drives))['linear_share']
    assert of_drives['rho'] == of_pairs['rho']
    # Two drives of opposite order: a draw has one of them twice, as often as both.
    assert of_drives['standard_deviation'] > 2 * of_pairs['standard_deviation']


def test_an_index_that_is_no_number_breaks_the_bounds():
    found = correlate(measured([math.nan, 0.2, 0.3], [1.0, 2.0, 3.0]))
    assert found['linear_share']['rho'] is None
    assert json.dumps(found, allow_nan=False)
    assert not any(bound.is_kept for bound in list_bounds({'some': found}, {}))


def test_outputs_without_a_camera_tell_which_one_is_missed(card):
    engine = ProbeEngine(FakeEngine(trusts_rgb))
    assert engine.probed is None
    Pipeline(card=card, engine=engine, config=PerceptionConfig()).run(build_pair())
    assert engine.probed.drop_kl_detection == pytest.approx(1.0)  # without thermal nothing changes
    assert engine.probed.shapley_pseudo > 0.9


def test_both_published_indices_come_from_one_run_of_the_network(card):
    fake = FakeEngine(trusts_rgb)
    pair = build_pair()
    assert pair.rgb is not None
    pair.rgb.pixels[2:34, 8:24] = 255  # thermal does not show the person
    indices = Prober(card, fake, PerceptionConfig())(pair)
    assert len(fake.batches) == 4  # the three others without a camera or without both
    assert indices['contrast'] > 0.8
    assert abs(indices['linear_share']) < 0.6


def test_one_camera_is_all_there_is(card):
    pair = build_pair()
    fake = FakeEngine(trusts_rgb)
    engine = ProbeEngine(fake)
    pipeline = Pipeline(card=card, engine=engine, config=PerceptionConfig())
    pipeline.run(Pair(rgb=None, thermal=pair.thermal))
    assert (engine.probed.drop_kl_detection, engine.probed.shapley_pseudo) == (-1.0, -1.0)
    pipeline.run(Pair(rgb=pair.rgb, thermal=None))
    assert (engine.probed.drop_kl_detection, engine.probed.shapley_pseudo) == (1.0, 1.0)
    assert len(fake.batches) == 2
    engine.close()
    assert not fake.is_closed


def test_every_pair_gets_darker_in_ten_steps_and_the_index_falls(card):
    prober = Prober(card, FakeEngine(trusts_rgb), PerceptionConfig())
    curves = darken(prober, [build_pair(1_000_000_000), build_pair(2_000_000_000)])
    assert curves['linear_share'].shape == (2, DARK_STEPS + 1)
    assert (np.diff(curves['linear_share'][:, :7], axis=1) < 0.0).all()
    assert (np.diff(curves['linear_share'], axis=1) <= 0.0).all()
    assert curves['linear_share'][:, -1].tolist() == [-1.0, -1.0]  # too dark to be used at all
    assert darken(prober, [build_pair(1_000_000_000)])['linear_share'][0].tolist() == (
        curves['linear_share'][0].tolist()
    )


def test_a_rise_breaks_the_bound_of_the_mean_and_of_one_pair():
    curves = {estimator: np.array([[0.5, 0.4, 0.3], [0.2, 0.1, 0.4]]) for estimator in ESTIMATORS}
    found = {'KAIST': describe_curves(curves)}
    assert found['KAIST']['linear_share']['largest_rises'] == [
        pytest.approx(-0.1),
        pytest.approx(0.3),
    ]
    bounds = list_bounds({'some': correlate(measured([1, 2, 3], [1, 2, 3]))}, found)
    assert [bound.is_kept for bound in bounds] == [True, True, True, False, False]
    assert bounds[3].value == pytest.approx(0.1)
    assert bounds[4].value == pytest.approx(0.3)


def test_results_are_printed_and_written(card, tmp_path, monkeypatch, capsys):
    rows = [{'condition': 'fog', 'contrast_advantage': value} for value in (0.1, -0.3, 0.2)]
    folder = write_dataset(tmp_path / 'fog')
    monkeypatch.setattr(dominance_truth, 'render_columns', lambda *_, **__: {'fog': folder})
    monkeypatch.setattr(mdi_probe, 'read_rows', lambda _: rows)
    drive = write_dataset(tmp_path / 'drive-0')
    seeds = []
    monkeypatch.setattr(
        dominance_truth, 'render_sequence_of', lambda plan, *_: seeds.append(plan.seed) or drive
    )
    monkeypatch.setattr(dominance_truth, 'open_engine', lambda *_: FakeEngine(trusts_rgb))
    page = tmp_path / 'page.md'
    page.write_text('<!-- begin dominance -->\n<!-- end dominance -->\n')
    monkeypatch.setattr(dominance_truth, 'DEFAULT_MODEL_PAGE', page)
    out = tmp_path / 'out'
    arguments = [
        '--card',
        str(card.folder),
        '--columns',
        'fog',
        '--scenarios',
        'x',
        '--drives',
        '2',
        '--out',
        str(out),
    ]
    main([*arguments, '--dark-pairs', '2', '--kaist', str(folder), '--write-page'])
    found = json.loads((out / 'dominance_truth.json').read_text())
    assert found['indices']['single pairs']['linear_share']['by_condition']['fog']['pairs'] == 3
    assert (
        found['indices']['sequences']['drop_kl_detection']['by_condition']['drive']['pairs'] == 6
    )
    assert seeds == [5_000_000, 5_100_000]
    assert list(found['sequences_by_seed']) == [str(seed) for seed in seeds]
    assert len(found['darkened']['rendered']['linear_share']['largest_rises']) == 2
    assert len(found['darkened']['KAIST']['drop_kl_detection']['mean']) == DARK_STEPS + 1
    assert 'largest rise of the mean mdi as RGB darkens, KAIST' in capsys.readouterr().out
    assert '| contrast advantage (truth) | 0.000 |' in page.read_text()


def test_a_sequence_is_filtered_over_time_and_single_pairs_are_not(card):
    shares = iter([0.9, 0.1, 0.9, 0.1])
    engine = FakeEngine(lambda _: build_outputs((64, 80), rgb_share=next(shares)))
    pairs = [build_pair(1_000_000_000), build_pair(1_100_000_000)]
    single, sequence = [], []
    for is_sequence, found in ((False, single), (True, sequence)):
        prober = Prober(card, engine, PerceptionConfig(), is_sequence=is_sequence)
        prober._engine._probe = lambda *_: Probed(drop_kl_detection=0.0, shapley_pseudo=0.0)
        found += [prober(pair)['linear_share'] for pair in pairs]
    assert single[0] == sequence[0] > 0.9
    assert single[1] < -0.9
    assert sequence[1] > 0.0  # a tenth of the time constant later
