# SPDX-License-Identifier: Apache-2.0
"""The gate of an exported graph, and the card that it is recorded in."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
import os

from fakes import build_onnx_card
from made_data import write_dataset
import numpy as np
import onnx
from onnx import numpy_helper
import pytest

from bench.held_out import HELD_OUT_SEED
from rgbt_models.calibrate import CALIBRATION_SEED
from rgbt_models.card import hash_file, load_card, save_card, verify_file
from rgbt_models.graph_variant import GraphVariant, VariantRequest
from rgbt_perception.errors import CardError, DatasetError
from rgbt_perception.export_gate import Gate, measure_gate
from rgbt_perception.export_pairs import (
    ExportPairs,
    GATE_SEED,
    open_pairs,
    PairPlan,
    QUANTISATION_SEED,
    record_inputs,
)
from rgbt_perception.variant_export import export_to_card

MANY = 100_000  # pairs that nobody asks for


def test_the_seeds_of_calibration_gate_training_and_benches_never_meet():
    seeds = (CALIBRATION_SEED, QUANTISATION_SEED, GATE_SEED, HELD_OUT_SEED)
    assert all(first + MANY < second for first, second in pairwise(seeds))


def watch(items, _what, _total):
    return items


def build_gate(*, actual, max_drop=0.01):
    expected = {'fused': {'mAP50': 0.8, 'mIoU': 0.6}, 'rgb_only': {'mAP50': 0.5}}
    return Gate(
        expected=expected, actual=actual, max_drop=max_drop, num_pairs=80, runtime='onnx 1, cpu'
    )


def test_the_worst_loss_of_any_metric_with_any_camera_decides():
    gate = build_gate(actual={'fused': {'mAP50': 0.79, 'mIoU': 0.61}, 'rgb_only': {'mAP50': 0.48}})
    assert gate.worst[1:] == ('rgb_only', 'mAP50')
    assert gate.worst[0] == pytest.approx(0.02)
    assert not gate.is_passed
    assert gate.describe() == (
        'largest loss +2.00 points (mAP50 rgb_only: 0.5000 in fp32, 0.4800 now), allowed 1.0, on '
        '80 pairs with onnx 1, cpu'
    )
    record = gate.to_record()
    assert record['passed'] is False
    assert record['fused'] == {
        'mAP50': 0.79,
        'mAP50_drop': 0.01,
        'mIoU': 0.61,
        'mIoU_drop': -0.01,
    }


def test_a_gain_passes():
    gate = build_gate(actual={'fused': {'mAP50': 0.9, 'mIoU': 0.6}, 'rgb_only': {'mAP50': 0.5}})
    assert gate.is_passed


def pairs_of(dataset, count=3):
    plan = PairPlan(source=dataset, num_pairs=count, seed=0)
    return ExportPairs(calibration=plan, gate=plan, watch=watch)


def write_variant(card, folder, *, precision, target, road_bias):
    """Write the card's graph as a variant, the logit of the road changed."""
    graph = onnx.load(card.graph_path)
    bias = next(item for item in graph.graph.initializer if item.name == 'road_bias')
    values = numpy_helper.to_array(bias).copy()
    values[1] = road_bias
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    file = f'model.{precision}.{target}.onnx'
    onnx.save(graph, folder / file)
    return GraphVariant(
        file=file,
        sha256=hash_file(folder / file),
        precision=precision,
        target=target,
        opset=18,
        is_stacked=False,
        gate={'onnx_parity': 1e-6},
    )


@pytest.fixture
def card(tmp_path):
    card = build_onnx_card(tmp_path / 'card')
    card.weights_path.write_bytes(b'weights')
    card = replace(card, weights_sha256=hash_file(card.weights_path))
    save_card(card)
    return card


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
    pairs = pairs_of(write_dataset(tmp_path / 'data'), count=2)
    source = open_pairs(pairs.gate, tmp_path, watch)
    gate = measure_gate(card, variant, tmp_path, source=source, pairs=pairs)
    assert (gate.max_drop, gate.num_pairs, gate.is_passed) == (max_drop, 2, is_passed)
    assert gate.runtime.startswith('onnx ')
    assert set(gate.expected) == {'fused', 'rgb_only', 'thermal_only'}
    assert gate.expected['fused']['mIoU'] == 1.0
    assert gate.actual['fused']['mIoU'] == (1.0 if is_passed else 0.0)


def test_pairs_without_truth_for_the_card_are_refused(card, tmp_path):
    card = replace(card, detection_classes=('ship', *card.detection_classes[1:]))
    card = replace(card, segmentation_classes=('sea', 'reef', *card.segmentation_classes[2:]))
    variant = write_variant(card, tmp_path, precision='int8', target='onnx', road_bias=5.0)
    categories = [{'id': number, 'name': 'whale'} for number in (7, 3, 9)]
    pairs = pairs_of(write_dataset(tmp_path / 'data', categories=categories))
    source = open_pairs(pairs.gate, tmp_path, watch)
    with pytest.raises(DatasetError, match=r'have no ground truth .* add --gate DATASET'):
        measure_gate(card, variant, tmp_path, source=source, pairs=pairs)


