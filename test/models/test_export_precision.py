# SPDX-License-Identifier: Apache-2.0
"""Graphs in fp16 and int8, on a graph made by hand."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from made_graphs import IMAGES, made_feeds, OUTPUTS, write_graph
import numpy as np
import onnx
from onnx import numpy_helper, TensorProto
import onnxruntime
import pytest

from rgbt_models.errors import ExportError
from rgbt_models.export_fp16 import convert_to_fp16, measure_largest
from rgbt_models.export_int8 import quantise
from rgbt_models.export_nodes import module_nodes, side_nodes

SIDE = ['level', 'shifted', 'boxes_xyxy']
KEPT = ('segmentation.classifier',)


@pytest.fixture
def graph(tmp_path):
    return write_graph(tmp_path / 'model.onnx')


def run(path, feed):
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return dict(zip(OUTPUTS, session.run(OUTPUTS, feed), strict=True))


def types_of(path):
    """Return the element type of every value, as ONNX infers it."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    types = {item.name: item.type.tensor_type.elem_type for item in values}
    return types | {item.name: item.data_type for item in model.graph.initializer}


def node_of(path, name):
    return next(node for node in onnx.load(path).graph.node if node.name == name)


def test_side_nodes_are_those_that_no_logit_depends_on(graph):
    assert side_nodes(onnx.load(graph).graph) == SIDE


def test_nodes_of_a_module_are_found_by_its_whole_name(graph, tmp_path):
    nodes = onnx.load(graph).graph
    assert module_nodes(nodes, ['segmentation', 'stem']) == ['stem', 'segmentation.classifier']
    assert module_nodes(nodes, ['segmentation.class', 'ste']) == []
    plain = onnx.load(write_graph(tmp_path / 'plain.onnx', with_scopes=False)).graph
    assert module_nodes(plain, ['stem']) == []


def test_an_fp16_graph_computes_layers_in_fp16_and_the_rest_in_fp32(graph, tmp_path):
    path = tmp_path / 'half.onnx'
    convert_to_fp16(graph, path)
    types = types_of(path)
    assert {types[name] for name in (*IMAGES, *OUTPUTS)} == {TensorProto.FLOAT}
    half = ('stem', 'act', 'segmentation.classifier', 'head', 'sum')
    assert {name: types[name] for name in half} == dict.fromkeys(half, TensorProto.FLOAT16)
    for name in ('norm', 'soft', *SIDE):
        node = node_of(path, name)
        assert {types[value] for value in (*node.input, *node.output)} == {TensorProto.FLOAT}
    assert types[node_of(path, 'stem').input[1]] == TensorProto.FLOAT16
    names = [node.name for node in onnx.load(path).graph.node]
    assert len(names) == len(set(names))


def test_an_fp16_graph_gives_nearly_the_same_and_side_outputs_exactly(graph, tmp_path):
    path = tmp_path / 'half.onnx'
    convert_to_fp16(graph, path)
    expected, actual = run(graph, made_feeds(1)[0]), run(path, made_feeds(1)[0])
    for name in ('class_logits', 'segmentation_logits'):
        error = np.abs(expected[name] - actual[name]).max()
        assert 0.0 < error < 5e-3, name  # not 0: it was rounded
    np.testing.assert_array_equal(actual['boxes_xyxy'], expected['boxes_xyxy'])


def test_a_weight_beyond_fp16_is_refused(tmp_path):
    path = write_graph(tmp_path / 'model.onnx', scale=1e6)
    said = r"weight 'stem.weight' has values up to .*e\+05; expected at most 65504"
    with pytest.raises(ExportError, match=said):
        convert_to_fp16(path, tmp_path / 'half.onnx')
    assert not (tmp_path / 'half.onnx').exists()


def int8_weights(path):
    initializers = onnx.load(path).graph.initializer
    return {
        item.name: numpy_helper.to_array(item)
        for item in initializers
        if item.data_type == TensorProto.INT8 and len(item.dims) > 1
    }


def test_an_int8_graph_for_onnx_runtime_keeps_modules_and_range(graph, tmp_path):
    path = tmp_path / 'int8.onnx'
    quantise(graph, path, scheme='onnx', fp32_modules=KEPT, feeds=made_feeds())
    weights = int8_weights(path)
    assert {name.split('.')[0] for name in weights} == {'stem', 'head'}
    assert all(np.abs(values).max() <= 64 for values in weights.values())  # 7 bits
    assert node_of(path, 'segmentation.classifier').input[1] == 'segmentation.classifier.weight'
    assert [file.name for file in tmp_path.iterdir()].count('int8.folded.onnx') == 0


def zero_points_of(path):
    graph = onnx.load(path).graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    return [
        values[node.input[2]]
        for node in graph.node
        if node.op_type in {'QuantizeLinear', 'DequantizeLinear'}
    ]


def test_an_int8_graph_for_tensorrt_is_symmetric(graph, tmp_path):
    path = tmp_path / 'int8.onnx'
    quantise(graph, path, scheme='tensorrt', fp32_modules=KEPT, feeds=made_feeds())
    found = zero_points_of(path)
    assert found
    assert all(values.dtype == np.int8 and not values.any() for values in found)


