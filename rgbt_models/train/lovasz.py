# SPDX-License-Identifier: Apache-2.0
"""The Lovász-softmax loss: a convex surrogate of the mean IoU.

Source: Berman et al., https://arxiv.org/abs/1705.08790, algorithm 1 and the mean over the classes
that are present.
"""

from __future__ import annotations

import torch
from torch import Tensor


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of labeled pixels, a scalar in 0..1; 0 where there are none.

    Args:
        probabilities: (n, k), each row sums to 1.
        labels: (n,) int64, in 0..k-1.
    """
    losses = []
    for class_id in torch.unique(labels).tolist():
        is_class = (labels == class_id).to(probabilities.dtype)
        errors, order = (is_class - probabilities[:, class_id]).abs().sort(descending=True)
        losses.append((errors * _jaccard_steps(is_class[order])).sum())
    return torch.stack(losses).mean() if losses else probabilities.sum()


def _jaccard_steps(is_class: Tensor) -> Tensor:
    """Return by how much the Jaccard loss grows as pixel after pixel is got wrong, shape (n,).

    Args:
        is_class: (n,) 1 = of the class, 0 = of another, those with the largest errors first.
    """
    total = is_class.sum()
    lost = 1.0 - (total - is_class.cumsum(0)) / (total + (1.0 - is_class).cumsum(0))
    return torch.cat([lost[:1], lost.diff()])
