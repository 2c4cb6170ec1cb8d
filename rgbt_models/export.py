# SPDX-License-Identifier: Apache-2.0
"""ONNX export with a parity check: a graph that does not reproduce torch is not written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import logging
from pathlib import Path
from statistics import median
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.pattern import RewriteRule
import torch
from torch import Tensor

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
_NUM_MERGED_DRAWS = 5
# Which cameras there are, RGB first.
AVAILABLE = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0))


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
        ExportError: If an output differs from torch by more than 1e-4, or the graph can be neither
            traced nor run.
    """
    draft = path.with_name(f'.{path.name}')
    try:
        _trace(model, draft, opset, input_hw)
        error = check_parity(model, draft, input_hw)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _LOGGER.info('exported %s, largest relative error %.1e', path, error)
    return error


def check_parity(model: RGBTModel, path: Path, input_hw: tuple[int, int] | None = None) -> float:
    """Check that a graph gives what torch gives; return ``largest_relative_error``.

    Raises:
        ExportError: If an output differs by more than 1e-4, or the graph cannot be run.
    """
    error = largest_relative_error(model, path, input_hw)
    if not error <= MAX_RELATIVE_ERROR:
        raise ExportError(
            f'exported graph differs from torch by {error:.1e}, allowed is '
            f'{MAX_RELATIVE_ERROR:.0e}; do not use it, report the torch and onnx versions'
        )
    return error


def largest_relative_error(
    model: RGBTModel, path: Path, input_hw: tuple[int, int] | None = None
) -> float:
    """Run graph and torch on the same noise and return the largest relative difference.

    Relative to the largest magnitude of each output, over three sizes and all combinations of
    available cameras. With ``input_hw``, where tokens are merged, there is one size, and of each
    combination the median of five draws counts: of two matches that float32 cannot tell apart
    each side may take the other, as torch in float32 and in float64 do (on 2 of 12 images of
    noise), and then all outputs differ.

    Raises:
        ExportError: If ONNX Runtime cannot open or run the graph.
    """
    session = _Session(path)
    worst = []
    for available in AVAILABLE:
        errors = [_difference(model, session, noise) for noise in draw_noise(available, input_hw)]
        worst.append(max(errors) if input_hw is None else median(errors))
    return max(worst)


def draw_noise(
    available: tuple[float, float], input_hw: tuple[int, int] | None
) -> Iterator[dict[str, Tensor]]:
    """Yield inputs of the network by name: standardised noise, the same in every call.

    Args:
        available: Of RGB and thermal, 0 or 1.
        input_hw: The one size, px; None = three sizes, none of which is the one traced.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = _PARITY_SHAPES if input_hw is None else ((1, *input_hw),) * _NUM_MERGED_DRAWS
    for batch, height, width in shapes:
        rgb, thermal = torch.randn(2, batch, 3, height, width, generator=generator)
        inputs = (rgb, thermal, torch.tensor([available] * batch))
        yield dict(zip(INPUT_NAMES, inputs, strict=True))


class _Session:
    """A graph in ONNX Runtime, whose errors say what to do."""

    def __init__(self, path: Path) -> None:
        runtime = import_onnxruntime()
        with _explained(f"ONNX Runtime cannot open the exported '{path.name}'"):
            self._session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])

    def run(self, noise: dict[str, Tensor]) -> list[NDArray[np.float32]]:
        with _explained('ONNX Runtime cannot run the exported graph'):
            feeds = {name: value.numpy() for name, value in noise.items()}
            outputs: list[NDArray[np.float32]] = self._session.run(list(OUTPUT_NAMES), feeds)
        return outputs


@torch.no_grad()
def _difference(model: RGBTModel, session: _Session, noise: dict[str, Tensor]) -> float:
    expected = model(*noise.values())
    return max(
        relative_error(value, expected[name].numpy())
        for name, value in zip(OUTPUT_NAMES, session.run(noise), strict=True)
    )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # exporter and runtime raise dozens of unrelated types
        reason = ' '.join([type(error).__name__, *str(error).splitlines()[:1]])
        raise ExportError(
            f'{what} ({reason}); expected a graph; choose another operator set, or report the '
            f'versions of torch, onnx and onnxruntime'
        ) from error


def relative_error(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest absolute difference relative to the largest expected magnitude."""
    if actual.shape != expected.shape or not np.isfinite([actual, expected]).all():
        return float('inf')
    if not actual.size:  # logits of a head without classes
        return 0.0
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-12))


def _find_gelu(op: Any, x: Any, added: Any) -> Any:
    return op.Mul(x, op.Mul(0.5, added))


def _write_gelu(op: Any, x: Any, added: Any) -> Any:
    return op.Mul(op.Mul(x, added), op.Constant(value_float=0.5))


# The exporter of torch writes x * (0.5 * (1 + erf(x / sqrt(2)))). ONNX Runtime joins these steps
# into one operator only where x comes first. Halving is exact: the bits are the same.
_GELU_ORDER = RewriteRule(_find_gelu, _write_gelu)


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
    what = f'the model cannot be traced in operator set {opset}'
    with warnings.catch_warnings(), _explained(what):
        warnings.simplefilter('ignore')  # the exporter warns about its own internals
        program = torch.onnx.export(
            model,
            (rgb, thermal, torch.ones(2, 2)),
            input_names=list(INPUT_NAMES),
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=shapes,
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
        assert program is not None  # as with dynamo=False
        rewrite(program.model, [_GELU_ORDER])
        program.save(path, external_data=False)
