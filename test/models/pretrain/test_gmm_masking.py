# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from rgbt_models.pretrain.gmm_masking import MIN_VARIANCE, OnlineGaussianMixture


def slow_update(values, means, variances, weights):
    """Return one E-step and one M-step over plain numbers, as the release writes them."""
    k, n = len(means), len(values)
    resp = [[0.0] * k for _ in range(n)]
    for i, x in enumerate(values):
        densities = [
            weights[j]
            * math.exp(-0.5 * (x - means[j]) ** 2 / variances[j])
            / math.sqrt(2 * math.pi * variances[j])
            for j in range(k)
        ]
        resp[i] = [density / sum(densities) for density in densities]
    counts = [sum(row[j] for row in resp) for j in range(k)]
    new_means = [sum(resp[i][j] * values[i] for i in range(n)) / counts[j] for j in range(k)]
    new_variances = [
        sum(resp[i][j] * (values[i] - new_means[j]) ** 2 for i in range(n)) / counts[j]
        for j in range(k)
    ]
    return new_means, new_variances, [count / n for count in counts]


def test_three_updates_follow_the_formulas():
    generator = torch.Generator().manual_seed(0)
    mixture = OnlineGaussianMixture(seed=5)
    state = mixture.means.tolist(), [1.0] * 3, [1 / 3] * 3
    for _ in range(3):
        values = torch.rand(4, 30, generator=generator)
        state = slow_update(values.double().flatten().tolist(), *state)
        mixture.update(values)
        for found, expected in zip(
            (mixture.means, mixture.variances, mixture.weights), state, strict=True
        ):
            assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_start_is_uniform_seeded_and_as_published():
    mixture, same, other = (OnlineGaussianMixture(seed=seed) for seed in (7, 7, 8))
    assert torch.equal(mixture.means, same.means)
    assert not torch.equal(mixture.means, other.means)
    assert ((mixture.means >= 0) & (mixture.means < 1)).all()
    assert mixture.variances.tolist() == [1.0] * 3
    assert mixture.weights.tolist() == pytest.approx([1 / 3] * 3)


def test_finds_three_separate_groups():
    generator = torch.Generator().manual_seed(1)
    centres = torch.tensor([0.05, 0.4, 0.9]).repeat_interleave(400)
    mixture = OnlineGaussianMixture(seed=0)
    for _ in range(200):
        mixture.update(centres + 0.02 * torch.randn(1200, generator=generator))
    assert sorted(mixture.means.tolist()) == pytest.approx([0.05, 0.4, 0.9], abs=0.01)
    assert mixture.weights.tolist() == pytest.approx([1 / 3] * 3, abs=0.01)


def test_values_far_from_every_component_stay_finite():
    mixture = OnlineGaussianMixture()
    mixture.variances.fill_(MIN_VARIANCE)
    mixture.update(torch.full((4, 8), 1e6))  # every density underflows to 0
    for buffer in mixture.buffers():
        assert torch.isfinite(buffer).all()
    assert mixture.weights.sum().item() == pytest.approx(1.0)


def test_a_component_nobody_answers_for_keeps_its_place():
    mixture = OnlineGaussianMixture()
    mixture.means.copy_(torch.tensor([0.1, 0.2, 500.0]))
    mixture.update(torch.linspace(0.0, 0.3, 50))
    assert mixture.means[2] == 500.0
    assert mixture.variances[2] == 1.0
    assert mixture.weights[2] < 1e-6


def test_equal_values_keep_a_positive_variance():
    mixture = OnlineGaussianMixture()
    for _ in range(5):
        mixture.update(torch.full((16,), 0.25))
    assert (mixture.variances >= MIN_VARIANCE).all()


def test_the_state_is_in_the_state_dict():
    mixture, restored = OnlineGaussianMixture(seed=1), OnlineGaussianMixture(seed=2)
    mixture.update(torch.rand(64, generator=torch.Generator().manual_seed(3)))
    restored.load_state_dict(mixture.state_dict())
    values = torch.rand(64, generator=torch.Generator().manual_seed(4))
    mixture.update(values)
    restored.update(values)
    for name, tensor in mixture.state_dict().items():
        assert torch.equal(tensor, restored.state_dict()[name])
