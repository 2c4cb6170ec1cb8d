# SPDX-License-Identifier: Apache-2.0
"""Graphs in int8, made from the float32 graph by calibration.

The precision lies in the graph: quantisation nodes before and after each convolution and matrix
product with weights. Everything else, inputs and outputs too, stays in float32, and so does what
only the boxes, the shares of the modalities and the entropies are computed with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import importlib
import logging
import os
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
import onnx

from rgbt_models.errors import ExportError
from rgbt_models.export_nodes import module_nodes, side_nodes
from rgbt_models.onnx_runtime import import_onnxruntime
from rgbt_models.openvino_runtime import import_openvino

QUANTISED_OPERATORS = ['Conv', 'Relu', 'MatMul', 'Gemm']

Feeds = Sequence[Mapping[str, NDArray[np.float32]]]


def quantise(
    source: Path, path: Path, *, scheme: str, fp32_modules: Sequence[str], feeds: Feeds
) -> None:
    """Write a float32 graph as one that computes its large layers in int8.

    Args:
        source: The float32 graph.
        path: The file to write.
        scheme: 'onnx' and 'tensorrt' quantise with the tools of ONNX Runtime, weights per channel
            ('tensorrt' with zero points of 0 throughout, as it requires); 'openvino' with NNCF.
        fp32_modules: Modules of the network that stay as they are.
        feeds: Inputs of the network by name, one mapping per pair, that show the range of every
            value.

    Raises:
        ExportError: If there are no inputs to calibrate with, a package is missing, or a module is
            not in the graph.
    """
    if not feeds:
        raise ExportError(
            'no pairs to calibrate an int8 graph with; expected some dozens; add '
            '--calibration-pairs N or --calibration DATASET'
        )
    graph = onnx.load(source)
    kept = {*side_nodes(graph.graph), *_nodes_of_all(graph.graph, fp32_modules)}
    folded = path.with_suffix('.folded.onnx')
    shape_inference = import_onnxruntime('onnxruntime.quantization.shape_inference')
    shape_inference.quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
    try:
        names = [node.name for node in onnx.load(folded).graph.node if node.name in kept]
        if scheme == 'openvino':
            _quantise_with_nncf(folded, path, names, feeds)
        else:
            _quantise_with_onnxruntime(
                folded, path, names, feeds, is_symmetric=scheme == 'tensorrt'
            )
    finally:
        folded.unlink(missing_ok=True)


def check_quantiser(scheme: str) -> None:
    """Check that the package that ``quantise`` needs for a scheme can be imported.

    Raises:
        ExportError: If it cannot.
    """
    if scheme == 'openvino':
        _import_nncf()


def _nodes_of_all(graph: onnx.GraphProto, modules: Sequence[str]) -> Iterator[str]:
    for module in modules:
        names = module_nodes(graph, [module])
        if not names:
            raise ExportError(
                f"no node of the graph comes from module '{module}', which is to stay in float32; "
                f'expected one or more; report the versions of torch and onnx'
            )
        yield from names


class _FeedReader:
    """Hands the calibration inputs to ONNX Runtime, one by one."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds: Iterator[Mapping[str, NDArray[np.float32]]] = iter(feeds)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


def _quantise_with_onnxruntime(
    source: Path, path: Path, kept: list[str], feeds: Feeds, *, is_symmetric: bool
) -> None:
    quantization = import_onnxruntime('onnxruntime.quantization')
    types = quantization.QuantType
    options = {'ActivationSymmetric': is_symmetric}
    if is_symmetric:  # int8 constants would need a later TensorRT, int32 biases none reads
        options |= {'AddQDQPairToWeight': True, 'QuantizeBias': False, 'DedicatedQDQPair': True}
    quantization.quantize_static(
        str(source),
        str(path),
        _FeedReader(feeds),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=QUANTISED_OPERATORS,
        nodes_to_exclude=[*kept, *_products_of_activations(onnx.load(source).graph)],
        per_channel=True,
        # Products of 8-bit weights overflow in the int8 arithmetic of CPUs without VNNI; a graph
        # is to give the same numbers on every CPU.
        reduce_range=not is_symmetric,
        activation_type=types.QInt8 if is_symmetric else types.QUInt8,
        weight_type=types.QInt8,
        extra_options=options,
    )


def _quantise_with_nncf(source: Path, path: Path, kept: list[str], feeds: Feeds) -> None:
    nncf = _import_nncf()
    estimators = importlib.import_module('nncf.quantization.range_estimator')
    quantised = nncf.quantize(
        onnx.load(source),
        nncf.Dataset([dict(feed) for feed in feeds]),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(feeds),
        ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE,  # as reduce_range above
            disable_bias_correction=True,  # gained nothing in the gate of the shipped model
            # Its default takes the mean over pairs of their extremes, so it cuts off what few
            # pairs have: five times the error of the logits.
            activations_range_estimator_params=estimators.RangeEstimatorParametersSet.MINMAX,
        ),
    )
    onnx.save(quantised, path)


def _products_of_activations(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the matrix products without weights: those of the attention."""
    weights = {item.name for item in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type == 'MatMul' and not weights & set(node.input)
    ]


def _import_nncf() -> ModuleType:
    # NNCF and OpenVINO, which it imports, would report their use to their vendor otherwise.
    os.environ.setdefault('NNCF_CI', '1')
    try:
        import_openvino()
        nncf = importlib.import_module('nncf')
    except ImportError as error:
        raise ExportError(
            f'int8 graphs for OpenVINO are made with NNCF, which cannot be imported ({error}); '
            f"run: pip install 'rgbt_perception[quantise]'"
        ) from error
    nncf.set_log_level(logging.WARNING)  # else it lists every node that it leaves alone
    return nncf
