# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from rgbt_models.encoder import ConvStem, MAX_POSITION_SHIFT, SiameseEncoder, sincos_positions


@pytest.fixture(scope='module')
def encoder():
    torch.manual_seed(0)
    return SiameseEncoder(dim=32, depth=2, num_heads=2).eval()


def images(height, width, *, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, height, width, generator=generator)


def grid(height, width, *, dim=8, shift=(0.0, 0.0)):
    positions = sincos_positions(height, width, dim, shift_yx=torch.tensor(shift))
    return positions.reshape(height, width, dim)


def test_positions_are_sines_and_cosines_of_y_then_x():
    # dim 8: two frequencies, 1 and 100 ** -0.5 = 0.1
    y, x = 3, 5
    expected = [
        *(math.sin(y), math.sin(0.1 * y), math.cos(y), math.cos(0.1 * y)),
        *(math.sin(x), math.sin(0.1 * x), math.cos(x), math.cos(0.1 * x)),
    ]
    torch.testing.assert_close(grid(4, 6)[y, x], torch.tensor(expected))


def test_positions_run_row_by_row_like_flattened_patches():
    flat = sincos_positions(4, 6, 8, shift_yx=torch.zeros(2))
    torch.testing.assert_close(flat[0, 3 * 6 + 5], grid(4, 6)[3, 5])


def test_a_shift_moves_the_grid_and_keeps_y_and_x_apart():
    large = grid(9, 9)
    torch.testing.assert_close(grid(3, 4, shift=(2.0, 5.0)), large[2:5, 5:9])
    assert not torch.allclose(grid(3, 4, shift=(5.0, 2.0)), large[2:5, 5:9])


def test_a_larger_grid_only_adds_positions():
    torch.testing.assert_close(grid(10, 12)[:3, :4], grid(3, 4))


@pytest.mark.parametrize('size_hw', [(32, 80), (80, 32), (16, 16)])
def test_features_come_at_strides_4_8_and_16_rgb_first(encoder, size_hw):
    h, w = size_hw
    rgb, thermal = images(h, w), images(h, w, seed=1)
    levels = encoder(rgb, thermal)
    for stride, channels, (from_rgb, from_thermal) in zip(
        (4, 8, 16), encoder.channels, levels, strict=True
    ):
        expected = (2, channels, h // stride, w // stride)
        assert from_rgb.shape == from_thermal.shape == expected
    other = encoder(rgb, images(h, w, seed=2))
    for level, changed in zip(levels, other, strict=True):
        torch.testing.assert_close(level[0], changed[0])
        assert not torch.allclose(level[1], changed[1])


def test_blocks_are_shared_and_only_stem_and_embedding_tell_the_modalities_apart(encoder):
    swapped = SiameseEncoder(dim=32, depth=2, num_heads=2).eval()
    state = dict(encoder.state_dict())
    for name in list(state):
        if name.startswith('rgb_'):
            twin = name.replace('rgb_', 'thermal_', 1)
            state[name], state[twin] = state[twin], state[name]
    swapped.load_state_dict(state)
    rgb, thermal = images(48, 32), images(48, 32, seed=1)
    for level, mirrored in zip(encoder(rgb, thermal), swapped(thermal, rgb), strict=True):
        torch.testing.assert_close(level[0], mirrored[1])
        torch.testing.assert_close(level[1], mirrored[0])


def test_a_sample_does_not_depend_on_the_others_of_its_batch(encoder):
    rgb, thermal = images(32, 48, batch=3), images(32, 48, batch=3, seed=1)
    alone = encoder(rgb[1:2], thermal[1:2])
    for level, single in zip(encoder(rgb, thermal), alone, strict=True):
        torch.testing.assert_close(level[0][1:2], single[0], atol=1e-5, rtol=1e-5)


def test_positions_move_in_training_and_rest_in_use(encoder, monkeypatch):
    seen = []

    def record(height, width, dim, *, shift_yx):
        seen.append(shift_yx.clone())
        return sincos_positions(height, width, dim, shift_yx=shift_yx)

    monkeypatch.setattr('rgbt_models.encoder.sincos_positions', record)
    training = SiameseEncoder(dim=32, depth=1, num_heads=2).train()
    torch.manual_seed(3)
    training(images(32, 32), images(32, 32))
    encoder(images(32, 32), images(32, 32))
    rgb_shift, thermal_shift, *rest = seen
    torch.testing.assert_close(rgb_shift, thermal_shift)  # the cameras stay registered
    assert rgb_shift[0] != rgb_shift[1]
    assert ((rgb_shift >= 0) & (rgb_shift < MAX_POSITION_SHIFT)).all()
    assert not torch.stack(rest).any()


def test_stem_strides_follow_the_axes():
    stem = ConvStem(dim=20).eval()
    shapes = [tuple(level.shape) for level in stem(torch.zeros(1, 3, 32, 96))]
    assert shapes == [(1, 64, 8, 24), (1, 128, 4, 12), (1, 20, 2, 6)]


@pytest.mark.parametrize('keep_tokens', [1.0, 0.75])
def test_one_stacked_batch_equals_two_passes(encoder, keep_tokens, monkeypatch):
    rgb, thermal = images(48, 64), images(48, 64, seed=1)
    monkeypatch.setattr(encoder, 'keep_tokens', keep_tokens)
    with torch.no_grad():
        apart = encoder(rgb, thermal)
        monkeypatch.setattr(encoder, 'use_stacked_batch', True)
        stacked = encoder(rgb, thermal)
    for pair, other in zip(apart, stacked, strict=True):
        for features, same in zip(pair, other, strict=True):
            torch.testing.assert_close(features, same, atol=1e-5, rtol=1e-5)
