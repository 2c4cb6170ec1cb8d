# SPDX-License-Identifier: Apache-2.0
"""Names and shapes of the tensors in the checkpoints that M-SpecGene released.

Five kinds of file: the pretraining run, the encoder converted for detection (timm names), the
encoder converted for segmentation (names of the pretraining run without prefix), a finished
detector, and a finished segmentation or saliency model.

Source: M-SpecGene (https://arxiv.org/abs/2507.16318), released code and weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
import re

import torch

from rgbt_models.errors import WeightsError
from rgbt_models.published.mask_rcnn import MaskRCNN
from rgbt_models.published.upernet import UPerNet

Shapes = dict[str, tuple[int, ...]]

DIM, DEPTH, NUM_HEADS, MLP_DIM, PATCH_PX = 768, 12, 12, 3072, 16
HEAD_DIM = DIM // NUM_HEADS
PRETRAINING_TOKENS = 197  # 14 x 14 patches and the class token
DECODER_DIM, DECODER_DEPTH, DECODER_MLP_DIM = 512, 4, 2048
DETECTION_GRID, DETECTION_WINDOW = 60, 14  # 960 px / 16; tokens per side of a window
GLOBAL_BLOCKS = (2, 5, 8, 11)
SEGMENTATION_GRID = 48  # 768 px / 16
# Rebuilt from the grid when the model is built; 510 MB in a finished segmentation checkpoint.
DROPPED_SUFFIX = '.attn.relative_position_index'


class Layout(Enum):
    """Kind of released checkpoint."""

    PRETRAINING = 'pretraining'
    DETECTION_ENCODER = 'encoder converted for detection'
    SEGMENTATION_ENCODER = 'encoder converted for segmentation'
    DETECTION = 'finished detection model'
    SEGMENTATION = 'finished segmentation or saliency model'


def detect_layout(names: Mapping[str, object]) -> Layout:
    """Tell the kind of a checkpoint from the names of its tensors.

    Raises:
        WeightsError: If it is none of the known kinds.
    """
    if any(name.startswith('roi_head.') for name in names):
        return Layout.DETECTION
    if any(name.startswith('decode_head.') for name in names):
        return Layout.SEGMENTATION
    if 'backbone.layers.0.ln1.weight' in names:
        return Layout.PRETRAINING
    if 'layers.0.ln1.weight' in names:
        return Layout.SEGMENTATION_ENCODER
    if 'blocks.0.norm1.weight' in names:
        return Layout.DETECTION_ENCODER
    shown = ', '.join(sorted(names)[:3]) or 'nothing'
    raise WeightsError(
        f'the checkpoint holds {shown} and so on; expected a pretraining, encoder, detection or '
        f'segmentation checkpoint of M-SpecGene; other weights cannot be converted'
    )


def expected_shapes(layout: Layout, *, num_classes: int) -> Shapes:
    """Return name and shape of every tensor of a released checkpoint.

    Args:
        layout: Kind of checkpoint.
        num_classes: Classes of a finished model, without the detector's background; ignored for
            encoders.
    """
    if layout is Layout.DETECTION_ENCODER:
        return dict(_timm_encoder())
    if layout is Layout.SEGMENTATION_ENCODER:
        return dict(_named_encoder(final_norm='norm'))
    if layout is Layout.PRETRAINING:
        encoder = _prefixed('backbone.', dict(_named_encoder(final_norm='ln1')))
        return {**encoder, **_prefixed('neck.', dict(_decoder()))}
    with torch.device('meta'):
        heads = (
            MaskRCNN(num_classes=num_classes)
            if layout is Layout.DETECTION
            else UPerNet(num_classes=num_classes)
        )
    head_shapes = {name: tuple(tensor.shape) for name, tensor in heads.state_dict().items()}
    encoder = dict(_detection_encoder() if layout is Layout.DETECTION else _segmentation_encoder())
    return {**_prefixed('backbone.', encoder), **head_shapes}


def read_num_classes(layout: Layout, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the number of classes of a finished model, 0 for an encoder.

    Raises:
        WeightsError: If the layer that tells it is not there.
    """
    name = {
        Layout.DETECTION: 'roi_head.bbox_head.fc_cls.weight',
        Layout.SEGMENTATION: 'decode_head.conv_seg.weight',
    }.get(layout)
    if name is None:
        return 0
    if name not in shapes:
        raise WeightsError(
            f"the checkpoint lacks '{name}', which tells the number of classes; expected a "
            f'{layout.value}; use a complete file'
        )
    return shapes[name][0] - (layout is Layout.DETECTION)


def rename(layout: Layout, name: str) -> str | None:
    """Return our name of a released tensor; None when it is rebuilt instead of read.

    Encoder tensors get timm's names below ``encoder.``; those of the pretraining decoder keep
    theirs below ``decoder.``, those of the heads below ``heads.``.
    """
    if name.endswith(DROPPED_SUFFIX):
        return None
    if layout in {Layout.DETECTION_ENCODER, Layout.SEGMENTATION_ENCODER}:
        return f'encoder.{_timm_name(name)}'
    if name.startswith('backbone.'):
        return f'encoder.{_timm_name(name.removeprefix("backbone."))}'
    if layout is Layout.PRETRAINING:
        return f'decoder.{name.removeprefix("neck.")}'
    return f'heads.{name}'