def test_inputs_are_recorded_with_both_cameras_and_with_each_alone(card, tmp_path):
    plan = PairPlan(source=write_dataset(tmp_path / 'data', num_pairs=5), num_pairs=4, seed=0)
    inputs = record_inputs(card, open_pairs(plan, tmp_path, watch), plan, watch)
    available = [tuple(feed['available'][0]) for feed in inputs]
    assert available == [(1, 1), (1, 1), (1, 0), (0, 1)]
    assert all(feed['rgb'].shape == (1, 3, *card.input_hw) for feed in inputs)
    assert not np.array_equal(inputs[0]['rgb'], inputs[1]['rgb'])


@pytest.fixture
def made_export(monkeypatch):
    """Return a dictionary of the road's logit, with which graphs are made instead of traced."""
    settings = {'road_bias': 5.0}

    def export_variant(card, request, folder, *, calibrate):
        assert request.precision != 'int8' or len(calibrate()) == 3
        return write_variant(
            card, folder, precision=request.precision, target=request.target, **settings
        )

    monkeypatch.setattr('rgbt_models.export_variant.export_variant', export_variant)
    return settings


INT8 = VariantRequest(precision='int8', target='onnx')
FP16 = VariantRequest(precision='fp16', target='onnx')


@pytest.mark.usefixtures('made_export')
def test_graphs_gather_in_a_copy_of_the_card(card, tmp_path):
    pairs, home = pairs_of(write_dataset(tmp_path / 'data')), tmp_path / 'out'
    before = (card.folder / 'card.json').read_bytes()
    for request in (INT8, FP16):
        export_to_card(card, request, out_dir=home, pairs=pairs, is_forced=False)
    copy = load_card(home)
    assert [item.precision for item in copy.variants] == ['fp16', 'int8']
    for item in copy.variants:
        verify_file(home / item.file, item.sha256)
    verify_file(copy.graph_path, copy.graph_sha256)
    verify_file(copy.weights_path, copy.weights_sha256)
    gate = copy.variants[1].gate
    assert (gate['passed'], gate['forced'], gate['onnx_parity']) == (True, False, 1e-6)
    assert gate['measured_on'] == gate['calibrated_on'] == "up to 3 pairs of 'data'"
    assert sorted(path.name for path in home.iterdir()) == [
        'card.json',
        'model.fp16.onnx.onnx',
        'model.int8.onnx.onnx',
        'model.onnx',
        'model.safetensors',
    ]
    assert (card.folder / 'card.json').read_bytes() == before


def test_a_graph_that_loses_too_much_is_written_only_by_force(card, tmp_path, made_export):
    made_export['road_bias'] = -5.0
    pairs = pairs_of(write_dataset(tmp_path / 'data'))
    refused = export_to_card(card, INT8, out_dir=None, pairs=pairs, is_forced=False)
    assert refused.path is None
    assert load_card(card.folder).variants == ()
    assert not (card.folder / 'model.int8.onnx.onnx').exists()
    forced = export_to_card(card, INT8, out_dir=None, pairs=pairs, is_forced=True)
    assert forced.path == card.folder / 'model.int8.onnx.onnx'
    gate = load_card(card.folder).variants[0].gate
    assert (gate['passed'], gate['forced']) == (False, True)


@pytest.mark.usefixtures('made_export')
def test_an_fp32_graph_has_its_parity_as_gate(card):
    nothing = pairs_of(None)  # would be rendered
    request = VariantRequest(precision='fp32', target='onnx')
    exported = export_to_card(card, request, out_dir=None, pairs=nothing, is_forced=False)
    assert exported.gate is None
    assert load_card(card.folder).variants[0].gate == {'onnx_parity': 1e-6, 'forced': False}


def test_a_shipped_card_is_not_written_to():
    with pytest.raises(CardError, match=r'part of the installed package .* add --out DIR'):
        export_to_card(
            load_card('tiny'), FP16, out_dir=None, pairs=pairs_of(None), is_forced=False
        )


def test_a_folder_that_is_not_ours_is_not_written_to(card, monkeypatch):
    monkeypatch.setattr('os.access', lambda path, mode: (path, mode) != (card.folder, os.W_OK))
    with pytest.raises(CardError, match='add --out DIR'):
        export_to_card(card, FP16, out_dir=None, pairs=pairs_of(None), is_forced=False)


def test_the_folder_of_another_model_is_not_written_to(card, tmp_path):
    other = build_onnx_card(tmp_path / 'other')
    with pytest.raises(CardError, match=r"holds the card of another model, 'fake' version 1"):
        export_to_card(card, FP16, out_dir=other.folder, pairs=pairs_of(None), is_forced=False)
