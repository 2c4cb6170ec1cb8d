# SPDX-License-Identifier: Apache-2.0
"""What the gradient of a loss says about each camera. Needs labels and a backward pass.

The norm of the gradient is a sensitivity and a poor measure of dominance: a camera that is
ignored because it is blind has a large gradient. Gradient x input is a first-order estimate of
what the loss would lose, and the one to use. Source: ours, on MDACL's "gradient contribution"
(https://arxiv.org/abs/2601.00598).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FeaturePairs = Sequence[tuple[Tensor, Tensor]]


def feature_gradients(loss: Tensor, features: FeaturePairs) -> list[tuple[Tensor, Tensor]]:
    """Differentiate a loss by the features of both modalities at every level.

    Args:
        loss: Scalar; for figures per image it is the sum of independent losses per image.
        features: (rgb, thermal) features per level, each (b, c, h, w), part of the loss's graph.

    Returns:
        Gradients in the form of ``features``; zeros where the loss does not depend on them. The
        graph is kept, so that other losses may be differentiated after it.
    """
    flat = [tensor for pair in features for tensor in pair]
    gradients = torch.autograd.grad(loss, flat, retain_graph=True, allow_unused=True)
    filled = [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(flat, gradients, strict=True)
    ]
    return list(zip(filled[::2], filled[1::2], strict=True))


def gradient_norm(gradients: FeaturePairs) -> Tensor:
    """Return ||dL/dF_m||_2 per image and level, shape (b, l, 2), RGB first ("sensitivity")."""
    return _per_level(
        [tuple(gradient.float().flatten(1).norm(dim=1) for gradient in pair) for pair in gradients]
    )


def gradient_times_input(features: FeaturePairs, gradients: FeaturePairs) -> Tensor:
    """Return ||F_m * dL/dF_m||_1 per image and level, shape (b, l, 2), RGB first."""
    return _per_level(
        [
            tuple(
                (feature.float() * gradient.float()).flatten(1).abs().sum(dim=1)
                for feature, gradient in zip(pair, pair_gradients, strict=True)
            )
            for pair, pair_gradients in zip(features, gradients, strict=True)
        ]
    )


def _per_level(levels: Sequence[tuple[Tensor, ...]]) -> Tensor:
    return torch.stack([torch.stack(level, dim=1) for level in levels], dim=1)
