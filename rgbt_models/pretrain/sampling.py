# SPDX-License-Identifier: Apache-2.0
"""Which patches stay visible: draws from a mixture, matched to the nearest unused patch.

Source: M-SpecGene, released sampler. Differs from it: the component of every draw is random, where
the release gives the first images of a batch to the first component; only the draws that are used
are made; the match sorts nothing, and works on all images at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.gmm_masking import OnlineGaussianMixture

VARIANCE_AT_ZERO = 0.01


def draw_targets(
    mixture: OnlineGaussianMixture,
    sampling_means: tuple[float, ...],
    *,
    bias: float,
    choices: Tensor,
    noise: Tensor,
) -> Tensor:
    """Draw the sparsity that visible patches should have.

    Component i of the draw has the i-th active sampling mean plus ``bias``, the weight of the
    i-th component of the mixture by rising mean (normalised over the active ones), and the
    variance that lies at its mean on the line through (0, 0.01) and the components.

    Args:
        mixture: The mixture of the data.
        sampling_means: Active means, 1 to K.
        bias: Added to every sampling mean.
        choices: Uniform numbers in [0, 1), any shape; they choose the component.
        noise: Standard normal numbers, same shape.

    Returns:
        Values, same shape, float32.
    """
    device = mixture.means.device
    means, order = mixture.means.double().sort()
    variances, weights = mixture.variances.double()[order], mixture.weights.double()[order]
    active = len(sampling_means)
    centres = torch.tensor(sampling_means, dtype=torch.float64, device=device) + bias
    deviations = _variance_at(centres, means, variances).sqrt()
    # A component nobody answers for must not end in 0 / 0.
    shares = weights[:active] + torch.finfo(torch.float64).tiny
    edges = (shares / shares.sum()).cumsum(0)[:-1]
    component = torch.bucketize(choices.to(device).double(), edges, right=True)
    return (centres[component] + deviations[component] * noise.to(device).double()).float()


def match_nearest(values: Tensor, targets: Tensor) -> Tensor:
    """Take for each target in turn the nearest patch that is not taken yet.

    Args:
        values: Sparsity of the patches, shape (b, n), float32; **changed in place**: patches that
            are taken become infinite, so that a second call with it takes others.
        targets: Shape (b, v), v not more than the finite values of a row.

    Returns:
        Indices of patches, shape (b, v), int64, unequal within a row. On a tie the first.

    Raises:
        PretrainError: If there are more targets than patches.
    """
    if targets.shape[1] > values.shape[1]:
        raise PretrainError(
            f'{targets.shape[1]} patches to keep of {values.shape[1]}; expected fewer; '
            f'raise the mask ratio'
        )
    taken = []
    for target in targets.unbind(1):
        nearest = (values - target[:, None]).abs_().argmin(dim=1, keepdim=True)
        values.scatter_(1, nearest, torch.inf)
        taken.append(nearest)
    return torch.cat(taken, dim=1) if taken else targets.new_zeros(targets.shape).long()


def _variance_at(centres: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Interpolate linearly over (0, 0.01) and the components; constant outside."""
    knots = torch.cat([means.new_zeros(1), means])
    heights = torch.cat([variances.new_full((1,), VARIANCE_AT_ZERO), variances])
    knots, order = knots.sort()
    heights = heights[order]
    right = torch.bucketize(centres, knots).clamp(1, len(knots) - 1)
    width = (knots[right] - knots[right - 1]).clamp(min=1e-12)
    share = ((centres - knots[right - 1]) / width).clamp(0.0, 1.0)
    return heights[right - 1] + share * (heights[right] - heights[right - 1])
