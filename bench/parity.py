# SPDX-License-Identifier: Apache-2.0
"""Largest difference between this library and public code that is given the same random weights.

    python -m bench.parity [--release FOLDER] [--out DIR]

The public code is that of transformers (ViT, ViTDet, BEiT, UPerNet) and torchvision (box coder,
suppression), at the published sizes; with ``--release``, a checkout of M-SpecGene's repository,
its own files as well, see ``bench.parity_release``. Differences are absolute, divided by the
largest magnitude that the public code returns. The tests hold slow references of the same parts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
import sys

import torch
from torch import nn, Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe_bounds,
    print_bounds,
    versions,
    write_results,
)
from rgbt_models.published.boxes import decode_boxes, suppress_by_group
from rgbt_models.published.upernet import UPerNet
from rgbt_models.vit import beit_base, vitdet_base, ViTEncoder

MAX_DIFFERENCE = 1e-4
NUM_BLOCKS, DIM = 12, 768
VITDET_HW = (480, 640)  # no multiple of the window, and tables made for another size
BEIT_SIDE = 768
MAP_SIDE = 12
NUM_BOXES = 500
Comparisons = Iterator[tuple[str, float]]


def main() -> int:
    """Print the largest difference of every part and its bound."""
    parser = argparse.ArgumentParser(prog='python -m bench.parity', description=__doc__)
    parser.add_argument(
        '--release', type=Path, default=None, help="a checkout of M-SpecGene's repository"
    )
    add_common_arguments(parser)
    arguments = parser.parse_args()
    parts: list[Callable[[], Comparisons]] = [
        compare_plain_vit,
        compare_vitdet,
        compare_beit,
        compare_upernet,
        compare_boxes,
    ]
    if arguments.release is not None:
        from bench.parity_release import compare_release  # which uses what is defined here

        parts.append(lambda: compare_release(arguments.release))
    with torch.no_grad():
        found = [item for part in parts for item in part()]
    bounds = [Bound(name=name, value=value, at_most=MAX_DIFFERENCE) for name, value in found]
    facts = {
        **conditions(public=versions(('torchvision', 'transformers'))),
        'differences': dict(found),
        **describe_bounds(bounds),
    }
    return print_bounds(bounds, write_results('parity', facts, arguments.out))


def compare_plain_vit() -> Comparisons:
    """Compare the plain encoder with ``transformers.ViTModel``, 224 x 224."""
    from transformers import ViTConfig, ViTModel

    ours = randomise(ViTEncoder('vit_base_patch16_224'), seed=1)
    theirs = ViTModel(ViTConfig(layer_norm_eps=1e-6), add_pooling_layer=False).eval()
    names = {'cls_token': 'embeddings.cls_token', 'pos_embed': 'embeddings.position_embeddings'}
    names |= _patch_names('embeddings.patch_embeddings.projection')
    names |= {f'norm.{leaf}': f'layernorm.{leaf}' for leaf in ('weight', 'bias')}
    state = {names[k]: v for k, v in ours.vit.state_dict().items() if not k.startswith('blocks')}
    theirs.load_state_dict(state | _split_blocks(ours.vit.state_dict()), strict=True)
    image = made(2, 3, 224, 224, seed=2)
    expected = theirs(image).last_hidden_state[:, 1:].transpose(1, 2)
    found = ours.features(image)[0].flatten(2)
    yield 'plain ViT-B/16, transformers', relative_difference(found, expected)


def compare_vitdet() -> Comparisons:
    """Compare the windowed encoder with ``transformers.VitDetModel``."""
    from transformers import VitDetConfig, VitDetModel

    ours = randomise(vitdet_base(), seed=3)
    theirs = VitDetModel(
        VitDetConfig(
            image_size=960,
            pretrain_image_size=224,
            layer_norm_eps=1e-5,
            window_size=14,
            window_block_indices=[i for i in range(NUM_BLOCKS) if i % 3 != 2],
            use_relative_position_embeddings=True,
        )
    ).eval()
    names = {'pos_embed': 'embeddings.position_embeddings'}
    names |= _patch_names('embeddings.projection')
    state = {
        names.get(k, k.replace('blocks.', 'encoder.layer.').replace('.attn.', '.attention.')): v
        for k, v in ours.state_dict().items()
    }
    theirs.load_state_dict(state, strict=True)
    image = made(1, 3, *VITDET_HW, seed=4)
    found, expected = ours.features(image)[0], theirs(image).last_hidden_state
    yield 'ViTDet encoder, transformers', relative_difference(found, expected)


def compare_beit() -> Comparisons:
    """Compare the encoder with bias tables with ``transformers.BeitModel``, every tap."""
    from transformers import BeitConfig, BeitModel

    ours = randomise(beit_base(), seed=5)
    settings = BeitConfig(
        image_size=BEIT_SIDE,
        layer_norm_eps=1e-6,
        use_relative_position_bias=True,
        use_absolute_position_embeddings=True,
        layer_scale_init_value=1.0,
    )
    theirs = BeitModel(settings, add_pooling_layer=False).eval()
    own = ours.state_dict()
    names = {'cls_token': 'embeddings.cls_token', 'pos_embed': 'embeddings.position_embeddings'}
    names |= _patch_names('embeddings.patch_embeddings.projection')
    table = 'relative_position_bias_table'
    for i in range(NUM_BLOCKS):
        # A bias of the keys adds the same to all logits of a query: theirs has none.
        names |= {f'blocks.{i}.gamma_{part}': f'layers.{i}.lambda_{part}' for part in (1, 2)}
        names[f'blocks.{i}.attn.{table}'] = f'layers.{i}.relative_position_bias.{table}'
    state = {names[k]: v for k, v in own.items() if k in names} | _split_blocks(own)
    keyless = {k: v for k, v in state.items() if not k.endswith('k_proj.bias')}
    final = {f'layernorm.{leaf}': v for leaf, v in theirs.layernorm.state_dict().items()}
    theirs.load_state_dict(keyless | final, strict=True)
    image = made(1, 3, BEIT_SIDE, BEIT_SIDE, seed=6)
    levels = theirs(image, output_hidden_states=True).hidden_states
    for tap, found in zip(ours.taps, ours.features(image), strict=True):
        expected = levels[tap + 1][:, 1:].transpose(1, 2)
        name = f'BEIT encoder after block {tap}, transformers'
        yield name, relative_difference(found.flatten(2), expected)


def compare_upernet() -> Comparisons:
    """Compare pyramid, head and auxiliary head with transformers' (BEiT neck, UPerNet)."""
    from transformers import BeitConfig, UperNetConfig
    from transformers.models.beit.modeling_beit import BeitFPNNeck
    from transformers.models.upernet.modeling_upernet import UperNetFCNHead, UperNetHead

    num_classes, width = 26, 2 * DIM
    ours = randomise(UPerNet(num_classes=num_classes, channels=DIM), seed=7)
    settings = UperNetConfig(hidden_size=DIM, num_labels=num_classes, auxiliary_channels=256)
    neck = BeitFPNNeck(BeitConfig(hidden_size=width)).eval()
    head = UperNetHead(settings, in_channels=[width] * 4).eval()
    auxiliary = UperNetFCNHead(settings, in_channels=[width] * 4).eval()
    neck_names = zip(ours.neck.state_dict(), neck.state_dict(), strict=True)  # the same order
    neck.load_state_dict({theirs: ours.neck.state_dict()[own] for own, theirs in neck_names})
    for part, public in ((ours.decode_head, head), (ours.auxiliary_head, auxiliary)):
        renamed = {
            k.replace('.bn.', '.batch_norm.').replace('conv_seg', 'classifier'): v
            for k, v in part.state_dict().items()
        }
        public.load_state_dict(renamed, strict=True)
    maps = [made(1, width, MAP_SIDE, MAP_SIDE, seed=8 + level) for level in range(4)]
    levels = neck(tuple(maps))
    for index, (found, expected) in enumerate(zip(ours.neck(maps), levels, strict=True)):
        name = f'pyramid of UPerNet, level {index}, transformers'
        yield name, relative_difference(found, expected)
    yield 'UPerNet logits, transformers', relative_difference(ours(maps), head(levels))
    found = ours.auxiliary_logits(maps)
    yield 'auxiliary logits, transformers', relative_difference(found, auxiliary(levels))


