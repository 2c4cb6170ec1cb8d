# SPDX-License-Identifier: Apache-2.0
"""Anchor-free detection head: at every point a logit per class and the four distances to a box.

After FCOS (https://arxiv.org/abs/1904.01355) with the quality of generalised focal loss
(https://arxiv.org/abs/2006.04388) in the class logit. Differs: a small tower per level instead
of one shared by all, because the levels differ in width, and no centre-ness branch.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn import functional

from rgbt_models.encoder import conv_norm_act

STRIDES = (4, 8, 16)
DISTANCE_SCALE = 2.0
PRIOR_LOGIT = -4.6  # sigmoid(-4.6) = 0.01: nearly every point is background at the start


def anchor_points(height: int, width: int, stride: int, *, device: torch.device) -> Tensor:
    """Return the cell centres of one level, (height * width, 2), xy px, row by row."""
    y = (torch.arange(height, device=device) + 0.5) * stride
    x = (torch.arange(width, device=device) + 0.5) * stride
    grid = torch.stack([x[None].expand(height, width), y[:, None].expand(height, width)], dim=-1)
    return grid.reshape(-1, 2)


class DetectionHead(nn.Module):
    """Class logits and boxes at strides 4, 8 and 16."""

    def __init__(self, *, channels: tuple[int, ...], num_classes: int) -> None:
        """Build one tower per level with random weights."""
        super().__init__()
        self.towers = nn.ModuleList(
            nn.Sequential(conv_norm_act(c, c), conv_norm_act(c, c)) for c in channels
        )
        self.classifiers = nn.ModuleList(
            _predictor(c, num_classes, bias=PRIOR_LOGIT) for c in channels
        )
        self.regressors = nn.ModuleList(_predictor(c, 4, bias=1.0) for c in channels)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Predict at every point of every level.

        Args:
            levels: Features (b, c, h/s, w/s) at ``STRIDES``, finest first.

        Returns:
            Class logits (b, n, k) and boxes (b, n, 4) as xyxy in input pixels (edge units);
            n runs over the levels, finest first, row-major within one.
        """
        logits, boxes = [], []
        for level, feature in enumerate(levels):
            tower = self.towers[level](feature)
            logits.append(self.classifiers[level](tower).flatten(2).transpose(1, 2))
            raw = self.regressors[level](tower).flatten(2).transpose(1, 2).float()
            distances = functional.softplus(raw) * (STRIDES[level] * DISTANCE_SCALE)
            h, w = feature.shape[-2:]
            points = anchor_points(h, w, STRIDES[level], device=feature.device)
            boxes.append(
                torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)
            )
        return torch.cat(logits, dim=1), torch.cat(boxes, dim=1)


def _predictor(in_channels: int, out_channels: int, *, bias: float) -> nn.Conv2d:
    predictor = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.normal_(predictor.weight, std=0.01)
    assert predictor.bias is not None
    nn.init.constant_(predictor.bias, bias)
    return predictor
