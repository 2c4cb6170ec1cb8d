# SPDX-License-Identifier: Apache-2.0
"""Losses of the matching head, from the homography that relates the images of a pair.

Coarse: focal loss of the dual softmax at the true pairs, as in LoFTR
(https://arxiv.org/abs/2104.00680, Sec. 3.6). Fine: squared distance of the refined point, where
the truth lies inside the window. Training pairs come from registered images of which the thermal
one is warped by a homography that is drawn. Source: ours on that idea.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rgbt_models.heads.matching import (
    COARSE_STRIDE,
    log_dual_softmax,
    token_centres,
    WINDOW,
)

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0


def warp_points(points_xy: Tensor, homography: Tensor) -> Tensor:
    """Map points (n, 2) px by homographies (b, 3, 3): (b, n, 2); behind the camera = infinity."""
    ones = torch.ones_like(points_xy[:, :1])
    mapped = torch.cat([points_xy, ones], dim=1) @ homography.transpose(1, 2)  # (b, n, 3)
    depth = mapped[..., 2:]
    inside = depth > 1e-6
    return torch.where(inside, mapped[..., :2] / depth.where(inside, 1.0), torch.inf)


def matching_targets(
    homography_thermal_to_rgb: Tensor,
    rgb_hw: tuple[int, int],
    thermal_hw: tuple[int, int],
    *,
    stride: int = COARSE_STRIDE,
) -> Tensor:
    """Return which tokens truly match: mutual nearest centres, no further than half a token.

    Args:
        homography_thermal_to_rgb: (b, 3, 3), thermal pixel -> RGB pixel.
        rgb_hw: Grid of the RGB tokens.
        thermal_hw: Grid of the thermal tokens.
        stride: Pixels per token, the same in both images.

    Returns:
        (b, n, m) bool, True = match; at most one per row and column.
    """
    homography = homography_thermal_to_rgb.float()
    rgb_nearest = _nearest_token(homography, thermal_hw, rgb_hw, stride)  # (b, m): RGB token or -1
    inverse = torch.linalg.inv(homography)
    thermal_nearest = _nearest_token(inverse, rgb_hw, thermal_hw, stride)  # (b, n)
    n, m = rgb_hw[0] * rgb_hw[1], thermal_hw[0] * thermal_hw[1]
    columns = torch.arange(m, device=homography.device)
    to_rgb = rgb_nearest[:, None] == torch.arange(n, device=homography.device)[:, None]
    to_thermal = thermal_nearest[:, :, None] == columns
    return to_rgb & to_thermal


def coarse_matching_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the focal loss of the true pairs.

    Args:
        logits: (b, n, m) of ``MatchingHead``.
        targets: (b, n, m) bool of ``matching_targets``.

    Returns:
        Scalar, mean over the true pairs of the batch; 0 without any.
    """
    log_scores = log_dual_softmax(logits.float())[targets]
    if not len(log_scores):
        return logits.sum() * 0.0
    weights = FOCAL_ALPHA * (1.0 - log_scores.exp()) ** FOCAL_GAMMA
    return -(weights * log_scores).mean()


def fine_matching_loss(offsets: Tensor, wanted: Tensor, *, stride: int) -> Tensor:
    """Return the mean squared error of refined points in cells, of those in reach.

    Args:
        offsets: (n, 2) px of ``fine_offsets``.
        wanted: (n, 2) px, true offsets; those beyond the 5x5 window are left out.
        stride: Pixels per cell of the finer features.
    """
    reach = (WINDOW // 2) * stride
    inside = (wanted.abs() <= reach).all(dim=-1)
    if not inside.any():
        return offsets.sum() * 0.0
    return (((offsets - wanted)[inside] / stride) ** 2).sum(dim=-1).mean()


def _nearest_token(
    homography: Tensor, source_hw: tuple[int, int], target_hw: tuple[int, int], stride: int
) -> Tensor:
    """Return for each source token the target token its centre falls on, -1 = outside: (b, n)."""
    centres = token_centres(*source_hw, stride, device=homography.device)
    mapped = warp_points(centres, homography)
    cells = torch.floor((mapped + 0.5) / stride)
    height, width = target_hw
    inside = (cells >= 0).all(dim=-1) & (cells[..., 0] < width) & (cells[..., 1] < height)
    cells = torch.where(inside[..., None], cells, 0.0).long()
    return torch.where(inside, cells[..., 1] * width + cells[..., 0], -1)
