# SPDX-License-Identifier: Apache-2.0
"""UPerNet on the fused features of four encoder depths, as released with M-SpecGene.

Source: Unified Perceptual Parsing (https://arxiv.org/abs/1807.10221) and the released M-SpecGene
configuration for segmentation and saliency (two classes). Attribute names are those of the
released weights (``neck``, ``decode_head``, ``auxiliary_head``), which load strictly. All
resizing is bilinear with ``align_corners=False``.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
import torch.nn.functional as F

from rgbt_models.published.layers import ConvBatchNormReLU, NORM_EPS

POOL_SIZES = (1, 2, 3, 6)
DROPOUT = 0.1
AUXILIARY_CHANNELS = 256
AUXILIARY_LEVEL = 2  # the auxiliary head looks at stride 16


class RescaledPyramid(nn.Module):
    """Bring features of four depths, all at stride 16, to strides 4, 8, 16 and 32."""

    def __init__(self, *, channels: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.upsample_4x = nn.Sequential(
            nn.ConvTranspose2d(channels, channels, 2, 2),
            nn.BatchNorm2d(channels, eps=NORM_EPS),
            nn.GELU(),
            nn.ConvTranspose2d(channels, channels, 2, 2),
        )
        self.upsample_2x = nn.Sequential(nn.ConvTranspose2d(channels, channels, 2, 2))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map four (b, c, h, w), shallowest first, to sizes 4, 2, 1 and 1/2 of it."""
        first, second, third, last = features
        return [self.upsample_4x(first), self.upsample_2x(second), third, F.max_pool2d(last, 2)]


class UPerHead(nn.Module):
    """Pyramid pooling on the coarsest level, then a top-down pyramid over all four."""

    def __init__(self, *, in_channels: int, channels: int, num_classes: int) -> None:
        """Build with random weights; all four levels have ``in_channels``."""
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(size), ConvBatchNormReLU(in_channels, channels, kernel=1)
            )
            for size in POOL_SIZES
        )
        self.bottleneck = ConvBatchNormReLU(
            in_channels + len(POOL_SIZES) * channels, channels, kernel=3
        )
        self.lateral_convs = nn.ModuleList(
            ConvBatchNormReLU(in_channels, channels, kernel=1) for _ in range(3)
        )
        self.fpn_convs = nn.ModuleList(
            ConvBatchNormReLU(channels, channels, kernel=3) for _ in range(3)
        )
        self.fpn_bottleneck = ConvBatchNormReLU(4 * channels, channels, kernel=3)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Map levels (b, in, h/s, w/s), s = 4, 8, 16, 32, to logits (b, k, h/4, w/4)."""
        *finer, coarsest = levels
        laterals = [conv(level) for conv, level in zip(self.lateral_convs, finer, strict=True)]
        laterals.append(self._pool(coarsest))
        for index in (2, 1, 0):
            laterals[index] = laterals[index] + resize_like(laterals[index + 1], laterals[index])
        smooth = [
            conv(lateral) for conv, lateral in zip(self.fpn_convs, laterals[:3], strict=True)
        ]
        smooth.append(laterals[3])
        joined = torch.cat([resize_like(level, smooth[0]) for level in smooth], dim=1)
        logits: Tensor = self.conv_seg(self.dropout(self.fpn_bottleneck(joined)))
        return logits

    def _pool(self, level: Tensor) -> Tensor:
        pooled = [resize_like(module(level), level) for module in self.psp_modules]
        joined: Tensor = self.bottleneck(torch.cat([level, *pooled], dim=1))
        return joined


class AuxiliaryHead(nn.Module):
    """One convolution and the class logits; used by training only."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.conv_seg = nn.Conv2d(AUXILIARY_CHANNELS, num_classes, 1)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.convs = nn.Sequential(ConvBatchNormReLU(in_channels, AUXILIARY_CHANNELS, kernel=3))

    def forward(self, level: Tensor) -> Tensor:
        """Map (b, in, h, w) to logits (b, k, h, w)."""
        logits: Tensor = self.conv_seg(self.dropout(self.convs(level)))
        return logits


class UPerNet(nn.Module):
    """Rescaled pyramid, UPerHead and auxiliary head on the features of both modalities."""

    def __init__(self, *, num_classes: int, in_channels: int = 1536, channels: int = 768) -> None:
        """Build with random weights; ``in_channels`` counts both modalities."""
        super().__init__()
        self.neck = RescaledPyramid(channels=in_channels)
        self.decode_head = UPerHead(
            in_channels=in_channels, channels=channels, num_classes=num_classes
        )
        self.auxiliary_head = AuxiliaryHead(in_channels=in_channels, num_classes=num_classes)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Segment.

        Args:
            features: Four maps (b, in_channels, h, w) at stride 16, shallowest first, RGB
                channels first.

        Returns:
            Logits (b, k, 4 * h, 4 * w), at stride 4.
        """
        logits: Tensor = self.decode_head(self.neck(features))
        return logits

    def auxiliary_logits(self, features: list[Tensor]) -> Tensor:
        """Return the logits (b, k, h, w) of the auxiliary head at stride 16, for training."""
        logits: Tensor = self.auxiliary_head(self.neck(features)[AUXILIARY_LEVEL])
        return logits


def resize_like(features: Tensor, reference: Tensor) -> Tensor:
    """Resize (b, c, h, w) bilinearly to the height and width of the reference."""
    if features.shape[-2:] == reference.shape[-2:]:
        return features
    return F.interpolate(features, reference.shape[-2:], mode='bilinear', align_corners=False)
