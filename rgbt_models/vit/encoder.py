# SPDX-License-Identifier: Apache-2.0
"""Any plain vision transformer of timm as the encoder shared by RGB and thermal.

The parameters keep timm's names below ``vit``, so the 150 tensors of the published M-SpecGene
encoder (timm's ``vit_base_patch16_224``) and timm's own pretrained weights load strictly.

Differs from timm's forward pass: the position embedding is resized without antialiasing, as the
M-SpecGene release does, and any input that is a multiple of the patch is accepted.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from typing import Any

import timm
from timm.layers.drop import DropPath
from timm.layers.patch_embed import PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
import torch
from torch import Tensor
from torch.nn import functional

from rgbt_models.errors import EncoderError
from rgbt_models.token_merging import TokenMerging
from rgbt_models.vit.positions import resize_positions
from rgbt_models.vit.siamese import check_taps, SiameseViT

PREFIX_NAMES = ('cls_token', 'dist_token', 'reg_token')


class ViTEncoder(SiameseViT):
    """A timm ViT, its class and register tokens in the sequence and dropped from the maps."""

    def __init__(
        self,
        name: str,
        *,
        taps: tuple[int, ...] | None = None,
        stride: int | None = None,
        use_final_norm: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        """Build the encoder with random weights.

        Args:
            name: A plain ViT of timm, e.g. 'vit_base_patch16_224', 'vit_small_patch16_dinov3'.
            taps: Blocks after which features are returned; None = the last.
            stride: Input pixels per token; None = the patch. Another value resizes the image by
                patch / stride first (bilinear), so that a patch of 14 gives maps at stride 16.
            use_final_norm: Apply the final norm to every tap. The published detection and
                segmentation encoders do not.
            drop_path: Rate of the last block, growing linearly from 0; training only.

        Raises:
            EncoderError: If timm has no such model, it is no plain ViT, or its attention would
                not use PyTorch's scaled dot product.
        """
        vit = _create_vit(name)
        patch_size = int(vit.patch_embed.patch_size[0])
        super().__init__(
            dim=int(vit.embed_dim),
            patch_size=patch_size,
            stride=stride or patch_size,
            taps=check_taps(taps, len(vit.blocks)),
        )
        self.vit: Any = vit  # a module of timm; its attributes differ by family
        self.use_final_norm = use_final_norm
        self.keep_tokens = 1.0  # see token_merging.set_keep_tokens
        self.num_prefix_tokens = int(vit.num_prefix_tokens)
        if drop_path > 0.0:
            self.set_drop_path(drop_path)

    def set_drop_path(self, rate: float) -> None:
        """Drop the residual paths of whole samples in training; no parameter is added.

        Args:
            rate: In [0, 1), of the last block; growing linearly from 0 at the first.
        """
        last = max(len(self.vit.blocks) - 1, 1)
        for index, block in enumerate(self.vit.blocks):
            for name, _ in list(block.named_modules()):
                parent, _, own = name.rpartition('.')
                if own.startswith('drop_path'):  # timm's name, an identity at rate 0
                    setattr(block.get_submodule(parent), own, DropPath(rate * index / last))

    def features(self, image: Tensor) -> list[Tensor]:
        """Map one modality to features.

        Args:
            image: (b, 3, h, w), standardised, h and w multiples of ``stride``.

        Returns:
            Features (b, d, h / stride, w / stride) per tap.

        Raises:
            EncoderError: If the size is no multiple of ``stride``.
        """
        patches = self.embed(image)  # (b, d, h, w), positions added
        tokens = self.with_prefix(patches.flatten(2).transpose(1, 2))
        taps = self.run(tokens, grid_hw=(patches.shape[2], patches.shape[3]))
        return [
            tap[:, self.num_prefix_tokens :].transpose(1, 2).reshape(patches.shape) for tap in taps
        ]

    def embed(self, image: Tensor) -> Tensor:
        """Return the patch embedding with positions, (b, d, h / stride, w / stride).

        These are the tokens that masked pretraining samples from (before any block).

        Raises:
            EncoderError: If the size is no multiple of ``stride``.
        """
        self.check_image(image)
        if self.stride != self.patch_size:
            size_hw = [side // self.stride * self.patch_size for side in image.shape[2:]]
            image = functional.interpolate(image, size=size_hw, mode='bilinear')
        patches: Tensor = self.vit.patch_embed.proj(image)
        b, d, h, w = patches.shape
        tokens: Tensor = self.vit.patch_embed.norm(patches.flatten(2).transpose(1, 2))
        if self.vit.pos_embed is not None:
            _, own = self._split_positions()
            grid = self.vit.patch_embed.grid_size
            # Not cast: under mixed precision the positions lift the residual stream to float32.
            tokens = tokens + resize_positions(own, grid_hw=(h, w), source_hw=grid)
        return tokens.transpose(1, 2).reshape(b, d, h, w)

    def with_prefix(self, patch_tokens: Tensor) -> Tensor:
        """Put class and register tokens, with their positions, before patch tokens (b, n, d)."""
        if self.num_prefix_tokens == 0:
            return patch_tokens
        found = [getattr(self.vit, name, None) for name in PREFIX_NAMES]
        prefix = torch.cat([token for token in found if token is not None], dim=1)
        if self.vit.pos_embed is not None:
            rows, _ = self._split_positions()
            prefix = prefix + rows if rows.shape[1] else prefix
        prefix = prefix.expand(patch_tokens.shape[0], -1, -1)
        return torch.cat([prefix, patch_tokens], dim=1)

    def run(self, tokens: Tensor, *, grid_hw: tuple[int, int]) -> list[Tensor]:
        """Run the blocks.

        Args:
            tokens: (b, p + n, d) from ``with_prefix``. A subset of the patches may be given
                unless the model rotates by position (``has_rotary_positions``).
            grid_hw: Rows and columns of the whole token grid, for rotary positions.

        Returns:
            Tokens (b, p + n, d) per tap, through the final norm where it is used.
        """
        tokens = self.vit.pos_drop(tokens)
        norm_pre = getattr(self.vit, 'norm_pre', None)
        tokens = tokens if norm_pre is None else norm_pre(tokens)
        rotary = (
            self.vit.rope.get_embed(shape=list(grid_hw)) if self.has_rotary_positions else None
        )
        per_block = getattr(self.vit, 'rope_mixed', False)
        merging = TokenMerging(
            keep_tokens=self.keep_tokens,
            depth=len(self.vit.blocks),
            num_prefix_tokens=self.num_prefix_tokens,
        )
        taps = []
        for index, block in enumerate(self.vit.blocks[: self.taps[-1] + 1]):
            step = block
            if rotary is not None:
                step = partial(block, rope=rotary[index] if per_block else rotary)
            tokens = self.run_block(step, tokens)
            if index in self.taps:
                tap = merging.unmerge(tokens)
                taps.append(self.vit.norm(tap) if self.use_final_norm else tap)
            tokens = merging.merge_after(index, tokens)
        return taps

    @property
    def has_rotary_positions(self) -> bool:
        """Whether the attention rotates queries and keys by position (DINOv3, EVA-02)."""
        return getattr(self.vit, 'rope', None) is not None

    def _split_positions(self) -> tuple[Tensor, Tensor]:
        # Rows of the class and register tokens, where the model has them, and of the patches.
        count = 0 if self.vit.no_embed_class else self.num_prefix_tokens
        return self.vit.pos_embed[:, :count], self.vit.pos_embed[:, count:]


def _create_vit(name: str) -> Any:
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models('*vit*'), n=3)
        raise EncoderError(
            f"timm {timm.__version__} has no model '{name}'; expected the name of a plain ViT, "
            f'such as {", ".join(near) or "vit_base_patch16_224"}; correct the name or update timm'
        )
    pooling = 'token' if 'distilled' in name else ''  # the distilled ones refuse to go without
    try:
        vit = timm.create_model(
            name,
            pretrained=False,
            num_classes=0,
            global_pool=pooling,
            dynamic_img_size=True,
        )
    except TypeError as error:
        raise _not_plain(name) from error
    if not isinstance(vit, (VisionTransformer, Eva)) or type(vit.patch_embed) is not PatchEmbed:
        raise _not_plain(name)
    slow = [n for n, module in vit.named_modules() if not getattr(module, 'fused_attn', True)]
    if slow:
        raise EncoderError(
            f"'{name}' would not use scaled_dot_product_attention in {slow[0]}; expected timm's "
            f'fused attention; unset TIMM_FUSED_ATTN'
        )
    return vit


def _not_plain(name: str) -> EncoderError:
    return EncoderError(
        f"timm model '{name}' is no plain ViT with resizable positions; expected a model of "
        f'timm.models.vision_transformer or timm.models.eva; choose e.g. vit_base_patch16_224'
    )
