# SPDX-License-Identifier: Apache-2.0
"""Task heads: features in, logits out."""

from rgbt_models.heads.detection import anchor_points, DetectionHead
from rgbt_models.heads.fine_features import FineFeatures
from rgbt_models.heads.matching import match, Matches, MatchingHead, refine_matches
from rgbt_models.heads.saliency import saliency_scores, SaliencyHead
from rgbt_models.heads.segmentation import SegmentationHead

__all__ = [
    'DetectionHead',
    'FineFeatures',
    'Matches',
    'MatchingHead',
    'SaliencyHead',
    'SegmentationHead',
    'anchor_points',
    'match',
    'refine_matches',
    'saliency_scores',
]
