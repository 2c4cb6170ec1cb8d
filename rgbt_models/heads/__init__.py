# SPDX-License-Identifier: Apache-2.0
"""Task heads: features in, logits out."""

from rgbt_models.heads.detection import anchor_points, DetectionHead
from rgbt_models.heads.segmentation import SegmentationHead

__all__ = ['DetectionHead', 'SegmentationHead', 'anchor_points']
