# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from copy import deepcopy
import math

from made_pretraining import made_batch, SIZE, small_autoencoder, train_steps
import pytest
from safetensors.torch import load, save
import timm
import torch
from torch import nn
import torch.nn.functional as F

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.mae import (
    draw_reconstruction,
    MaeConfig,
    masked_error,
    normalise_patches,
)
from rgbt_models.pretrain.mae_decoder import CrossBlock, DecoderSizes, DualDecoder
from rgbt_models.pretrain.patches import (
    cut_patches,
    join_patches,
    select_masked,
    sincos_grid,
    TimmTokenEncoder,
)


def test_patches_are_row_major_with_channels_fastest():
    image = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    patches = cut_patches(image, 2)
    assert patches.shape == (2, 6, 12)
    # Second patch of the first row: rows 0..1, columns 2..3.
    expected = [image[0, c, y, x].item() for y in (0, 1) for x in (2, 3) for c in range(3)]
    assert patches[0, 1].tolist() == expected
    assert torch.equal(join_patches(patches, grid_hw=(2, 3), patch_size=2), image)


def test_positions_encode_y_in_the_first_half_and_x_in_the_second():
    positions = sincos_grid(2, 3, 8)
    assert positions.shape == (1, 6, 8)
    y, x = 1.0, 2.0  # the last patch; frequencies 1 and 1/100
    halves = [[f(v), f(v / 100)] for v in (y, x) for f in (math.sin, math.cos)]
    expected = [value for half in halves for value in half]
    assert positions[0, 5].tolist() == pytest.approx(expected, abs=1e-6)


def test_targets_have_mean_0_and_variance_1_per_patch():
    patches = normalise_patches(torch.randn(2, 3, 48) * 7 + 3)
    torch.testing.assert_close(patches.mean(-1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.var(-1), torch.ones(2, 3), atol=1e-4, rtol=0)
    assert torch.isfinite(normalise_patches(torch.full((1, 1, 48), 5.0))).all()


def test_the_error_counts_masked_patches_only():
    predicted, target = torch.zeros(1, 3, 2), torch.tensor([[[1.0, 3.0], [9.0, 9.0], [2.0, 0.0]]])
    masked = select_masked(torch.tensor([[1]]), 3)
    assert masked.tolist() == [[True, False, True]]
    # Errors 5 and 2 of the two masked patches.
    assert masked_error(predicted, target, masked).item() == pytest.approx(3.5)


def test_cross_block_equals_the_formula_written_out():
    torch.manual_seed(3)
    block = CrossBlock(dim=12, num_heads=3)
    nn.init.normal_(block.attn.q_bias)
    nn.init.normal_(block.attn.v_bias)
    x, other = torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    attn = block.attn
    query, memory = (
        F.layer_norm(t, (12,), block.ln1.weight, block.ln1.bias, 1e-6) for t in (x, other)
    )
    heads = []
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        q = query @ attn.q.weight[part].T + attn.q_bias[part]
        k = memory @ attn.k.weight[part].T
        v = memory @ attn.v.weight[part].T + attn.v_bias[part]
        weights = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(4), dim=-1)
        heads.append(weights @ v)
    crossed = x + torch.cat(heads, dim=-1) @ attn.proj.weight.T + attn.proj.bias
    expected = crossed + block.ffn(block.ln2(crossed))
    torch.testing.assert_close(block(x, other), expected, atol=1e-5, rtol=1e-5)


def small_decoder() -> DualDecoder:
    torch.manual_seed(4)
    sizes = DecoderSizes(
        encoder_dim=10,
        dim=8,
        depth=1,
        num_heads=2,
        grid_hw=(2, 2),
        num_prefix_tokens=1,
        patch_values=6,
    )
    return DualDecoder(sizes)


def test_unshuffle_puts_tokens_in_place_and_mask_tokens_elsewhere():
    branch = small_decoder().rgb
    encoded = torch.randn(1, 3, 10)  # class token and two patches
    full = branch.unshuffle(encoded, torch.tensor([[3, 1]])) - branch.positions
    embedded = branch.embed(encoded)[0]
    torch.testing.assert_close(full[0, 0], embedded[0])
    torch.testing.assert_close(full[0, 1 + 3], embedded[1])
    torch.testing.assert_close(full[0, 1 + 1], embedded[2])
    for hidden in (0, 2):
        torch.testing.assert_close(full[0, 1 + hidden], branch.mask_token[0, 0])


def test_both_branches_cross_the_tokens_from_before_either():
    decoder = small_decoder()
    rgb, thermal = torch.randn(1, 3, 10), torch.randn(1, 2, 10)
    seen = torch.tensor([[0, 2]]), torch.tensor([[3]])
    first, second = (
        decoder.rgb.unshuffle(rgb, seen[0]),
        decoder.thermal.unshuffle(thermal, seen[1]),
    )
    expected = [
        branch.predict(decoder.norm(branch.blocks(branch.cross(own, other))))[:, 1:]
        for branch, own, other in (
            (decoder.rgb, first, second),
            (decoder.thermal, second, first),
        )
    ]
    found = decoder(rgb, thermal, *seen)
    assert found[0].shape == (1, 4, 6)
    torch.testing.assert_close(found, tuple(expected))


