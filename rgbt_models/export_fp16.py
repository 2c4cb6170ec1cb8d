# SPDX-License-Identifier: Apache-2.0
"""Graphs in fp16, made from the float32 graph.

The precision lies in the graph, as TensorRT takes it from there: casts around the nodes that stay
in float32. These are normalisation over the tokens, softmax, and everything that only the boxes,
the shares of the modalities and the entropies are computed with: sums of many values, and pixels
that need more than the 11 bits of a float16. Inputs and outputs are float32.

The converter of onnxconverter-common (also in ONNX Runtime) rounds to float16 between any two
nodes that are to stay in float32, so it is not used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rgbt_models.errors import ExportError
from rgbt_models.export_nodes import side_nodes

FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
# Beside sums of many values: operators that make float32 numbers of something else.
FP32_OPERATORS = {'LayerNormalization', 'Softmax', 'Constant', 'ConstantOfShape', 'Range'}
# Inputs that the operator has in float32 in any case: region of interest and scales.
FP32_INPUTS = {'Resize': (1, 2)}
LARGEST_FP16 = float(np.finfo(np.float16).max)


def convert_to_fp16(source: Path, path: Path) -> None:
    """Write a float32 graph as a float16 one, with float32 where it is needed.

    Raises:
        ExportError: If a weight is too large for a float16.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(source))
    _Conversion(model.graph).run()
    onnx.checker.check_model(model)
    onnx.save(model, path)


class _Conversion:
    """Gives every node a precision, and every value a cast where its user wants another one."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        outputs = {item.name for item in graph.output}
        side = set(side_nodes(graph))
        self._kept = {
            node.name
            for node in graph.node
            if node.name in side or node.op_type in FP32_OPERATORS or outputs & set(node.output)
        }
        # Values that are float32 before the conversion, and what they are after it.
        self._weights = {item.name: item for item in graph.initializer if item.data_type == FLOAT}
        self._types = dict.fromkeys(self._weights, FLOAT)
        for item in (*graph.input, *graph.value_info, *graph.output):
            if item.type.tensor_type.elem_type == FLOAT:
                self._types[item.name] = FLOAT
        self._nodes: list[onnx.NodeProto] = []
        self._converted: dict[tuple[str, int], str] = {}

    def run(self) -> None:
        for node in self._graph.node:
            precision = FLOAT if node.name in self._kept else FLOAT16
            for index, name in enumerate(node.input):
                is_fixed = index in FP32_INPUTS.get(node.op_type, ())
                if name in self._types and not is_fixed:
                    node.input[index] = self._as(name, precision)
            for name in node.output:
                if name in self._types:
                    self._types[name] = precision
            if node.op_type == 'Cast' and precision == FLOAT16:
                for attribute in node.attribute:
                    attribute.i = FLOAT16 if attribute.i == FLOAT else attribute.i
            self._nodes.append(node)
        used = {name for node in self._nodes for name in node.input}
        weights = [item for item in self._graph.initializer if item.name in used]
        for field, values in (('node', self._nodes), ('initializer', weights)):
            items = [value.__class__.FromString(value.SerializeToString()) for value in values]
            self._graph.ClearField(field)
            getattr(self._graph, field).extend(items)
        self._graph.ClearField('value_info')  # of the types before

    def _as(self, name: str, precision: int) -> str:
        """Return the name of a value in a precision, cast when it is not there yet."""
        if self._types[name] == precision:
            return name
        if (name, precision) not in self._converted:
            new = f'{name}.{onnx.TensorProto.DataType.Name(precision).lower()}'
            if name in self._weights:
                self._graph.initializer.append(_half(self._weights[name], new))
            else:
                cast = helper.make_node('Cast', [name], [new], name=f'{new}.cast', to=precision)
                self._nodes.append(cast)
            self._converted[name, precision] = new
        return self._converted[name, precision]


def _half(weight: onnx.TensorProto, name: str) -> onnx.TensorProto:
    values = numpy_helper.to_array(weight)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= LARGEST_FP16:
        raise ExportError(
            f"weight '{weight.name}' has values up to {largest:.3g}; expected at most "
            f'{LARGEST_FP16:.0f}, the largest float16; export this model as fp32 or int8'
        )
    return numpy_helper.from_array(values.astype(np.float16), name)
