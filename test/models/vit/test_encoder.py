# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from slow_vit import attention, bicubic, double, layer_norm, mlp, patches, randomise
import timm
import timm.layers
import torch
from torch.nn import functional

from rgbt_models.errors import EncoderError
from rgbt_models.vit import ViTEncoder

TINY = 'vit_tiny_patch16_224'


def images(height, width, *, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, height, width, generator=generator)


@pytest.fixture(scope='module')
def encoder():
    torch.manual_seed(0)
    return randomise(ViTEncoder(TINY, taps=(0, 2)), seed=1)


def test_the_published_encoder_has_its_150_tensors():
    # Names and shapes of M-SpecGene's ViT-B/16 under timm's names.
    d = 768
    expected = {
        'cls_token': (1, 1, d),
        'pos_embed': (1, 197, d),
        'patch_embed.proj.weight': (d, 3, 16, 16),
        'patch_embed.proj.bias': (d,),
        'norm.weight': (d,),
        'norm.bias': (d,),
    }
    sizes = {
        'attn.qkv': (3 * d, d),
        'attn.proj': (d, d),
        'mlp.fc1': (4 * d, d),
        'mlp.fc2': (d, 4 * d),
    }
    for block in range(12):
        for norm in ('norm1', 'norm2'):
            expected[f'blocks.{block}.{norm}.weight'] = (d,)
            expected[f'blocks.{block}.{norm}.bias'] = (d,)
        for name, shape in sizes.items():
            expected[f'blocks.{block}.{name}.weight'] = shape
            expected[f'blocks.{block}.{name}.bias'] = shape[:1]
    vit = ViTEncoder('vit_base_patch16_224').vit
    assert {name: tuple(t.shape) for name, t in vit.state_dict().items()} == expected
    assert len(expected) == 150
    assert sum(p.numel() for p in vit.parameters()) == 85_798_656
    assert vit.norm.eps == 1e-6


def slow_features(encoder, image, *, taps):
    weights = double(encoder.vit)
    grid = patches(image, weights, 'patch_embed.proj', patch=16)
    rows, columns, d = grid.shape
    own = weights['pos_embed'][0, 1:].reshape(14, 14, d)
    tokens = (grid + bicubic(own, rows, columns)).reshape(-1, d)
    cls_token = weights['cls_token'][0] + weights['pos_embed'][0, :1]
    tokens = torch.cat([cls_token, tokens])
    found = []
    for block in range(max(taps) + 1):
        name = f'blocks.{block}'
        normed = layer_norm(tokens, weights, f'{name}.norm1', eps=1e-6)
        tokens = tokens + attention(normed, weights, f'{name}.attn', heads=3)
        normed = layer_norm(tokens, weights, f'{name}.norm2', eps=1e-6)
        tokens = tokens + mlp(normed, weights, f'{name}.mlp')
        if block in taps:
            found.append(layer_norm(tokens, weights, 'norm', eps=1e-6)[1:])
    return [tap.reshape(rows, columns, d).permute(2, 0, 1) for tap in found]


