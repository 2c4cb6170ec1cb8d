# SPDX-License-Identifier: Apache-2.0
"""Names and shapes of the released checkpoints."""

from __future__ import annotations

import math

import pytest
import timm
import torch

from rgbt_models.errors import WeightsError
from rgbt_models.published import published_detector, published_segmenter
from rgbt_models.published.layouts import (
    detect_layout,
    expected_shapes,
    Layout,
    read_num_classes,
    rename,
)

ENCODERS = (Layout.DETECTION_ENCODER, Layout.SEGMENTATION_ENCODER, Layout.PRETRAINING)


def renamed(layout: Layout, num_classes: int = 0) -> dict:
    shapes = expected_shapes(layout, num_classes=num_classes)
    ours = {rename(layout, name): shape for name, shape in shapes.items()}
    ours.pop(None, None)
    return ours


# Counted in the release (tensors, values); the segmentation count includes 12 index buffers.
@pytest.mark.parametrize(
    ('layout', 'num_classes', 'num_tensors', 'num_values'),
    [
        (Layout.PRETRAINING, 0, 290, 119_100_672),
        (Layout.DETECTION_ENCODER, 0, 150, 85_798_656),
        (Layout.SEGMENTATION_ENCODER, 0, 150, 85_798_656),
        (Layout.DETECTION, 3, 245, 118_982_306),
        (Layout.SEGMENTATION, 26, 289, None),
    ],
)
def test_a_layout_has_the_tensors_counted_in_the_release(
    layout, num_classes, num_tensors, num_values
):
    shapes = expected_shapes(layout, num_classes=num_classes)
    assert len(shapes) == num_tensors
    if num_values is not None:
        assert sum(math.prod(shape) for shape in shapes.values()) == num_values
    assert detect_layout(shapes) is layout
    assert read_num_classes(layout, shapes) == num_classes


@pytest.mark.parametrize(
    ('layout', 'name', 'shape', 'ours'),
    [
        (Layout.PRETRAINING, 'backbone.ln1.weight', (768,), 'encoder.norm.weight'),
        (Layout.PRETRAINING, 'backbone.layers.7.ln1.bias', (768,), 'encoder.blocks.7.norm1.bias'),
        (
            Layout.PRETRAINING,
            'backbone.layers.11.ffn.layers.0.0.weight',
            (3072, 768),
            'encoder.blocks.11.mlp.fc1.weight',
        ),
        (
            Layout.PRETRAINING,
            'neck.cross_attention2.attn.q_bias',
            (512,),
            'decoder.cross_attention2.attn.q_bias',
        ),
        (
            Layout.PRETRAINING,
            'neck.decoder_pred.weight',
            (768, 512),
            'decoder.decoder_pred.weight',
        ),
        (Layout.PRETRAINING, 'neck.ln1.weight', (512,), 'decoder.ln1.weight'),
        (Layout.SEGMENTATION_ENCODER, 'norm.bias', (768,), 'encoder.norm.bias'),
        (
            Layout.SEGMENTATION_ENCODER,
            'layers.3.ffn.layers.1.weight',
            (768, 3072),
            'encoder.blocks.3.mlp.fc2.weight',
        ),
        (
            Layout.DETECTION,
            'backbone.blocks.2.attn.rel_pos_h',
            (119, 64),
            'encoder.blocks.2.attn.rel_pos_h',
        ),
        (
            Layout.DETECTION,
            'backbone.blocks.3.attn.rel_pos_w',
            (27, 64),
            'encoder.blocks.3.attn.rel_pos_w',
        ),
        (
            Layout.DETECTION,
            'neck.lateral_convs.1.norm_layer.weight',
            (256,),
            'heads.neck.lateral_convs.1.norm_layer.weight',
        ),
        (
            Layout.DETECTION,
            'neck.fpn1.0.weight',
            (1536, 768, 2, 2),
            'heads.neck.fpn1.0.weight',
        ),
        (
            Layout.DETECTION,
            'rpn_head.rpn_conv.1.conv.bias',
            (256,),
            'heads.rpn_head.rpn_conv.1.conv.bias',
        ),
        (
            Layout.DETECTION,
            'roi_head.bbox_head.shared_fcs.0.weight',
            (1024, 12544),
            'heads.roi_head.bbox_head.shared_fcs.0.weight',
        ),
        (
            Layout.SEGMENTATION,
            'backbone.layers.0.attn.relative_position_bias_table',
            (9028, 12),
            'encoder.blocks.0.attn.relative_position_bias_table',
        ),
        (
            Layout.SEGMENTATION,
            'backbone.layers.0.attn.relative_position_index',
            (2305, 2305),
            None,
        ),
        (Layout.SEGMENTATION, 'backbone.pos_embed', (1, 2305, 768), 'encoder.pos_embed'),
        (
            Layout.SEGMENTATION,
            'decode_head.bottleneck.conv.weight',
            (768, 4608, 3, 3),
            'heads.decode_head.bottleneck.conv.weight',
        ),
    ],
)
def test_a_released_name_has_its_shape_and_our_name(layout, name, shape, ours):
    assert expected_shapes(layout, num_classes=3)[name] == shape
    assert rename(layout, name) == ours


@pytest.mark.parametrize('layout', ENCODERS)
def test_an_encoder_becomes_exactly_the_one_of_timm(layout):
    with torch.device('meta'):
        vit = timm.create_model('vit_base_patch16_224', num_classes=0)
    encoder = {
        name.removeprefix('encoder.'): shape
        for name, shape in renamed(layout).items()
        if name.startswith('encoder.')
    }
    assert encoder == {name: tuple(t.shape) for name, t in vit.state_dict().items()}


@pytest.mark.parametrize(
    ('layout', 'build'),
    [(Layout.DETECTION, published_detector), (Layout.SEGMENTATION, published_segmenter)],
)
def test_a_finished_checkpoint_becomes_exactly_our_model(layout, build):
    with torch.device('meta'):
        model = build(num_classes=4)
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert renamed(layout, 4) == ours


def test_no_two_names_become_one():
    for layout in Layout:
        shapes = expected_shapes(layout, num_classes=2)
        kept = [rename(layout, name) for name in shapes if rename(layout, name)]
        assert len(set(kept)) == len(kept)


def test_an_unknown_checkpoint_is_refused_with_its_first_names():
    with pytest.raises(WeightsError, match=r'holds conv1\.weight and so on; expected a'):
        detect_layout({'conv1.weight': (64, 3, 7, 7)})


def test_a_detector_without_its_class_layer_is_refused():
    with pytest.raises(WeightsError, match=r"lacks 'roi_head\.bbox_head\.fc_cls\.weight'"):
        read_num_classes(Layout.DETECTION, {'roi_head.mask_head.conv_logits.bias': (3,)})
