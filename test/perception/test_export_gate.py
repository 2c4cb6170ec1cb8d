# SPDX-License-Identifier: Apache-2.0
"""The gate of an exported graph, and the pairs that it is measured on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from fakes import FakeEngine
from made_data import write_bag, write_dataset
from made_exports import (
    build_full_card,
    pairs_of,
    settings_of,
    watch,
    WHALES,
    write_pairs,
    write_variant,
)
import numpy as np
import pytest

from bench.held_out import HELD_OUT_SEED
from rgbt_models.calibrate import CALIBRATION_SEED
from rgbt_models.cpu import find_cpu_features
from rgbt_perception import export_gate
from rgbt_perception.errors import DatasetError, EngineError
from rgbt_perception.export_gate import (
    Gate,
    LOST_MDI,
    measure_baseline,
    measure_gate,
    Measured,
    MIN_PAIRS,
)
from rgbt_perception.export_pairs import (
    GATE_SEED,
    open_pairs,
    PairPlan,
    QUANTISATION_SEED,
    record_inputs,
)

MANY = 100_000  # pairs that nobody asks for


def test_the_seeds_of_calibration_gate_training_and_benches_never_meet():
    seeds = (CALIBRATION_SEED, QUANTISATION_SEED, GATE_SEED, HELD_OUT_SEED)
    assert all(first + MANY < second for first, second in pairwise(seeds))


def build_gate(*, actual, mdis=(float('nan'),), changed=(float('nan'),)):
    expected = {'fused': {'mAP50': 0.8, 'mIoU': 0.6}, 'rgb_only': {'mAP50': 0.5}}
    measured = [
        Measured(values=values, mdis=indices, runtime='onnx 1, cpu', cpu_features=('avx2',))
        for values, indices in ((expected, mdis), (actual, changed))
    ]
    return Gate(expected=measured[0], actual=measured[1], max_drop=0.01)


def test_the_worst_loss_of_any_metric_with_any_camera_decides():
    gate = build_gate(actual={'fused': {'mAP50': 0.79, 'mIoU': 0.61}, 'rgb_only': {'mAP50': 0.48}})
    assert gate.worst[1:] == ('rgb_only', 'mAP50')
    assert gate.worst[0] == pytest.approx(0.02)
    assert not gate.is_passed
    assert gate.describe() == (
        'largest loss +2.00 points (mAP50 rgb_only: 0.5000 in fp32, 0.4800 now), allowed 1.0, on '
        '1 pairs with onnx 1, cpu'
    )
    record = gate.to_record()
    assert record['passed'] is False
    assert record['fused'] == {
        'mAP50': 0.79,
        'mAP50_drop': 0.01,
        'mIoU': 0.61,
        'mIoU_drop': -0.01,
    }


GAIN = {'fused': {'mAP50': 0.9, 'mIoU': 0.6}, 'rgb_only': {'mAP50': 0.5}}


def test_a_gain_passes():
    gate = build_gate(actual=GAIN)
    assert gate.is_passed
    assert gate.mdi_change is None


@pytest.mark.parametrize(
    ('changed', 'change', 'is_passed'),
    [
        ((0.25, 0.0, 0.5), 0.05, True),  # that of the third pair is unknown
        ((0.25, -0.0625, 0.5), 0.08125, False),
        ((0.25, float('nan'), 0.5), (0.1 + LOST_MDI) / 2, False),
    ],
)
def test_the_dominance_index_may_change_by_a_bound_on_average(changed, change, is_passed):
    gate = build_gate(actual=GAIN, mdis=(0.15, 0.0, float('nan')), changed=changed)
    assert gate.mdi_change == pytest.approx(change)
    assert gate.is_passed is is_passed
    assert f'mean change of mdi {change:.3f}, allowed 0.05, on 3 pairs' in gate.describe()
    record = gate.to_record()
    assert record['mdi_change'] == pytest.approx(change)
    assert (record['max_mdi_change'], record['cpu_features']) == (0.05, ['avx2'])


def test_pairs_of_the_calibration_are_not_measured_on(tmp_path):
    dataset = write_dataset(tmp_path / 'data', num_pairs=5)
    (tmp_path / 'link').symlink_to(dataset)
    pairs = pairs_of(dataset, count=4)
    pairs = replace(pairs, gate=replace(pairs.gate, source=tmp_path / 'link'))
    names = [item.name for item in pairs.held_out.take(open_pairs(pairs.gate, tmp_path, watch))]
    assert names == ['3_rgb', '4_rgb']
    assert pairs.held_out.describe() == "up to 4 pairs of 'link' after the first 3"
    other = replace(pairs, calibration=replace(pairs.calibration, source=tmp_path / 'other'))
    assert other.held_out == other.gate


@pytest.fixture
def card(tmp_path):
    return build_full_card(tmp_path / 'card')


@pytest.mark.parametrize(
    ('target', 'precision', 'road_bias', 'max_drop'),
    [
        ('onnx', 'int8', 4.0, 0.01),
        ('tensorrt', 'fp16', 4.0, 0.002),  # measured with ONNX Runtime
        ('onnx', 'int8', -5.0, 0.01),  # no road any more
    ],
)
def test_a_graph_is_measured_against_that_of_the_card(
    target, precision, road_bias, max_drop, card, tmp_path
):
    is_passed = road_bias > 0.0
    variant = write_variant(
        card, tmp_path, precision=precision, target=target, road_bias=road_bias
    )
    settings = settings_of(write_pairs(tmp_path / 'data'), tmp_path)
    baseline = measure_baseline(card, target, tmp_path, **settings)
    gate = measure_gate(card, variant, tmp_path, baseline=baseline, **settings)
    assert (gate.max_drop, gate.is_passed) == (max_drop, is_passed)
    assert gate.expected is baseline
    assert len(gate.actual.mdis) == MIN_PAIRS
    assert gate.mdi_change == 0.0
    assert gate.actual.runtime.startswith('onnx ')
    assert gate.actual.cpu_features == find_cpu_features()
    assert set(baseline.values) == {'fused', 'rgb_only', 'thermal_only'}
    assert baseline.values['fused']['mIoU'] == 1.0
    assert gate.actual.values['fused']['mIoU'] == (1.0 if is_passed else 0.0)
    without_truth = gate.to_record()['classes_without_truth']
    assert 'person' not in without_truth['detection']
    assert {'rider', 'car'} <= set(without_truth['detection'])
    assert 'sky' in without_truth['segmentation']


def test_the_index_is_compared_pair_by_pair_without_memory(card, tmp_path):
    settings = settings_of(write_pairs(tmp_path / 'data'), tmp_path)
    measured = measure_baseline(card, 'onnx', tmp_path, **settings)
    # Shares of .5 on three levels: what is left is the bias.
    np.testing.assert_allclose(measured.mdis, np.tanh(0.1), atol=1e-6)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'categories': WHALES}, r'no ground truth for the mAP50 of card .* add --gate DATASET'),
        ({'info': {'segmentation_classes': ['sea', 'reef']}}, r'no ground truth for the mIoU of'),
    ],
)
def test_pairs_without_truth_for_one_task_of_the_card_are_refused(changes, said, card, tmp_path):
    settings = settings_of(write_pairs(tmp_path / 'data', **changes), tmp_path)
    with pytest.raises(DatasetError, match=said):
        measure_baseline(card, 'onnx', tmp_path, **settings)


def test_a_task_that_the_card_lacks_needs_no_truth(card, tmp_path, monkeypatch):
    values = {'fused': {'mIoU': 0.5}}
    measured = Measured(values=values, mdis=(0.0,) * MIN_PAIRS, runtime='made')
    monkeypatch.setattr(export_gate, '_evaluate', lambda *_: measured)
    for classes, is_refused in (((), False), (('person',), True)):
        of_task = replace(card, detection_classes=classes)
        settings = {'source': None, 'pairs': pairs_of(None)}
        if is_refused:
            with pytest.raises(DatasetError, match='no ground truth for the mAP50'):
                measure_baseline(of_task, 'onnx', tmp_path, **settings)
        else:
            assert measure_baseline(of_task, 'onnx', tmp_path, **settings) is measured


def test_a_model_that_finds_next_to_nothing_is_refused(card, tmp_path, monkeypatch):
    graph = write_variant(card, tmp_path, precision='fp32', target='onnx', road_bias=-5.0)
    (tmp_path / graph.file).replace(card.graph_path)
    card = replace(card, graph_sha256=graph.sha256)
    settings = settings_of(write_pairs(tmp_path / 'data'), tmp_path)
    with pytest.raises(
        DatasetError, match=r'the mIoU fused of the float32 graph is 0\.000 .*; expected 0\.1 or'
    ):
        measure_baseline(card, 'onnx', tmp_path, **settings)


def test_few_pairs_are_refused_also_where_the_source_has_no_more(card, tmp_path):
    settings = settings_of(write_dataset(tmp_path / 'data', num_pairs=MIN_PAIRS), tmp_path)
    with pytest.raises(DatasetError, match=r'17 pairs are left to measure on; expected 20 or'):
        measure_baseline(card, 'onnx', tmp_path, **settings)


def test_another_precision_than_asked_is_not_measured(card, tmp_path, monkeypatch):
    monkeypatch.setattr('rgbt_perception.export_gate.open_engine', lambda *_: FakeEngine())
    variant = write_variant(card, tmp_path, precision='int8', target='onnx', road_bias=5.0)
    settings = settings_of(write_dataset(tmp_path / 'data'), tmp_path)
    baseline = Measured(values={}, mdis=(), runtime='made')
    with pytest.raises(EngineError, match='fake computes the int8 graph in fp32 on this machine'):
        measure_gate(card, variant, tmp_path, baseline=baseline, **settings)


def test_inputs_are_recorded_with_both_cameras_and_with_each_alone(card, tmp_path):
    plan = PairPlan(source=write_dataset(tmp_path / 'data', num_pairs=5), num_pairs=4, seed=0)
    inputs = record_inputs(card, open_pairs(plan, tmp_path, watch), plan, watch)
    available = [tuple(feed['available'][0]) for feed in inputs]
    assert available == [(1, 1), (1, 1), (1, 0), (0, 1)]
    assert all(feed['rgb'].shape == (1, 3, *card.input_hw) for feed in inputs)
    assert not np.array_equal(inputs[0]['rgb'], inputs[1]['rgb'])


def test_inputs_are_recorded_without_a_network_and_without_truth(card, tmp_path):
    card.graph_path.unlink()
    bag = write_bag(tmp_path / 'bag', num_instants=4, has_truth=False)
    plan = PairPlan(source=bag, num_pairs=3, seed=0)
    assert len(record_inputs(card, open_pairs(plan, tmp_path, watch), plan, watch)) == 3
