# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from slow_vit import (
    attention,
    bias_of_offsets,
    bicubic,
    double,
    layer_norm,
    mlp,
    offset_rows,
    patches,
    randomise,
)
import torch
from torch.nn import functional

from rgbt_models.errors import EncoderError
from rgbt_models.vit import beit_base, BiasTableViT, TowerConfig, vitdet_base, WindowedViT

DIM, HEADS, PATCH = 12, 3, 4


def config(**changes):
    return TowerConfig(
        **{
            'dim': DIM,
            'depth': 3,
            'num_heads': HEADS,
            'patch_size': PATCH,
            'grid_hw': (4, 4),
            'norm_eps': 1e-5,
            **changes,
        }
    )


def windowed(**changes):
    torch.manual_seed(0)
    encoder = WindowedViT(config(**changes), window=3, global_blocks=(1,), position_grid=5)
    return randomise(encoder, seed=1)


def biased(**changes):
    torch.manual_seed(0)
    changes = {'grid_hw': (2, 3), 'norm_eps': 1e-6, 'taps': (0, 2), **changes}
    return randomise(BiasTableViT(config(**changes)), seed=1)


def images(height, width, *, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, height, width, generator=generator)


def block_shapes(d):
    shapes = {f'norm{i}.{part}': (d,) for i in (1, 2) for part in ('weight', 'bias')}
    for name, (rows, columns) in {
        'attn.qkv': (3 * d, d),
        'attn.proj': (d, d),
        'mlp.fc1': (4 * d, d),
        'mlp.fc2': (d, 4 * d),
    }.items():
        shapes |= {f'{name}.weight': (rows, columns), f'{name}.bias': (rows,)}
    return shapes


