# SPDX-License-Identifier: Apache-2.0
"""Small random vision transformers of timm, with 32 px images and 8 px patches: 16 patches."""

from __future__ import annotations

from typing import Any

from timm.models.vision_transformer import VisionTransformer
import torch
from torch import nn

from rgbt_models.adapter_file import LoraSettings
from rgbt_models.adapters import Adapter, add_adapter

SMALL_DIM, SMALL_HEADS, SMALL_DEPTH, SMALL_PATCHES = 32, 4, 2, 16
SMALL_LORA = LoraSettings(rank=2, alpha=6, dropout=0.0)


def small_vit(*, seed: int = 0, **changes: Any) -> VisionTransformer:
    """Build a ViT of two blocks in evaluation mode; nothing is at its neutral start value."""
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {
        'img_size': 32,
        'patch_size': 8,
        'embed_dim': SMALL_DIM,
        'depth': SMALL_DEPTH,
        'num_heads': SMALL_HEADS,
        'num_classes': 0,
        'global_pool': '',
        'dynamic_img_size': True,
    }
    model = VisionTransformer(**{**arguments, **changes})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.15 if parameter.ndim > 1 else 0.05
            parameter.normal_(std=scale).add_(float('norm' in name and name.endswith('weight')))
    return model.eval()


def small_images(batch: int = 2, *, seed: int = 0, size: int = 32) -> torch.Tensor:
    """Return standardised images, (b, 3, size, size)."""
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def trained_adapter(
    encoder: nn.Module, settings: LoraSettings = SMALL_LORA, *, seed: int = 3
) -> Adapter:
    """Add an adapter as after training: A and B are not zero."""
    adapter = add_adapter(encoder, settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return adapter
