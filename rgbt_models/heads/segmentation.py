# SPDX-License-Identifier: Apache-2.0
"""Segmentation head at stride 4: two convolutions on the finest pyramid level. Source: ours."""

from __future__ import annotations

from torch import nn, Tensor

from rgbt_models.encoder import conv_norm_act


class SegmentationHead(nn.Module):
    """Class logits per position of the finest level."""

    def __init__(self, *, channels: int, num_classes: int) -> None:
        """Build the head with random weights."""
        super().__init__()
        self.tower = conv_norm_act(channels, channels)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """Map features (b, c, h/4, w/4) to logits (b, k, h/4, w/4)."""
        logits: Tensor = self.classifier(self.tower(feature))
        return logits
