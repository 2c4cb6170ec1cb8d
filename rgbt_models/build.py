# SPDX-License-Identifier: Apache-2.0
"""Build models by name, and load the model a card describes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn, Tensor

from rgbt_models.card import ModelCard
from rgbt_models.dominance import feature_entropy
from rgbt_models.encoder import SiameseEncoder
from rgbt_models.errors import CardError
from rgbt_models.heads import DetectionHead, SegmentationHead
from rgbt_models.neck import FusionPyramid
from rgbt_models.token_merging import set_keep_tokens
from rgbt_models.vit import SiameseViT, SimpleFusionPyramid, ViTEncoder
from rgbt_models.weights import load_weights

ENCODER_PREFIX = 'encoder:'
VIT_STRIDE = 16
NARROW_DIM = 384  # transformers up to this width get the narrow pyramid
NARROW_CHANNELS = (64, 96, 192)
WIDE_CHANNELS = (96, 128, 256)


class RGBTModel(nn.Module):
    """Encoder, fusion pyramid and both heads."""

    def __init__(
        self,
        *,
        encoder: SiameseEncoder | SiameseViT,
        channels: tuple[int, ...],
        num_detection_classes: int,
        num_segmentation_classes: int,
    ) -> None:
        """Put the parts together; ``channels`` are those of the pyramid, finest first.

        An encoder with a map per level gets a pyramid that fuses every level; a transformer,
        which has one map, a pyramid that fuses once. A head without classes is there, for layers
        need a channel, but gives logits of 0 classes.
        """
        super().__init__()
        self.encoder = encoder
        self.neck: FusionPyramid | SimpleFusionPyramid
        if isinstance(encoder, SiameseViT):
            self.neck = SimpleFusionPyramid(in_channels=encoder.dim, channels=channels)
        else:
            self.neck = FusionPyramid(in_channels=encoder.channels, channels=channels)
        self.num_detection_classes = num_detection_classes
        self.num_segmentation_classes = num_segmentation_classes
        self.detection = DetectionHead(
            channels=channels, num_classes=max(1, num_detection_classes)
        )
        self.segmentation = SegmentationHead(
            channels=channels[0], num_classes=max(1, num_segmentation_classes)
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
            (b, l), one per fusion, finest level first, entropies (b, 2) RGB first (that of an
            absent modality is of the image given and means nothing; no other output depends on
            that image).
        """
        return self.decode(self.encoder(rgb, thermal), available)

    def decode(
        self, features: list[tuple[Tensor, Tensor]], available: Tensor
    ) -> dict[str, Tensor]:
        """Run neck and heads on encoder features: all of ``forward`` after the encoder.

        Args:
            features: (rgb, thermal) per level, finest first, as the encoder gives them.
            available: (b, 2) in {0, 1}, RGB first.
        """
        levels, share_map, rgb_shares = self.neck(features, available)
        class_logits, boxes_xyxy = self.detection(levels)
        segmentation_logits = self.segmentation(levels[0])
        if not self.num_detection_classes:
            class_logits = class_logits[..., :0]
        if not self.num_segmentation_classes:
            segmentation_logits = segmentation_logits[:, :0]
        rgb_tokens, thermal_tokens = features[-1]
        entropies = [feature_entropy(rgb_tokens), feature_entropy(thermal_tokens)]
        return {
            'class_logits': class_logits,
            'boxes_xyxy': boxes_xyxy,
            'segmentation_logits': segmentation_logits,
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


def small(*, num_detection_classes: int, num_segmentation_classes: int) -> RGBTModel:
    """ViT-S/16, fused once at stride 16, light heads."""
    return vit_model(
        'vit_small_patch16_224',
        num_detection_classes=num_detection_classes,
        num_segmentation_classes=num_segmentation_classes,
    )


def base(*, num_detection_classes: int, num_segmentation_classes: int) -> RGBTModel:
    """ViT-B/16, the size and parameter names of M-SpecGene's encoder, light heads."""
    return vit_model(
        'vit_base_patch16_224',
        num_detection_classes=num_detection_classes,
        num_segmentation_classes=num_segmentation_classes,
    )


def vit_model(
    timm_name: str, *, num_detection_classes: int, num_segmentation_classes: int
) -> RGBTModel:
    """Build a model on any plain ViT of timm; its maps are brought to stride 16.

    Raises:
        EncoderError: If timm has no such model, or it is no plain ViT.
    """
    encoder = ViTEncoder(timm_name, stride=VIT_STRIDE)
    return RGBTModel(
        encoder=encoder,
        channels=NARROW_CHANNELS if encoder.dim <= NARROW_DIM else WIDE_CHANNELS,
        num_detection_classes=num_detection_classes,
        num_segmentation_classes=num_segmentation_classes,
    )


ARCHITECTURES: dict[str, Callable[..., RGBTModel]] = {'tiny': tiny, 'small': small, 'base': base}


def create_model(
    architecture: str,
    *,
    num_detection_classes: int,
    num_segmentation_classes: int,
    keep_tokens: float = 1.0,
) -> RGBTModel:
    """Build a model with random weights.

    Args:
        architecture: A name in ``ARCHITECTURES``, or ``encoder: <timm name>`` for light heads on
            any plain ViT of timm.
        num_detection_classes: Classes of the detection head.
        num_segmentation_classes: Classes of the segmentation head.
        keep_tokens: Share of the encoder's tokens that each merge leaves, 0.5 to 1; see
            ``token_merging``.

    Raises:
        CardError: If the architecture is unknown.
        EncoderError: If timm has no such model, it is no plain ViT, or its tokens cannot be
            merged so.
    """
    build: Callable[..., RGBTModel]
    if architecture.startswith(ENCODER_PREFIX):
        build = partial(vit_model, architecture.removeprefix(ENCODER_PREFIX).strip())
    elif architecture in ARCHITECTURES:
        build = ARCHITECTURES[architecture]
    else:
        raise CardError(
            f"unknown architecture '{architecture}'; expected one of {', '.join(ARCHITECTURES)} "
            f"or '{ENCODER_PREFIX} <name of a timm ViT>'; correct the card or update the package"
        )
    model = build(
        num_detection_classes=num_detection_classes,
        num_segmentation_classes=num_segmentation_classes,
    )
    set_keep_tokens(model.encoder, keep_tokens)
    return model


def load_model(card: ModelCard, *, keep_tokens: float = 1.0) -> RGBTModel:
    """Build the model of a card with its weights, in evaluation mode.

    Args:
        card: Of the model.
        keep_tokens: As of ``create_model``.

    Raises:
        CardError: If the architecture is unknown or a published one.
        EncoderError: If its tokens cannot be merged so.
        WeightsError: If the weights are missing, altered or do not fit.
    """
    if card.is_published:
        raise CardError(
            f"card '{card.name}' is of a published model ({card.architecture}), which has no "
            f'fusion with shares; expected a card that rgbt export wrote; to run a published '
            f'model use the node, rgbt replay or rgbt evaluate'
        )
    model = create_model(
        card.architecture,
        num_detection_classes=len(card.detection_classes),
        num_segmentation_classes=len(card.segmentation_classes),
        keep_tokens=keep_tokens,
    )
    load_weights(model, card.weights_path, expected_sha256=card.weights_sha256)
    return model.eval()
