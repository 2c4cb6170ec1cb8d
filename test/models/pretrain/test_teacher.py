# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_vits import small_images, small_vit
import pytest
import timm
import torch
from torch import nn
import torch.nn.functional as F

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.teacher import (
    attention_weights,
    AttentionProbe,
    count_prefix_tokens,
    FrozenTeacher,
    last_attention,
)


def attention_by_hand(encoder, image):
    """The last block's attention, its matrix products written out (no fused attention)."""
    block = encoder.blocks[-1]
    tokens = {}
    hook = block.norm1.register_forward_hook(lambda *a: tokens.update(x=a[2].detach()))
    encoder.forward_features(image)
    hook.remove()
    x, heads = tokens['x'], block.attn.num_heads
    b, n, d = x.shape
    weights = torch.zeros(b, heads, n, n)
    q, k, _ = F.linear(x, block.attn.qkv.weight, block.attn.qkv.bias).detach().split(d, dim=-1)
    width = d // heads
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(n):
            for j in range(n):
                weights[:, head, i, j] = (q[:, i, part] * k[:, j, part]).sum(-1) / width**0.5
    return weights.exp() / weights.exp().sum(-1, keepdim=True)


@pytest.mark.parametrize('changes', [{}, {'class_token': False}, {'reg_tokens': 4}])
def test_the_teacher_shows_the_attention_of_its_last_block(changes):
    encoder, image = small_vit(**changes), small_images()
    view = FrozenTeacher(encoder)(image)
    prefix = {(): 1, ('class_token',): 0, ('reg_tokens',): 5}[tuple(changes)]
    assert view.num_prefix_tokens == count_prefix_tokens(encoder) == prefix
    assert view.attention.shape == (2, 4, 16 + prefix, 16 + prefix)
    torch.testing.assert_close(view.attention, attention_by_hand(encoder, image))
    assert torch.equal(view.patch_tokens, encoder.forward_features(image)[:, prefix:])


def test_weights_times_values_are_what_the_attention_returns_with_rotary_positions():
    torch.manual_seed(0)
    encoder = timm.create_model(
        'vit_small_patch16_dinov3', num_classes=0, embed_dim=48, depth=2, num_heads=2, img_size=32
    ).eval()
    seen = {}
    attention = last_attention(encoder)
    attention.proj.register_forward_pre_hook(lambda module, args: seen.update(out=args[0]))
    attention.register_forward_pre_hook(lambda module, args: seen.update(x=args[0]))
    view = FrozenTeacher(encoder)(small_images())  # a copy, hooks and all
    with torch.no_grad():
        encoder.forward_features(small_images())
        value = attention.qkv(seen['x']).unflatten(-1, (3, 2, 24))[:, :, 2].transpose(1, 2)
        expected = (view.attention @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(seen['out'], expected, rtol=1e-4, atol=1e-5)


def test_attention_weights_of_literals():
    query = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    key = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    e = torch.tensor([1.0, 0.0, 0.0, 2.0]).div(2**0.5).exp()
    expected = torch.stack([e[:2] / e[:2].sum(), e[2:] / e[2:].sum()])
    torch.testing.assert_close(attention_weights(query, key), expected)
    may = torch.tensor([[True, False], [True, True]])
    torch.testing.assert_close(
        attention_weights(query, key, mask=may, scale=0.0), torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    )
    added = torch.tensor([[0.0, 3.0], [0.0, 0.0]]).log1p()
    torch.testing.assert_close(
        attention_weights(query, key, mask=added, scale=0.0),
        torch.tensor([[0.2, 0.8], [0.5, 0.5]]),
    )


class MaskedAttention(nn.Module):
    def forward(self, x):
        bias = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
        return F.scaled_dot_product_attention(x, x, x, bias, scale=0.0)


def test_a_mask_given_by_position_and_a_scale_given_by_name_are_seen():
    module = MaskedAttention()
    probe = AttentionProbe(module)
    with probe:
        out = module(torch.eye(2)[None, None])
    torch.testing.assert_close(out, probe.weights @ torch.eye(2))


def test_a_probe_sees_its_own_module_only_and_leaves_no_trace():
    encoder = small_vit()
    probe = AttentionProbe(encoder.blocks[0].attn)
    for _ in range(2):  # the second pass replaces the first
        with probe:
            encoder.forward_features(small_images())
    first = probe.weights
    encoder.forward_features(small_images(seed=5))
    assert probe.weights is first
    assert not encoder.blocks[0].attn._forward_pre_hooks
    assert not encoder.blocks[0].attn._forward_hooks


def test_an_error_inside_ends_the_watch():
    encoder = small_vit()
    probe = AttentionProbe(last_attention(encoder))
    with pytest.raises(RuntimeError), probe:
        encoder.forward_features(torch.zeros(1, 7, 32, 32))
    assert not last_attention(encoder)._forward_hooks
    encoder.forward_features(small_images())
    with pytest.raises(PretrainError, match='scaled_dot_product_attention 0 times; expected once'):
        _ = probe.weights


def test_attention_that_is_not_fused_is_said():
    encoder = small_vit()
    encoder.blocks[-1].attn.fused_attn = False
    with pytest.raises(PretrainError, match=r'0 times; .*set_fused_attn\(True\)'):
        FrozenTeacher(encoder)(small_images())


def test_the_teacher_is_a_frozen_copy_that_stays_in_evaluation_mode():
    encoder = small_vit(proj_drop_rate=0.5).train()
    teacher = FrozenTeacher(encoder)
    nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert encoder.training
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    before = teacher(small_images()).patch_tokens
    assert not before.requires_grad
    with torch.no_grad():
        encoder.norm.weight.zero_()
    assert torch.equal(teacher(small_images()).patch_tokens, before)


def test_tokens_of_the_teacher_may_take_part_in_a_graph():
    view = FrozenTeacher(small_vit())(small_images())
    scale = torch.ones(1, requires_grad=True)
    (view.patch_tokens * scale).sum().backward()
    assert scale.grad is not None


def test_an_encoder_without_attention_is_refused():
    with pytest.raises(PretrainError, match=r"Linear has no attention at 'blocks\[-1\]\.attn'"):
        FrozenTeacher(nn.Linear(2, 2))
