# SPDX-License-Identifier: Apache-2.0
"""Feature entropy: a property of the features, reported and never used as a vote.

Entropy rises with sensor noise, so as a measure of dominance it points at the wrong camera
(docs/dominance.md has the figures). Definitions are ours, on MDACL's "feature entropy"
(https://arxiv.org/abs/2601.00598), whose formulas are not public.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ENTROPY_EPS = 1e-9


def feature_entropy(features: Tensor) -> Tensor:
    """Return the entropy of the channel distribution of each feature map.

    Softmax over the channels of the spatially averaged features, entropy divided by log c.

    Args:
        features: (b, c, h, w).

    Returns:
        Entropy, shape (b,), float32 in 0..1. Source: ours, on MDACL's "feature entropy".
    """
    probabilities = features.float().mean(dim=(2, 3)).softmax(dim=1)
    entropy = -(probabilities * (probabilities + ENTROPY_EPS).log()).sum(dim=1)
    return entropy / math.log(features.shape[1])


def covariance_entropy(features: Tensor) -> Tensor:
    """Return the von Neumann entropy of the token covariance: log effective rank over log c.

    Args:
        features: (b, c, h, w), more than one position.

    Returns:
        Entropy, shape (b,), float32 in 0..1; 0 where all tokens are alike. Source: ours.
    """
    tokens = features.float().flatten(2)  # (b, c, n)
    centred = tokens - tokens.mean(dim=2, keepdim=True)
    covariance = centred @ centred.transpose(1, 2)
    spectrum: Tensor = torch.linalg.eigvalsh(covariance).clamp(min=0.0)
    total = spectrum.sum(dim=1, keepdim=True)
    weights = spectrum / total.clamp(min=ENTROPY_EPS)
    entropy = -(weights * (weights + ENTROPY_EPS).log()).sum(dim=1)
    return entropy.clamp(min=0.0) / math.log(features.shape[1])