def shapes_of(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


PATCH_SHAPES = {'patch_embed.proj.weight': (768, 3, 16, 16), 'patch_embed.proj.bias': (768,)}


def test_the_detection_encoder_has_the_published_names_and_shapes():
    expected = {'pos_embed': (1, 197, 768), **PATCH_SHAPES}
    for block in range(12):
        rows = 119 if block in (2, 5, 8, 11) else 27
        tables = {'attn.rel_pos_h': (rows, 64), 'attn.rel_pos_w': (rows, 64)}
        for name, shape in (block_shapes(768) | tables).items():
            expected[f'blocks.{block}.{name}'] = shape
    encoder = vitdet_base()
    assert shapes_of(encoder) == expected
    assert encoder.blocks[0].norm1.eps == encoder.blocks[11].norm2.eps == 1e-5
    assert [block.window for block in encoder.blocks] == [14, 14, None] * 4


def test_the_segmentation_encoder_has_the_published_names_and_shapes():
    expected = {'cls_token': (1, 1, 768), 'pos_embed': (1, 2305, 768), **PATCH_SHAPES}
    own = {
        'gamma_1': (768,),
        'gamma_2': (768,),
        'attn.relative_position_bias_table': (95 * 95 + 3, 12),
    }
    for block in range(12):
        for name, shape in (block_shapes(768) | own).items():
            expected[f'blocks.{block}.{name}'] = shape
    encoder = beit_base()
    assert shapes_of(encoder) == expected  # the rows of the tables are recomputed, not stored
    assert encoder.blocks[0].norm1.eps == 1e-6
    assert encoder.taps == (3, 5, 7, 11)
    assert (encoder.blocks[0].gamma_1 == 1.0).all()


def slow_decomposed(grid, weights, name):
    h, w, d = grid.shape
    rows = offset_rows(weights[f'{name}.rel_pos_h'], h)
    columns = offset_rows(weights[f'{name}.rel_pos_w'], w)

    def bias(_, q):
        on_y = torch.einsum('ic,ijc->ij', q, rows.repeat_interleave(w, 0).repeat_interleave(w, 1))
        on_x = torch.einsum('ic,ijc->ij', q, columns.repeat(h, h, 1))
        return on_y + on_x

    flat = attention(grid.reshape(h * w, d), weights, name, heads=HEADS, bias=bias)
    return flat.reshape(h, w, d)


def slow_windowed(grid, weights, name, *, window):
    h, w, _ = grid.shape
    padded = functional.pad(grid, (0, 0, 0, -w % window, 0, -h % window))
    out = torch.zeros_like(padded)
    for y in range(0, padded.shape[0], window):
        for x in range(0, padded.shape[1], window):
            place = (slice(y, y + window), slice(x, x + window))
            out[place] = slow_decomposed(padded[place], weights, name)
    return out[:h, :w]


@torch.no_grad()
@pytest.mark.parametrize('size_hw', [(16, 16), (20, 12), (12, 28)])
def test_the_detection_encoder_equals_a_slow_one(size_hw):
    encoder = windowed()
    image = images(*size_hw)
    weights = double(encoder)
    grid = patches(image[0], weights, 'patch_embed.proj', patch=PATCH)
    h, w, _ = grid.shape
    grid = grid + bicubic(weights['pos_embed'][0, 1:].reshape(5, 5, DIM), h, w)
    for block in range(3):
        name = f'blocks.{block}'
        normed = layer_norm(grid, weights, f'{name}.norm1', eps=1e-5)
        if block == 1:
            grid = grid + slow_decomposed(normed, weights, f'{name}.attn')
        else:
            grid = grid + slow_windowed(normed, weights, f'{name}.attn', window=3)
        normed = layer_norm(grid, weights, f'{name}.norm2', eps=1e-5)
        grid = grid + mlp(normed, weights, f'{name}.mlp')
    actual = encoder.features(image)[0][0].double()
    torch.testing.assert_close(actual, grid.permute(2, 0, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_segmentation_encoder_equals_a_slow_one():
    encoder = biased()
    image = images(8, 12)
    weights = double(encoder)
    grid = patches(image[0], weights, 'patch_embed.proj', patch=PATCH).reshape(6, DIM)
    tokens = torch.cat([weights['cls_token'][0], grid]) + weights['pos_embed'][0]
    expected = []
    for block in range(3):
        name = f'blocks.{block}'
        table = weights[f'{name}.attn.relative_position_bias_table']
        biases = bias_of_offsets(table, 2, 3)
        normed = layer_norm(tokens, weights, f'{name}.norm1', eps=1e-6)
        attended = attention(
            normed,
            weights,
            f'{name}.attn',
            heads=HEADS,
            bias=lambda head, _, biases=biases: biases[head],
        )
        tokens = tokens + weights[f'{name}.gamma_1'] * attended
        normed = layer_norm(tokens, weights, f'{name}.norm2', eps=1e-6)
        tokens = tokens + weights[f'{name}.gamma_2'] * mlp(normed, weights, f'{name}.mlp')
        if block in (0, 2):
            expected.append(tokens[1:].reshape(2, 3, DIM).permute(2, 0, 1))
    for ours, slow in zip(encoder.features(image), expected, strict=True):
        torch.testing.assert_close(ours[0].double(), slow, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('build', [windowed, biased])
def test_both_modalities_go_through_the_same_weights(build, monkeypatch):
    encoder = build()
    rgb, thermal = images(8, 12, batch=2), images(8, 12, batch=2, seed=1)
    stacked = encoder(rgb, thermal)
    monkeypatch.setattr(encoder, 'use_stacked_batch', False)
    for pair, apart in zip(stacked, encoder(rgb, thermal), strict=True):
        torch.testing.assert_close(pair, apart, atol=1e-6, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('build', [windowed, biased])
def test_mixed_precision_keeps_the_residual_stream_in_float32(build):
    encoder, image = build(), images(8, 12)
    expected = encoder.features(image)[-1]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = encoder.features(image)[-1]
    assert mixed.dtype == torch.float32
    assert (mixed - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize('build', [windowed, biased])
def test_checkpointing_and_drop_path_train(build):
    encoder = build(drop_path=0.5).train()
    assert [block.drop_path.drop_prob for block in encoder.blocks] == [0.0, 0.25, 0.5]
    encoder.use_checkpointing = True
    torch.manual_seed(0)
    levels = encoder(images(8, 12, batch=4), images(8, 12, batch=4, seed=1))
    sum(features.square().mean() for pair in levels for features in pair).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_a_detection_image_is_a_multiple_of_the_patch():
    with pytest.raises(EncoderError, match='multiples of 4; resize or pad it first'):
        windowed().features(images(8, 10))


def test_a_segmentation_image_has_one_size():
    with pytest.raises(EncoderError, match=r'expected \(b, 3, 8, 12\), for the bias tables fix'):
        biased().features(images(12, 8))


def test_global_blocks_exist():
    with pytest.raises(EncoderError, match='expected ascending block numbers from 0 to 2'):
        WindowedViT(config(), window=3, global_blocks=(3,))
