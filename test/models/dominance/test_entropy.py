# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from rgbt_models.dominance import covariance_entropy, feature_entropy


def test_equal_channels_have_entropy_one():
    entropy = feature_entropy(torch.full((2, 192, 3, 4), 0.7))
    torch.testing.assert_close(entropy, torch.ones(2), atol=1e-5, rtol=0)


def test_one_channel_above_all_has_entropy_zero():
    features = torch.zeros(1, 6, 2, 2)
    features[:, 4] = 200.0
    assert float(feature_entropy(features)) == pytest.approx(0.0, abs=1e-6)


def test_entropy_is_the_closed_form_of_the_spatial_mean():
    # Channel means log 1, log 2, log 5: probabilities 1/8, 2/8, 5/8.
    means = torch.tensor([1.0, 2.0, 5.0]).log()
    features = means[None, :, None, None] + torch.tensor([[-1.0, 1.0], [3.0, -3.0]])
    p = torch.tensor([1 / 8, 2 / 8, 5 / 8])
    expected = float(-(p * p.log()).sum() / torch.tensor(3.0).log())
    assert float(feature_entropy(features)) == pytest.approx(expected, abs=1e-6)


def test_half_precision_features_have_a_float_entropy():
    assert feature_entropy(torch.zeros(1, 4, 2, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_two_equal_directions_of_eight_have_log_2_over_log_8():
    # Tokens +-e0, +-e3: the covariance has two equal eigenvalues.
    tokens = torch.zeros(1, 8, 1, 4)
    tokens[0, 0, 0, 0], tokens[0, 0, 0, 1] = 2.0, -2.0
    tokens[0, 3, 0, 2], tokens[0, 3, 0, 3] = 2.0, -2.0
    expected = math.log(2) / math.log(8)
    assert float(covariance_entropy(tokens)) == pytest.approx(expected, abs=1e-5)


def test_tokens_on_a_line_have_entropy_zero():
    line = torch.linspace(-1, 1, 6).reshape(1, 1, 2, 3) * torch.tensor([1.0, -2.0, 0.5]).reshape(
        1, 3, 1, 1
    )
    assert float(covariance_entropy(line)) == pytest.approx(0.0, abs=1e-4)


def test_alike_tokens_have_entropy_zero():
    assert covariance_entropy(torch.full((2, 4, 3, 3), 5.0)).tolist() == [0.0, 0.0]


def test_noise_raises_the_entropy():
    generator = torch.Generator().manual_seed(0)
    features = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8).expand(1, 16, 8, 8)
    noise = torch.randn(1, 16, 8, 8, generator=generator)
    values = [float(covariance_entropy(features + level * noise)) for level in (0.0, 0.1, 1.0)]
    assert values == sorted(values)
    assert values[0] < 0.01
    assert values[2] > 0.5
