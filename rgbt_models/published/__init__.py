# SPDX-License-Identifier: Apache-2.0
"""The published heads, models and checkpoint layouts of M-SpecGene."""

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
from rgbt_models.published.runtime import load_runtime, PublishedRuntime
from rgbt_models.published.upernet import UPerNet
from rgbt_models.published_card import load_published_card, PublishedCard

__all__ = [
    'Conversion',
    'DetectionLimits',
    'Instances',
    'KeyReport',
    'Layout',
    'MaskRCNN',
    'PublishedCard',
    'PublishedDetector',
    'PublishedRuntime',
    'PublishedSegmenter',
    'UPerNet',
    'convert_checkpoint',
    'detect_pair',
    'load_detector',
    'load_encoder',
    'load_published_card',
    'load_runtime',
    'load_segmenter',
    'paste_masks',
    'published_detector',
    'published_segmenter',
    'segment_pair',
]
