# SPDX-License-Identifier: Apache-2.0
"""Simple feature pyramid of ViTDet: five levels from the one map of a plain ViT.

Source: Exploring Plain Vision Transformer Backbones for Object Detection
(https://arxiv.org/abs/2203.16527), in the widths that M-SpecGene released: the input is the
concatenation of both modalities, 2 x 768 channels.
"""

from __future__ import annotations

from torch import nn, Tensor
import torch.nn.functional as F

from rgbt_models.published.layers import ChannelNorm, ConvChannelNorm

PYRAMID_STRIDES = (4, 8, 16, 32, 64)


class SimplePyramid(nn.Module):
    """Levels at strides 4, 8, 16, 32 and 64 from features at stride 16."""

    def __init__(self, *, in_channels: int = 1536, out_channels: int = 256) -> None:
        """Build with random weights; ``in_channels`` is a multiple of 4."""
        super().__init__()
        half, quarter = in_channels // 2, in_channels // 4
        self.fpn1 = nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, 2, 2),
            ChannelNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, 2),
        )
        self.fpn2 = nn.Sequential(nn.ConvTranspose2d(in_channels, half, 2, 2))
        widths = (quarter, half, in_channels, in_channels)
        self.lateral_convs = nn.ModuleList(
            ConvChannelNorm(width, out_channels, kernel=1) for width in widths
        )
        self.fpn_convs = nn.ModuleList(
            ConvChannelNorm(out_channels, out_channels, kernel=3) for _ in widths
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        """Map (b, in, h, w) at stride 16 to five levels (b, out, 16 * h / s, 16 * w / s)."""
        maps = [self.fpn1(features), self.fpn2(features), features, F.max_pool2d(features, 2)]
        levels = [
            smooth(lateral(level))
            for lateral, smooth, level in zip(
                self.lateral_convs, self.fpn_convs, maps, strict=True
            )
        ]
        return [*levels, F.max_pool2d(levels[-1], 1, stride=2)]
