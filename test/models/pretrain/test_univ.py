# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import math

from made_vits import small_images, small_vit
import pytest
import torch

from rgbt_models.adapter_file import LoraSettings
from rgbt_models.adapters import add_adapter, load_adapter
from rgbt_models.errors import AdapterError
from rgbt_models.pretrain.pccl import attention_labels, PcclConfig, similarity_logits
from rgbt_models.pretrain.task import PretrainBatch
from rgbt_models.pretrain.teacher import encode_siamese_tokens
from rgbt_models.pretrain.univ import UnivStudent, UnivTask
from rgbt_models.vit import ViTEncoder

LORA = LoraSettings(rank=4, alpha=16, dropout=0.0)


def made_batch():
    """RGB images of blocks, and thermal ones with another, inverted contrast: aligned."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(4, 1, 4, 4, generator=generator)
    blocks = torch.nn.functional.interpolate(coarse, scale_factor=8)
    colour = torch.randn(4, 3, 1, 1, generator=generator)
    rgb = blocks * colour + 0.1 * torch.randn(4, 3, 32, 32, generator=generator)
    thermal = (1.5 - blocks.abs()).expand(4, 3, 32, 32)
    return PretrainBatch(rgb=rgb, thermal=thermal)


def made_encoder():
    """A small ViT whose tokens differ from patch to patch, as those of a trained one do."""
    encoder = small_vit(seed=7)
    with torch.no_grad():
        encoder.pos_embed *= 8
    return encoder


def label_entropy(task, batch):
    """Loss of a student that knows how many pairs are positive, and nothing else."""
    view = task.teacher(batch.rgb)
    labels = attention_labels(view.attention, num_prefix_tokens=view.num_prefix_tokens)
    share = labels.float().mean().item()
    return -share * math.log(share) - (1 - share) * math.log(1 - share)


def separation(task, batch):
    """Mean thermal-to-teacher similarity (M_IVS) of positive minus that of negative pairs."""
    view = task.teacher(batch.rgb)
    labels = attention_labels(view.attention, num_prefix_tokens=view.num_prefix_tokens)
    with torch.no_grad():
        _, thermal_tokens = task.student(batch.rgb, batch.thermal)
    logits = similarity_logits(thermal_tokens, view.patch_tokens)
    return (logits[labels].mean() - logits[~labels].mean()).item()


def train(task, batch, *, steps=40):
    optimiser = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=5e-3)
    curve = []
    for index in range(steps):
        losses = task(batch, index)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
        curve.append({name: value.item() for name, value in losses.items()})
    return curve


@pytest.mark.parametrize(
    ('lora', 'adapt_rgb'),
    [(None, True), (LORA, True), (LORA, False)],
    ids=['whole', 'lora', 'apart'],
)
def test_training_makes_thermal_tokens_alike_where_the_teacher_says(lora, adapt_rgb):
    batch = made_batch()
    task = UnivTask(made_encoder(), lora=lora, adapt_rgb=adapt_rgb)
    teacher = {name: value.clone() for name, value in task.teacher.state_dict().items()}
    before = separation(task, batch)
    curve = train(task, batch)
    assert list(curve[0]) == ['pccl_thermal', 'pccl_rgb']
    assert curve[-1]['pccl_thermal'] < 0.9 * label_entropy(task, batch)
    assert curve[0]['pccl_thermal'] > 2.0
    assert separation(task, batch) > before + 1.0
    assert all(torch.equal(task.teacher.state_dict()[n], value) for n, value in teacher.items())


def test_gradients_reach_the_adapter_and_nothing_else():
    task = UnivTask(small_vit(), lora=LORA)
    for parameter in task.adapter.parameters():  # B is zero at first, which stops those of A
        torch.nn.init.normal_(parameter, std=0.1)
    sum(task(made_batch(), 0).values()).backward()
    with_gradient = {name for name, p in task.named_parameters() if p.grad is not None}
    assert len(with_gradient) == 16
    assert all('.lora_' in name for name in with_gradient)


def test_apart_rgb_is_the_base_to_the_last_bit_also_after_training():
    batch, base = made_batch(), small_vit(seed=7)
    task = UnivTask(small_vit(seed=7), lora=LoraSettings(dropout=0.1), adapt_rgb=False).train()
    curve = train(task, batch, steps=5)
    assert len({item['pccl_rgb'] for item in curve}) == 1
    rgb_tokens, thermal_tokens = task.student(batch.rgb, batch.thermal)
    assert torch.equal(rgb_tokens, base.forward_features(batch.rgb)[:, 1:])
    assert not rgb_tokens.requires_grad
    assert thermal_tokens.requires_grad


def test_one_pass_for_both_modalities_equals_two():
    encoder, batch = small_vit(), made_batch()
    rgb_tokens, thermal_tokens = UnivStudent(encoder)(batch.rgb, batch.thermal)
    torch.testing.assert_close(rgb_tokens, encoder.forward_features(batch.rgb)[:, 1:])
    torch.testing.assert_close(thermal_tokens, encoder.forward_features(batch.thermal)[:, 1:])


def test_the_encoder_state_fits_a_plain_encoder_and_is_the_student():
    batch = made_batch()
    task = UnivTask(small_vit(), lora=LORA)
    train(task, batch, steps=2)
    plain = small_vit(seed=8)
    plain.load_state_dict(task.encoder_state())
    with torch.no_grad():
        _, thermal_tokens = task.student(batch.rgb, batch.thermal)
    torch.testing.assert_close(
        plain.forward_features(batch.thermal)[:, 1:], thermal_tokens, rtol=1e-4, atol=1e-4
    )


def test_the_encoder_state_of_whole_training_has_the_names_of_the_encoder():
    task = UnivTask(small_vit())
    assert list(task.encoder_state()) == list(small_vit().state_dict())


def test_a_saved_adapter_serves_the_base_it_was_trained_on(tmp_path):
    task = UnivTask(small_vit(), lora=LORA, adapt_rgb=False)
    train(task, made_batch(), steps=2)
    task.save_adapter(tmp_path / 'thermal.safetensors')
    encoder = small_vit()
    load_adapter(encoder, tmp_path / 'thermal.safetensors')
    with torch.no_grad():
        _, thermal_tokens = task.student(made_batch().rgb, made_batch().thermal)
        assert torch.equal(encoder.forward_features(made_batch().thermal)[:, 1:], thermal_tokens)


def test_whole_training_has_no_adapter_to_save(tmp_path):
    with pytest.raises(AdapterError, match='whole encoder trains, there is no adapter to save'):
        UnivTask(small_vit()).save_adapter(tmp_path / 'a')


def test_a_task_resumes_from_its_state():
    batch, first = made_batch(), UnivTask(small_vit(seed=1), lora=LORA)
    train(first, batch, steps=2)
    second = UnivTask(small_vit(seed=2), lora=LORA)
    second.load_state_dict(first.state_dict())
    assert first(batch, 2)['pccl_thermal'].item() == second(batch, 2)['pccl_thermal'].item()


def test_settings_of_the_losses_reach_the_step():
    batch = made_batch()
    one = UnivTask(small_vit())(batch, 0)
    two = UnivTask(small_vit(), config=PcclConfig(rgb_weight=2.0))(batch, 0)
    assert two['pccl_rgb'].item() == pytest.approx(2 * one['pccl_rgb'].item())


def test_an_encoder_of_another_kind_is_read_through_encode():
    calls = []

    def encode(encoder, image):
        calls.append(len(image))
        return encoder.forward_features(image * 2)

    task = UnivTask(small_vit(), encode=encode)
    batch = made_batch()
    task(batch, 0)
    assert calls == [4, 8]  # the teacher sees RGB, the student both
    doubled = PretrainBatch(rgb=batch.rgb * 2, thermal=batch.thermal * 2)
    assert task(batch, 0)['pccl_thermal'].item() == pytest.approx(
        UnivTask(small_vit())(doubled, 0)['pccl_thermal'].item()
    )


def test_the_shared_encoder_of_the_models_is_a_student_and_a_teacher():
    torch.manual_seed(0)
    encoder = ViTEncoder('vit_tiny_patch16_224').eval()
    batch = PretrainBatch(rgb=small_images(size=64), thermal=small_images(size=64, seed=1))
    expected = encoder.features(batch.rgb)[0].flatten(2).transpose(1, 2)
    task = UnivTask(encoder, lora=LORA, adapt_rgb=False, encode=encode_siamese_tokens)
    assert torch.equal(task.teacher(batch.rgb).patch_tokens, expected)
    rgb_tokens, thermal_tokens = task.student(batch.rgb, batch.thermal)
    assert torch.equal(rgb_tokens, expected)
    assert thermal_tokens.shape == expected.shape == (2, 16, 192)
    task(batch, 0)['pccl_thermal'].backward()


def test_rgb_apart_needs_an_adapter():
    with pytest.raises(AdapterError, match='adapt_rgb is False without an adapter'):
        UnivStudent(small_vit(), adapt_rgb=False)


def test_a_copy_of_a_task_has_its_own_adapter():
    batch, task = made_batch(), UnivTask(small_vit(), lora=LORA, adapt_rgb=False)
    other = copy.deepcopy(task)
    train(task, batch, steps=2)
    assert other.adapter.encoder is other.student.encoder
    assert other.encoder_state()['blocks.0.mlp.fc1.weight'].equal(
        small_vit().state_dict()['blocks.0.mlp.fc1.weight']
    )


def test_larger_images_than_those_of_pretraining_work():
    encoder = small_vit()
    task = UnivTask(encoder, lora=LORA)
    images = small_images(size=48)
    losses = task(PretrainBatch(rgb=images, thermal=images), 0)
    assert all(torch.isfinite(value) for value in losses.values())
    assert add_adapter(small_vit()).layer_names == task.adapter.layer_names
