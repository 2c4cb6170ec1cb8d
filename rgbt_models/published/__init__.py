# SPDX-License-Identifier: Apache-2.0
"""The published heads, models and checkpoint layouts of M-SpecGene."""

from rgbt_models.published.card import load_published_card, PublishedCard
from rgbt_models.published.convert import Conversion, convert_checkpoint, KeyReport
from rgbt_models.published.layouts import Layout
from rgbt_models.published.mask_rcnn import DetectionLimits, Instances, MaskRCNN, paste_masks
from rgbt_models.published.models import (
    load_detector,
    load_encoder,
    load_segmenter,
    published_detector,
    published_segmenter,
    PublishedDetector,
    PublishedSegmenter,
)
from rgbt_models.published.predict import detect_pair, segment_pair
from rgbt_models.published.upernet import UPerNet

__all__ = [
    'Conversion',
    'DetectionLimits',
    'Instances',
    'KeyReport',
    'Layout',
    'MaskRCNN',
    'PublishedCard',
    'PublishedDetector',
    'PublishedSegmenter',
    'UPerNet',
    'convert_checkpoint',
    'detect_pair',
    'load_detector',
    'load_encoder',
    'load_published_card',
    'load_segmenter',
    'paste_masks',
    'published_detector',
    'published_segmenter',
    'segment_pair',
]