def compare_boxes() -> Comparisons:
    """Compare box coder and suppression with torchvision's; 1 = the sets of boxes differ."""
    generator = torch.Generator().manual_seed(12)
    corners = 300 * torch.rand(NUM_BOXES, 2, generator=generator)
    boxes = torch.cat(
        [corners, corners + 8 + 80 * torch.rand(NUM_BOXES, 2, generator=generator)], 1
    )
    deltas = torch.randn(NUM_BOXES, 4, generator=generator)
    found = decode_boxes(boxes, deltas, stds=(0.1, 0.1, 0.2, 0.2), clip_hw=(9999, 9999))
    expected = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode_single(deltas, boxes).clamp(min=0.0)
    yield 'box coder, torchvision', relative_difference(found, expected)
    scores = torch.rand(NUM_BOXES, generator=generator)
    groups = torch.randint(3, (NUM_BOXES,), generator=generator)
    kept = suppress_by_group(boxes, scores, groups, max_iou=0.5)
    is_equal = kept.tolist() == batched_nms(boxes, scores, groups, 0.5).tolist()
    yield 'suppression by group, torchvision', 0.0 if is_equal else 1.0


def randomise(module: nn.Module, *, seed: int) -> nn.Module:
    """Move every parameter and running statistic from its neutral value; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith('running_var'):
                value.uniform_(0.5, 2.0, generator=generator)
            elif value.is_floating_point():
                value.add_(0.05 * torch.randn(value.shape, generator=generator))
    return module.eval()


def made(*shape: int, seed: int) -> Tensor:
    """Return standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference over the largest expected magnitude."""
    if found.shape != expected.shape:
        return float('inf')
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def _patch_names(target: str) -> dict[str, str]:
    return {f'patch_embed.proj.{leaf}': f'{target}.{leaf}' for leaf in ('weight', 'bias')}


def _split_blocks(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the blocks under the names of transformers, queries, keys and values apart."""
    renamed = {
        'norm1': 'layernorm_before',
        'norm2': 'layernorm_after',
        'attn.proj': 'attention.o_proj',
        'mlp.fc1': 'mlp.fc1',
        'mlp.fc2': 'mlp.fc2',
    }
    found = {}
    for i in range(NUM_BLOCKS):
        for leaf in ('weight', 'bias'):
            for own, theirs in renamed.items():
                found[f'layers.{i}.{theirs}.{leaf}'] = state[f'blocks.{i}.{own}.{leaf}']
            parts = state[f'blocks.{i}.attn.qkv.{leaf}'].chunk(3)
            for name, part in zip('qkv', parts, strict=True):
                found[f'layers.{i}.attention.{name}_proj.{leaf}'] = part
    return found


if __name__ == '__main__':
    sys.exit(main())
