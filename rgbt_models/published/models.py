# SPDX-License-Identifier: Apache-2.0
"""The published models whole: encoder of both modalities, concatenation, heads.

Source: M-SpecGene (https://arxiv.org/abs/2507.16318), its released detection and segmentation
configurations. Weights load strictly from the folder that ``convert_checkpoint`` writes.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open, SafetensorError
import torch
from torch import nn, Tensor

from rgbt_models.card import verify_file
from rgbt_models.errors import CardError, WeightsError
from rgbt_models.published.layers import concat_modalities
from rgbt_models.published.mask_rcnn import Instances, MaskRCNN
from rgbt_models.published.upernet import UPerNet
from rgbt_models.published_card import load_published_card, PublishedCard
from rgbt_models.vit import beit_base, SiameseViT, vitdet_base, ViTEncoder
from rgbt_models.weights import load_weights

# What is built for a layout, and the epsilon of its encoder's norms: a card must say the same.
DETECTOR, SEGMENTER = ('vitdet_mask_rcnn', 1e-5), ('vit_upernet', 1e-6)
PLAIN_VIT = ('vit_base_patch16_224', 1e-6)


class PublishedDetector(nn.Module):
    """ViTDet encoder and Mask R-CNN."""

    def __init__(self, *, encoder: SiameseViT, heads: MaskRCNN) -> None:
        """Put the parts together; the encoder gives one map at stride 16 per modality."""
        super().__init__()
        self.encoder = encoder
        self.heads = heads

    def forward(
        self, rgb: Tensor, thermal: Tensor, *, clip_hw: tuple[int, int]
    ) -> list[Instances]:
        """Detect.

        Args:
            rgb: (b, 3, h, w), standardised, in the card's channel order.
            thermal: (b, 3, h, w), standardised.
            clip_hw: Height and width that boxes are clipped to, px of the network input.

        Returns:
            The detections of every image.
        """
        ((rgb_map, thermal_map),) = self.encoder(rgb, thermal)
        instances: list[Instances] = self.heads(
            concat_modalities(rgb_map, thermal_map), clip_hw=clip_hw
        )
        return instances


class PublishedSegmenter(nn.Module):
    """Encoder with relative-position tables and UPerNet; also the published saliency model."""

    def __init__(self, *, encoder: SiameseViT, heads: UPerNet) -> None:
        """Put the parts together; the encoder gives four maps at stride 16 per modality."""
        super().__init__()
        self.encoder = encoder
        self.heads = heads

    def forward(self, rgb: Tensor, thermal: Tensor) -> Tensor:
        """Segment images of exactly the encoder's size.

        Args:
            rgb: (b, 3, h, w), standardised, in the card's channel order.
            thermal: (b, 3, h, w), standardised.

        Returns:
            Logits (b, k, h/4, w/4).
        """
        maps = [concat_modalities(*pair) for pair in self.encoder(rgb, thermal)]
        logits: Tensor = self.heads(maps)
        return logits


def published_detector(*, num_classes: int) -> PublishedDetector:
    """Build the released detector with random weights."""
    return PublishedDetector(encoder=vitdet_base(), heads=MaskRCNN(num_classes=num_classes))


def published_segmenter(*, num_classes: int) -> PublishedSegmenter:
    """Build the released segmentation or saliency model with random weights."""
    return PublishedSegmenter(encoder=beit_base(), heads=UPerNet(num_classes=num_classes))


def load_detector(folder: Path) -> tuple[PublishedCard, PublishedDetector]:
    """Load a converted detector, in evaluation mode.

    Raises:
        CardError: If the folder holds no converted detector.
        WeightsError: If the weights are missing, altered or do not fit.
    """
    card = _load_card(folder, ('detection',), DETECTOR)
    model = published_detector(num_classes=len(card.classes))
    load_weights(model, card.weights_path, expected_sha256=card.weights_sha256)
    return card, model.eval()


def load_segmenter(folder: Path) -> tuple[PublishedCard, PublishedSegmenter]:
    """Load a converted segmentation or saliency model, in evaluation mode.

    Raises:
        CardError: If the folder holds no such model.
        WeightsError: If the weights are missing, altered or do not fit.
    """
    card = _load_card(folder, ('segmentation', 'saliency'), SEGMENTER)
    model = published_segmenter(num_classes=len(card.classes))
    load_weights(model, card.weights_path, expected_sha256=card.weights_sha256)
    return card, model.eval()


def load_encoder(folder: Path) -> tuple[PublishedCard, ViTEncoder]:
    """Load a converted pretraining encoder, in evaluation mode.

    The decoder of a pretraining checkpoint stays in the file and is not read.

    Raises:
        CardError: If the folder holds no converted encoder.
        WeightsError: If the weights are missing, altered or do not fit.
    """
    card = _load_card(folder, ('encoder',), PLAIN_VIT)
    verify_file(card.weights_path, card.weights_sha256)
    encoder = ViTEncoder(card.architecture)
    tensors = _read_prefix(card.weights_path, 'encoder.')
    wanted = {name: tensor.shape for name, tensor in encoder.vit.state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
        raise WeightsError(
            f"weights '{card.weights_path}' do not fit {card.architecture}; expected its "
            f'{len(wanted)} tensors; convert the checkpoint again'
        )
    encoder.vit.load_state_dict(tensors, strict=True)
    return card, encoder.eval()


def _read_prefix(path: Path, prefix: str) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework='pt') as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - no dict
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise WeightsError(
            f"cannot read weights '{path}' ({error}); expected a safetensors file; restore it"
        ) from error


def _load_card(folder: Path, tasks: tuple[str, ...], built: tuple[str, float]) -> PublishedCard:
    card = load_published_card(folder)
    if card.task not in tasks:
        raise CardError(
            f"card '{card.name}' is of task '{card.task}'; expected {' or '.join(tasks)}; use "
            f'the loader of that task'
        )
    if (card.architecture, card.norm_eps) != built:
        raise CardError(
            f"card '{card.name}' is of {card.architecture} with norm_eps {card.norm_eps}; "
            f'expected {built[0]} with {built[1]}, as its layout has; convert the checkpoint again'
        )
    return card
