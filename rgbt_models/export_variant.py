# SPDX-License-Identifier: Apache-2.0
"""A further graph of a model that has a card: other precision, runtime, operator set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from rgbt_models.build import create_model, load_model, RGBTModel
from rgbt_models.card import hash_file, ModelCard
from rgbt_models.errors import CardError, ExportError
from rgbt_models.export import AVAILABLE, check_parity, draw_noise, export_graph
from rgbt_models.export_fp16 import convert_to_fp16, measure_largest
from rgbt_models.export_int8 import check_quantiser, Feeds, quantise
from rgbt_models.export_opset import lower_to_opset_17
from rgbt_models.export_targets import choose_opset, EXPORT_TARGETS, OPSET, PREDICTORS
from rgbt_models.fusion import SplitFusion
from rgbt_models.graph_variant import GraphVariant, VariantRequest

_HASH_LETTERS = 8  # of the SHA-256, in the name of a file


def export_variant(
    card: ModelCard, request: VariantRequest, folder: Path, *, calibrate: Callable[[], Feeds]
) -> GraphVariant:
    """Write the graph of a variant.

    Args:
        card: Of the model; its weights are read.
        request: Which graph.
        folder: Receives the file, whose name says what is in it: a card never names a file that
            was meanwhile written anew.
        calibrate: Gives the inputs that show the range of every value; not called for fp32.

    Returns:
        What the card is to say of it. Its gate holds the largest relative error against torch, of
        this graph in fp32 and otherwise of the float32 graph that it was made from, and for fp16
        the largest value seen.

    Raises:
        CardError: If the card is of a published model.
        EncoderError: If the tokens of the model cannot be merged so.
        ExportError: If the graph does not reproduce torch, or cannot be made in that precision.
        WeightsError: If the weights are missing or altered.
    """
    check_request(card, request)
    target, opset = EXPORT_TARGETS[request.target], choose_opset(request)
    is_stacked = target.is_stacked if request.is_stacked is None else request.is_stacked
    model = load_model(card, keep_tokens=request.keep_tokens)
    model.encoder.use_stacked_batch = is_stacked
    input_hw = card.input_hw if request.keep_tokens < 1.0 else None
    with tempfile.TemporaryDirectory(dir=folder) as drafts:
        made = Path(drafts, 'model.onnx')
        parity = export_graph(model, made, opset=max(opset, OPSET), input_hw=input_hw)
        figures = {}
        if request.precision != 'fp32':
            whole, made = made, Path(drafts, 'lower.onnx')
            figures = _lower_precision(
                whole, made, model=model, request=request, input_hw=input_hw, feeds=calibrate()
            )
        if opset < OPSET:
            lower_to_opset_17(made, made)
            if request.precision == 'fp32':  # the gate measures the others as they are now
                parity = check_parity(model, made, input_hw)
        sha256 = hash_file(made)
        file = f'model.{request.precision}.{request.target}.{sha256[:_HASH_LETTERS]}.onnx'
        made.replace(folder / file)
    return GraphVariant(
        file=file,
        sha256=sha256,
        precision=request.precision,
        target=request.target,
        opset=opset,
        is_stacked=is_stacked,
        keep_tokens=request.keep_tokens,
        input_hw=input_hw,
        gate={'onnx_parity': float(f'{parity:.1e}'), **figures},
    )


def check_request(card: ModelCard, request: VariantRequest) -> None:
    """Check what can be known of a request before minutes of work.

    Raises:
        CardError: If the card is of a published model.
        EncoderError: If the tokens of the model cannot be merged so.
        ExportError: If the runtime has no use for such a graph, does not read the operator set,
            or a package that makes it is missing.
    """
    if card.is_published:
        raise CardError(
            f"card '{card.name}' is of a published model ({card.architecture}), of which no graph "
            f'can be made; expected a card that rgbt export wrote; name another one'
        )
    if (request.target, request.precision) == ('openvino', 'fp16'):
        raise ExportError(
            'OpenVINO computes its fp32 graph in half precision by itself, an fp16 graph has no '
            'use there; expected fp32 or int8; set engine.precision to bf16 instead'
        )
    choose_opset(request)
    if request.keep_tokens != 1.0:
        with torch.device('meta'):  # the encoder knows whether it can, also without weights
            create_model(
                card.architecture,
                num_detection_classes=len(card.detection_classes),
                num_segmentation_classes=len(card.segmentation_classes),
                keep_tokens=request.keep_tokens,
            )
    if request.precision == 'int8':
        check_quantiser(request.target)


def find_fp32_modules(model: RGBTModel, target: str) -> list[str]:
    """Return the modules of a network that an int8 graph for a runtime keeps in float32."""
    wanted, modules = EXPORT_TARGETS[target], dict(model.named_modules())
    fusions = [name for name, module in modules.items() if isinstance(module, SplitFusion)]
    return [
        *PREDICTORS,
        *(name for name in wanted.fp32_modules if name in modules),
        *(fusions if wanted.keeps_fusions else ()),
    ]


def _lower_precision(
    whole: Path,
    path: Path,
    *,
    model: RGBTModel,
    request: VariantRequest,
    input_hw: tuple[int, int] | None,
    feeds: Feeds,
) -> dict[str, float]:
    """Write a float32 graph in fp16 or int8; return what the card is to say of its values."""
    if request.precision == 'fp16':
        names = convert_to_fp16(whole, path)
        largest = measure_largest(whole, names, [*feeds, *_noise(input_hw)])
        return {'largest_fp16_value': float(f'{largest:.3g}')}
    modules = find_fp32_modules(model, request.target)
    quantise(whole, path, scheme=request.target, fp32_modules=modules, feeds=feeds)
    return {}


def _noise(input_hw: tuple[int, int] | None) -> Iterator[Mapping[str, NDArray[Any]]]:
    for available in AVAILABLE:
        for noise in draw_noise(available, input_hw):
            yield {name: np.asarray(value) for name, value in noise.items()}
