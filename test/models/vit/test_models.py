# SPDX-License-Identifier: Apache-2.0
"""Whole models on transformers: sizes, a training step, and the exported graph."""

from __future__ import annotations

from functools import partial

import onnxruntime
import pytest
from slow_vit import randomise
import torch

from rgbt_models import export
from rgbt_models.build import create_model, RGBTModel
from rgbt_models.card import OUTPUT_NAMES
from rgbt_models.errors import EncoderError
from rgbt_models.export import export_graph
from rgbt_models.vit import TowerConfig, ViTEncoder, WindowedViT

CLASSES = {'num_detection_classes': 3, 'num_segmentation_classes': 8}


def batch(height=32, width=48, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 2, 3, height, width, generator=generator)
    return images[0], images[1], torch.tensor([[1.0, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ('architecture', 'dim', 'depth', 'millions'),
    [
        ('small', 384, 12, 23.3),
        ('base', 768, 12, 88.9),
        ('encoder: vit_tiny_patch16_224', 192, 12, 7.1),
    ],
)
def test_sizes(architecture, dim, depth, millions):
    model = create_model(architecture, **CLASSES)
    assert model.encoder.dim == dim
    assert len(model.encoder.vit.blocks) == depth
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize(
    'architecture',
    ['small', 'encoder: vit_small_patch14_reg4_dinov2', 'encoder:vit_small_patch16_dinov3'],
)
def test_a_training_step_moves_every_parameter_and_lowers_the_loss(architecture):
    torch.manual_seed(0)
    model = create_model(architecture, **CLASSES).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        outputs = model(*batch())
        loss = (
            outputs['class_logits'].square().mean() + outputs['boxes_xyxy'].square().mean() / 256
        )
        loss = loss + outputs['segmentation_logits'].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert not [name for name, p in model.named_parameters() if p.grad is None]


@torch.no_grad()
def test_outputs_are_those_of_the_shipped_model_with_one_share():
    torch.manual_seed(0)
    model = create_model('encoder: vit_tiny_patch16_224', **CLASSES).eval()
    outputs = model(*batch(32, 64))
    assert tuple(outputs) == OUTPUT_NAMES
    assert outputs['segmentation_logits'].shape == (2, 8, 8, 16)
    assert outputs['class_logits'].shape == (2, 8 * 16 + 4 * 8 + 2 * 4, 3)
    assert outputs['share_map'].shape == (2, 1, 2, 4)
    assert outputs['rgb_shares'].shape == (2, 1)


def test_an_unknown_encoder_is_named():
    with pytest.raises(EncoderError, match="has no model 'vit_of_tomorrow'"):
        create_model('encoder: vit_of_tomorrow', **CLASSES)


def windowed_encoder():
    config = TowerConfig(
        dim=24, depth=2, num_heads=2, patch_size=16, grid_hw=(4, 4), norm_eps=1e-5
    )
    encoder = WindowedViT(config, window=3, global_blocks=(1,))
    return randomise(encoder, seed=0)


@pytest.mark.parametrize(
    'build',
    [
        partial(ViTEncoder, 'vit_tiny_patch16_224', taps=(1,)),
        partial(ViTEncoder, 'vit_small_patch14_reg4_dinov2', taps=(1,), stride=16),
        windowed_encoder,
    ],
)
def test_the_exported_graph_reproduces_torch_at_every_size(build, tmp_path, monkeypatch):
    # Two blocks and small images: the same operators, less to trace.
    monkeypatch.setattr(export, '_TRACE_HW', (64, 96))
    monkeypatch.setattr(export, '_PARITY_SHAPES', ((1, 48, 80), (2, 96, 32), (1, 112, 128)))
    torch.manual_seed(0)
    model = RGBTModel(encoder=build(), channels=(8, 12, 16), **CLASSES).eval()
    path = tmp_path / 'model.onnx'
    assert export_graph(model, path) <= 1e-4
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    assert all(isinstance(session.get_inputs()[0].shape[axis], str) for axis in (0, 2, 3))
