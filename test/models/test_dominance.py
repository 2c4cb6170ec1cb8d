# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.dominance import feature_entropy, shapley_mdi


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


def values(*numbers):
    return [torch.tensor([float(number)]) for number in numbers]


@pytest.mark.parametrize(
    ('both', 'rgb_only', 'thermal_only', 'none', 'expected'),
    [
        (4, 4, 1, 1, 1.0),  # only RGB matters
        (4, 1, 4, 1, -1.0),  # only thermal matters
        (5, 3, 3, 1, 0.0),  # alike
        (9, 6, 2, 1, 0.5),  # 6 against 2
        (1, 1, 1, 1, 0.0),  # neither matters
        (1, 0, 1, 0, -1.0),
    ],
)
def test_shapley_literals(both, rgb_only, thermal_only, none, expected):
    phi_rgb = ((both - thermal_only) + (rgb_only - none)) / 2
    phi_thermal = ((both - rgb_only) + (thermal_only - none)) / 2
    assert phi_rgb + phi_thermal == both - none  # efficiency
    mdi = shapley_mdi(*values(both, rgb_only, thermal_only, none))
    assert float(mdi) == pytest.approx(expected)


def test_shapley_is_antisymmetric_and_bounded():
    generator = torch.Generator().manual_seed(0)
    both, rgb_only, thermal_only, none = torch.randn(4, 200, generator=generator)
    mdi = shapley_mdi(both, rgb_only, thermal_only, none)
    torch.testing.assert_close(mdi, -shapley_mdi(both, thermal_only, rgb_only, none))
    assert (mdi.abs() <= 1.0).all()


def test_shapley_parts_add_up_to_what_both_cameras_gain():
    # (1 + mdi) / 2 of the sum is phi_rgb where both parts are positive.
    both, rgb_only, thermal_only, none = values(10, 7, 5, 1)
    mdi = shapley_mdi(both, rgb_only, thermal_only, none)
    phi_rgb = (1 + mdi) / 2 * (both - none)
    phi_thermal = (1 - mdi) / 2 * (both - none)
    assert float(phi_rgb) == pytest.approx(((10 - 5) + (7 - 1)) / 2)
    assert float(phi_thermal) == pytest.approx(((10 - 7) + (5 - 1)) / 2)


def test_a_camera_that_harms_counts_against_itself():
    # Thermal takes 2 away: phi_rgb 4, phi_thermal -2.
    mdi = shapley_mdi(*values(2, 4, -2, 0))
    assert float(mdi) == pytest.approx(1.0)
