# SPDX-License-Identifier: Apache-2.0
"""From two amounts to one index, and the index that the fusion layers give for free."""

from __future__ import annotations

import torch
from torch import Tensor

SHARE_EPS = 1e-12


def rgb_share(rgb: Tensor, thermal: Tensor) -> Tensor:
    """Return rgb / (rgb + thermal) of amounts >= 0 of one shape; 1/2 where both are 0."""
    return (rgb + SHARE_EPS / 2) / (rgb + thermal + SHARE_EPS)


def mdi_of_amounts(rgb: Tensor, thermal: Tensor) -> Tensor:
    """Return (rgb - thermal) / (rgb + thermal) of amounts >= 0, in [-1, 1]; 0 where both are 0."""
    return (rgb - thermal) / (rgb + thermal + SHARE_EPS)


def linear_share_mdi(rgb_shares: Tensor) -> Tensor:
    """Return the index of the shares that the fusion layers measure, 2c - 1.

    Args:
        rgb_shares: (b, l) from ``SplitFusion``; may leave 0..1 where the halves oppose, and is
            clipped here.

    Returns:
        Mean over the levels, shape (b,), in [-1, 1]. Differentiable. Source: ours.
    """
    return (2.0 * rgb_shares.clamp(0.0, 1.0) - 1.0).mean(dim=1)


def paper_style_mdi(entropies: Tensor, contributions: Tensor, *, delta: float = 0.0) -> Tensor:
    """Return the index that joins feature entropy and gradient contribution.

    D_m = share(H)_m^delta * share(G)_m^(1 - delta) and MDI = (D_rgb - D_thermal) / (D_rgb +
    D_thermal). This is our definition: MDACL (https://arxiv.org/abs/2601.00598) names the two
    ingredients and delta, its formula is not public. delta is 0 by default, which leaves the
    entropy out, because entropy rises with noise; 0.5 weighs both alike.

    Args:
        entropies: (b, 2) in 0..1, RGB first.
        contributions: (b, 2) >= 0, RGB first; of ``gradient_times_input``.
        delta: In 0..1.

    Returns:
        Index, shape (b,), in [-1, 1]. Source: ours.
    """
    rgb, thermal = dominance_amounts(entropies, contributions, delta=delta).unbind(dim=1)
    return mdi_of_amounts(rgb, thermal)


def dominance_amounts(entropies: Tensor, contributions: Tensor, *, delta: float = 0.0) -> Tensor:
    """Return D_m of ``paper_style_mdi``, shape (b, 2), RGB first, in 0..1."""
    entropy = rgb_share(entropies[:, 0], entropies[:, 1])
    contribution = rgb_share(contributions[:, 0], contributions[:, 1])
    rgb = entropy**delta * contribution ** (1.0 - delta)
    thermal = (1.0 - entropy) ** delta * (1.0 - contribution) ** (1.0 - delta)
    return torch.stack([rgb, thermal], dim=1)
