# SPDX-License-Identifier: Apache-2.0
"""Layers of the published heads, with the attribute names that the released weights use.

Source: M-SpecGene (https://arxiv.org/abs/2507.16318) and its released configurations; the names
``conv``, ``norm_layer`` and ``bn`` are those of the released checkpoints and must not change.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
import torch.nn.functional as F

NORM_EPS = 1e-5  # of every channel norm and batch norm in the released heads


class ChannelNorm(nn.Module):
    """Layer norm over the channels of every pixel of a map (b, c, h, w)."""

    def __init__(self, channels: int) -> None:
        """Build the norm; weights one, biases zero."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (b, c, h, w); the shape is kept."""
        last = features.permute(0, 2, 3, 1)
        normed = F.layer_norm(last, (last.shape[-1],), self.weight, self.bias, NORM_EPS)
        return normed.permute(0, 3, 1, 2)


class ConvChannelNorm(nn.Module):
    """Convolution without bias and channel norm; size kept."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.norm_layer = ChannelNorm(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (b, in, h, w) to (b, out, h, w)."""
        normed: Tensor = self.norm_layer(self.conv(features))
        return normed


class ConvBatchNormReLU(nn.Module):
    """Convolution without bias, batch norm and ReLU; size kept."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=NORM_EPS)

    def forward(self, features: Tensor) -> Tensor:
        """Map (b, in, h, w) to (b, out, h, w), not negative."""
        return F.relu(self.bn(self.conv(features)))


class ConvReLU(nn.Module):
    """Convolution of 3 x 3 with bias and ReLU; size kept."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (b, in, h, w) to (b, out, h, w), not negative."""
        return F.relu(self.conv(features))


def concat_modalities(rgb: Tensor, thermal: Tensor) -> Tensor:
    """Join the features of both modalities as the published heads take them: RGB first.

    Args:
        rgb: (b, c, h, w).
        thermal: (b, c, h, w).

    Returns:
        (b, 2 * c, h, w).

    Source: M-SpecGene; the only fusion it has (released code; the paper's figures agree).
    """
    return torch.cat([rgb, thermal], dim=1)
