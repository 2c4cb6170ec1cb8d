# SPDX-License-Identifier: Apache-2.0
"""Images as patches and patches as tokens: what masked pretraining needs of an encoder."""

from __future__ import annotations

from typing import Any, Protocol

import timm
import torch
from torch import nn, Tensor

from rgbt_models.errors import PretrainError

POSITION_BASE = 10_000.0


class TokenEncoder(Protocol):
    """An encoder whose blocks can run on some of the patches only.

    Attributes:
        dim: Width of the tokens.
        patch_size: Pixels per patch side.
        num_prefix_tokens: Class and register tokens before the patch tokens.
    """

    dim: int
    patch_size: int
    num_prefix_tokens: int

    def embed(self, image: Tensor) -> Tensor:
        """Map (b, 3, h, w) to patch tokens with positions, (b, n, d), without prefix."""

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Map embedded tokens (b, v, d) to (b, prefix + v, d), normalised."""


class TimmTokenEncoder(nn.Module):
    """A plain timm ViT as a ``TokenEncoder``; one module for both modalities.

    The position embedding becomes the fixed sin-cos one of masked autoencoders and the patch
    embedding starts like a linear layer (Xavier), as M-SpecGene's does (Sec. 3); every other
    weight is timm's. Its parameters keep timm's names.
    """

    model: Any  # a timm VisionTransformer

    def __init__(self, name: str, *, image_size: int) -> None:
        """Build the encoder with random weights.

        Args:
            name: A timm ViT with an absolute position embedding, e.g. 'vit_base_patch16_224'.
            image_size: Pixels per side of the square input, a multiple of the patch.

        Raises:
            PretrainError: If timm does not know the name, it is not such a ViT, or the size is
                not a multiple of its patch.
        """
        super().__init__()
        if not timm.is_model(name):
            raise PretrainError(
                f"timm has no model '{name}'; expected a ViT such as 'vit_base_patch16_224'; "
                f'correct the name'
            )
        patch_size = int(name.partition('patch')[2].partition('_')[0] or 16)
        if image_size % patch_size:
            raise PretrainError(
                f'image size {image_size} is not a multiple of the patch {patch_size}; choose '
                f'{image_size // patch_size * patch_size or patch_size}'
            )
        model: Any = timm.create_model(name, pretrained=False, num_classes=0, img_size=image_size)
        if getattr(model, 'pos_embed', None) is None or getattr(model, 'rope', None) is not None:
            raise PretrainError(
                f"'{name}' has no absolute position embedding; expected a plain ViT; masked "
                f'pretraining of rotary positions is not supported'
            )
        self.model = model
        self.dim = int(model.embed_dim)
        self.patch_size = int(model.patch_embed.patch_size[0])
        self.num_prefix_tokens = int(model.num_prefix_tokens)
        grid = image_size // self.patch_size
        prefix = model.pos_embed.shape[1] - grid * grid  # timm may leave the prefix without one
        positions = sincos_grid(grid, grid, self.dim)
        positions = torch.cat([positions.new_zeros(1, prefix, self.dim), positions], dim=1)
        model.pos_embed = nn.Parameter(positions, requires_grad=False)
        weight = model.patch_embed.proj.weight
        nn.init.xavier_uniform_(weight.data.view(len(weight), -1))

    def embed(self, image: Tensor) -> Tensor:
        """Map (b, 3, h, w) to patch tokens with positions, (b, n, d)."""
        patches = self.model.patch_embed(image)  # (b, n, d)
        start = self.model.pos_embed.shape[1] - patches.shape[1]
        # Not cast: under mixed precision the residual stream is single precision.
        return torch.as_tensor(patches + self.model.pos_embed[:, start:])

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Map embedded tokens (b, v, d) to (b, prefix + v, d), normalised."""
        prefix = self._prefix().to(tokens.dtype).expand(len(tokens), -1, -1)
        x = self.model.norm_pre(torch.cat([prefix, tokens], dim=1))
        return torch.as_tensor(self.model.norm(self.model.blocks(x)))

    def _prefix(self) -> Tensor:
        parts = [
            token
            for token in (self.model.cls_token, getattr(self.model, 'reg_token', None))
            if token is not None
        ]
        if not parts:
            return torch.as_tensor(self.model.pos_embed[:, :0])
        prefix = torch.cat(parts, dim=1)
        positions = self.model.pos_embed[:, : self.model.pos_embed.shape[1] - self._num_patches()]
        if positions.shape[1] == prefix.shape[1]:
            prefix = prefix + positions
        return prefix

    def _num_patches(self) -> int:
        return int(self.model.patch_embed.num_patches)


def sincos_grid(rows: int, columns: int, dim: int) -> Tensor:
    """Return the fixed 2-D sin-cos positions of masked autoencoders, shape (1, n, dim).

    The first half of the channels encodes y, the second x, each as sines then cosines with
    frequencies 10000^(-i / (dim / 4)).

    Args:
        rows: Rows of the grid.
        columns: Columns of the grid.
        dim: Width, a multiple of 4.

    Raises:
        PretrainError: If the width is not a multiple of 4.
    """
    if dim % 4:
        raise PretrainError(f'width {dim} is not a multiple of 4; sin-cos positions need one')
    exponent = torch.arange(dim // 4, dtype=torch.float64) / (dim // 4)
    frequency = POSITION_BASE**-exponent
    y = torch.arange(rows, dtype=torch.float64)[:, None] * frequency
    x = torch.arange(columns, dtype=torch.float64)[:, None] * frequency
    y = torch.cat([y.sin(), y.cos()], dim=1)[:, None].expand(rows, columns, dim // 2)
    x = torch.cat([x.sin(), x.cos()], dim=1)[None].expand(rows, columns, dim // 2)
    return torch.cat([y, x], dim=2).reshape(1, rows * columns, dim).float()


def cut_patches(image: Tensor, patch_size: int) -> Tensor:
    """Cut (b, c, h, w) into (b, n, patch_size² * c), row-major, channels fastest."""
    b, c, h, w = image.shape
    rows, columns = h // patch_size, w // patch_size
    cut = image.reshape(b, c, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(b, rows * columns, patch_size * patch_size * c)


def join_patches(patches: Tensor, *, grid_hw: tuple[int, int], patch_size: int) -> Tensor:
    """Undo ``cut_patches``: (b, n, patch_size² * c) to (b, c, h, w)."""
    rows, columns = grid_hw
    b, c = len(patches), patches.shape[-1] // (patch_size * patch_size)
    cut = patches.reshape(b, rows, columns, patch_size, patch_size, c)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(b, c, rows * patch_size, columns * patch_size)


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Take tokens (b, n, d) at indices (b, v) of each row; the result is (b, v, d)."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))


def select_masked(visible: Tensor, num_patches: int) -> Tensor:
    """Return which patches are hidden, bool (b, n), True = masked, for visible indices (b, v)."""
    masked = torch.ones(len(visible), num_patches, dtype=torch.bool, device=visible.device)
    return masked.scatter(1, visible, value=False)