@pytest.mark.parametrize('scheme', ['onnx', 'tensorrt', 'openvino'])
def test_an_int8_graph_gives_nearly_the_same(scheme, graph, tmp_path):
    if scheme == 'openvino' and importlib.util.find_spec('nncf') is None:
        pytest.skip('needs nncf')
    path = tmp_path / 'int8.onnx'
    quantise(graph, path, scheme=scheme, fp32_modules=KEPT, feeds=made_feeds())
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert {'QuantizeLinear', 'DequantizeLinear'} <= operators
    expected, actual = run(graph, made_feeds(1)[0]), run(path, made_feeds(1)[0])
    error = np.abs(expected['class_logits'] - actual['class_logits']).max()
    assert 0.0 < error < 0.1
    np.testing.assert_array_equal(actual['boxes_xyxy'], expected['boxes_xyxy'])


def test_an_int8_graph_needs_pairs(graph, tmp_path):
    with pytest.raises(ExportError, match=r'no pairs to calibrate .* add --calibration-pairs N'):
        quantise(graph, tmp_path / 'int8.onnx', scheme='onnx', fp32_modules=(), feeds=[])


def test_a_missing_nncf_is_said(graph, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'nncf', None)  # as if not installed
    with pytest.raises(ExportError, match=r'made with NNCF, .* pip install .*\[quantise\]'):
        quantise(
            graph, tmp_path / 'i.onnx', scheme='openvino', fp32_modules=(), feeds=made_feeds(1)
        )
    assert sorted(file.name for file in tmp_path.iterdir()) == ['model.onnx']


def test_nncf_does_not_report_to_its_vendor_nor_list_every_node(tmp_path):
    pytest.importorskip('nncf', reason='needs nncf')
    code = (
        'import logging, sys\n'
        'from rgbt_models.export_int8 import check_quantiser\n'
        'check_quantiser("openvino")\n'
        'assert "nncf" in sys.modules\n'
        'assert not logging.getLogger("nncf").isEnabledFor(logging.INFO)\n'
        'print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry.")))\n'
    )
    command, environment = [sys.executable, '-c', code], {**os.environ, 'HOME': str(tmp_path)}
    environment.pop('NNCF_CI', None)
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert result.stdout.strip() == '[]'
    assert not list(tmp_path.iterdir())


def test_a_module_without_nodes_is_not_passed_over(graph, tmp_path):
    with pytest.raises(ExportError, match=r"comes from module 'detection\.classifiers', which is"):
        quantise(
            graph,
            tmp_path / 'int8.onnx',
            scheme='onnx',
            fp32_modules=[*KEPT, 'detection.classifiers'],
            feeds=made_feeds(1),
        )


def test_the_largest_value_is_that_of_a_value_in_fp16(graph, tmp_path):
    names = convert_to_fp16(graph, tmp_path / 'half.onnx')
    assert {'rgb', 'stem', 'act', 'head', 'sum', 'norm', 'soft'} <= set(names)
    assert not {*SIDE, 'class_logits', 'thermal'} & set(names)
    feed = made_feeds(1)[0]
    feed['thermal'] *= 1e6  # of the boxes only, which stay in fp32
    values = open_values(graph, ('rgb', 'stem', 'head', 'sum'), feed)
    expected = max(float(np.abs(value).max()) for value in values)
    assert measure_largest(graph, names, [feed]) == pytest.approx(expected, rel=1e-5)


def open_values(path, names, feed):
    model = onnx.load(path)
    for name in set(names) - {'rgb'}:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    )
    return [feed['rgb'], *session.run([name for name in names if name != 'rgb'], feed)]


@pytest.mark.parametrize('worst', [3.3e4, float('inf'), float('nan')])
def test_a_value_near_the_largest_float16_is_refused(worst, graph, tmp_path):
    names = convert_to_fp16(graph, tmp_path / 'half.onnx')
    feeds = made_feeds(3)
    feeds[1]['rgb'][:] = worst
    with pytest.raises(ExportError, match=r"value '\w+' of .* expected at most 32752, half of"):
        measure_largest(graph, names, feeds)


@pytest.mark.parametrize('operator', ['Attention', 'RMSNormalization'])
def test_operators_of_later_sets_with_a_softmax_or_sums_in_them_stay_in_fp32(operator, tmp_path):
    inputs = {'Attention': ['act', 'act', 'act'], 'RMSNormalization': ['act', 'scale']}[operator]
    images = [
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 4, 8])
        for name in ('rgb', 'class_logits')
    ]
    nodes = [
        onnx.helper.make_node('Relu', ['rgb'], ['act'], name='act'),
        onnx.helper.make_node(operator, inputs, ['mixed'], name='mixed'),
        onnx.helper.make_node('Relu', ['mixed'], ['more'], name='more'),
        onnx.helper.make_node('Sigmoid', ['more'], ['class_logits'], name='class_logits'),
    ]
    scale = numpy_helper.from_array(np.ones(8, np.float32), 'scale')
    graph = onnx.helper.make_graph(nodes, 'made', images[:1], images[1:], [scale])
    opset = onnx.helper.make_opsetid('', 23)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset]), tmp_path / 'model.onnx')
    convert_to_fp16(tmp_path / 'model.onnx', tmp_path / 'half.onnx')
    types = types_of(tmp_path / 'half.onnx')
    node = node_of(tmp_path / 'half.onnx', 'mixed')
    assert {types[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT}
    assert types['act'] == types['more'] == TensorProto.FLOAT16
