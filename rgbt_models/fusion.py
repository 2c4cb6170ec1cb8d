# SPDX-License-Identifier: Apache-2.0
"""Linear fusion with split weights: the share of each modality is a by-product of every pass.

The weight of a linear layer over the concatenated halves is W = [W_rgb | W_thermal]. Keeping the
halves apart gives z = W_rgb F_rgb + W_thermal F_thermal with both terms at hand, so how much of
the fused feature each camera supplied costs two inner products. Concatenation is M-SpecGene's
fusion; the share is ours (modality dominance).
"""

from __future__ import annotations

import torch
from torch import nn, Tensor

SHARE_EPS = 1e-6
MEAN_MOMENTUM = 0.01


class SplitFusion(nn.Module):
    """Fuse the two modalities of one pyramid level.

    An absent modality is replaced by its mean feature over the training data, which is kept with
    the weights; training drops modalities, so this is a trained mode of operation.
    """

    rgb_mean: Tensor
    thermal_mean: Tensor

    def __init__(self, *, in_channels: int, out_channels: int) -> None:
        """Build the layer with random weights and zero means."""
        super().__init__()
        self.rgb_weight = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.thermal_weight = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.register_buffer('rgb_mean', torch.zeros(in_channels))
        self.register_buffer('thermal_mean', torch.zeros(in_channels))

    def forward(
        self, rgb: Tensor, thermal: Tensor, available: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fuse features of one level.

        Args:
            rgb: (b, c, h, w).
            thermal: (b, c, h, w).
            available: (b, 2) in {0, 1}, RGB first; 0 replaces that modality by its mean feature.

        Returns:
            Fused features (b, d, h, w), the RGB share per position (b, 1, h, w), and the RGB
            share of the whole level (b,). Shares may leave 0..1 where the halves oppose.
        """
        if self.training:
            self._update_means(rgb, thermal)
        rgb = _replace_absent(rgb, self.rgb_mean, available[:, 0])
        thermal = _replace_absent(thermal, self.thermal_mean, available[:, 1])
        from_rgb, from_thermal = self.rgb_weight(rgb), self.thermal_weight(thermal)
        fused = from_rgb + from_thermal
        along = (from_rgb * fused).sum(dim=1, keepdim=True)
        whole = (fused * fused).sum(dim=1, keepdim=True)
        share_map = (along + SHARE_EPS / 2) / (whole + SHARE_EPS)
        share = (along.mean(dim=(1, 2, 3)) + SHARE_EPS / 2) / (
            whole.mean(dim=(1, 2, 3)) + SHARE_EPS
        )
        return torch.relu(self.norm(fused)), share_map, share

    @torch.no_grad()
    def _update_means(self, rgb: Tensor, thermal: Tensor) -> None:
        for mean, features in ((self.rgb_mean, rgb), (self.thermal_mean, thermal)):
            mean.lerp_(features.float().mean(dim=(0, 2, 3)), MEAN_MOMENTUM)


def _replace_absent(features: Tensor, mean: Tensor, available: Tensor) -> Tensor:
    # Selected, not blended: 0 times the NaN of a broken camera would still be NaN.
    keep = available[:, None, None, None] > 0.5
    return torch.where(keep, features, mean.to(features.dtype)[None, :, None, None])