@torch.no_grad()
def test_features_equal_a_slow_transformer_on_another_grid(encoder):
    image = images(48, 80)
    expected = slow_features(encoder, image[0], taps=(0, 2))
    for ours, slow in zip(encoder.features(image), expected, strict=True):
        torch.testing.assert_close(ours[0].double(), slow, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ('name', 'num_prefix_tokens'),
    [
        ('vit_tiny_patch16_224', 1),
        ('deit_tiny_distilled_patch16_224', 2),
        ('vit_small_patch14_reg4_dinov2', 5),
        ('vit_small_patch16_dinov3', 5),
        ('vit_small_patch16_rope_mixed_224', 1),
        ('vit_medium_patch16_gap_256', 0),
        ('eva02_tiny_patch14_224', 1),
    ],
)
@torch.no_grad()
def test_on_its_own_grid_a_model_does_what_timm_does(name, num_prefix_tokens):
    torch.manual_seed(0)
    encoder = randomise(ViTEncoder(name, taps=(1, 3)), seed=2, scale=0.02)
    h, w = encoder.vit.patch_embed.grid_size
    image = images(h * encoder.patch_size, w * encoder.patch_size)
    expected = encoder.vit.forward_intermediates(
        image, indices=[1, 3], norm=True, intermediates_only=True, stop_early=True
    )
    for ours, theirs in zip(encoder.features(image), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert encoder.num_prefix_tokens == num_prefix_tokens
    patch = encoder.patch_size
    assert encoder.features(images(2 * patch, 3 * patch))[1].shape[2:] == (2, 3)


@pytest.mark.parametrize('size_hw', [(16, 16), (16, 80), (96, 32)])
def test_any_multiple_of_the_patch_is_accepted(encoder, size_hw):
    levels = encoder(images(*size_hw, batch=2), images(*size_hw, batch=2, seed=1))
    shape = (2, 192, size_hw[0] // 16, size_hw[1] // 16)
    assert [tuple(m.shape) for pair in levels for m in pair] == [shape] * 4
    assert encoder.channels == (192, 192)


@torch.no_grad()
def test_one_set_of_weights_sees_both_modalities_rgb_first(encoder):
    rgb, thermal = images(32, 48), images(32, 48, seed=1)
    for (rgb_map, thermal_map), expected_rgb, expected_thermal in zip(
        encoder(rgb, thermal), encoder.features(rgb), encoder.features(thermal), strict=True
    ):
        torch.testing.assert_close(rgb_map, expected_rgb, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(thermal_map, expected_thermal, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(rgb_map, thermal_map, atol=1e-2)


@torch.no_grad()
def test_one_stacked_batch_equals_two_passes(encoder, monkeypatch):
    rgb, thermal = images(32, 48, batch=2), images(32, 48, batch=2, seed=1)
    stacked = encoder(rgb, thermal)
    monkeypatch.setattr(encoder, 'use_stacked_batch', False)
    for pair, other in zip(stacked, encoder(rgb, thermal), strict=True):
        torch.testing.assert_close(pair, other, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_the_final_norm_a_tap_is_the_plain_residual_stream(encoder, monkeypatch):
    image = images(32, 32)
    normed = encoder.features(image)[1]
    monkeypatch.setattr(encoder, 'use_final_norm', False)
    plain = encoder.features(image)[1]
    expected = encoder.vit.norm(plain.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(normed, expected)
    assert not torch.allclose(normed, plain, atol=1e-2)


@torch.no_grad()
def test_a_patch_of_14_gives_maps_at_stride_16():
    encoder = randomise(ViTEncoder('vit_small_patch14_dinov2', taps=(0,), stride=16), seed=0)
    image = images(64, 96)
    small = functional.interpolate(image, size=(56, 84), mode='bilinear')
    features = encoder.features(image)[0]
    assert tuple(features.shape) == (1, 384, 4, 6)
    encoder.stride = 14
    torch.testing.assert_close(features, encoder.features(small)[0])


def test_checkpointing_gives_the_same_gradients():
    torch.manual_seed(0)
    encoder = ViTEncoder(TINY, taps=(1,))
    gradients = []
    for use_checkpointing in (False, True):
        encoder.use_checkpointing = use_checkpointing
        encoder.train().zero_grad()
        sum(
            m.square().mean() for m in encoder(images(32, 48), images(32, 48, seed=1))[0]
        ).backward()
        gradients.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert len(gradients[0]) == 30  # patch, class token, positions, final norm, two blocks
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_drop_path_is_that_of_timm_and_acts_in_training_only():
    image = images(32, 48)
    encoder = randomise(ViTEncoder(TINY, taps=(11,), drop_path=0.3), seed=1)
    timms = timm.create_model(TINY, drop_path_rate=0.3)
    rates = [getattr(block.drop_path2, 'drop_prob', 0.0) for block in timms.blocks]
    assert [block.drop_path1.drop_prob for block in encoder.vit.blocks] == pytest.approx(rates)
    plain = ViTEncoder(TINY, taps=(11,))
    plain.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        expected = plain.features(image)[0]
        assert torch.equal(encoder.eval().features(image)[0], expected)
        torch.manual_seed(0)
        assert not torch.allclose(encoder.train().features(image)[0], expected, atol=1e-3)
        encoder.set_drop_path(0.0)
        assert torch.equal(encoder.features(image)[0], expected)


@torch.no_grad()
def test_mixed_precision_keeps_the_residual_stream_in_float32(encoder, monkeypatch):
    monkeypatch.setattr(encoder, 'use_final_norm', False)
    image = images(48, 32)
    expected = encoder.features(image)[1]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = encoder.features(image)[1]
    assert mixed.dtype == torch.float32
    assert (mixed - expected).abs().max() < 0.02 * expected.abs().max()


def test_every_block_attends_through_the_scaled_dot_product(encoder, monkeypatch):
    calls = []
    fused = functional.scaled_dot_product_attention

    def count(*args, **kwargs):
        calls.append(args[0].shape)
        return fused(*args, **kwargs)

    monkeypatch.setattr(functional, 'scaled_dot_product_attention', count)
    encoder(images(32, 48), images(32, 48))
    assert calls == [(2, 3, 7, 64)] * 3  # both modalities at once, three blocks, 6 patches + 1


def test_a_model_without_fused_attention_is_refused():
    timm.layers.set_fused_attn(enable=False)
    try:
        with pytest.raises(
            EncoderError, match=r'would not use scaled_dot_product_attention in bl'
        ):
            ViTEncoder(TINY)
    finally:
        timm.layers.set_fused_attn(enable=True)


def test_an_image_that_does_not_fit_is_named(encoder):
    with pytest.raises(EncoderError, match=r'\(1, 3, 32, 40\); expected .* multiples of 16; res'):
        encoder.features(images(32, 40))
    with pytest.raises(EncoderError, match=r'expected \(b, 3, h, w\)'):
        encoder.features(images(32, 32)[:, :1])
    with pytest.raises(EncoderError, match='expected equal shapes; resize or register'):
        encoder(images(32, 32), images(32, 48))


def test_models_that_are_no_plain_vit_are_refused():
    with pytest.raises(
        EncoderError, match=r"no model 'vit_tiny_patch61'; .* such as vit_tiny_patch16"
    ):
        ViTEncoder('vit_tiny_patch61')
    for name in ('resnet18', 'beit_base_patch16_224', 'vit_small_r26_s32_224'):
        with pytest.raises(EncoderError, match=f"'{name}' is no plain ViT with resizable"):
            ViTEncoder(name)


@pytest.mark.parametrize('taps', [(), (2, 1), (1, 1), (-1,), (12,)])
def test_taps_are_ascending_blocks(taps):
    with pytest.raises(EncoderError, match='expected ascending block numbers from 0 to 11'):
        ViTEncoder(TINY, taps=taps)
