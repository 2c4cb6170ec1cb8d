# SPDX-License-Identifier: Apache-2.0
"""Small published models with random weights, and their card folders as the converter writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from made_heads import randomise
import pytest

from rgbt_models.card import CARD_FILE, hash_file, WEIGHTS_FILE
from rgbt_models.published import models
from rgbt_models.published.mask_rcnn import DetectionLimits, MaskRCNN
from rgbt_models.published.models import PublishedDetector, PublishedSegmenter
from rgbt_models.published.upernet import UPerNet
from rgbt_models.published_card import IMAGENET_MEAN, IMAGENET_STD, PublishedCard
from rgbt_models.vit import BiasTableViT, TowerConfig, WindowedViT
from rgbt_models.weights import save_weights

DETECTION_CLASSES = ('person', 'car')
SEGMENTATION_CLASSES = ('background', 'road', 'hat')
SALIENCY_CLASSES = ('background', 'saliency')
DETECTOR_PX, WINDOW_PX = 96, 64


def published_card(**changes: Any) -> PublishedCard:
    """Return the card of the small detector, with some fields changed."""
    fields: dict[str, Any] = {
        'name': 'made',
        'task': 'detection',
        'layout': 'detection',
        'architecture': 'vitdet_mask_rcnn',
        'input_hw': (DETECTOR_PX, DETECTOR_PX),
        'channel_order': 'rgb',
        'rgb_mean': IMAGENET_MEAN,
        'rgb_std': IMAGENET_STD,
        'thermal_mean': IMAGENET_MEAN,
        'thermal_std': IMAGENET_STD,
        'pad_level': 114,
        'norm_eps': 1e-5,
        'classes': DETECTION_CLASSES,
        'weights_sha256': '',
        'source_file': 'made.pth',
        'source_sha256': 'abcdef0123456789',
        'licence': 'Not stated.',
        **changes,
    }
    return PublishedCard(**fields)


def segmentation_card(**changes: Any) -> PublishedCard:
    """Return the card of the small segmentation model, with some fields changed."""
    fields: dict[str, Any] = {
        'task': 'segmentation',
        'layout': 'segmentation',
        'architecture': 'vit_upernet',
        'input_hw': (WINDOW_PX, WINDOW_PX),
        'channel_order': 'bgr',
        'pad_level': 0,
        'norm_eps': 1e-6,
        'classes': SEGMENTATION_CLASSES,
        **changes,
    }
    return published_card(**fields)


def small_detector(*, num_classes: int = 2) -> PublishedDetector:
    """Build a detector for images of 96 px; it finds some 20 boxes in noise."""
    config = TowerConfig(dim=8, depth=2, num_heads=2, patch_size=16, grid_hw=(6, 6), norm_eps=1e-5)
    encoder = WindowedViT(config, window=4, global_blocks=(1,), position_grid=3)
    limits = DetectionLimits(max_candidates=50, max_proposals=30, max_detections=40)
    heads = MaskRCNN(num_classes=num_classes, in_channels=16, limits=limits)
    model = PublishedDetector(encoder=encoder, heads=heads)
    randomise(model, seed=6)
    return model


def small_segmenter(*, num_classes: int = 3) -> PublishedSegmenter:
    """Build a segmentation model with windows of 64 px."""
    config = TowerConfig(
        dim=8,
        depth=4,
        num_heads=2,
        patch_size=16,
        grid_hw=(4, 4),
        norm_eps=1e-6,
        taps=(0, 1, 2, 3),
    )
    encoder = BiasTableViT(config)
    heads = UPerNet(num_classes=num_classes, in_channels=16, channels=4)
    model = PublishedSegmenter(encoder=encoder, heads=heads)
    randomise(model, seed=7)
    return model


def write_published(folder: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the card folder of a small model, which is built instead of the released size.

    Args:
        folder: Folder to write; its name is the model's.
        task: 'detection', 'segmentation' or 'saliency'.
        monkeypatch: Puts the small sizes in place of the released ones.

    Returns:
        The folder.
    """
    monkeypatch.setattr(models, 'published_detector', small_detector)
    monkeypatch.setattr(models, 'published_segmenter', small_segmenter)
    folder.mkdir(parents=True)
    model: PublishedDetector | PublishedSegmenter
    if task == 'detection':
        card, model = published_card(), small_detector()
    else:
        classes = SALIENCY_CLASSES if task == 'saliency' else SEGMENTATION_CLASSES
        card = segmentation_card(task=task, classes=classes)
        model = small_segmenter(num_classes=len(classes))
    save_weights(model, folder / WEIGHTS_FILE)
    sha256 = hash_file(folder / WEIGHTS_FILE)
    written = replace(card, name=folder.name, weights_sha256=sha256)
    (folder / CARD_FILE).write_text(written.to_json(), encoding='utf-8')
    return folder
