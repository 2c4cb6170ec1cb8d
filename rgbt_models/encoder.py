# SPDX-License-Identifier: Apache-2.0
"""Siamese encoder: one stack of timm transformer blocks sees RGB and thermal alike.

Differs from M-SpecGene (https://arxiv.org/abs/2507.16318): a convolutional stem per modality
replaces the shared 16-pixel patch embedding, because at this size it finds small people far
better, and the sin-cos positions are in units of the
token grid, so any input size works.
"""

from __future__ import annotations

from timm.models.vision_transformer import Block
import torch
from torch import nn, Tensor

from rgbt_models.token_merging import TokenMerging

STEM_CHANNELS = (32, 64, 128)
POSITION_BASE = 100.0
# Training shifts the position grid by up to this many tokens, so that inputs larger than the
# training crops meet no unknown position.
MAX_POSITION_SHIFT = 28


def conv_norm_act(
    in_channels: int, out_channels: int, *, stride: int = 1, kernel: int = 3
) -> nn.Module:
    """Build convolution, batch normalisation and ReLU, size kept but for the stride."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class ConvStem(nn.Module):
    """Convolutions from the image of one modality to features at strides 4, 8 and 16."""

    def __init__(self, *, dim: int) -> None:
        """Build the stem; ``dim`` is the width at stride 16."""
        super().__init__()
        half, quarter, eighth = STEM_CHANNELS
        self.stride_4 = nn.Sequential(
            conv_norm_act(3, half, stride=2),
            conv_norm_act(half, quarter, stride=2),
            conv_norm_act(quarter, quarter),
        )
        self.stride_8 = nn.Sequential(
            conv_norm_act(quarter, eighth, stride=2), conv_norm_act(eighth, eighth)
        )
        self.stride_16 = nn.Conv2d(eighth, dim, 3, 2, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (b, 3, h, w) to features (b, c, h/4, w/4), (b, c, h/8, w/8), (b, d, h/16, w/16)."""
        quarter = self.stride_4(image)
        eighth = self.stride_8(quarter)
        return quarter, eighth, self.stride_16(eighth)


def sincos_positions(height: int, width: int, dim: int, *, shift_yx: Tensor) -> Tensor:
    """Return fixed 2-D sin-cos positions in units of the token grid.

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        dim: Width of the tokens, a multiple of 4; the first half encodes y, the second x.
        shift_yx: Shape (2,), added to the coordinates.

    Returns:
        Positions, shape (1, height * width, dim), row-major like ``flatten(2)``.
    """
    device = shift_yx.device
    frequency = POSITION_BASE ** (-torch.arange(dim // 4, device=device) / (dim // 4))
    y = (torch.arange(height, device=device) + shift_yx[0])[:, None] * frequency
    x = (torch.arange(width, device=device) + shift_yx[1])[:, None] * frequency
    y = torch.cat([y.sin(), y.cos()], dim=1)[:, None].expand(height, width, dim // 2)
    x = torch.cat([x.sin(), x.cos()], dim=1)[None].expand(height, width, dim // 2)
    return torch.cat([y, x], dim=2).reshape(1, height * width, dim)


class SiameseEncoder(nn.Module):
    """Stem per modality, transformer blocks shared by both.

    Attributes:
        keep_tokens: Share of the tokens that each merge leaves, 1 = none is merged; set it with
            ``token_merging.set_keep_tokens``.
        use_stacked_batch: Run the blocks on both modalities as one batch of 2b (faster on a GPU)
            or as two passes (faster on a CPU, less memory); the values are the same.
    """

    def __init__(self, *, dim: int, depth: int, num_heads: int) -> None:
        """Build the encoder with random weights."""
        super().__init__()
        self.dim = dim
        self.keep_tokens = 1.0
        self.use_stacked_batch = False
        self.channels = (STEM_CHANNELS[1], STEM_CHANNELS[2], dim)
        self.rgb_stem = ConvStem(dim=dim)
        self.thermal_stem = ConvStem(dim=dim)
        self.rgb_embedding = nn.Parameter(torch.zeros(1, 1, dim))
        self.thermal_embedding = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.Sequential(*(Block(dim, num_heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)

    def forward(self, rgb: Tensor, thermal: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Encode both modalities.

        Args:
            rgb: (b, 3, h, w), standardised, h and w multiples of 16.
            thermal: (b, 3, h, w), standardised, one channel replicated.

        Returns:
            (rgb, thermal) features at strides 4, 8 and 16, each (b, c, h/s, w/s).
        """
        shift = torch.zeros(2, device=rgb.device)
        if self.training:
            shift = torch.rand(2, device=rgb.device) * MAX_POSITION_SHIFT
        rgb_stem, thermal_stem = self.rgb_stem(rgb), self.thermal_stem(thermal)
        rgb_tokens = _tokens(rgb_stem[-1], self.rgb_embedding, shift)
        thermal_tokens = _tokens(thermal_stem[-1], self.thermal_embedding, shift)
        if self.use_stacked_batch:
            stacked = self._run_blocks(torch.cat([rgb_tokens, thermal_tokens]))  # (2 * b, n, d)
            b = rgb.shape[0]
            rgb_tokens, thermal_tokens = stacked[:b], stacked[b:]
        else:
            rgb_tokens = self._run_blocks(rgb_tokens)
            thermal_tokens = self._run_blocks(thermal_tokens)
        rgb_levels = (*rgb_stem[:-1], _map(rgb_tokens, rgb_stem[-1]))
        thermal_levels = (*thermal_stem[:-1], _map(thermal_tokens, thermal_stem[-1]))
        return list(zip(rgb_levels, thermal_levels, strict=True))

    def _run_blocks(self, tokens: Tensor) -> Tensor:
        merging = TokenMerging(keep_tokens=self.keep_tokens, depth=len(self.blocks))
        for index, block in enumerate(self.blocks):
            tokens = merging.merge_after(index, block(tokens))
        normed: Tensor = self.norm(merging.unmerge(tokens))
        return normed


def _tokens(patches: Tensor, embedding: Tensor, shift_yx: Tensor) -> Tensor:
    """Return the tokens (b, n, d) of a map (b, d, h, w), positions and embedding added."""
    _, d, h, w = patches.shape
    positions = sincos_positions(h, w, d, shift_yx=shift_yx).to(patches.dtype)
    return patches.flatten(2).transpose(1, 2) + positions + embedding


def _map(tokens: Tensor, patches: Tensor) -> Tensor:
    """Return tokens (b, n, d) as a map (b, d, h, w) of the size of ``patches``."""
    return tokens.transpose(1, 2).reshape(patches.shape)
