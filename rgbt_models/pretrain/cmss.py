# SPDX-License-Identifier: Apache-2.0
"""Cross-modality structural sparsity (CMSS): how much there is to see in a patch of a pair.

Low where a patch is rich in both modalities (objects), high where it is flat. It is computed
from the embedded patches with their positions, before masking and before the first transformer
block, needs no labels, and so serves as a diagnostic picture too.

Source: M-SpecGene (https://arxiv.org/abs/2507.16318). Differs from the released code, which takes
the variance of thermal twice: ``variant='released'`` reproduces that, ``'corrected'`` takes both.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from rgbt_models.errors import PretrainError
from rgbt_models.train.reduction import gather_values, max_over_processes

VARIANTS = ('released', 'corrected')
NORMALISERS = ('max', 'q99')
_ROBUST_QUANTILE = 0.99
_TINY = 1e-12
_IMAGES_AT_ONCE = 2


def compute_cmss(
    rgb_tokens: Tensor, thermal_tokens: Tensor, *, variant: str = 'corrected'
) -> Tensor:
    """Return the structural sparsity of every patch, not yet normalised.

    ``sqrt((cos(a, b) + 1) / 2) / (Var(a) * Var(b))``, the variance over channels, unbiased.

    Args:
        rgb_tokens: Embedded patches plus positions, shape (b, n, d), without class token.
        thermal_tokens: The same patches of the other modality, shape (b, n, d).
        variant: 'corrected', or 'released' for ``Var(thermal)`` squared in the denominator.

    Returns:
        Values, shape (b, n), float32, >= 0, finite. The variances come from sums of squares: a
        relative error of about 1e-7 times (1 + mean² / variance) is to be expected.

    Raises:
        PretrainError: If the variant is unknown or the shapes differ.

    Source: M-SpecGene, Sec. 3; released sampler.
    """
    if variant not in VARIANTS:
        raise PretrainError(
            f"CMSS variant is '{variant}'; expected one of {', '.join(VARIANTS)}; choose one"
        )
    if rgb_tokens.shape != thermal_tokens.shape or rgb_tokens.ndim != 3:
        raise PretrainError(
            f'tokens have shapes {tuple(rgb_tokens.shape)} and {tuple(thermal_tokens.shape)}; '
            f'expected twice the same (b, n, d); embed both modalities alike'
        )
    rgb, thermal = rgb_tokens.detach(), thermal_tokens.detach()
    if rgb.device.type == 'cpu':
        # A few images at a time stay in the cache: the work is bound by memory.
        starts = range(0, len(rgb), _IMAGES_AT_ONCE)
        chunks = (slice(start, start + _IMAGES_AT_ONCE) for start in starts)
        moments = torch.cat([_moments(rgb[chunk], thermal[chunk]) for chunk in chunks], dim=1)
    else:
        moments = _moments(rgb, thermal)
    product, rgb_norm, thermal_norm, rgb_mean, thermal_mean = moments.unbind()
    d = rgb.shape[-1]
    cosine = (product / (rgb_norm * thermal_norm).clamp(min=_TINY)).clamp(-1.0, 1.0)
    thermal_variance = _variance(thermal_norm, thermal_mean, d)
    other = thermal_variance if variant == 'released' else _variance(rgb_norm, rgb_mean, d)
    likeness = ((cosine + 1.0) * 0.5).sqrt()
    return torch.as_tensor(likeness / (thermal_variance * other).clamp(min=_TINY))


def normalise_cmss(values: Tensor, *, rule: str = 'q99') -> Tensor:
    """Bring values of a batch to 0..1, on the scale of the whole batch of all processes.

    Args:
        values: Shape (b, n), >= 0; every process has the same shape.
        rule: 'max' divides by the largest value, as the release does within one process; 'q99'
            by the 0.99 quantile, and clips at 1, so that one flat patch does not set the scale.

    Raises:
        PretrainError: If the rule is unknown.

    Source: 'max' M-SpecGene's released sampler, 'q99' ours.
    """
    if rule not in NORMALISERS:
        raise PretrainError(
            f"CMSS normaliser is '{rule}'; expected one of {', '.join(NORMALISERS)}; choose one"
        )
    if rule == 'max':
        scale = max_over_processes(values.max())
    else:
        everywhere = gather_values(values.flatten())
        # The k-th smallest value, not an interpolated one: torch.quantile refuses large inputs.
        rank = max(1, round(_ROBUST_QUANTILE * everywhere.numel()))
        scale = everywhere.kthvalue(rank).values
    return (values / scale.clamp(min=_TINY)).clamp(max=1.0)


def draw_cmss_map(
    values: Tensor, *, grid_hw: tuple[int, int], patch_size: int
) -> NDArray[np.uint8]:
    """Draw the sparsity of one pair as a picture: bright where there is something to see.

    Args:
        values: Normalised values, shape (n,), row-major.
        grid_hw: Rows and columns of patches; their product is n.
        patch_size: Pixels per patch side.

    Returns:
        Image, shape (rows * patch_size, columns * patch_size, 3), uint8, RGB.

    Raises:
        PretrainError: If the grid does not hold as many patches as there are values.

    Source: ours (the ranks of the values, so that the picture does not depend on their scale).
    """
    rows, columns = grid_hw
    if values.numel() != rows * columns:
        raise PretrainError(
            f'{values.numel()} values for a grid of {rows}x{columns} patches; expected '
            f'{rows * columns}; give the grid of these tokens'
        )
    order = values.flatten().argsort(descending=True, stable=True)
    richness = torch.empty(len(order), dtype=torch.float32)
    richness[order.cpu()] = torch.linspace(0.0, 255.0, len(order))
    grey = np.rint(richness.reshape(rows, columns).numpy()).astype(np.uint8)
    large = cv2.resize(
        grey, (columns * patch_size, rows * patch_size), interpolation=cv2.INTER_NEAREST
    )
    colored = cv2.applyColorMap(large, cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(colored[..., ::-1]).astype(np.uint8)


def _moments(rgb: Tensor, thermal: Tensor) -> Tensor:
    """Return inner product, both norms and both means over channels, (5, ..., n) float32."""
    rgb, thermal = rgb.float(), thermal.float()
    norms = [torch.linalg.vector_norm(tokens, dim=-1) for tokens in (rgb, thermal)]
    average = rgb.new_full((rgb.shape[-1],), 1.0 / rgb.shape[-1])
    return torch.stack([(rgb * thermal).sum(-1), *norms, rgb @ average, thermal @ average])


def _variance(norm: Tensor, mean: Tensor, d: int) -> Tensor:
    return ((norm.square() - d * mean.square()) / (d - 1)).clamp(min=0.0)
