# SPDX-License-Identifier: Apache-2.0
"""What the outputs lose when one camera is taken away, without labels.

The encoder sees each camera by itself, so only neck and heads run again, on the features that
are there already. An absent camera is its mean token, which modality dropout has trained.
Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rgbt_models.dominance.shares import mdi_of_amounts

Outputs = dict[str, Tensor]

# Sets of cameras, RGB first: both, RGB alone, thermal alone, none.
COALITIONS = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
TOP_ANCHORS = 1000
# Below this neither camera changes what is seen: the index says nothing.
MIN_TOTAL = 1e-3
_CLASS_AXES = {'class_logits': 2, 'segmentation_logits': 1}


class Decoder(Protocol):
    """A model whose part after the encoder can be run by itself."""

    def decode(self, features: list[tuple[Tensor, Tensor]], available: Tensor) -> Outputs:
        """Run neck and heads on encoder features."""


class Coalitions(NamedTuple):
    """One value per set of cameras: outputs of the model, or how good they are."""

    both: Outputs
    rgb_only: Outputs
    thermal_only: Outputs
    none: Outputs


class DropEffect(NamedTuple):
    """How much the outputs change when each camera is dropped.

    ``amounts`` (b, 2) >= 0, RGB first; ``mdi`` (b,) in [-1, 1]; ``valid`` (b,) bool, False where
    neither camera matters, as with nothing in view.
    """

    amounts: Tensor
    mdi: Tensor
    valid: Tensor


def decode_coalitions(model: Decoder, features: list[tuple[Tensor, Tensor]]) -> Coalitions:
    """Run neck and heads for every set of cameras, one after another.

    Args:
        model: In evaluation mode; in training its statistics would see the ablated features.
        features: (rgb, thermal) per level, each (b, c, h, w), of the encoder.
    """
    rgb = features[0][0]
    runs = [
        model.decode(features, rgb.new_tensor([available]).expand(len(rgb), 2))
        for available in COALITIONS
    ]
    return Coalitions(*runs)


def logits_with_classes(outputs: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the logits there are; those of a head without classes are not."""
    return tuple(
        name for name, axis in _CLASS_AXES.items() if name in outputs and outputs[name].shape[axis]
    )


def drop_effect(
    full: Mapping[str, Tensor],
    without_rgb: Mapping[str, Tensor],
    without_thermal: Mapping[str, Tensor],
) -> DropEffect:
    """Return KL(full || without m) of both heads, added, for each camera.

    Args:
        full: Outputs with both cameras.
        without_rgb: Outputs with thermal alone.
        without_thermal: Outputs with RGB alone.
    """
    amounts = [output_divergence(full, other) for other in (without_rgb, without_thermal)]
    return effect_of(torch.stack(amounts, dim=1))


def output_divergence(full: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
    """Return the KL divergence of the outputs, added over the heads there are, (b,), nats."""
    by_head = {
        'class_logits': detection_divergence,
        'segmentation_logits': segmentation_divergence,
    }
    terms = [by_head[name](full[name], other[name]) for name in logits_with_classes(full)]
    return torch.stack(terms).sum(dim=0)


def effect_of(amounts: Tensor) -> DropEffect:
    """Turn amounts (b, 2) >= 0, RGB first, into the index and its validity."""
    rgb, thermal = amounts.unbind(dim=1)
    return DropEffect(
        amounts=amounts, mdi=mdi_of_amounts(rgb, thermal), valid=rgb + thermal >= MIN_TOTAL
    )


def detection_divergence(
    full_logits: Tensor, other_logits: Tensor, *, top: int = TOP_ANCHORS
) -> Tensor:
    """Return the Bernoulli KL divergence on the best anchors of the full pass.

    Args:
        full_logits: (b, n, k), of the pass with both cameras.
        other_logits: (b, n, k).
        top: Anchors per image, those with the best score of any class in the full pass.

    Returns:
        KL(full || other), summed over the classes, mean over the anchors, shape (b,), nats; 0
        without classes.
    """
    if not full_logits.shape[2]:
        return full_logits.new_zeros(len(full_logits), dtype=torch.float32)
    full, other = select_anchors(full_logits, full_logits, other_logits, top=top)
    return bernoulli_divergence(full, other).sum(dim=2).mean(dim=1)


def bernoulli_divergence(logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return KL(sigmoid(logits) || sigmoid(other_logits)) element by element, nats, >= 0."""
    logits, other_logits = logits.float(), other_logits.float()
    p = logits.sigmoid()
    positive = functional.logsigmoid(logits) - functional.logsigmoid(other_logits)
    negative = functional.logsigmoid(-logits) - functional.logsigmoid(-other_logits)
    # Rounding makes a divergence of nearly equal values negative, and an index of it unbounded.
    return (p * positive + (1.0 - p) * negative).clamp(min=0.0)


def select_anchors(full_logits: Tensor, *others: Tensor, top: int) -> tuple[Tensor, ...]:
    """Return the rows (b, top, k) of ``others`` where ``full_logits`` (b, n, k) is highest."""
    count = min(top, full_logits.shape[1])
    index = full_logits.detach().amax(dim=2).topk(count, dim=1).indices
    index = index[..., None].expand(-1, -1, full_logits.shape[2])
    return tuple(other.gather(1, index) for other in others)


def segmentation_divergence(full_logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return KL(full || other) of logits (b, k, h, w), mean over positions; (b,) >= 0, nats."""
    full = functional.log_softmax(full_logits.float(), dim=1)
    other = functional.log_softmax(other_logits.float(), dim=1)
    return (full.exp() * (full - other)).sum(dim=1).clamp(min=0.0).mean(dim=(1, 2))
