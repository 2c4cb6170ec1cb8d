# SPDX-License-Identifier: Apache-2.0
"""Every dominance estimator on one labelled pair, beside what removing a camera really costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from rgbt_models.build import RGBTModel
from rgbt_models.card import MdiCalibration
from rgbt_models.dominance.ablation import (
    Coalitions,
    decode_coalitions,
    detection_divergence,
    drop_effect,
    effect_of,
    segmentation_divergence,
)
from rgbt_models.dominance.entropy import covariance_entropy, feature_entropy
from rgbt_models.dominance.gradients import (
    feature_gradients,
    gradient_norm,
    gradient_times_input,
)
from rgbt_models.dominance.shapley import pseudo_label_values, shapley_mdi, shapley_values
from rgbt_models.dominance.shares import linear_share_mdi, mdi_of_amounts, paper_style_mdi
from rgbt_models.train.losses import BoxTargets, compute_losses

ORACLE = 'oracle'


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelledPair:
    """A network input with its ground truth, in network pixels.

    Attributes:
        rgb: (1, 3, h, w) float32, standardised.
        thermal: (1, 3, h, w) float32, standardised.
        label_map: (h, w) uint8, 255 = unlabeled.
        boxes_xyxy: (n, 4) float32, px, edge units.
        class_ids: (n,) int64.
        ignore: (n,) bool, True = neither object nor background.
    """

    rgb: NDArray[np.float32]
    thermal: NDArray[np.float32]
    label_map: NDArray[np.uint8]
    boxes_xyxy: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    ignore: NDArray[np.bool_]


def measure_pair(
    model: RGBTModel, calibration: MdiCalibration, pair: LabelledPair
) -> dict[str, float]:
    """Return the index of every estimator, and the oracle.

    The oracle is the true loss without RGB less the true loss without thermal: above 0 where RGB
    is the camera that is missed more.

    Args:
        model: In evaluation mode, on the CPU.
        calibration: Map of the card from linear shares to the published index.
        pair: Input and ground truth.

    Returns:
        Value by estimator (see ``rgbt_perception.mdi_study`` for what each is), with 'oracle'.
    """
    rgb, thermal = torch.from_numpy(pair.rgb), torch.from_numpy(pair.thermal)
    with torch.no_grad():
        encoded = model.encoder(rgb, thermal)
        found = decode_coalitions(model, encoded)
    values = {
        **_from_features(encoded),
        **_from_shares(found.both['rgb_shares'], calibration),
        **_from_ablation(found),
        **_from_labels(found, pair),
        **_from_gradients(model, encoded, pair),
    }
    return {name: float(value) for name, value in values.items()}


def _from_features(encoded: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    rgb, thermal = encoded[-1]
    return {
        'entropy_channel': mdi_of_amounts(feature_entropy(rgb), feature_entropy(thermal)),
        'entropy_covariance': mdi_of_amounts(covariance_entropy(rgb), covariance_entropy(thermal)),
    }


def _from_shares(shares: Tensor, calibration: MdiCalibration) -> dict[str, Tensor | float]:
    return {
        'linear_share': linear_share_mdi(shares),
        'linear_share_calibrated': calibration(shares[0].tolist()),
    }


def _from_ablation(found: Coalitions) -> dict[str, Tensor]:
    """Estimators that need outputs only; 'without RGB' is the pass with thermal alone."""
    by_head = {}
    for name, key, measure in (
        ('drop_kl_detection', 'class_logits', detection_divergence),
        ('drop_kl_segmentation', 'segmentation_logits', segmentation_divergence),
    ):
        amounts = [
            measure(found.both[key], other[key]) for other in (found.thermal_only, found.rgb_only)
        ]
        by_head[name] = effect_of(torch.stack(amounts, dim=1)).mdi
    values = pseudo_label_values(found)
    phi_rgb, phi_thermal = shapley_values(*values)
    return {
        'drop_kl': drop_effect(found.both, found.thermal_only, found.rgb_only).mdi,
        **by_head,
        'shapley_pseudo': shapley_mdi(*values),
        'shapley_pseudo_difference': phi_rgb - phi_thermal,
    }


def _from_labels(found: Coalitions, pair: LabelledPair) -> dict[str, Tensor]:
    losses = [_true_loss(outputs, pair)[None] for outputs in found]
    _, rgb_only, thermal_only, _ = losses
    return {
        'shapley_labels': shapley_mdi(*(-loss for loss in losses)),
        ORACLE: thermal_only - rgb_only,
    }


def _from_gradients(
    model: RGBTModel, encoded: list[tuple[Tensor, Tensor]], pair: LabelledPair
) -> dict[str, Tensor]:
    # Leaves, so that a level's gradient is that through its own fusion only: the encoder makes
    # coarser features of finer ones.
    features = [(rgb.requires_grad_(), thermal.requires_grad_()) for rgb, thermal in encoded]
    outputs = model.decode(features, torch.ones(1, 2))
    gradients = feature_gradients(_true_loss(outputs, pair), features)
    norms = gradient_norm(gradients)[0].detach()  # (l, 2)
    products = gradient_times_input(features, gradients)[0].detach()
    entropies = torch.stack(
        [torch.cat([feature_entropy(rgb), feature_entropy(thermal)]) for rgb, thermal in encoded]
    ).detach()
    return {
        'gradient_norm': mdi_of_amounts(norms[:, 0], norms[:, 1]).mean(),
        'gradient_times_input': mdi_of_amounts(products[:, 0], products[:, 1]).mean(),
        'paper_style_half': paper_style_mdi(entropies, products, delta=0.5).mean(),
    }


def _true_loss(outputs: Mapping[str, Tensor], pair: LabelledPair) -> Tensor:
    target = BoxTargets(
        boxes_xyxy=torch.from_numpy(pair.boxes_xyxy),
        class_ids=torch.from_numpy(pair.class_ids),
        ignore=torch.from_numpy(pair.ignore),
    )
    num_classes = outputs['segmentation_logits'].shape[1]
    label_maps = torch.from_numpy(pair.label_map)[None]
    return compute_losses(dict(outputs), [target], label_maps, torch.ones(num_classes)).total
