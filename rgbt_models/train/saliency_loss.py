# SPDX-License-Identifier: Apache-2.0
"""Loss of the saliency head: cross-entropy of every pixel plus the soft IoU of every mask.

Source: ours; the pair of terms is common in salient object detection, because cross-entropy alone
neglects small objects.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rgbt_models.heads.saliency import STRIDE
from rgbt_models.label_sets import UNLABELED

EPSILON = 1.0  # pixel: an empty mask that is predicted empty has IoU 1


def saliency_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Compare saliency logits with masks.

    Args:
        logits: (b, 1, h/4, w/4).
        masks: (b, h, w) uint8 at image size: 0 = background, 255 = not labeled, else salient.

    Returns:
        Scalar; 0 where nothing is labeled.
    """
    # Logits sit at the centres of 4x4 cells; pixel (2, 2) is next to that centre.
    cells = masks[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    labeled = (cells != UNLABELED).float()
    wanted = ((cells != 0) & (cells != UNLABELED)).float()
    values = logits[:, 0].float()
    entropy = functional.binary_cross_entropy_with_logits(values, wanted, reduction='none')
    entropy = (entropy * labeled).sum() / labeled.sum().clamp(min=1.0)
    scores = values.sigmoid() * labeled
    both = (scores * wanted).sum(dim=(1, 2))
    either = (scores + wanted - scores * wanted).sum(dim=(1, 2))
    has_label = (labeled.sum(dim=(1, 2)) > 0).float()
    iou = (both + EPSILON) / (either + EPSILON)
    overlap = ((1.0 - iou) * has_label).sum() / has_label.sum().clamp(min=1.0)
    return torch.add(entropy, overlap)
