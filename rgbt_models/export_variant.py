# SPDX-License-Identifier: Apache-2.0
"""A further graph of a model that has a card: other precision, runtime, operator set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import shutil
import tempfile

from rgbt_models.build import load_model
from rgbt_models.card import hash_file, ModelCard
from rgbt_models.errors import ExportError
from rgbt_models.export import export_graph
from rgbt_models.export_fp16 import convert_to_fp16
from rgbt_models.export_int8 import Feeds, quantise
from rgbt_models.export_targets import choose_opset, EXPORT_TARGETS
from rgbt_models.graph_variant import GraphVariant, VariantRequest


def export_variant(
    card: ModelCard, request: VariantRequest, folder: Path, *, calibrate: Callable[[], Feeds]
) -> GraphVariant:
    """Write the graph of a variant.

    Args:
        card: Of the model; its weights are read.
        request: Which graph.
        folder: Receives the file.
        calibrate: Gives the inputs to calibrate with; called for an int8 graph only.

    Returns:
        What the card is to say of it. Its gate holds the largest relative error of the float32
        graph that it was made from, against torch.

    Raises:
        CardError: If the card is of a published model.
        EncoderError: If the tokens of the model cannot be merged so.
        ExportError: If the graph does not reproduce torch, or cannot be made in that precision.
        WeightsError: If the weights are missing or altered.
    """
    if (request.target, request.precision) == ('openvino', 'fp16'):
        raise ExportError(
            'OpenVINO computes its fp32 graph in half precision by itself, an fp16 graph has no '
            'use there; expected fp32 or int8; set engine.precision to bf16 instead'
        )
    target = EXPORT_TARGETS[request.target]
    opset = request.opset or choose_opset(request.target, request.precision)
    is_stacked = target.is_stacked if request.is_stacked is None else request.is_stacked
    model = load_model(card, keep_tokens=request.keep_tokens)
    model.encoder.use_stacked_batch = is_stacked
    file = f'model.{request.precision}.{request.target}.onnx'
    with tempfile.TemporaryDirectory() as drafts:
        whole = Path(drafts) / file
        is_merged = request.keep_tokens < 1.0
        parity = export_graph(
            model, whole, opset=opset, input_hw=card.input_hw if is_merged else None
        )
        if request.precision == 'fp32':
            shutil.copy(whole, folder / file)  # perhaps to another file system
        elif request.precision == 'fp16':
            convert_to_fp16(whole, folder / file)
        else:
            quantise(
                whole,
                folder / file,
                scheme=request.target,
                fp32_modules=target.fp32_modules,
                feeds=calibrate(),
            )
    return GraphVariant(
        file=file,
        sha256=hash_file(folder / file),
        precision=request.precision,
        target=request.target,
        opset=opset,
        is_stacked=is_stacked,
        keep_tokens=request.keep_tokens,
        gate={'onnx_parity': float(f'{parity:.1e}')},
    )