def _timm_name(name: str) -> str:
    # The final norm first: inside the layers ln1 means another norm.
    name = re.sub(r'^ln1\.', 'norm.', name)
    name = name.replace('patch_embed.projection.', 'patch_embed.proj.')
    name = re.sub(r'^layers\.(\d+)\.', r'blocks.\1.', name)
    name = re.sub(r'\.ln([12])\.', r'.norm\1.', name)
    name = name.replace('.ffn.layers.0.0.', '.mlp.fc1.')
    return name.replace('.ffn.layers.1.', '.mlp.fc2.')


def _prefixed(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def _pair(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield weight and bias of a layer; the bias has the first side of the weight."""
    yield f'{name}.weight', shape
    yield f'{name}.bias', shape[:1]


def _timm_encoder() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield 'cls_token', (1, 1, DIM)
    yield 'pos_embed', (1, PRETRAINING_TOKENS, DIM)
    yield from _pair('patch_embed.proj', DIM, 3, PATCH_PX, PATCH_PX)
    for index in range(DEPTH):
        yield from _timm_block(f'blocks.{index}')
    yield from _pair('norm', DIM)


def _timm_block(block: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _pair(f'{block}.norm1', DIM)
    yield from _pair(f'{block}.attn.qkv', 3 * DIM, DIM)
    yield from _pair(f'{block}.attn.proj', DIM, DIM)
    yield from _pair(f'{block}.norm2', DIM)
    yield from _pair(f'{block}.mlp.fc1', MLP_DIM, DIM)
    yield from _pair(f'{block}.mlp.fc2', DIM, MLP_DIM)


def _detection_encoder() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield 'pos_embed', (1, PRETRAINING_TOKENS, DIM)
    yield from _pair('patch_embed.proj', DIM, 3, PATCH_PX, PATCH_PX)
    for index in range(DEPTH):
        yield from _timm_block(f'blocks.{index}')
        side = DETECTION_GRID if index in GLOBAL_BLOCKS else DETECTION_WINDOW
        for axis in 'hw':
            yield f'blocks.{index}.attn.rel_pos_{axis}', (2 * side - 1, HEAD_DIM)


def _named_block(block: str, dim: int, mlp_dim: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _pair(f'{block}.ln1', dim)
    yield from _pair(f'{block}.attn.qkv', 3 * dim, dim)
    yield from _pair(f'{block}.attn.proj', dim, dim)
    yield from _pair(f'{block}.ln2', dim)
    yield from _pair(f'{block}.ffn.layers.0.0', mlp_dim, dim)
    yield from _pair(f'{block}.ffn.layers.1', dim, mlp_dim)


def _named_encoder(*, final_norm: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield 'cls_token', (1, 1, DIM)
    yield 'pos_embed', (1, PRETRAINING_TOKENS, DIM)
    yield from _pair('patch_embed.projection', DIM, 3, PATCH_PX, PATCH_PX)
    for index in range(DEPTH):
        yield from _named_block(f'layers.{index}', DIM, MLP_DIM)
    yield from _pair(final_norm, DIM)


def _segmentation_encoder() -> Iterator[tuple[str, tuple[int, ...]]]:
    tokens = SEGMENTATION_GRID**2 + 1
    yield 'cls_token', (1, 1, DIM)
    yield 'pos_embed', (1, tokens, DIM)
    yield from _pair('patch_embed.projection', DIM, 3, PATCH_PX, PATCH_PX)
    for index in range(DEPTH):
        layer = f'layers.{index}'
        yield from _named_block(layer, DIM, MLP_DIM)
        yield f'{layer}.gamma_1', (DIM,)
        yield f'{layer}.gamma_2', (DIM,)
        rows = (2 * SEGMENTATION_GRID - 1) ** 2 + 3
        yield f'{layer}.attn.relative_position_bias_table', (rows, NUM_HEADS)
        yield f'{layer}{DROPPED_SUFFIX}', (tokens, tokens)


def _decoder() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the decoder of pretraining: every module twice, once for each modality."""
    dim = DECODER_DIM
    for suffix in ('', '2'):
        yield from _pair(f'decoder_embed{suffix}', dim, DIM)
        yield f'mask_token{suffix}', (1, 1, dim)
        yield f'decoder_pos_embed{suffix}', (1, PRETRAINING_TOKENS, dim)
        cross = f'cross_attention{suffix}'
        yield from _pair(f'{cross}.ln1', dim)
        yield from _pair(f'{cross}.ln2', dim)
        for part in 'qkv':
            yield f'{cross}.attn.{part}.weight', (dim, dim)
        yield f'{cross}.attn.q_bias', (dim,)
        yield f'{cross}.attn.v_bias', (dim,)
        yield from _pair(f'{cross}.attn.proj', dim, dim)
        yield from _pair(f'{cross}.ffn.layers.0.0', DECODER_MLP_DIM, dim)
        yield from _pair(f'{cross}.ffn.layers.1', dim, DECODER_MLP_DIM)
        for index in range(DECODER_DEPTH):
            yield from _named_block(f'decoder_blocks{suffix}.{index}', dim, DECODER_MLP_DIM)
        yield from _pair(f'decoder_pred{suffix}', 3 * PATCH_PX**2, dim)
    yield from _pair('ln1', dim)  # one norm, shared by both modalities
