# SPDX-License-Identifier: Apache-2.0
"""Which precision and which graph a backend takes of a card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fakes import build_onnx_card
from made_variants import with_variant
import pytest

from rgbt_models.card import ModelCard
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine.precision import choose_graph, choose_precision
from rgbt_perception.errors import ConfigError


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    """Card with a graph that is never read."""
    return build_onnx_card(tmp_path / 'card')


AUTO_PRECISIONS = [
    # device, variants of the card, backend, precision
    ('cpu', [], 'openvino', 'fp32'),
    ('cpu', [('openvino', 'int8', True)], 'openvino', 'int8'),
    ('cpu', [('openvino', 'int8', False)], 'openvino', 'fp32'),
    ('cpu', [('onnx', 'int8', True)], 'openvino', 'fp32'),
    ('cpu', [('onnx', 'int8', True)], 'onnx', 'int8'),
    ('cpu', [('onnx', 'fp16', True)], 'onnx', 'fp32'),
    ('cpu', [], 'torch', 'fp32'),
    ('cuda:0', [], 'torch', 'bf16'),
    ('cuda:0', [], 'tensorrt', 'fp32'),
    ('cuda:0', [('tensorrt', 'int8', True), ('tensorrt', 'fp16', True)], 'tensorrt', 'fp16'),
    ('cuda:0', [('onnx', 'int8', True)], 'onnx', 'fp32'),
]


@pytest.mark.parametrize(('device', 'variants', 'backend', 'precision'), AUTO_PRECISIONS)
def test_auto_takes_lower_precision_only_from_a_gated_graph(
    card, device, variants, backend, precision
):
    for target, kind, has_passed in variants:
        card = with_variant(card, target, kind, passed=has_passed)
    assert choose_precision(card, EngineConfig(device=device), backend) == precision


def test_a_graph_without_a_gate_is_taken_only_by_name(card):
    card = with_variant(card, 'onnx', 'int8')
    assert choose_precision(card, EngineConfig(), 'onnx') == 'fp32'
    assert choose_precision(card, EngineConfig(precision='int8'), 'onnx') == 'int8'
    assert choose_graph(card, 'onnx', 'int8').path.name == 'model.int8.onnx.onnx'


def test_bf16_is_computed_from_the_fp32_graph(card):
    assert choose_graph(card, 'openvino', 'bf16').path == card.graph_path


@pytest.mark.parametrize('backend', ['onnx', 'tensorrt'])
def test_a_graph_that_the_card_lacks_is_refused(card, backend):
    card = with_variant(card, 'openvino', 'int8', passed=True)
    config = EngineConfig(precision='int8', device='cuda:0' if backend == 'tensorrt' else 'cpu')
    with pytest.raises(
        ConfigError, match=rf"no int8 graph for backend '{backend}' \(one for openvino\), expected"
    ):
        choose_precision(card, config, backend)


def of_one_size(card, target, precision, input_hw):
    card = with_variant(card, target, precision, passed=True)
    return replace(card, variants=(replace(card.variants[0], input_hw=input_hw),))


def test_a_graph_of_another_size_gives_way_to_that_of_the_card(card, caplog):
    card = of_one_size(card, 'onnx', 'fp32', (64, 96))
    with caplog.at_level('INFO', 'rgbt_perception'):
        assert choose_graph(card, 'onnx', 'fp32').path == card.graph_path
    assert not caplog.messages  # it is asked for several times, before anything is opened
    fitting = replace(card, input_hw=(64, 96))
    assert choose_graph(fitting, 'onnx', 'fp32').path.name == 'model.fp32.onnx.onnx'


def test_auto_passes_over_an_int8_graph_of_another_size(card):
    card = of_one_size(card, 'onnx', 'int8', (64, 96))
    assert choose_precision(card, EngineConfig(), 'onnx') == 'fp32'
    assert choose_precision(replace(card, input_hw=(64, 96)), EngineConfig(), 'onnx') == 'int8'
    with pytest.raises(
        ConfigError, match=r"backend 'onnx' \(one for onnx at 64x96 px\), expected"
    ):
        choose_precision(card, EngineConfig(precision='int8'), 'onnx')
