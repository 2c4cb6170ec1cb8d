# SPDX-License-Identifier: Apache-2.0
"""Modality dominance on tensors: entropy, and the two-player Shapley value that calibrates it.

The modality dominance index (MDI) is our definition on the idea of MDACL
(https://arxiv.org/abs/2601.00598), whose formulas and code are not public. Feature entropy is
reported beside it and never used as a vote: it rises with sensor noise.
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


def shapley_mdi(both: Tensor, rgb_only: Tensor, thermal_only: Tensor, none: Tensor) -> Tensor:
    """Return the dominance index of a two-player game between the cameras.

    Each argument is the value (higher is better) reached with that set of cameras, shape (b,).
    phi_rgb = ((both - thermal_only) + (rgb_only - none)) / 2 and phi_thermal alike, so that
    phi_rgb + phi_thermal = both - none.

    Returns:
        (phi_rgb - phi_thermal) / (|phi_rgb| + |phi_thermal|), shape (b,), in [-1, 1]; 0 where
        neither camera matters. Source: ours.
    """
    phi_rgb = 0.5 * ((both - thermal_only) + (rgb_only - none))
    phi_thermal = 0.5 * ((both - rgb_only) + (thermal_only - none))
    total = phi_rgb.abs() + phi_thermal.abs()
    return torch.where(total > 0, (phi_rgb - phi_thermal) / total.clamp(min=1e-12), total)
