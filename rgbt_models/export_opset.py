# SPDX-License-Identifier: Apache-2.0
"""Graphs of operator set 17, made from graphs of operator set 18, for TensorRT 8.6.

Its parser reads the axes of a reduction as an attribute only, as they were up to operator set 17.
The exporter of torch writes 18 or newer, and its own converter leaves attributes of 18 in a graph
of 17. Only what can be said in 17 without a change of meaning is lowered; the rest is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper, numpy_helper

from rgbt_models.errors import ExportError

SOURCE_OPSET, OPSET = 18, 17
# The format of the time of operator set 17.
IR_VERSION = 8
# Operators whose axes became an input in 18; those of ReduceSum did so in 13.
_REDUCTIONS = {
    f'Reduce{name}'
    for name in ('L1', 'L2', 'LogSum', 'LogSumExp', 'Max', 'Mean', 'Min', 'Prod', 'SumSquare')
}
# Attributes of Resize that 18 brought, with the values that mean what 17 does.
_RESIZE_DEFAULTS = {'antialias': 0, 'keep_aspect_ratio_policy': b'stretch'}
_RESIZE_NEW = {*_RESIZE_DEFAULTS, 'axes'}
_DOMAINS = ('', 'ai.onnx')

Constants: TypeAlias = 'Mapping[str, NDArray[np.generic]]'
Shapes: TypeAlias = 'Mapping[str, tuple[int | None, ...]]'


def lower_to_opset_17(source: Path, path: Path) -> None:
    """Write a graph of operator set 18 as one of 17 that computes the same.

    Args:
        source: The graph, with its weights in the file.
        path: The file to write, perhaps the same one.

    Raises:
        ExportError: If the graph is not of operator set 18, or has a node that 17 cannot say.
    """
    model = onnx.load(source)
    versions = [item.version for item in model.opset_import if item.domain in _DOMAINS]
    if versions != [SOURCE_OPSET]:
        raise ExportError(
            f"graph '{source}' is of operator set {versions}, expected {SOURCE_OPSET}; export it "
            f'with that one'
        )
    _Lowering(model.graph).run()
    for item in model.opset_import:
        if item.domain in _DOMAINS:
            item.version = OPSET
    model.ir_version = IR_VERSION
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"graph '{source}' is not valid in operator set {OPSET} ({error}), expected it to be; "
            f'export it with operator set {SOURCE_OPSET}'
        ) from error
    onnx.save(model, path)


class _Lowering:
    """Changes the nodes of a graph in place."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = _find_constants(graph)
        self._shapes = _find_shapes(graph)
        self._lower = {
            **dict.fromkeys(_REDUCTIONS, self._lower_reduction),
            'Split': self._lower_split,
            'Pad': self._lower_pad,
            'Resize': self._lower_resize,
        }

    def run(self) -> None:
        for node in self._graph.node:
            if any(item.HasField('g') or item.graphs for item in node.attribute):
                raise _refused(node, 'holds graphs of its own')
            if node.domain not in _DOMAINS:
                continue
            if node.op_type in self._lower:
                self._lower[node.op_type](node)
            elif _since_version(node) == SOURCE_OPSET:
                raise _refused(node, f'is new, or means something else, in {SOURCE_OPSET}')
        self._drop_unused_weights()

    def _lower_reduction(self, node: onnx.NodeProto) -> None:
        axes = self._read_constant(node, 1)
        is_noop = _pop_attribute(node, 'noop_with_empty_axes')
        if axes is not None and axes.size:
            node.attribute.append(helper.make_attribute('axes', axes.tolist()))
        elif is_noop:
            raise _refused(node, 'reduces nothing without axes')
        del node.input[1:]

    def _lower_split(self, node: onnx.NodeProto) -> None:
        count = _pop_attribute(node, 'num_outputs')
        if count is None:  # its second input has the sizes
            return
        axis = next((item.i for item in node.attribute if item.name == 'axis'), 0)
        shape = self._shapes.get(node.input[0])
        size = None if shape is None else shape[axis]
        if size is None or size % count:
            raise _refused(node, f'splits {size or "unknown"} elements into {count} parts')

    def _lower_pad(self, node: onnx.NodeProto) -> None:
        axes = self._read_constant(node, 3)
        if axes is None:
            return
        shape, pads = self._shapes.get(node.input[0]), self._read_constant(node, 1)
        if shape is None or pads is None:
            raise _refused(node, 'pads some axes of a tensor of unknown shape')
        whole = np.zeros((2, len(shape)), np.int64)  # begins, ends
        whole[:, axes] = pads.reshape(2, -1)
        name = f'{node.output[0]}.pads'
        self._graph.initializer.append(numpy_helper.from_array(whole.ravel(), name))
        node.input[1] = name
        del node.input[3:]

    def _lower_resize(self, node: onnx.NodeProto) -> None:
        for name in _RESIZE_NEW:
            value = _pop_attribute(node, name)
            if value is not None and value != _RESIZE_DEFAULTS.get(name):
                raise _refused(node, f'has {name} = {value!r}')

    def _read_constant(self, node: onnx.NodeProto, index: int) -> NDArray[np.generic] | None:
        """Return the value of an input, None when it is left out."""
        name = node.input[index] if index < len(node.input) else ''
        if name and name not in self._constants:
            raise _refused(node, f"computes its input '{name}'")
        return self._constants.get(name)

    def _drop_unused_weights(self) -> None:
        used = {name for node in self._graph.node for name in node.input}
        used |= {item.name for item in self._graph.output}
        weights = [item for item in self._graph.initializer if item.name in used]
        kept = [item.__class__.FromString(item.SerializeToString()) for item in weights]
        self._graph.ClearField('initializer')
        self._graph.initializer.extend(kept)


def _find_constants(graph: onnx.GraphProto) -> Constants:
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Constant' and node.attribute[0].name == 'value':
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return values


def _find_shapes(graph: onnx.GraphProto) -> Shapes:
    """Return the shape of every value that has one, with None for free sides."""
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    for item in (*graph.input, *graph.value_info):
        if item.type.tensor_type.HasField('shape'):
            sides = item.type.tensor_type.shape.dim
            shapes[item.name] = tuple(
                side.dim_value if side.HasField('dim_value') else None for side in sides
            )
    return shapes


def _pop_attribute(node: onnx.NodeProto, name: str) -> Any:
    """Remove an attribute of a node and return its value, None when it has none."""
    for index, item in enumerate(node.attribute):
        if item.name == name:
            value = helper.get_attribute_value(item)
            del node.attribute[index]
            return value
    return None


def _since_version(node: onnx.NodeProto) -> int:
    """Return the operator set in which the node's operator last changed, up to 18."""
    return int(onnx.defs.get_schema(node.op_type, SOURCE_OPSET, '').since_version)


def _refused(node: onnx.NodeProto, what: str) -> ExportError:
    return ExportError(
        f"node '{node.name}' ({node.op_type}) {what}, which operator set {OPSET} cannot say; "
        f'expected what both have; export it with operator set {SOURCE_OPSET}'
    )
