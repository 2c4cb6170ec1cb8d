# SPDX-License-Identifier: Apache-2.0
"""Graphs in fp16, made from the float32 graph, and how large the numbers in them become.

The precision lies in the graph, as TensorRT takes it from there: casts around the nodes that stay
in float32. These are normalisation over the tokens, softmax (also that within attention), and
everything that only the boxes, the shares of the modalities and the entropies are computed with:
sums of many values, and pixels that need more than the 11 bits of a float16. Inputs and outputs
are float32.

The converter of onnxconverter-common (also in ONNX Runtime) rounds to float16 between any two
nodes that are to stay in float32, so it is not used.

A CPU has no float16 arithmetic: ONNX Runtime leaves such casts out and computes in float32, so an
overflow does not show in what it gives. It is looked for in the values of the float32 graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper, numpy_helper

from rgbt_models.errors import ExportError
from rgbt_models.export_nodes import side_nodes
from rgbt_models.onnx_runtime import import_onnxruntime

FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
# Beside sums of many values: operators that make float32 numbers of something else.
FP32_OPERATORS = {
    *('Attention', 'LogSoftmax', 'Softmax'),
    *('GroupNormalization', 'InstanceNormalization', 'LayerNormalization', 'RMSNormalization'),
    *('Constant', 'ConstantOfShape', 'Range'),
}
# Inputs that the operator has in float32 in any case: region of interest and scales.
FP32_INPUTS = {'Resize': (1, 2)}
LARGEST_FP16 = float(np.finfo(np.float16).max)
# Of the values seen; those of other images may be twice as large.
LARGEST_VALUE = LARGEST_FP16 / 2


def convert_to_fp16(source: Path, path: Path) -> list[str]:
    """Write a float32 graph as a float16 one, with float32 where it is needed.

    Returns:
        Names of the values of the float32 graph that are float16 in the other one.

    Raises:
        ExportError: If a weight is too large for a float16.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(source))
    conversion = _Conversion(model.graph)
    conversion.run()
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return conversion.half_values()


def measure_largest(
    source: Path, names: Sequence[str], feeds: Iterable[Mapping[str, NDArray[np.float32]]]
) -> float:
    """Return the largest magnitude that values of a float32 graph reach.

    Args:
        source: The graph.
        names: Of the values.
        feeds: Inputs of the graph by name, at least one mapping.

    Raises:
        ExportError: If one is larger than ``LARGEST_VALUE``: as a float16 it could be infinite.
    """
    model = onnx.load(source)
    # Reduced within the graph, for together the values take gigabytes.
    outputs = [f'{name}.largest' for name in names]
    for name, output in zip(names, outputs, strict=True):
        model.graph.node.append(helper.make_node('Abs', [name], [f'{name}.abs']))
        model.graph.node.append(
            helper.make_node('ReduceMax', [f'{name}.abs'], [output], keepdims=0)
        )
        model.graph.output.append(helper.make_tensor_value_info(output, FLOAT, []))
    session = import_onnxruntime().InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    )
    inputs = [item.name for item in session.get_inputs()]
    runs = [
        session.run(outputs, {name: np.asarray(feed[name]) for name in inputs}) for feed in feeds
    ]
    largest = np.max(runs, axis=0)
    worst = int(largest.argmax())  # that of a NaN, where there is one
    if not largest[worst] <= LARGEST_VALUE:
        raise ExportError(
            f"value '{names[worst]}' of the network reaches {largest[worst]:.3g}; expected at "
            f'most {LARGEST_VALUE:.0f}, half of the largest float16; export this model as fp32 or '
            f'int8'
        )
    return float(largest[worst])


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

    def half_values(self) -> list[str]:
        """Return the values, named as before the conversion, that are float16 or cast to it."""
        cast = {name for name, precision in self._converted if precision == FLOAT16}
        return [
            name
            for name, precision in self._types.items()
            if name not in self._weights and (precision == FLOAT16 or name in cast)
        ]

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
