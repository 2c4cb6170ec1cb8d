# SPDX-License-Identifier: Apache-2.0
"""Online mixture of Gaussians over the structural sparsity of the patches.

One E-step and one M-step per batch, without forgetting (M-SpecGene, released sampler). Differs
from the release: responsibilities in the log domain, so that a value far from every component
does not divide by zero; an empty component keeps its parameters; variances have a floor; the
sufficient statistics are summed over all processes; the state is in buffers and so in every
checkpoint; the start is seeded.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn, Tensor

from rgbt_models.train.reduction import sum_over_processes

MIN_VARIANCE = 1e-6
_MIN_COUNT = 1e-3
_START_STREAM = 11  # separates the start of the mixture from the draws of the same seed


class OnlineGaussianMixture(nn.Module):
    """K Gaussians in one dimension, means from U(0, 1), variances 1, weights 1/K."""

    means: Tensor
    variances: Tensor
    weights: Tensor

    def __init__(self, *, num_components: int = 3, seed: int = 0) -> None:
        """Build the mixture; equal seeds give equal starts."""
        super().__init__()
        start = np.random.default_rng((seed, _START_STREAM)).random(num_components)
        self.register_buffer('means', torch.from_numpy(start))
        self.register_buffer('variances', torch.ones(num_components, dtype=torch.float64))
        uniform = torch.full((num_components,), 1.0 / num_components, dtype=torch.float64)
        self.register_buffer('weights', uniform)

    @property
    def num_components(self) -> int:
        """Number of Gaussians."""
        return len(self.means)

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """Follow a batch by one step of expectation and maximisation.

        Args:
            values: Any shape, finite; those of this process. All processes must call together.
        """
        x = values.detach().double().flatten()[None]  # (1, n)
        responsibilities = self.responsibilities(x[0])  # (k, n)
        moments = torch.stack(
            [responsibilities.sum(1), responsibilities @ x[0], responsibilities @ x[0].square()]
        )
        count = torch.full((3, 1), float(x.numel()), dtype=torch.float64, device=x.device)
        summed = sum_over_processes(torch.cat([moments, count], dim=1))
        counts, firsts, seconds = summed[:, :-1]
        is_used = counts > _MIN_COUNT
        safe = counts.clamp(min=_MIN_COUNT)
        means = firsts / safe
        variances = (seconds / safe - means.square()).clamp(min=MIN_VARIANCE)
        self.means.copy_(torch.where(is_used, means, self.means))
        self.variances.copy_(torch.where(is_used, variances, self.variances))
        self.weights.copy_(counts / summed[0, -1])

    @torch.no_grad()
    def responsibilities(self, values: Tensor) -> Tensor:
        """Return how much each component answers for each value, shape (k, n), columns sum to 1.

        Args:
            values: Shape (n,), float64.
        """
        variances = self.variances.double()[:, None]
        deviation = values[None] - self.means.double()[:, None]
        tiny = torch.finfo(torch.float64).tiny
        log_prior = self.weights.double().clamp(min=tiny).log()[:, None]
        log_density = -0.5 * (deviation.square() / variances + (2 * math.pi * variances).log())
        return torch.softmax(log_prior + log_density, dim=0)

    def extra_repr(self) -> str:
        """Return the number of components for ``repr``."""
        return f'num_components={self.num_components}'
