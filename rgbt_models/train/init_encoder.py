# SPDX-License-Identifier: Apache-2.0
"""Start a model from an encoder on disk: pretrained here, converted, or taken from timm."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch import nn, Tensor

from rgbt_models.errors import WeightsError
from rgbt_models.vit.positions import resize_positions
from rgbt_models.weights import list_differences

CONVERTED_PREFIX = 'encoder.'
MAX_PREFIX = 10  # class, distillation and register tokens that have position rows


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Load an encoder strictly; names with or without the encoder's own prefix 'vit.'.

    Of a converted checkpoint (``rgbt convert checkpoint``) the tensors below 'encoder.' are taken.
    A position embedding of another square grid is resized, class and register rows kept.

    Args:
        encoder: Receives the weights in place.
        path: Safetensors.

    Raises:
        WeightsError: If the file cannot be read, or names or shapes differ; the message lists
            what is missing, unexpected and mismatched.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"cannot read encoder '{path}' ({error}); expected safetensors as rgbt pretrain or "
            f'rgbt convert checkpoint writes them; correct init_from'
        ) from error
    converted = {
        name.removeprefix(CONVERTED_PREFIX): value
        for name, value in found.items()
        if name.startswith(CONVERTED_PREFIX)
    }
    found = converted or found
    wanted = encoder.state_dict()
    prefix = 'vit.'
    if all(name.startswith(prefix) for name in wanted):
        found = {n if n.startswith(prefix) else prefix + n: v for n, v in found.items()}
    found = {
        name: _fit_positions(value, wanted[name]) if name in wanted else value
        for name, value in found.items()
    }
    differences = list_differences(found, wanted)
    if differences:
        raise WeightsError(
            f"encoder '{path}' does not fit; {differences}; use the encoder of this architecture"
        )
    encoder.load_state_dict(found, strict=True)


def _fit_positions(found: Tensor, wanted: Tensor) -> Tensor:
    """Resize (1, p + n, d) to the rows of ``wanted`` where both are p rows and a square grid."""
    is_positions = found.ndim == 3 and found.shape[::2] == wanted.shape[::2] == (
        1,
        wanted.shape[2],
    )
    if not is_positions or found.shape == wanted.shape:
        return found
    for prefix in range(MAX_PREFIX):
        sides = [math.isqrt(max(rows.shape[1] - prefix, 0)) for rows in (found, wanted)]
        if all(
            side and side * side == rows.shape[1] - prefix
            for side, rows in zip(sides, (found, wanted), strict=True)
        ):
            grid = resize_positions(found[:, prefix:], grid_hw=(sides[1], sides[1]))
            return torch.cat([found[:, :prefix], grid], dim=1)
    return found
