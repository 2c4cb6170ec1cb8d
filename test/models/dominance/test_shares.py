# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.dominance import linear_share_mdi, mdi_of_amounts, paper_style_mdi, rgb_share
from rgbt_models.fusion import SplitFusion


def test_index_of_amounts():
    rgb, thermal = torch.tensor([3.0, 0.0, 5.0, 0.0]), torch.tensor([1.0, 2.0, 0.0, 0.0])
    assert mdi_of_amounts(rgb, thermal).tolist() == pytest.approx([0.5, -1.0, 1.0, 0.0])
    assert rgb_share(rgb, thermal).tolist() == pytest.approx([0.75, 0.0, 1.0, 0.5], abs=1e-6)


def test_shares_outside_their_range_are_clipped_before_the_mean():
    shares = torch.tensor([[1.4, 0.5], [-3.0, 0.25]])
    assert linear_share_mdi(shares).tolist() == pytest.approx([0.5, -0.75])


def test_delta_0_is_gradient_times_input_alone_and_delta_1_entropy_alone():
    entropies, contributions = torch.tensor([[0.9, 0.1]]), torch.tensor([[1.0, 3.0]])
    assert paper_style_mdi(entropies, contributions).item() == pytest.approx(-0.5)
    assert paper_style_mdi(entropies, contributions, delta=1.0).item() == pytest.approx(0.8)


def test_delta_one_half_is_the_geometric_mean():
    # share(H) = .8, share(G) = .2: D_rgb = sqrt(.16) = D_thermal.
    entropies, contributions = torch.tensor([[0.8, 0.2]]), torch.tensor([[1.0, 4.0]])
    value = paper_style_mdi(entropies, contributions, delta=0.5)
    assert value.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize('delta', [0.0, 0.3, 0.5, 1.0])
def test_swapping_the_cameras_negates_the_paper_style_index(delta):
    generator = torch.Generator().manual_seed(0)
    entropies, contributions = torch.rand(2, 50, 2, generator=generator)
    swapped = paper_style_mdi(entropies.flip(1), contributions.flip(1), delta=delta)
    index = paper_style_mdi(entropies, contributions, delta=delta)
    torch.testing.assert_close(swapped, -index, atol=1e-6, rtol=0)
    assert (index.abs() <= 1.0).all()


def fusion_pair(*, seed=0):
    """A fusion layer and the same layer with its halves swapped."""
    torch.manual_seed(seed)
    fusion = SplitFusion(in_channels=6, out_channels=5).eval()
    swapped = SplitFusion(in_channels=6, out_channels=5).eval()
    swapped.rgb_weight.load_state_dict(fusion.thermal_weight.state_dict())
    swapped.thermal_weight.load_state_dict(fusion.rgb_weight.state_dict())
    return fusion, swapped


def share_mdi(fusion, rgb, thermal):
    with torch.no_grad():
        share = fusion(rgb, thermal, torch.ones(len(rgb), 2))[2]
    return linear_share_mdi(share[:, None])


def test_swapping_inputs_and_halves_negates_the_linear_index():
    fusion, swapped = fusion_pair()
    rgb, thermal = torch.randn(2, 3, 6, 4, 5)
    mdi = share_mdi(fusion, rgb, thermal)
    assert (mdi.abs() > 0.01).any()
    torch.testing.assert_close(share_mdi(swapped, thermal, rgb), -mdi, atol=1e-5, rtol=0)


def test_identical_inputs_and_halves_are_balanced():
    fusion, _ = fusion_pair()
    fusion.thermal_weight.load_state_dict(fusion.rgb_weight.state_dict())
    image = torch.randn(2, 6, 4, 5)
    assert share_mdi(fusion, image, image).tolist() == pytest.approx([0.0, 0.0], abs=1e-5)


def test_zero_thermal_features_leave_everything_to_rgb():
    fusion, _ = fusion_pair()
    rgb = torch.randn(2, 6, 4, 5)
    mdi = share_mdi(fusion, rgb, torch.zeros_like(rgb))
    assert mdi.tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
