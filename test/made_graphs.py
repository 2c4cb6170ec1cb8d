# SPDX-License-Identifier: Apache-2.0
"""A small ONNX graph with the outputs of the network, made by hand: tracing takes a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto

WIDTH, NUM_CLASSES = 8, 3
SIZE_HW = (16, 24)


def write_graph(path: Path, *, scale: float = 1.0, with_scopes: bool = True) -> Path:
    """Write the graph; ``scale`` multiplies the weights of its first layer.

    Layers are named after modules of the network, as the exporter does it: 'stem' and
    'segmentation.classifier' are convolutions, 'norm' and 'head' work on tokens.
    """
    weights = {
        'stem.weight': _random(WIDTH, 3, 3, 3) * np.float32(0.2 * scale),
        'norm.weight': np.ones(WIDTH, np.float32),
        'head.weight': _random(WIDTH, NUM_CLASSES) * np.float32(0.3),
        'segmentation.classifier.weight': _random(NUM_CLASSES, WIDTH, 1, 1) * np.float32(0.3),
        'many': np.float32([1000.125]),
    }
    nodes = [
        _node('Conv', ['rgb', 'stem.weight'], 'stem', pads=[1, 1, 1, 1]),
        _node('Relu', ['stem'], 'act'),
        _node('Conv', ['act', 'segmentation.classifier.weight'], 'segmentation.classifier'),
        _node('Resize', ['segmentation.classifier', '', 'scales'], 'segmentation_logits'),
        _node('Reshape', ['act', 'tokens_shape'], 'flat'),
        _node('Transpose', ['flat'], 'tokens', perm=[0, 2, 1]),
        _node('LayerNormalization', ['tokens', 'norm.weight'], 'norm'),
        _node('MatMul', ['norm', 'head.weight'], 'head'),
        _node('Softmax', ['head'], 'soft'),
        _node('Add', ['soft', 'head'], 'sum'),
        _node('Sigmoid', ['sum'], 'class_logits'),
        # What no logit depends on.
        _node('ReduceMean', ['thermal'], 'level', keepdims=1),
        _node('Add', ['level', 'many'], 'shifted'),
        _node('Mul', ['shifted', 'many'], 'boxes_xyxy'),
    ]
    if with_scopes:
        for node in nodes:
            item = node.metadata_props.add()
            item.key, item.value = 'pkg.torch.onnx.name_scopes', str(['', node.name, 'op'])
    constants = {
        **weights,
        'tokens_shape': np.int64([1, WIDTH, -1]),
        'scales': np.float32([1, 1, 2, 2]),
    }
    image = [1, 3, *SIZE_HW]
    graph = helper.make_graph(
        nodes,
        'made',
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, image) for name in IMAGES],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    onnx.save(model, path)
    return path


IMAGES = ('rgb', 'thermal')
OUTPUTS = ('class_logits', 'segmentation_logits', 'boxes_xyxy')


def made_feeds(count: int = 4) -> list[dict[str, Any]]:
    """Return inputs of the graph."""
    rng = np.random.default_rng(1)
    return [
        {name: rng.standard_normal((1, 3, *SIZE_HW)).astype(np.float32) for name in IMAGES}
        for _ in range(count)
    ]


def _node(operator: str, inputs: list[str], name: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [name], name=name, **attributes)


def _random(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
