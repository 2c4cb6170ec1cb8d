# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

from made_vits import small_images, small_vit, trained_adapter
import pytest
import timm
import torch
from torch import nn

from rgbt_models.adapter_file import LoraSettings
from rgbt_models.adapters import add_adapter, ThermalAdapted
from rgbt_models.build import vit_model
from rgbt_models.errors import AdapterDependencyError, AdapterError

TWO_BLOCKS = tuple(
    f'blocks.{block}.{name}'
    for block in (0, 1)
    for name in ('attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2')
)


def state_of(encoder: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def test_the_defaults_are_those_of_univ():
    assert LoraSettings() == LoraSettings(
        rank=8, alpha=32, dropout=0.1, layers=('qkv', 'proj', 'fc1', 'fc2')
    )


def test_only_linear_layers_of_the_names_are_adapted_and_not_the_patch_embedding():
    encoder = small_vit()
    adapter = add_adapter(encoder)
    assert adapter.layer_names == TWO_BLOCKS
    assert isinstance(encoder.patch_embed.proj, nn.Conv2d)


def test_a_longer_name_chooses_among_equal_ones():
    adapter = add_adapter(small_vit(), LoraSettings(layers=('attn.proj', 'blocks.1.mlp.fc1')))
    assert adapter.layer_names == ('blocks.0.attn.proj', 'blocks.1.attn.proj', 'blocks.1.mlp.fc1')


def test_only_the_adapter_trains():
    encoder = small_vit()
    adapter = add_adapter(encoder)
    trains = {id(p) for p in encoder.parameters() if p.requires_grad}
    assert trains == {id(p) for p in adapter.parameters()}
    assert len(trains) == 16


@pytest.mark.parametrize('training', [True, False])
def test_adding_keeps_the_mode_of_the_encoder(training):
    encoder = small_vit().train(training)
    add_adapter(encoder)
    assert encoder.training == encoder.blocks[0].attn.qkv.training == training


def test_a_new_adapter_changes_nothing():
    encoder, image = small_vit(), small_images()
    before = encoder.forward_features(image)
    add_adapter(encoder)
    torch.testing.assert_close(encoder.forward_features(image), before, rtol=0, atol=0)


def test_an_adapted_layer_adds_b_a_x_times_alpha_over_rank():
    encoder = small_vit()
    base = encoder.blocks[0].mlp.fc1
    adapter = trained_adapter(encoder, LoraSettings(rank=2, alpha=6, dropout=0.0, layers=('fc1',)))
    state = adapter.state()
    a, b = state['blocks.0.mlp.fc1.lora_a'], state['blocks.0.mlp.fc1.lora_b']
    assert a.shape == (2, 32)
    assert b.shape == (128, 2)
    x = torch.linspace(-1, 1, 32)
    expected = base(x) + 3.0 * (b @ (a @ x))
    torch.testing.assert_close(encoder.blocks[0].mlp.fc1(x), expected)


def test_the_share_of_a_vit_b_is_1_2_to_1_5_percent():
    with torch.device('meta'):
        encoder = timm.create_model('vit_base_patch16_224', num_classes=0)
    adapter = add_adapter(encoder)
    assert sum(p.numel() for p in adapter.parameters()) == 12 * 8 * (3072 + 1536 + 3840 + 3840)
    assert adapter.parameter_share == pytest.approx(1_179_648 / 85_798_656)
    assert 0.012 < adapter.parameter_share < 0.015


@pytest.mark.parametrize('training', [True, False])
def test_off_is_the_base_to_the_last_bit_and_on_is_not(training):
    base, encoder = small_vit(seed=1).train(training), small_vit(seed=1).train(training)
    image = small_images()
    expected = base.forward_features(image)
    adapter = trained_adapter(encoder, LoraSettings(dropout=0.1))
    with adapter.off():
        assert torch.equal(encoder.forward_features(image), expected)
    assert not torch.allclose(encoder.forward_features(image), expected, atol=1e-2)


def test_off_holds_inside_only_also_when_nested_and_after_an_error():
    encoder, image = small_vit(), small_images()
    adapter = trained_adapter(encoder)
    on = encoder.forward_features(image)
    with adapter.off():
        with adapter.off():
            off = encoder.forward_features(image)
        assert torch.equal(encoder.forward_features(image), off)
    assert torch.equal(encoder.forward_features(image), on)
    with pytest.raises(RuntimeError, match='made'), adapter.off():
        raise RuntimeError('made')
    assert torch.equal(encoder.forward_features(image), on)


def test_off_keeps_what_trains_and_gradients_of_earlier_passes():
    encoder = small_vit()
    adapter = trained_adapter(encoder)
    frozen = adapter.parameters()[0].requires_grad_(False)
    loss = encoder.forward_features(small_images()).square().sum()
    with adapter.off():
        assert not any(p.requires_grad for p in adapter.parameters())
        encoder.forward_features(small_images())
    loss.backward()
    assert not frozen.requires_grad
    assert frozen.grad is None
    assert all(p.grad.abs().sum() > 0 for p in adapter.parameters()[1:])


def test_merged_is_the_adapter_at_no_cost_and_unmerged_the_base_to_the_last_bit():
    encoder, image = small_vit(), small_images()
    before = state_of(encoder)
    adapter = trained_adapter(encoder)
    on = encoder.forward_features(image)
    adapter.merge()
    assert adapter.is_merged
    torch.testing.assert_close(encoder.forward_features(image), on, rtol=1e-4, atol=1e-4)
    weight = encoder.blocks[0].attn.qkv.base_layer.weight
    assert not torch.allclose(weight, before['blocks.0.attn.qkv.weight'], atol=1e-2)
    assert_same(adapter.base_state(), before)
    adapter.unmerge()
    assert not adapter.is_merged
    assert_same(adapter.base_state(), before)
    assert torch.equal(weight, before['blocks.0.attn.qkv.weight'])
    assert torch.equal(encoder.forward_features(image), on)


@pytest.mark.parametrize(
    ('action', 'message'),
    [
        (lambda adapter, path: adapter.merge(), 'merged again'),
        (lambda adapter, path: adapter.off().__enter__(), 'switched off'),
        (lambda adapter, path: adapter.load(path), 'loaded into'),
    ],
)
def test_a_merged_adapter_cannot_be_changed(tmp_path, action, message):
    adapter = trained_adapter(small_vit())
    adapter.merge()
    with pytest.raises(AdapterError, match=f'is merged and cannot be {message}; .* unmerge first'):
        action(adapter, tmp_path / 'a')


def test_unmerge_without_merge_is_refused():
    with pytest.raises(AdapterError, match='is not merged; expected to unmerge after merge'):
        add_adapter(small_vit()).unmerge()


def test_a_broken_update_is_not_merged():
    encoder = small_vit()
    adapter = trained_adapter(encoder)
    with torch.no_grad():
        adapter.parameters()[-1][0, 0] = float('nan')
    before = adapter.base_state()
    with pytest.raises(AdapterError, match=r"layer 'blocks\.1\.mlp\.fc2' is not finite"):
        adapter.merge()
    assert not adapter.is_merged
    assert_same(adapter.base_state(), before)


def test_the_merged_state_fits_a_plain_encoder_and_changes_nothing():
    encoder, plain, image = small_vit(), small_vit(seed=9), small_images()
    names, before = list(encoder.state_dict()), state_of(encoder)
    adapter = trained_adapter(encoder)
    on = encoder.forward_features(image)
    merged = adapter.merged_state()
    assert list(merged) == names
    assert not any(value.requires_grad for value in merged.values())
    assert_same(adapter.base_state(), before)
    plain.load_state_dict(merged)
    torch.testing.assert_close(plain.forward_features(image), on, rtol=1e-4, atol=1e-4)
    adapter.merge()
    assert_same(adapter.merged_state(), merged)


def test_removing_leaves_the_plain_encoder_as_it_was():
    encoder, before = small_vit(), state_of(small_vit())
    encoder.norm.requires_grad_(False)
    adapter = trained_adapter(encoder)
    assert adapter.remove() is encoder
    assert_same(encoder.state_dict(), before)
    assert type(encoder.blocks[0].attn.qkv) is nn.Linear
    trains = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert trains == {name for name, _ in encoder.named_parameters()} - {
        'norm.weight',
        'norm.bias',
    }


def test_removing_a_merged_adapter_keeps_the_update():
    encoder = small_vit()
    adapter = trained_adapter(encoder)
    merged = adapter.merged_state()
    adapter.merge()
    adapter.remove()
    assert_same(encoder.state_dict(), merged)


@pytest.mark.parametrize(
    'changes', [{'rank': 0}, {'alpha': 0}, {'dropout': 1.0}, {'dropout': -0.1}, {'layers': ()}]
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(AdapterError, match=r'LoRA has rank .* correct the settings'):
        LoraSettings(**changes)


def test_a_layer_name_that_fits_nothing_is_refused_before_anything_changes():
    encoder = small_vit()
    with pytest.raises(
        AdapterError, match='called gate, roj; expected names among fc1, fc2, proj'
    ):
        add_adapter(encoder, LoraSettings(layers=('qkv', 'gate', 'roj')))
    assert type(encoder.blocks[0].attn.qkv) is nn.Linear
    assert all(p.requires_grad for p in encoder.parameters())


def test_a_second_adapter_is_refused():
    encoder = small_vit()
    add_adapter(encoder)
    with pytest.raises(AdapterError, match='has an adapter already'):
        add_adapter(encoder)


def test_a_layer_whose_weight_is_used_without_a_call_is_refused():
    encoder = timm.create_model('beit_base_patch16_224', depth=1, embed_dim=24, num_heads=2)
    with pytest.raises(AdapterError, match=r"'blocks\.0\.attn\.qkv' is bypassed"):
        add_adapter(encoder)
    add_adapter(encoder, LoraSettings(layers=('attn.proj', 'fc1', 'fc2')))


def made_model():
    torch.manual_seed(0)
    return vit_model(
        'vit_tiny_patch16_224', num_detection_classes=3, num_segmentation_classes=8
    ).eval()


@torch.no_grad()
def test_a_whole_model_may_adapt_thermal_only():
    base, model = made_model(), made_model()
    adapter = trained_adapter(model.encoder)
    model.encoder = ThermalAdapted(adapter)
    rgb, thermal = small_images(size=64), small_images(size=64, seed=1)
    wanted, found = base.encoder(rgb, thermal), model.encoder(rgb, thermal)
    assert torch.equal(found[0][0], base.encoder.features(rgb)[0])
    assert not torch.allclose(found[0][1], wanted[0][1], atol=1e-2)
    rgb_alone = torch.tensor([[1.0, 0.0]] * 2)
    first, second = (item(rgb, thermal, rgb_alone) for item in (base, model))
    torch.testing.assert_close(second['class_logits'], first['class_logits'])


def test_without_peft_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'peft', None)
    with pytest.raises(AdapterDependencyError, match=r"pip install 'rgbt_perception\[train\]'"):
        add_adapter(small_vit())
