# SPDX-License-Identifier: Apache-2.0
"""Graphs of operator set 17: what they compute, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import onnxruntime
import pytest

from rgbt_models.card import INPUT_NAMES, load_card
from rgbt_models.errors import ExportError
from rgbt_models.export_opset import lower_to_opset_17

SHAPE = (1, 3, 4, 6)
GIVEN = np.random.default_rng(0).uniform(0.5, 2.0, SHAPE).astype(np.float32)
# A split of the last side into four.
FOUR = {'axis': 3, 'num_made': 4, 'num_outputs': 4}


def write_node(
    path: Path,
    operator: str,
    inputs: dict[str, Any],
    *,
    num_made: int = 1,
    opset: int = 18,
    sides: tuple[int | str, ...] = SHAPE,
    **attributes: Any,
) -> Path:
    """Write a graph of one node, which takes 'given' and then constants by name."""
    names = [f'made_{index}' for index in range(num_made)]
    node = helper.make_node(operator, ['given', *inputs], names, name='the node', **attributes)
    graph = helper.make_graph(
        [node],
        'one node',
        [helper.make_tensor_value_info('given', TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [numpy_helper.from_array(v, name) for name, v in inputs.items() if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)  # outputs must have a shape
    return path


def run(path: Path) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return session.run(None, {'given': GIVEN})


def lower(source: Path) -> onnx.ModelProto:
    """Lower a graph in place, check that it computes the same, and return it."""
    wanted = run(source)
    lower_to_opset_17(source, source)
    for found, expected in zip(run(source), wanted, strict=True):
        np.testing.assert_array_equal(found, expected)
    model = onnx.load(source)
    assert [item.version for item in model.opset_import] == [17]
    return model


def test_the_shipped_graph_computes_the_same_and_has_its_axes_as_attributes(tmp_path: Path):
    card = load_card('tiny')
    path = tmp_path / 'model.onnx'
    lower_to_opset_17(card.graph_path, path)
    rng = np.random.default_rng(0)
    for height, width in (card.input_hw, (288, 384)):
        images = rng.normal(size=(2, 1, 3, height, width)).astype(np.float32)
        feeds = dict(zip(INPUT_NAMES, (*images, np.ones((1, 2), np.float32)), strict=True))
        found, wanted = (
            onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider']).run(None, feeds)
            for file in (path, card.graph_path)
        )
        for actual, expected in zip(found, wanted, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
    means = [node for node in onnx.load(path).graph.node if node.op_type == 'ReduceMean']
    assert means
    for node in means:
        assert len(node.input) == 1
        assert {item.name for item in node.attribute} == {'axes', 'keepdims'}


@pytest.mark.parametrize('operator', ['ReduceMean', 'ReduceMax', 'ReduceL2', 'ReduceLogSumExp'])
@pytest.mark.parametrize('axes', [[1], [-1, 2]])
def test_axes_of_a_reduction_become_an_attribute(tmp_path, operator, axes):
    inputs = {'axes': np.array(axes)}
    model = lower(write_node(tmp_path / 'a.onnx', operator, inputs, noop_with_empty_axes=0))
    attributes = {
        item.name: helper.get_attribute_value(item) for item in model.graph.node[0].attribute
    }
    assert attributes == {'axes': axes}
    assert not model.graph.initializer


def test_a_reduction_of_everything_has_no_axes(tmp_path):
    model = lower(write_node(tmp_path / 'a.onnx', 'ReduceMean', {}, noop_with_empty_axes=0))
    assert not model.graph.node[0].attribute


def test_axes_of_a_sum_stay_an_input(tmp_path):
    inputs = {'axes': np.array([1])}
    model = lower(write_node(tmp_path / 'a.onnx', 'ReduceSum', inputs, noop_with_empty_axes=0))
    assert list(model.graph.node[0].input) == ['given', 'axes']


def test_an_even_split_needs_no_number_of_parts(tmp_path):
    source = write_node(tmp_path / 'a.onnx', 'Split', {}, num_made=2, axis=3, num_outputs=2)
    assert [item.name for item in lower(source).graph.node[0].attribute] == ['axis']


def test_pads_of_some_axes_become_pads_of_all(tmp_path):
    inputs = {'pads': np.array([1, 2, 3, 4]), '': None, 'axes': np.array([-1, 1])}
    model = lower(write_node(tmp_path / 'a.onnx', 'Pad', inputs))
    (pads,) = (numpy_helper.to_array(item).tolist() for item in model.graph.initializer)
    assert pads == [0, 2, 0, 1, 0, 4, 0, 3]


def test_what_resize_says_by_default_is_left_out(tmp_path):
    inputs = {'': None, 'scales': np.array([1, 1, 2, 2], np.float32)}
    options = {'mode': 'linear', 'antialias': 0, 'keep_aspect_ratio_policy': 'stretch'}
    model = lower(write_node(tmp_path / 'a.onnx', 'Resize', inputs, **options))
    assert [item.name for item in model.graph.node[0].attribute] == ['mode']


@pytest.mark.parametrize(
    ('operator', 'inputs', 'options', 'problem'),
    [
        ('Mish', {}, {}, r'\(Mish\) is new, or means something else, in 18'),
        (
            'Resize',
            {'': None, 'scales': np.ones(4, np.float32)},
            {'antialias': 1},
            'antialias = 1',
        ),
        ('ReduceMean', {}, {'noop_with_empty_axes': 1}, 'reduces nothing without axes'),
        ('Split', {}, {**FOUR, 'sides': (1, 3, 4, 'w')}, 'splits unknown elements into 4 parts'),
        ('Split', {}, FOUR, 'splits 6 elements into 4 parts'),
    ],
)
def test_what_17_cannot_say_is_refused_by_name(tmp_path, operator, inputs, options, problem):
    source = write_node(tmp_path / 'a.onnx', operator, inputs, **options)
    with pytest.raises(
        ExportError, match=rf"^node 'the node' .*{problem}.*, which operator set 17"
    ):
        lower_to_opset_17(source, tmp_path / 'b.onnx')
    assert not (tmp_path / 'b.onnx').exists()


def test_computed_axes_are_refused(tmp_path):
    source = write_node(tmp_path / 'a.onnx', 'ReduceMean', {'axes': np.array([1])})
    model = onnx.load(source)
    model.graph.node[0].input[1] = 'computed'
    model.graph.node.insert(0, helper.make_node('Identity', ['axes'], ['computed'], name='first'))
    onnx.save(model, source)
    with pytest.raises(
        ExportError, match=r"'the node' \(ReduceMean\) computes its input 'computed'"
    ):
        lower_to_opset_17(source, source)


@pytest.mark.parametrize('opset', [17, 19])
def test_another_operator_set_is_refused(tmp_path, opset):
    source = write_node(tmp_path / 'a.onnx', 'Relu', {}, opset=opset)
    with pytest.raises(ExportError, match=rf'is of operator set \[{opset}\], expected 18'):
        lower_to_opset_17(source, source)


def test_a_graph_that_is_not_valid_is_not_written(tmp_path):
    source = write_node(tmp_path / 'a.onnx', 'Relu', {}, surprise=1)
    with pytest.raises(ExportError, match=r'is not valid in operator set 17 \(Unrecognized attr'):
        lower_to_opset_17(source, tmp_path / 'b.onnx')
    assert not (tmp_path / 'b.onnx').exists()
