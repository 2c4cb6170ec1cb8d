# SPDX-License-Identifier: Apache-2.0
"""Anchors, box coder, suppression and level choice of the published detector.

Source: Mask R-CNN (https://arxiv.org/abs/1703.06870) with the constants of the released
M-SpecGene configuration. Boxes are (x1, y1, x2, y2), px of the network input, max edge exclusive.
torchvision's ``nms`` and ``roi_align`` are used where they agree with the published operators:
suppression above (not at) the threshold, ``aligned=True``, adaptive sampling.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.ops import nms, roi_align

ANCHOR_SCALE = 8  # side of the square anchor in strides
ANCHOR_RATIOS = (0.5, 1.0, 2.0)  # height / width
MAX_LOG_RATIO = abs(math.log(16 / 1000))
ROI_FINEST_SIZE = 56.0  # px; a box of twice this side goes to the second level


def anchor_grid(height: int, width: int, stride: int, *, like: Tensor) -> Tensor:
    """Return the anchors of one level.

    Args:
        height: Rows of the level.
        width: Columns of the level.
        stride: Pixels between neighbours of the level.
        like: Gives dtype and device.

    Returns:
        (height * width * 3, 4), row-major, the three ratios of one cell together. The anchor of
        cell (0, 0) is centred on the point (0, 0), as released.
    """
    ratios = like.new_tensor(ANCHOR_RATIOS)
    half_h = 0.5 * stride * ANCHOR_SCALE * ratios.sqrt()
    half_w = 0.5 * stride * ANCHOR_SCALE / ratios.sqrt()
    shapes = torch.stack([-half_w, -half_h, half_w, half_h], dim=1)  # (3, 4)
    y = torch.arange(height, device=like.device).to(like.dtype) * stride
    x = torch.arange(width, device=like.device).to(like.dtype) * stride
    grid_y, grid_x = torch.meshgrid(y, x, indexing='ij')
    shifts = torch.stack([grid_x, grid_y, grid_x, grid_y], dim=2).reshape(-1, 1, 4)
    return (shifts + shapes).reshape(-1, 4)


def decode_boxes(
    boxes_xyxy: Tensor,
    deltas: Tensor,
    *,
    stds: tuple[float, float, float, float],
    clip_hw: tuple[int, int],
) -> Tensor:
    """Move and scale boxes by predicted deltas and clip them.

    Args:
        boxes_xyxy: Anchors or proposals, (n, 4).
        deltas: (n, 4): shift of x and y in box sizes, log scale of width and height.
        stds: The deltas are in units of these.
        clip_hw: Height and width that coordinates are clipped to, px.

    Returns:
        (n, 4).
    """
    deltas = deltas * deltas.new_tensor(stds)
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) * 0.5
    sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    centres = centres + sizes * deltas[:, :2]
    sizes = sizes * deltas[:, 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    corners = torch.cat([centres - sizes * 0.5, centres + sizes * 0.5], dim=1)
    height, width = clip_hw
    limits = corners.new_tensor([width, height, width, height])
    return torch.minimum(corners.clamp(min=0.0), limits)


def suppress_by_group(
    boxes_xyxy: Tensor, scores: Tensor, groups: Tensor, *, max_iou: float
) -> Tensor:
    """Suppress boxes that overlap a better one of the same group.

    Args:
        boxes_xyxy: (n, 4).
        scores: (n,).
        groups: (n,), whole numbers; boxes of different groups never suppress one another.
        max_iou: A box whose overlap with a better one is above this goes.

    Returns:
        Indices kept, best score first.
    """
    if boxes_xyxy.numel() == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes_xyxy.device)
    offsets = groups.to(boxes_xyxy) * (boxes_xyxy.max() + 1.0)
    kept: Tensor = nms(boxes_xyxy + offsets[:, None], scores, max_iou)
    return kept


def choose_levels(boxes_xyxy: Tensor, *, num_levels: int) -> Tensor:
    """Return the pyramid level (n,) that each box (n, 4) is read from, 0 = finest."""
    sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    levels = torch.floor(torch.log2(sizes.prod(dim=1).sqrt() / ROI_FINEST_SIZE + 1e-6))
    return levels.clamp(0, num_levels - 1).long()


def pool_boxes(
    levels: list[Tensor], boxes_xyxy: Tensor, *, image_index: int, output_size: int
) -> Tensor:
    """Read each box from its level of the pyramid.

    Args:
        levels: Maps (b, c, h/s, w/s) at strides 4, 8, 16 and 32.
        boxes_xyxy: (n, 4), px.
        image_index: Which image of the batch the boxes are of.
        output_size: Side of the pooled map.

    Returns:
        (n, c, output_size, output_size).
    """
    chosen = choose_levels(boxes_xyxy, num_levels=len(levels))
    pooled = levels[0].new_zeros(len(boxes_xyxy), levels[0].shape[1], output_size, output_size)
    for index, level in enumerate(levels):
        rows = torch.nonzero(chosen == index).squeeze(1)
        pooled[rows] = roi_align(
            level[image_index : image_index + 1],
            [boxes_xyxy[rows]],
            output_size,
            spatial_scale=1.0 / (4 << index),
            sampling_ratio=0,
            aligned=True,
        )
    return pooled
