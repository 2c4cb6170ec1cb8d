# SPDX-License-Identifier: Apache-2.0
"""Learning rate and weight decay over a run, and the rate of each layer."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import nn

from rgbt_models.train.settings import FINAL_RATE

POLY_POWER = 0.9
_BLOCK = re.compile(r'^encoder\.(?:\w+\.)*?(?:blocks|layers)\.(\d+)\.')
_LAST = re.compile(r'^encoder\.(?:(?:vit|model)\.)?(?:norm|fc_norm|ln1)\.')


def rate_factor(
    step: int,
    progress: float,
    warmup_steps: int,
    *,
    schedule: str = 'cosine',
    final_rate: float = FINAL_RATE,
) -> float:
    """Return the learning rate relative to its peak: linear warm-up times the schedule.

    Args:
        step: Optimiser steps done so far.
        progress: Part of the run done, 0..1; above 1 counts as 1.
        warmup_steps: Steps until the peak; 0 = none.
        schedule: 'cosine', 'poly' (power 0.9) or 'constant'.
        final_rate: What is left of the peak at the end; 'constant' does not use it.
    """
    warm = min(1.0, (step + 1) / max(warmup_steps, 1))
    left = 1.0 - min(progress, 1.0)
    if schedule == 'constant':
        return warm
    if schedule == 'poly':
        return warm * (final_rate + (1.0 - final_rate) * math.pow(left, POLY_POWER))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return warm * (final_rate + (1.0 - final_rate) * cosine)


def decay_factor(progress: float, growth: float) -> float:
    """Return the weight decay relative to its start: by half a cosine from 1 to ``growth``."""
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return growth + (1.0 - growth) * cosine


def layer_of(name: str, depth: int) -> int:
    """Return the layer of a parameter: 0 before the blocks, i + 1 in block i, depth + 1 after.

    Args:
        name: Name in the whole model: ``encoder.*`` counts in layers, all else comes after.
        depth: Number of blocks of the encoder.
    """
    block = _BLOCK.match(name)
    if block:
        return int(block[1]) + 1
    return 0 if name.startswith('encoder.') and not _LAST.match(name) else depth + 1


def parameter_groups(
    model: nn.Module, weight_decay: float, *, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Split parameters into decayed (matrices, kernels) and not decayed (vectors, embeddings).

    Args:
        model: Parameters that need no gradient are left out.
        weight_decay: Of the decayed ones.
        layer_decay: Each layer of the encoder learns this much slower than the one after it;
            1 = all alike. Source: BEiT (https://arxiv.org/abs/2106.08254), as in the recipes of
            M-SpecGene and UNIV.

    Returns:
        Groups for the optimiser, with ``rate_scale``, the rate relative to that of the heads, and
        ``start_decay``, the weight decay before any schedule.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    depth = 1 + max(
        (int(block[1]) for name, _ in named if (block := _BLOCK.match(name))), default=-1
    )
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in named:
        layer = depth + 1 if layer_decay == 1.0 else layer_of(name, depth)
        is_plain = parameter.ndim < 2 or name.endswith(_UNDECAYED)
        decay = 0.0 if is_plain else weight_decay
        group = groups.setdefault(
            (-layer, is_plain),
            {
                'params': [],
                'weight_decay': decay,
                'start_decay': decay,
                'rate_scale': layer_decay ** (depth + 1 - layer),
            },
        )
        group['params'].append(parameter)
    return [groups[key] for key in sorted(groups)]


def set_rates(
    optimiser: torch.optim.Optimizer, *, learning_rate: float, decay: float = 1.0
) -> None:
    """Set the rate and the weight decay of the next step.

    Args:
        optimiser: With groups of ``parameter_groups``.
        learning_rate: Of the heads.
        decay: Weight decay relative to the start.
    """
    for group in optimiser.param_groups:
        group['lr'] = learning_rate * group['rate_scale']
        group['weight_decay'] = group['start_decay'] * decay


# Positions, mask and class tokens are embeddings though they have several dimensions.
_UNDECAYED = ('embedding', 'pos_embed', 'cls_token', 'reg_token', 'mask_token')
