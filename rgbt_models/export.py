# SPDX-License-Identifier: Apache-2.0
"""ONNX export with a parity check: a graph that does not reproduce torch is not written."""

from __future__ import annotations

import logging
from pathlib import Path
from statistics import median
import tempfile
import warnings

import numpy as np
from numpy.typing import NDArray
import torch

from rgbt_models.build import RGBTModel
from rgbt_models.card import INPUT_NAMES, OUTPUT_NAMES
from rgbt_models.errors import ExportError
from rgbt_models.export_targets import OPSET
from rgbt_models.onnx_runtime import import_onnxruntime

MAX_RELATIVE_ERROR = 1e-4
_LOGGER = logging.getLogger(__name__)
_TRACE_HW = (256, 320)
# (batch, height, width) of the parity check: none is the size traced, so a baked-in size shows.
_PARITY_SHAPES = ((1, 288, 384), (2, 192, 288), (1, 384, 512))


def export_graph(
    model: RGBTModel,
    path: Path,
    *,
    opset: int = OPSET,
    input_hw: tuple[int, int] | None = None,
) -> float:
    """Write the model as an ONNX graph with free batch, and free height and width unless given.

    Args:
        model: In evaluation mode, on the CPU.
        path: The file to write; written only when the parity check passes.
        opset: Version of the ONNX operator set.
        input_hw: The only height and width that the graph takes, px. For a model that merges
            tokens: with free sides the exporter takes ten minutes to prove how many are left.

    Returns:
        The largest relative error against torch over all outputs and test sizes.

    Raises:
        ExportError: If an output differs from torch by more than 1e-4.
    """
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        _trace(model, draft, opset, input_hw)
        error = largest_relative_error(model, draft, input_hw)
        if not error <= MAX_RELATIVE_ERROR:
            raise ExportError(
                f'exported graph differs from torch by {error:.1e}, allowed is '
                f'{MAX_RELATIVE_ERROR:.0e}; do not use it, report the torch and onnx versions'
            )
        path.write_bytes(draft.read_bytes())
    _LOGGER.info('exported %s, largest relative error %.1e', path, error)
    return error


def largest_relative_error(
    model: RGBTModel, path: Path, input_hw: tuple[int, int] | None = None
) -> float:
    """Run graph and torch on the same inputs and return the largest relative difference.

    Relative to the largest magnitude of each output, over three sizes and all combinations of
    available cameras. With ``input_hw``, where tokens are merged, the median of these: of two
    matches that float32 cannot tell apart each side may take the other, as torch in float32 and
    in float64 do (on 2 of 12 images of noise), and then all outputs differ.
    """
    session = import_onnxruntime().InferenceSession(path, providers=['CPUExecutionProvider'])
    generator = torch.Generator().manual_seed(0)
    errors = []
    shapes = _PARITY_SHAPES if input_hw is None else ((1, *input_hw),) * len(_PARITY_SHAPES)
    for batch, height, width in shapes:
        for available in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0)):
            inputs = (
                torch.randn(batch, 3, height, width, generator=generator),
                torch.randn(batch, 3, height, width, generator=generator),
                torch.tensor([available] * batch),
            )
            with torch.no_grad():
                expected = model(*inputs)
            feeds = {name: t.numpy() for name, t in zip(INPUT_NAMES, inputs, strict=True)}
            actual = session.run(list(OUTPUT_NAMES), feeds)
            errors.append(
                max(
                    relative_error(value, expected[name].numpy())
                    for name, value in zip(OUTPUT_NAMES, actual, strict=True)
                )
            )
    return max(errors) if input_hw is None else median(errors)


def relative_error(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest absolute difference relative to the largest expected magnitude."""
    if actual.shape != expected.shape or not np.isfinite([actual, expected]).all():
        return float('inf')
    if not actual.size:  # logits of a head without classes
        return 0.0
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-12))


def _trace(
    model: RGBTModel, path: Path, opset: int = OPSET, input_hw: tuple[int, int] | None = None
) -> None:
    height, width = input_hw or _TRACE_HW
    # A batch of 2 keeps the exporter from treating the batch axis as constant. Two tensors, for
    # one tensor passed twice makes the exporter read both images from the first input.
    rgb, thermal = torch.zeros(2, 3, height, width), torch.ones(2, 3, height, width)
    batch = torch.export.Dim.DYNAMIC
    side = torch.export.Dim.DYNAMIC if input_hw is None else torch.export.Dim.STATIC
    image = {0: batch, 2: side, 3: side}
    shapes = (image, image, {0: batch})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the exporter warns about its own internals
        torch.onnx.export(
            model,
            (rgb, thermal, torch.ones(2, 2)),
            path,
            input_names=list(INPUT_NAMES),
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=shapes,
            opset_version=opset,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
