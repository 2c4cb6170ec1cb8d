# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.gmm_masking import OnlineGaussianMixture
from rgbt_models.pretrain.sampling import draw_targets, match_nearest


def made_mixture() -> OnlineGaussianMixture:
    """Return a mixture whose components are not in the order of their means."""
    mixture = OnlineGaussianMixture()
    mixture.means.copy_(torch.tensor([0.8, 0.2, 0.5]))
    mixture.variances.copy_(torch.tensor([0.04, 0.02, 0.09]))
    mixture.weights.copy_(torch.tensor([0.1, 0.6, 0.3]))
    return mixture


def slow_match(values, targets):
    """Return the greedy match of one image over plain numbers."""
    free = dict(enumerate(values))
    taken = []
    for target in targets:
        nearest = min(free, key=lambda index: (abs(free[index] - target), index))
        taken.append(nearest)
        del free[nearest]
    return taken


def test_match_equals_the_slow_one_and_takes_no_patch_twice():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(6, 20, generator=generator)
    targets = torch.randn(6, 12, generator=generator)
    expected = [slow_match(v.tolist(), t.tolist()) for v, t in zip(values, targets, strict=True)]
    assert match_nearest(values.clone(), targets).tolist() == expected


def test_a_second_match_takes_what_the_first_left():
    values = torch.rand(3, 10, generator=torch.Generator().manual_seed(1))
    targets = torch.full((3, 5), 0.5)
    first, second = match_nearest(values, targets), match_nearest(values, targets)
    for row in torch.cat([first, second], dim=1):
        assert sorted(row.tolist()) == list(range(10))


def test_ties_take_the_first_patch():
    assert match_nearest(torch.full((1, 4), 0.3), torch.zeros(1, 4)).tolist() == [[0, 1, 2, 3]]


def test_more_targets_than_patches_is_an_error():
    with pytest.raises(PretrainError, match='5 patches to keep of 4; expected fewer'):
        match_nearest(torch.zeros(1, 4), torch.zeros(1, 5))


@pytest.mark.parametrize(
    ('mean', 'bias', 'variance'),
    [
        (0.0, 0.0, 0.01),  # the knot at zero
        (0.1, 0.0, 0.015),  # halfway to the first component
        (0.2, 0.15, 0.055),  # the bias counts: halfway between 0.2 and 0.5
        (0.9, 0.0, 0.04),  # beyond the last: constant
        (0.0, -0.3, 0.01),  # before the first: constant
    ],
)
def test_variance_lies_on_the_line_through_the_components(mean, bias, variance):
    drawn = draw_targets(
        made_mixture(),
        (mean,),
        bias=bias,
        choices=torch.zeros(1, 2),
        noise=torch.tensor([[0.0, 1.0]]),
    )
    expected = [mean + bias, mean + bias + variance**0.5]
    assert drawn[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_components_have_the_weights_of_the_smallest_means_in_order():
    # Two active: weights 0.6 (mean 0.2) and 0.3 (mean 0.5), so the first ends at 2/3.
    choices = torch.tensor([[0.0, 0.6, 0.66, 0.67, 0.999]])
    drawn = draw_targets(
        made_mixture(), (0.05, 0.4), bias=0.0, choices=choices, noise=torch.zeros(1, 5)
    )
    assert drawn[0].tolist() == pytest.approx([0.05, 0.05, 0.05, 0.4, 0.4])


def test_draws_have_the_mean_and_spread_of_the_mixture():
    rng = np.random.default_rng(0)
    shape = (200, 200)
    drawn = draw_targets(
        made_mixture(),
        (0.2, 0.5, 0.8),
        bias=0.0,
        choices=torch.from_numpy(rng.random(shape, np.float32)),
        noise=torch.from_numpy(rng.standard_normal(shape, np.float32)),
    )
    mean = 0.6 * 0.2 + 0.3 * 0.5 + 0.1 * 0.8
    second = 0.6 * (0.02 + 0.04) + 0.3 * (0.09 + 0.25) + 0.1 * (0.04 + 0.64)
    assert drawn.mean().item() == pytest.approx(mean, abs=0.01)
    assert drawn.var().item() == pytest.approx(second - mean**2, abs=0.01)


def test_no_weight_on_the_active_components_draws_finite_values():
    mixture = made_mixture()
    mixture.weights.copy_(torch.tensor([1.0, 0.0, 0.0]))
    drawn = draw_targets(
        mixture, (0.1, 0.3), bias=0.0, choices=torch.rand(4, 4), noise=torch.zeros(4, 4)
    )
    assert torch.isfinite(drawn).all()
