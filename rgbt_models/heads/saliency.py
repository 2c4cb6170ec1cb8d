# SPDX-License-Identifier: Apache-2.0
"""Saliency head at stride 4: one logit per position of the finest pyramid level.

M-SpecGene (https://arxiv.org/abs/2507.16318) predicts saliency with a UPerNet of two classes and
its arg max, which leaves no ranking of pixels. Differs: one logit, so that every threshold of the
F and E curves means something, and two convolutions on the fused pyramid. Source: ours.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn import functional

from rgbt_models.encoder import conv_norm_act

STRIDE = 4
PRIOR_LOGIT = -2.2  # sigmoid(-2.2) = 0.1: about the share of salient pixels in the data sets


class SaliencyHead(nn.Module):
    """Saliency logit per position of the finest level."""

    def __init__(self, *, channels: int) -> None:
        """Build the head with random weights; ``channels`` are those of the finest level."""
        super().__init__()
        self.tower = nn.Sequential(
            conv_norm_act(channels, channels), conv_norm_act(channels, channels)
        )
        self.classifier = nn.Conv2d(channels, 1, 1)
        assert self.classifier.bias is not None
        nn.init.constant_(self.classifier.bias, PRIOR_LOGIT)

    def forward(self, feature: Tensor) -> Tensor:
        """Map fused features (b, c, h/4, w/4) to logits (b, 1, h/4, w/4); > 0 = salient."""
        logits: Tensor = self.classifier(self.tower(feature))
        return logits


@torch.no_grad()
def saliency_scores(logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return scores in [0, 1] at image size, (b, h, w), from logits (b, 1, h/4, w/4).

    Args:
        logits: Output of ``SaliencyHead``.
        size_hw: Height and width wanted, px.
    """
    resized = functional.interpolate(
        logits.float(), size=size_hw, mode='bilinear', align_corners=False
    )
    return resized.sigmoid()[:, 0]
