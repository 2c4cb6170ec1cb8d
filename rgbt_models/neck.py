# SPDX-License-Identifier: Apache-2.0
"""Feature pyramid: fuse the modalities at each stride, then pass context from coarse to fine.

The lateral 1x1 convolutions of an ordinary feature pyramid are the split-weight fusion layers
here, so each level also tells which camera it drew on. Source: ours, after FPN.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn, Tensor
from torch.nn import functional

from rgbt_models.encoder import conv_norm_act
from rgbt_models.fusion import SplitFusion


class FusionPyramid(nn.Module):
    """Fused features at strides 4, 8 and 16, with the RGB share of each level."""

    def __init__(self, *, in_channels: tuple[int, ...], channels: tuple[int, ...]) -> None:
        """Build the pyramid.

        Args:
            in_channels: Encoder channels, finest level first.
            channels: Pyramid channels, finest level first.
        """
        super().__init__()
        self.fusions = nn.ModuleList(
            SplitFusion(in_channels=i, out_channels=o)
            for i, o in zip(in_channels, channels, strict=True)
        )
        self.reductions = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(channels)
        )
        self.refinements = nn.ModuleList(conv_norm_act(c, c) for c in channels)

    def forward(
        self, features: list[tuple[Tensor, Tensor]], available: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Fuse and refine all levels.

        Args:
            features: (rgb, thermal) features per level, finest first.
            available: (b, 2) in {0, 1}, RGB first.

        Returns:
            Fused features per level, finest first; the RGB share map of the coarsest level
            (b, 1, h, w); the RGB share of every level (b, l), finest first.
        """
        levels, shares, share_map = [], [], features[0][0]
        for fusion, (rgb, thermal) in zip(self.fusions, features, strict=True):
            fused, share_map, share = fusion(rgb, thermal, available)
            levels.append(fused)
            shares.append(share)
        levels[-1] = self.refinements[-1](levels[-1])
        for index in range(len(levels) - 2, -1, -1):
            context = functional.interpolate(
                self.reductions[index](levels[index + 1]), scale_factor=2.0, mode='bilinear'
            )
            levels[index] = self.refinements[index](levels[index] + context)
        return levels, share_map, torch.stack(shares, dim=1)
