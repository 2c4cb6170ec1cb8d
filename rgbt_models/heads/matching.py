# SPDX-License-Identifier: Apache-2.0
"""Matching head: which token of the thermal image shows what a token of the RGB image shows.

M-SpecGene (https://arxiv.org/abs/2507.16318) draws a LoFTR (https://arxiv.org/abs/2104.00680) in
its figure and releases no matching code; this is our definition: dual softmax over the encoder
tokens at stride 16, temperature 0.1, threshold 0.2, mutual nearest neighbours, and optionally a
5x5 search in finer features around each match. Differs from LoFTR: no transformer of its own (the
shared encoder has seen both images), cosine similarity instead of the scaled product, so that
tokens of any scale can be matched, even without training.

Points are in pixels, x right, y down, with (0, 0) the centre of the top-left pixel, so they go
straight into ``homography_thermal_to_rgb``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn, Tensor
from torch.nn import functional

COARSE_STRIDE = 16
TEMPERATURE = 0.1
THRESHOLD = 0.2
WINDOW = 5  # cells of the fine features, odd


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Matches:
    """Points of one pair that show the same thing. Tensors share length n (may be 0).

    Attributes:
        rgb_xy: (n, 2) float32, px, centre of the top-left pixel is (0, 0).
        thermal_xy: (n, 2) float32, px of the thermal image.
        scores: (n,) float32 in [0, 1], the product of both softmaxes.
    """

    rgb_xy: Tensor
    thermal_xy: Tensor
    scores: Tensor


class MatchingHead(nn.Module):
    """Brings the tokens of both modalities into one space and compares all with all."""

    def __init__(self, *, dim: int) -> None:
        """Build the head; it starts as the plain comparison of the encoder's tokens.

        Args:
            dim: Width of the encoder's tokens.
        """
        super().__init__()
        self.projection = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(self.projection.weight)

    def forward(self, rgb: Tensor, thermal: Tensor) -> Tensor:
        """Compare every RGB token with every thermal token.

        Args:
            rgb: Encoder features (b, d, h/16, w/16).
            thermal: Encoder features (b, d, h2/16, w2/16); the sizes may differ.

        Returns:
            Logits (b, n, m): row = RGB token, column = thermal token, both row-major.
        """
        return similarity_logits(
            self.projection(rgb.flatten(2).transpose(1, 2)),
            self.projection(thermal.flatten(2).transpose(1, 2)),
        )


def similarity_logits(
    rgb_tokens: Tensor, thermal_tokens: Tensor, *, temperature: float = TEMPERATURE
) -> Tensor:
    """Return cosine similarities over ``temperature``, (b, n, m), from (b, n, d) and (b, m, d)."""
    rgb = functional.normalize(rgb_tokens.float(), dim=-1)
    thermal = functional.normalize(thermal_tokens.float(), dim=-1)
    return rgb @ thermal.transpose(1, 2) / temperature


def log_dual_softmax(logits: Tensor) -> Tensor:
    """Return the log of softmax over rows times softmax over columns, shape of ``logits``."""
    return logits.log_softmax(dim=-1) + logits.log_softmax(dim=-2)


def mutual_nearest(scores: Tensor, *, threshold: float = THRESHOLD) -> tuple[Tensor, Tensor]:
    """Return the pairs (row, column) that are each other's best and score above ``threshold``.

    On a tie the first row and the first column win, so that nothing is matched twice.

    Args:
        scores: (n, m) in [0, 1].
        threshold: Smallest score, exclusive.

    Returns:
        Row and column indices, each (k,), rows ascending.
    """
    if scores.numel() == 0:
        empty = torch.zeros(0, dtype=torch.long, device=scores.device)
        return empty, empty
    best_column = scores.argmax(dim=1)
    best_row = scores.argmax(dim=0)
    rows = torch.arange(len(scores), device=scores.device)
    keep = (best_row[best_column] == rows) & (scores[rows, best_column] > threshold)
    return rows[keep], best_column[keep]


def token_centres(height: int, width: int, stride: int, *, device: torch.device) -> Tensor:
    """Return the centres of the tokens of a grid, (height * width, 2) xy px, row-major."""
    y = (torch.arange(height, device=device) + 0.5) * stride - 0.5
    x = (torch.arange(width, device=device) + 0.5) * stride - 0.5
    grid = torch.stack([x[None].expand(height, width), y[:, None].expand(height, width)], dim=-1)
    return grid.reshape(-1, 2)


@torch.no_grad()
def match_logits(
    logits: Tensor,
    rgb_hw: tuple[int, int],
    thermal_hw: tuple[int, int],
    *,
    threshold: float = THRESHOLD,
    stride: int = COARSE_STRIDE,
) -> Matches:
    """Turn the logits of one pair into points.

    Args:
        logits: (n, m) of one pair.
        rgb_hw: Grid of the RGB tokens, n = rows * columns.
        thermal_hw: Grid of the thermal tokens, m = rows * columns.
        threshold: Smallest score, exclusive.
        stride: Pixels per token.
    """
    scores = log_dual_softmax(logits).exp()
    rows, columns = mutual_nearest(scores, threshold=threshold)
    device = logits.device
    return Matches(
        rgb_xy=token_centres(*rgb_hw, stride, device=device)[rows],
        thermal_xy=token_centres(*thermal_hw, stride, device=device)[columns],
        scores=scores[rows, columns],
    )


@torch.no_grad()
def match(
    rgb: Tensor,
    thermal: Tensor,
    *,
    threshold: float = THRESHOLD,
    stride: int = COARSE_STRIDE,
) -> Matches:
    """Match the tokens of one pair as they are, without a trained head.

    Args:
        rgb: Features (d, h, w) of the RGB image.
        thermal: Features (d, h2, w2) of the thermal image, not necessarily registered.
        threshold: Smallest score, exclusive.
        stride: Pixels per token.
    """
    logits = similarity_logits(rgb.flatten(1).T[None], thermal.flatten(1).T[None])[0]
    grids = [(feature.shape[1], feature.shape[2]) for feature in (rgb, thermal)]
    return match_logits(logits, grids[0], grids[1], threshold=threshold, stride=stride)


def fine_offsets(
    matches: Matches,
    rgb: Tensor,
    thermal: Tensor,
    *,
    stride: int,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Return how far the thermal point of each match must move, (n, 2) xy px.

    The feature at the RGB point is compared with a window of 5x5 cells around the thermal point;
    the offset is the mean over the softmax, so it has a gradient.

    Args:
        matches: Coarse matches of one pair.
        rgb: Finer features (c, h, w).
        thermal: Finer features (c, h2, w2).
        stride: Pixels per cell of the finer features.
        temperature: Of the softmax over the window.
    """
    half = WINDOW // 2
    steps = torch.arange(-half, half + 1, device=rgb.device, dtype=torch.float32) * stride
    offsets = torch.stack(
        [steps[None].expand(WINDOW, WINDOW), steps[:, None].expand(WINDOW, WINDOW)], dim=-1
    ).reshape(-1, 2)
    wanted = _sample(rgb, matches.rgb_xy, stride)  # (n, c)
    window = _sample(thermal, matches.thermal_xy[:, None] + offsets, stride)  # (n, 25, c)
    wanted = functional.normalize(wanted, dim=-1)
    window = functional.normalize(window, dim=-1)
    weights = ((window * wanted[:, None]).sum(-1) / temperature).softmax(dim=-1)
    return (weights[..., None] * offsets).sum(
        dim=1
    )  # a product would be cut to bfloat16 by autocast


