# SPDX-License-Identifier: Apache-2.0
"""Build models by name, and load the model a card describes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn, Tensor

from rgbt_models.card import ModelCard
from rgbt_models.dominance import feature_entropy
from rgbt_models.encoder import SiameseEncoder
from rgbt_models.errors import CardError
from rgbt_models.heads import DetectionHead, SegmentationHead
from rgbt_models.neck import FusionPyramid
from rgbt_models.weights import load_weights


class RGBTModel(nn.Module):
    """Encoder, fusion pyramid and both heads."""

    def __init__(
        self,
        *,
        encoder: SiameseEncoder,
        channels: tuple[int, ...],
        num_detection_classes: int,
        num_segmentation_classes: int,
    ) -> None:
        """Put the parts together; ``channels`` are those of the pyramid, finest first."""
        super().__init__()
        self.encoder = encoder
        self.neck = FusionPyramid(in_channels=encoder.channels, channels=channels)
        self.detection = DetectionHead(channels=channels, num_classes=num_detection_classes)
        self.segmentation = SegmentationHead(
            channels=channels[0], num_classes=num_segmentation_classes
        )

    def forward(self, rgb: Tensor, thermal: Tensor, available: Tensor) -> dict[str, Tensor]:
        """Run the network on standardised images.

        Args:
            rgb: (b, 3, h, w) float, h and w multiples of 16.
            thermal: (b, 3, h, w) float, one channel replicated.
            available: (b, 2) float in {0, 1}, RGB first; 0 = that image is not looked at.

        Returns:
            Tensors by the names in ``OUTPUT_NAMES``: class logits (b, n, k), boxes (b, n, 4) px,
            segmentation logits (b, k, h/4, w/4), share map (b, 1, h/16, w/16), RGB shares
            (b, 3) finest level first, entropies (b, 2) RGB first (that of an absent modality is
            of the image given and means nothing; no other output depends on that image).
        """
        features = self.encoder(rgb, thermal)
        levels, share_map, rgb_shares = self.neck(features, available)
        class_logits, boxes_xyxy = self.detection(levels)
        rgb_tokens, thermal_tokens = features[-1]
        entropies = [feature_entropy(rgb_tokens), feature_entropy(thermal_tokens)]
        return {
            'class_logits': class_logits,
            'boxes_xyxy': boxes_xyxy,
            'segmentation_logits': self.segmentation(levels[0]),
            'share_map': share_map,
            'rgb_shares': rgb_shares,
            'entropies': torch.stack(entropies, dim=1),
        }


def tiny(*, num_detection_classes: int, num_segmentation_classes: int) -> RGBTModel:
    """Convolutional stem and six shared 192-d blocks; for CPUs and the shipped demo."""
    return RGBTModel(
        encoder=SiameseEncoder(dim=192, depth=6, num_heads=3),
        channels=(64, 96, 128),
        num_detection_classes=num_detection_classes,
        num_segmentation_classes=num_segmentation_classes,
    )


ARCHITECTURES: dict[str, Callable[..., RGBTModel]] = {'tiny': tiny}


def create_model(
    architecture: str, *, num_detection_classes: int, num_segmentation_classes: int
) -> RGBTModel:
    """Build a model with random weights.

    Raises:
        CardError: If the architecture is unknown.
    """
    if architecture not in ARCHITECTURES:
        raise CardError(
            f"unknown architecture '{architecture}'; expected one of {', '.join(ARCHITECTURES)}; "
            f'correct the card or update the package'
        )
    return ARCHITECTURES[architecture](
        num_detection_classes=num_detection_classes,
        num_segmentation_classes=num_segmentation_classes,
    )


def load_model(card: ModelCard) -> RGBTModel:
    """Build the model of a card with its weights, in evaluation mode.

    Raises:
        CardError: If the architecture is unknown.
        WeightsError: If the weights are missing, altered or do not fit.
    """
    model = create_model(
        card.architecture,
        num_detection_classes=len(card.detection_classes),
        num_segmentation_classes=len(card.segmentation_classes),
    )
    load_weights(model, card.weights_path, expected_sha256=card.weights_sha256)
    return model.eval()
