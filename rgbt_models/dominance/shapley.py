# SPDX-License-Identifier: Apache-2.0
"""Two-player Shapley value of the cameras, with labels or with pseudo-labels.

A camera's phi is what it adds to the value of the outputs, averaged over the two orders in which
the cameras may join. phi_rgb + phi_thermal is exactly what both gain over none. A negative phi
says that the camera does harm. Source: ours; the Shapley value of a two-player game.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rgbt_models.dominance.ablation import (
    Coalitions,
    logits_with_classes,
    Outputs,
    select_anchors,
    TOP_ANCHORS,
)


def shapley_values(
    both: Tensor, rgb_only: Tensor, thermal_only: Tensor, none: Tensor
) -> tuple[Tensor, Tensor]:
    """Return phi of RGB and of thermal, each (b,).

    Each argument is the value (higher is better) reached with that set of cameras, shape (b,).
    phi_rgb = ((both - thermal_only) + (rgb_only - none)) / 2 and phi_thermal alike, so that
    phi_rgb + phi_thermal = both - none.
    """
    phi_rgb = 0.5 * ((both - thermal_only) + (rgb_only - none))
    phi_thermal = 0.5 * ((both - rgb_only) + (thermal_only - none))
    return phi_rgb, phi_thermal


def shapley_mdi(both: Tensor, rgb_only: Tensor, thermal_only: Tensor, none: Tensor) -> Tensor:
    """Return the dominance index of a two-player game between the cameras.

    Args: as of ``shapley_values``.

    Returns:
        (phi_rgb - phi_thermal) / (|phi_rgb| + |phi_thermal|), shape (b,), in [-1, 1]; 0 where
        neither camera matters. Source: ours.
    """
    phi_rgb, phi_thermal = shapley_values(both, rgb_only, thermal_only, none)
    total = phi_rgb.abs() + phi_thermal.abs()
    return torch.where(total > 0, (phi_rgb - phi_thermal) / total.clamp(min=1e-12), total)


def pseudo_label_values(outputs: Coalitions) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Value each set of cameras by how well it reproduces the decisions of both.

    v(S) = -CE(outputs with S, decisions of the full pass), without labels: the class of every
    position, and on the best 1000 anchors whether a class scores above one half.

    Returns:
        Values of both, RGB only, thermal only and none, each (b,) <= 0, for ``shapley_values``.
    """
    return (
        _pseudo_label_value(outputs.both, outputs.both),
        _pseudo_label_value(outputs.both, outputs.rgb_only),
        _pseudo_label_value(outputs.both, outputs.thermal_only),
        _pseudo_label_value(outputs.both, outputs.none),
    )


def _pseudo_label_value(full: Outputs, other: Outputs) -> Tensor:
    terms, names = [], logits_with_classes(full)
    if 'segmentation_logits' in names:
        labels = full['segmentation_logits'].argmax(dim=1)
        logits = other['segmentation_logits'].float()
        loss = functional.cross_entropy(logits, labels, reduction='none')
        terms.append(loss.mean(dim=(1, 2)))
    if 'class_logits' in names:
        wanted, logits = select_anchors(
            full['class_logits'], full['class_logits'], other['class_logits'], top=TOP_ANCHORS
        )
        loss = functional.binary_cross_entropy_with_logits(
            logits.float(), (wanted > 0.0).float(), reduction='none'
        )
        terms.append(loss.sum(dim=2).mean(dim=1))
    return -torch.stack(terms).sum(dim=0)