@torch.no_grad()
def refine_matches(
    matches: Matches,
    rgb: Tensor,
    thermal: Tensor,
    *,
    stride: int,
    temperature: float = TEMPERATURE,
) -> Matches:
    """Move the thermal points of one pair to where finer features agree best.

    Args:
        matches: Coarse matches.
        rgb: Finer features (c, h, w).
        thermal: Finer features (c, h2, w2).
        stride: Pixels per cell of the finer features.
        temperature: Of the softmax over the window.
    """
    offsets = fine_offsets(matches, rgb, thermal, stride=stride, temperature=temperature)
    return replace(matches, thermal_xy=matches.thermal_xy + offsets)


def _sample(features: Tensor, points_xy: Tensor, stride: int) -> Tensor:
    """Read features (c, h, w) at pixel positions (..., 2), bilinear, edge repeated: (..., c)."""
    c, h, w = features.shape
    size = torch.tensor([w * stride, h * stride], device=features.device, dtype=torch.float32)
    grid = ((points_xy + 0.5) / size * 2.0 - 1.0).reshape(1, 1, -1, 2)
    sampled = functional.grid_sample(
        features[None].float(), grid, mode='bilinear', padding_mode='border', align_corners=False
    )
    return sampled[0, :, 0].T.reshape(*points_xy.shape[:-1], c)
