# SPDX-License-Identifier: Apache-2.0
"""The two encoders of M-SpecGene's published task checkpoints, under timm's parameter names.

``WindowedViT`` is the detection encoder (ViTDet, https://arxiv.org/abs/2203.16527): windows in
most blocks, decomposed relative positions, no class token in the sequence, no final norm.
``BiasTableViT`` is the segmentation encoder (BEiT blocks): bias table, layer scale, class token
kept, no final norm, one input size. Neither is made of timm's own blocks: their attention takes
the grid, and timm's takes tokens only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
import torch
from torch import nn, Tensor

from rgbt_models.errors import EncoderError
from rgbt_models.vit.attention import (
    bias_table_rows,
    BiasTableAttention,
    DecomposedAttention,
    join_windows,
    partition_windows,
)
from rgbt_models.vit.positions import resize_positions
from rgbt_models.vit.siamese import check_taps, SiameseViT

IN_CHANNELS = 3
MLP_RATIO = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerConfig:
    """Sizes of an encoder.

    Attributes:
        dim: Width of the tokens.
        depth: Number of blocks.
        num_heads: Number of attention heads.
        patch_size: Side of a patch, px.
        grid_hw: Token grid the relative position tables are made for.
        norm_eps: Epsilon of the layer norms: 1e-5 in the published detection models, 1e-6 in the
            segmentation models.
        drop_path: Rate of the last block, growing linearly from 0; training only.
        taps: Blocks after which features are returned; None = the last.
    """

    dim: int
    depth: int
    num_heads: int
    patch_size: int
    grid_hw: tuple[int, int]
    norm_eps: float
    drop_path: float = 0.0
    taps: tuple[int, ...] | None = None

    def drop_path_at(self, index: int) -> float:
        """Return the rate of one block."""
        return self.drop_path * index / max(self.depth - 1, 1)


class PatchProjection(nn.Module):
    """Patch embedding under timm's name ``proj``."""

    def __init__(self, *, dim: int, patch_size: int) -> None:
        """Build the projection of patches to ``dim`` channels."""
        super().__init__()
        self.proj = nn.Conv2d(IN_CHANNELS, dim, patch_size, patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """Map (b, 3, h, w) to (b, d, h / patch, w / patch)."""
        patches: Tensor = self.proj(image)
        return patches


class WindowedBlock(nn.Module):
    """Pre-norm block over a token grid; attention within windows or over the whole grid."""

    def __init__(self, config: TowerConfig, *, window: int | None, drop_path: float) -> None:
        """Build the block; ``window`` None means attention over the whole grid."""
        super().__init__()
        dim, norm_eps = config.dim, config.norm_eps
        self.window = window
        table_hw = config.grid_hw if window is None else (window, window)
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = DecomposedAttention(dim=dim, num_heads=config.num_heads, grid_hw=table_hw)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, MLP_RATIO * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (b, h, w, d) to (b, h, w, d)."""
        grid = grid + self.drop_path(self._attend(self.norm1(grid)))
        mapped: Tensor = grid + self.drop_path(self.mlp(self.norm2(grid)))
        return mapped

    def _attend(self, grid: Tensor) -> Tensor:
        if self.window is None:
            whole: Tensor = self.attn(grid)
            return whole
        windows = self.attn(partition_windows(grid, self.window))
        return join_windows(windows, size_hw=(grid.shape[1], grid.shape[2]))


class WindowedViT(SiameseViT):
    """The detection encoder: any input that is a multiple of the patch."""

    def __init__(
        self,
        config: TowerConfig,
        *,
        window: int,
        global_blocks: tuple[int, ...],
        position_grid: int = 14,
    ) -> None:
        """Build the encoder with random weights; relative positions start at zero.

        Args:
            config: Sizes; the tables of the global blocks are resized for grids other than its.
            window: Side of a window, tokens.
            global_blocks: Blocks that attend over the whole grid.
            position_grid: Side of the grid of ``pos_embed``, which has a class row besides.

        Raises:
            EncoderError: If a tap or a global block does not exist.
        """
        super().__init__(
            dim=config.dim,
            patch_size=config.patch_size,
            stride=config.patch_size,
            taps=check_taps(config.taps, config.depth),
        )
        check_taps(global_blocks or None, config.depth)
        self.patch_embed = PatchProjection(dim=config.dim, patch_size=config.patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, position_grid**2 + 1, config.dim))
        self.blocks = nn.ModuleList(
            WindowedBlock(
                config,
                window=None if index in global_blocks else window,
                drop_path=config.drop_path_at(index),
            )
            for index in range(config.depth)
        )
        _initialise(self)

    def features(self, image: Tensor) -> list[Tensor]:
        """Map one modality (b, 3, h, w) to features (b, d, h / patch, w / patch) per tap.

        Raises:
            EncoderError: If the size is no multiple of the patch.
        """
        self.check_image(image)
        grid = self.patch_embed(image).permute(0, 2, 3, 1)  # (b, h, w, d)
        h, w = grid.shape[1], grid.shape[2]
        positions = resize_positions(self.pos_embed[:, 1:], grid_hw=(h, w))
        grid = grid + positions.reshape(1, h, w, self.dim)
        taps = []
        for index, block in enumerate(self.blocks[: self.taps[-1] + 1]):
            grid = self.run_block(block, grid)
            if index in self.taps:
                taps.append(grid.permute(0, 3, 1, 2))
        return taps


class ScaledBlock(nn.Module):
    """Pre-norm block with a bias table and layer scale (gamma 1 at the start)."""

    def __init__(self, config: TowerConfig, *, drop_path: float) -> None:
        """Build the block for the grid of ``config`` and a class token."""
        super().__init__()
        dim, norm_eps = config.dim, config.norm_eps
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = BiasTableAttention(dim=dim, num_heads=config.num_heads, grid_hw=config.grid_hw)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, MLP_RATIO * dim)
        self.gamma_1 = nn.Parameter(torch.ones(dim))
        self.gamma_2 = nn.Parameter(torch.ones(dim))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, table_rows: Tensor) -> Tensor:
        """Map (b, 1 + n, d) to (b, 1 + n, d); ``table_rows`` as in ``BiasTableAttention``."""
        attended = self.attn(self.norm1(tokens), table_rows)
        tokens = tokens + self.drop_path(self.gamma_1 * attended)
        mapped: Tensor = tokens + self.drop_path(self.gamma_2 * self.mlp(self.norm2(tokens)))
        return mapped


class BiasTableViT(SiameseViT):
    """The segmentation encoder: the bias tables fix the input size.

    The release stores the table rows of every layer as a buffer, 510 MB in all; here one copy is
    recomputed and never saved.
    """

    table_rows: Tensor

    def __init__(self, config: TowerConfig) -> None:
        """Build the encoder with random weights.

        Raises:
            EncoderError: If a tap does not exist.
        """
        super().__init__(
            dim=config.dim,
            patch_size=config.patch_size,
            stride=config.patch_size,
            taps=check_taps(config.taps, config.depth),
        )
        height, width = config.grid_hw
        self.grid_hw = config.grid_hw
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + height * width, config.dim))
        self.patch_embed = PatchProjection(dim=config.dim, patch_size=config.patch_size)
        self.blocks = nn.ModuleList(
            ScaledBlock(config, drop_path=config.drop_path_at(index))
            for index in range(config.depth)
        )
        self.register_buffer('table_rows', bias_table_rows(config.grid_hw), persistent=False)
        _initialise(self)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def features(self, image: Tensor) -> list[Tensor]:
        """Map one modality (b, 3, h, w) to features (b, d, h / patch, w / patch) per tap.

        Raises:
            EncoderError: If the image does not have exactly the size the tables are made for.
        """
        self.check_image(image)
        b = image.shape[0]
        patches = self.patch_embed(image).flatten(2).transpose(1, 2)  # (b, n, d)
        tokens = torch.cat([self.cls_token.expand(b, -1, -1), patches], dim=1)
        tokens = tokens + self.pos_embed
        taps = []
        for index, block in enumerate(self.blocks[: self.taps[-1] + 1]):
            tokens = self.run_block(partial(block, table_rows=self.table_rows), tokens)
            if index in self.taps:
                taps.append(tokens[:, 1:].transpose(1, 2).reshape(b, self.dim, *self.grid_hw))
        return taps

    def check_image(self, image: Tensor) -> None:
        """Check that the image has exactly the size the tables are made for.

        Raises:
            EncoderError: If it has another.
        """
        height, width = (side * self.patch_size for side in self.grid_hw)
        if not torch.compiler.is_compiling() and image.shape[1:] != (IN_CHANNELS, height, width):
            raise EncoderError(
                f'image has shape {tuple(image.shape)}; expected (b, 3, {height}, {width}), for '
                f'the bias tables fix the size; cut the image into windows of that size'
            )


def vitdet_base(*, drop_path: float = 0.0) -> WindowedViT:
    """ViT-B/16 of the published detectors: 960 x 960, window 14, blocks 2, 5, 8, 11 global."""
    config = TowerConfig(
        dim=768,
        depth=12,
        num_heads=12,
        patch_size=16,
        grid_hw=(60, 60),
        norm_eps=1e-5,
        drop_path=drop_path,
    )
    return WindowedViT(config, window=14, global_blocks=(2, 5, 8, 11))


def beit_base(*, drop_path: float = 0.0) -> BiasTableViT:
    """ViT-B/16 of the published segmentation models: 768 x 768, taps after 3, 5, 7 and 11."""
    config = TowerConfig(
        dim=768,
        depth=12,
        num_heads=12,
        patch_size=16,
        grid_hw=(48, 48),
        norm_eps=1e-6,
        drop_path=drop_path,
        taps=(3, 5, 7, 11),
    )
    return BiasTableViT(config)


def _initialise(encoder: WindowedViT | BiasTableViT) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(encoder.pos_embed, std=0.02)
