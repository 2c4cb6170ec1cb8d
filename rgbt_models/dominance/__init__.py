# SPDX-License-Identifier: Apache-2.0
"""Modality dominance on tensors: every estimator of how much each camera is relied on.

The modality dominance index (MDI) is our definition on the idea of MDACL
(https://arxiv.org/abs/2601.00598), whose formulas and code are not public. It is in [-1, 1],
above 0 = RGB dominant. Feature entropy is reported beside it and never used as a vote: it rises
with sensor noise.
"""

from rgbt_models.dominance.ablation import (
    Coalitions,
    decode_coalitions,
    detection_divergence,
    drop_effect,
    DropEffect,
    segmentation_divergence,
)
from rgbt_models.dominance.entropy import covariance_entropy, feature_entropy
from rgbt_models.dominance.gradients import (
    feature_gradients,
    gradient_norm,
    gradient_times_input,
)
from rgbt_models.dominance.shapley import pseudo_label_values, shapley_mdi, shapley_values
from rgbt_models.dominance.shares import (
    linear_share_mdi,
    mdi_of_amounts,
    paper_style_mdi,
    rgb_share,
)

__all__ = [
    'Coalitions',
    'DropEffect',
    'covariance_entropy',
    'decode_coalitions',
    'detection_divergence',
    'drop_effect',
    'feature_entropy',
    'feature_gradients',
    'gradient_norm',
    'gradient_times_input',
    'linear_share_mdi',
    'mdi_of_amounts',
    'paper_style_mdi',
    'pseudo_label_values',
    'rgb_share',
    'segmentation_divergence',
    'shapley_mdi',
    'shapley_values',
]