def test_the_decoder_has_the_published_number_of_tensors():
    # 290 tensors of a published checkpoint, 150 of them the encoder's; the positions count.
    sizes = DecoderSizes(
        encoder_dim=768,
        dim=512,
        depth=4,
        num_heads=16,
        grid_hw=(14, 14),
        num_prefix_tokens=1,
        patch_values=768,
    )
    with torch.device('meta'):
        decoder = DualDecoder(sizes)
    state = decoder.state_dict()
    assert len(state) == 140
    # 119,100,672 values less the 85,798,656 of the encoder
    assert sum(tensor.numel() for tensor in state.values()) == 33_302_016


def test_an_encoder_that_sees_every_patch_equals_timm():
    torch.manual_seed(5)
    encoder = TimmTokenEncoder('vit_tiny_patch16_224', image_size=SIZE).eval()
    image = torch.randn(2, 3, SIZE, SIZE)
    tokens = encoder.encode_tokens(encoder.embed(image))
    torch.testing.assert_close(tokens, encoder.model.forward_features(image))
    assert tokens.shape == (2, 1 + 16, 192)
    assert not encoder.model.pos_embed.requires_grad


@pytest.mark.parametrize(
    'name', ['vit_tiny_patch16_224', 'vit_small_patch14_reg4_dinov2', 'vit_base_patch16_clip_224']
)
def test_class_and_register_tokens_are_where_timm_has_them(name):
    size = 56 if 'patch14' in name else 64
    with torch.no_grad():
        encoder = TimmTokenEncoder(name, image_size=size).eval()
        image = torch.randn(1, 3, size, size)
        tokens = encoder.encode_tokens(encoder.embed(image))
        torch.testing.assert_close(tokens, encoder.model.forward_features(image))
    assert tokens.shape[1] == encoder.num_prefix_tokens + (size // encoder.patch_size) ** 2


@pytest.mark.parametrize(
    ('name', 'size', 'message'),
    [
        ('vit_imaginary', 64, "timm has no model 'vit_imaginary'; expected a ViT"),
        ('vit_tiny_patch16_224', 65, 'image size 65 is not a multiple of the patch 16; choose 64'),
        ('vit_small_patch16_dinov3', 64, 'has no absolute position embedding'),
    ],
)
def test_encoders_that_cannot_be_used_are_refused(name, size, message):
    with pytest.raises(PretrainError, match=message):
        TimmTokenEncoder(name, image_size=size)


def test_decoder_width_must_divide_into_heads():
    with pytest.raises(PretrainError, match='decoder_dim is 30 with 4 heads; expected a multiple'):
        MaeConfig(decoder_dim=30, decoder_heads=4)


def test_every_trained_parameter_gets_a_gradient():
    model = small_autoencoder()
    losses = model(made_batch(0), 0)
    assert set(losses) == {'rgb', 'thermal'}
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize('method', ['gmm_cmss', 'random'])
def test_the_loss_falls_on_a_repeated_batch(method):
    model = small_autoencoder(method=method)
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    sums = []
    for step in range(25):
        losses = torch.stack(list(model(made_batch(0), step).values())).sum()
        optimiser.zero_grad()
        losses.backward()
        optimiser.step()
        sums.append(losses.item())
    assert sum(sums[-5:]) < 0.85 * sum(sums[:5])


def test_a_resumed_run_has_the_losses_of_the_uninterrupted_one():
    model = small_autoencoder()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    train_steps(model, optimiser, 0, 4)
    weights = save({name: t.contiguous() for name, t in model.state_dict().items()})
    moments = deepcopy(optimiser.state_dict())
    expected = train_steps(model, optimiser, 4, 10)

    resumed = small_autoencoder(seed=1)
    resumed.load_state_dict(load(weights), strict=True)
    fresh = torch.optim.AdamW(resumed.parameters(), 1e-3)
    fresh.load_state_dict(moments)
    assert train_steps(resumed, fresh, 4, 10) == expected


def test_the_encoder_state_loads_into_timm():
    state = small_autoencoder().encoder_state()
    plain = timm.create_model('vit_tiny_patch16_224', num_classes=0, img_size=SIZE)
    plain.load_state_dict(state, strict=True)


def test_a_perfect_prediction_draws_the_input_and_visible_patches_stay():
    image = torch.randn(1, 3, 4, 6)
    perfect = normalise_patches(cut_patches(image, 2))
    visible = torch.tensor([[0, 5]])
    drawn = draw_reconstruction(image, perfect, visible, patch_size=2)
    torch.testing.assert_close(drawn, image, atol=1e-4, rtol=1e-4)
    drawn = draw_reconstruction(image, torch.zeros_like(perfect), visible, patch_size=2)
    assert torch.equal(drawn[..., :2, :2], image[..., :2, :2])
    flat = image[..., :2, 2:4].mean()
    torch.testing.assert_close(drawn[..., :2, 2:4], flat.expand(1, 3, 2, 2))
