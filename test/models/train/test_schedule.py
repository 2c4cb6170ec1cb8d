# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_models import small_model
import pytest
import torch
from torch import nn

from rgbt_models.build import create_model
from rgbt_models.train.schedule import (
    decay_factor,
    layer_of,
    parameter_groups,
    rate_factor,
    set_rates,
)


@pytest.mark.parametrize(
    ('schedule', 'progress', 'expected'),
    [
        ('constant', 0.0, 1.0),
        ('constant', 1.0, 1.0),
        ('poly', 0.0, 1.0),
        ('poly', 0.75, 0.1 + 0.9 * 0.25**0.9),
        ('poly', 1.0, 0.1),
        ('cosine', 0.5, 0.1 + 0.9 * 0.5),
        ('cosine', 2.0, 0.1),
    ],
)
def test_schedules_at_their_points(schedule, progress, expected):
    factor = rate_factor(500, progress, 0, schedule=schedule, final_rate=0.1)
    assert factor == pytest.approx(expected)


@pytest.mark.parametrize('schedule', ['constant', 'poly', 'cosine'])
def test_every_schedule_warms_up(schedule):
    assert rate_factor(24, 0.0, 100, schedule=schedule) == pytest.approx(0.25)


def test_weight_decay_grows_along_a_cosine():
    values = [decay_factor(progress, 10.0) for progress in (0.0, 0.5, 1.0, 3.0)]
    assert values == pytest.approx([1.0, 5.5, 10.0, 10.0])
    assert decay_factor(0.7, 1.0) == 1.0


@pytest.mark.parametrize(
    ('name', 'layer'),
    [
        ('encoder.rgb_stem.stride_4.0.0.weight', 0),
        ('encoder.thermal_embedding', 0),
        ('encoder.vit.patch_embed.proj.weight', 0),
        ('encoder.vit.patch_embed.norm.weight', 0),
        ('encoder.vit.pos_embed', 0),
        ('encoder.blocks.0.attn.qkv.weight', 1),
        ('encoder.vit.blocks.11.norm1.weight', 12),
        ('encoder.layers.3.ln1.bias', 4),
        ('encoder.norm.weight', 13),
        ('encoder.vit.norm.bias', 13),
        ('neck.fusions.0.rgb_weight.weight', 13),
        ('detection.blocks.0.weight', 13),
    ],
)
def test_layers_by_name(name, layer):
    assert layer_of(name, 12) == layer


def test_layer_decay_of_tiny_and_of_a_vit():
    for name, depth in (('tiny', 6), ('encoder: vit_tiny_patch16_224', 12)):
        model = create_model(name, num_detection_classes=3, num_segmentation_classes=8)
        groups = parameter_groups(model, 0.07, layer_decay=0.5)
        scale_of = {id(p): group['rate_scale'] for group in groups for p in group['params']}
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        assert len(scale_of) == len(trained)
        for parameter_name, parameter in trained:
            expected = 0.5 ** (depth + 1 - layer_of(parameter_name, depth))
            assert scale_of[id(parameter)] == pytest.approx(expected)
        assert min(scale_of.values()) == pytest.approx(0.5 ** (depth + 1))
        assert len({round(scale, 9) for scale in scale_of.values()}) == depth + 2


def test_position_and_class_tokens_do_not_decay():
    model = create_model(
        'encoder: vit_tiny_patch16_224', num_detection_classes=3, num_segmentation_classes=8
    )
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, 0.07)
    assert len(groups) == 2
    plain = {names[id(p)] for p in groups[1]['params']}
    assert {'encoder.vit.pos_embed', 'encoder.vit.cls_token'} <= plain
    assert [group['weight_decay'] for group in groups] == [0.07, 0.0]


def test_frozen_parameters_are_left_out():
    model = small_model()
    model.segmentation.requires_grad_(requires_grad=False)
    frozen = {id(p) for p in model.segmentation.parameters()}
    given = {id(p) for group in parameter_groups(model, 0.1) for p in group['params']}
    assert given
    assert not given & frozen


def test_rates_and_decays_are_set_from_their_starts():
    module = nn.ModuleDict(
        {'encoder': nn.ModuleDict({'blocks': nn.ModuleList([nn.Linear(2, 2)])})}
    )
    module['head'] = nn.Linear(2, 2)
    groups = parameter_groups(module, 0.2, layer_decay=0.5)
    optimiser = torch.optim.AdamW(groups, lr=1.0)
    for _ in range(2):  # the second time starts from the same values
        set_rates(optimiser, learning_rate=0.01, decay=3.0)
    found = sorted((g['lr'], g['weight_decay']) for g in optimiser.param_groups)
    wanted = [(0.005, 0.0), (0.005, 0.6), (0.01, 0.0), (0.01, 0.6)]
    assert found == [pytest.approx(pair) for pair in wanted]
