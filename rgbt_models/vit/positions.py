# SPDX-License-Identifier: Apache-2.0
"""Position embeddings for a token grid of any size."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from rgbt_models.errors import EncoderError


def resize_positions(
    patch_positions: Tensor, *, grid_hw: tuple[int, int], source_hw: tuple[int, int] | None = None
) -> Tensor:
    """Resize the position embedding of the patch tokens; split off class and register rows first.

    Bicubic, ``align_corners=False``, no antialiasing, always computed: at equal sizes it is the
    identity, and an exported graph must not depend on the size it was traced with.
    Source: M-SpecGene's detection release.

    Args:
        patch_positions: (1, n, d), row-major.
        grid_hw: Rows and columns wanted.
        source_hw: Rows and columns of ``patch_positions``; None = a square.

    Returns:
        (1, height * width, d), same dtype.

    Raises:
        EncoderError: If ``patch_positions`` does not fill ``source_hw``, or is no square.
    """
    _, count, dim = patch_positions.shape
    rows, columns = source_hw or (math.isqrt(count), math.isqrt(count))
    if rows * columns != count:
        wanted = f'{rows} x {columns}' if source_hw else 'a square number of'
        raise EncoderError(
            f'position embedding has {count} patch rows; expected {wanted} rows; split the class '
            f'and register rows off first, or give the grid it was made for'
        )
    grid = patch_positions.reshape(1, rows, columns, dim).permute(0, 3, 1, 2).float()
    resized = functional.interpolate(grid, size=grid_hw, mode='bicubic', align_corners=False)
    return resized.flatten(2).transpose(1, 2).to(patch_positions.dtype)
