# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.fusion import MEAN_MOMENTUM, SplitFusion

BOTH, RGB_ONLY, THERMAL_ONLY = [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]


@pytest.fixture
def fusion():
    torch.manual_seed(0)
    layer = SplitFusion(in_channels=5, out_channels=7).eval()
    layer.rgb_mean.normal_()
    layer.thermal_mean.normal_()
    return layer


def features(seed, *, batch=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 5, 3, 4, generator=generator)


def available(*rows):
    return torch.tensor(rows)


def test_fusing_is_one_linear_layer_over_the_concatenated_halves(fusion):
    rgb, thermal = features(1), features(2)
    weight = torch.cat([fusion.rgb_weight.weight, fusion.thermal_weight.weight], dim=1)
    whole = torch.nn.functional.conv2d(torch.cat([rgb, thermal], dim=1), weight)
    fused, _, _ = fusion(rgb, thermal, available(BOTH, BOTH))
    torch.testing.assert_close(fused, torch.relu(fusion.norm(whole)))


@torch.no_grad()
def test_shares_are_those_of_a_slow_reference(fusion):
    rgb, thermal = features(1), features(2)
    _, share_map, share = fusion(rgb, thermal, available(BOTH, BOTH))
    w_rgb, w_thermal = (w.weight[:, :, 0, 0] for w in (fusion.rgb_weight, fusion.thermal_weight))
    for sample in range(2):
        along_sum = whole_sum = 0.0
        for y in range(3):
            for x in range(4):
                from_rgb = w_rgb @ rgb[sample, :, y, x]
                z = from_rgb + w_thermal @ thermal[sample, :, y, x]
                along_sum += float(from_rgb @ z)
                whole_sum += float(z @ z)
                expected = float(from_rgb @ z / (z @ z))
                assert float(share_map[sample, 0, y, x]) == pytest.approx(expected, abs=1e-3)
        assert float(share[sample]) == pytest.approx(along_sum / whole_sum, abs=1e-4)


def test_zero_thermal_weights_give_rgb_the_whole_share(fusion):
    torch.nn.init.zeros_(fusion.thermal_weight.weight)
    _, share_map, share = fusion(features(1), features(2), available(BOTH, BOTH))
    torch.testing.assert_close(share_map, torch.ones(2, 1, 3, 4), atol=1e-3, rtol=0)
    torch.testing.assert_close(share, torch.ones(2), atol=1e-5, rtol=0)


def test_zero_rgb_weights_give_rgb_no_share(fusion):
    torch.nn.init.zeros_(fusion.rgb_weight.weight)
    _, share_map, share = fusion(features(1), features(2), available(BOTH, BOTH))
    torch.testing.assert_close(share_map, torch.zeros(2, 1, 3, 4), atol=1e-3, rtol=0)
    torch.testing.assert_close(share, torch.zeros(2), atol=1e-5, rtol=0)


def test_nothing_to_share_is_shared_equally(fusion):
    zeros = torch.zeros(2, 5, 3, 4)
    _, share_map, share = fusion(zeros, zeros, available(BOTH, BOTH))
    assert (share_map == 0.5).all()
    assert (share == 0.5).all()


def test_swapping_modalities_and_halves_mirrors_the_share_around_one_half(fusion):
    rgb, thermal = features(1), features(2)
    fused, share_map, share = fusion(rgb, thermal, available(RGB_ONLY, BOTH))
    state = fusion.state_dict()
    mirrored = SplitFusion(in_channels=5, out_channels=7).eval()
    mirrored.load_state_dict(
        {
            **state,
            'rgb_weight.weight': state['thermal_weight.weight'],
            'thermal_weight.weight': state['rgb_weight.weight'],
            'rgb_mean': state['thermal_mean'],
            'thermal_mean': state['rgb_mean'],
        }
    )
    same, map_2, share_2 = mirrored(thermal, rgb, available(THERMAL_ONLY, BOTH))
    torch.testing.assert_close(same, fused)
    torch.testing.assert_close(share_map + map_2, torch.ones_like(map_2), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(share + share_2, torch.ones(2))
    assert (share - share_2).abs().max() > 0.01  # mirrored, not equal


def test_an_absent_modality_is_its_mean_everywhere(fusion):
    rgb, thermal = features(1), features(2)
    mean = fusion.thermal_mean[None, :, None, None].expand(2, 5, 3, 4)
    absent = fusion(rgb, thermal, available(RGB_ONLY, RGB_ONLY))
    replaced = fusion(rgb, mean, available(BOTH, BOTH))
    for out, expected in zip(absent, replaced, strict=True):
        torch.testing.assert_close(out, expected)


@pytest.mark.parametrize('content', [0.0, 1e6, float('nan'), float('inf')])
@pytest.mark.parametrize(('keeps', 'position'), [(RGB_ONLY, 1), (THERMAL_ONLY, 0)])
def test_what_an_absent_camera_shows_does_not_matter(fusion, content, keeps, position):
    inputs = [features(1), features(2)]
    expected = fusion(*inputs, available(keeps, keeps))
    inputs[position] = torch.full_like(inputs[position], content)
    for out, wanted in zip(fusion(*inputs, available(keeps, keeps)), expected, strict=True):
        torch.testing.assert_close(out, wanted)


def test_each_sample_of_a_batch_has_its_own_cameras(fusion):
    rgb, thermal = features(1, batch=3), features(2, batch=3)
    rows = (RGB_ONLY, THERMAL_ONLY, BOTH)
    together = fusion(rgb, thermal, available(*rows))
    for index, row in enumerate(rows):
        alone = fusion(rgb[index, None], thermal[index, None], available(row))
        for out, single in zip(together, alone, strict=True):
            torch.testing.assert_close(out[index, None], single)


def test_means_follow_the_images_in_training_only(fusion):
    rgb, thermal = features(1), features(2)
    before = fusion.rgb_mean.clone(), fusion.thermal_mean.clone()
    fusion(rgb, thermal, available(BOTH, BOTH))
    assert torch.equal(fusion.rgb_mean, before[0])
    fusion.train()
    fusion(rgb, thermal, available(THERMAL_ONLY, RGB_ONLY))  # dropped images count too
    for mean, old, seen in (
        (fusion.rgb_mean, before[0], rgb),
        (fusion.thermal_mean, before[1], thermal),
    ):
        expected = (1 - MEAN_MOMENTUM) * old + MEAN_MOMENTUM * seen.mean(dim=(0, 2, 3))
        torch.testing.assert_close(mean, expected)


def test_means_are_kept_with_the_weights(fusion):
    assert {'rgb_mean', 'thermal_mean'} <= set(fusion.state_dict())
