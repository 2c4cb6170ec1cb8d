# SPDX-License-Identifier: Apache-2.0
"""Neck for an encoder with one map: fuse once at stride 16, then upsample to strides 8 and 4.

Fusing before the pyramid keeps the published heads' cost away: the pyramid is built once, on
few channels, and the share of each modality comes from one linear layer. Source: ours, after the
simple feature pyramid of ViTDet (https://arxiv.org/abs/2203.16527). Differs: fusion first, and
batch normalisation, which folds into the convolutions.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn, Tensor

from rgbt_models.encoder import conv_norm_act
from rgbt_models.fusion import SplitFusion


class SimpleFusionPyramid(nn.Module):
    """Fused features at strides 4, 8 and 16 from one map per modality at stride 16."""

    def __init__(self, *, in_channels: int, channels: tuple[int, ...]) -> None:
        """Build the pyramid.

        Args:
            in_channels: Channels of the encoder's last map.
            channels: Pyramid channels, finest level first; each level has half the stride of
                the next.
        """
        super().__init__()
        self.fusion = SplitFusion(in_channels=in_channels, out_channels=channels[-1])
        coarse_first = channels[::-1]
        self.upsamplings = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(coarse, fine, 2, 2), nn.BatchNorm2d(fine), nn.GELU())
            for coarse, fine in pairwise(coarse_first)
        )
        self.refinements = nn.ModuleList(conv_norm_act(c, c) for c in coarse_first)

    def forward(
        self, features: list[tuple[Tensor, Tensor]], available: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Fuse the last tap of the encoder and build the levels.

        Args:
            features: (rgb, thermal) features per tap; the last is used.
            available: (b, 2) in {0, 1}, RGB first.

        Returns:
            Fused features per level, finest first; the RGB share map (b, 1, h/16, w/16); the RGB
            share (b, 1), for there is one fusion.
        """
        rgb, thermal = features[-1]
        fused, share_map, share = self.fusion(rgb, thermal, available)
        levels = [self.refinements[0](fused)]
        for upsampling, refinement in zip(self.upsamplings, self.refinements[1:], strict=True):
            levels.append(refinement(upsampling(levels[-1])))
        return levels[::-1], share_map, share[:, None]
