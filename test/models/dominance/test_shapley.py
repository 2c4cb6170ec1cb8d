# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.dominance import shapley_mdi


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
