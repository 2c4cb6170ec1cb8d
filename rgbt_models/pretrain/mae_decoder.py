# SPDX-License-Identifier: Apache-2.0
"""The dual decoder: each modality is rebuilt with a look at the other's visible patches.

Source: M-SpecGene (https://arxiv.org/abs/2507.16318), Fig. 3 and released code. Kept from the
release: one norm for query and for key and value; both cross-attentions see the tokens from
*before* either; no bias on the keys; one final norm shared by both modalities. Epsilon is 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from timm.models.vision_transformer import Block
import torch
from torch import nn, Tensor
import torch.nn.functional as F

from rgbt_models.pretrain.patches import sincos_grid

EPSILON = 1e-6
MLP_RATIO = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSizes:
    """Sizes of the dual decoder.

    Attributes:
        encoder_dim: Width of the encoder's tokens.
        dim: Width of the decoder, a multiple of ``num_heads`` and of 4.
        depth: Self-attention blocks per modality.
        num_heads: Heads of every attention.
        grid_hw: Rows and columns of patches.
        num_prefix_tokens: Class and register tokens of the encoder.
        patch_values: Predicted numbers per patch, patch_size² * 3.
    """

    encoder_dim: int
    dim: int
    depth: int
    num_heads: int
    grid_hw: tuple[int, int]
    num_prefix_tokens: int
    patch_values: int


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another; queries and values have a bias."""

    def __init__(self, *, dim: int, num_heads: int) -> None:
        """Build the layer; ``dim`` is a multiple of ``num_heads``."""
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.k = nn.Linear(dim, dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        """Attend from (b, n, d) to (b, m, d); the result is (b, n, d)."""
        b, n, d = query.shape
        q = F.linear(query, self.q.weight, self.q_bias)
        k = self.k(other)
        v = F.linear(other, self.v.weight, self.v_bias)
        q, k, v = (t.reshape(b, -1, self.num_heads, d // self.num_heads) for t in (q, k, v))
        attended = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        )
        return torch.as_tensor(self.proj(attended.transpose(1, 2).reshape(b, n, d)))


class CrossBlock(nn.Module):
    """``x + Attn(ln1(x), ln1(other))``, then ``x + FFN(ln2(x))``."""

    def __init__(self, *, dim: int, num_heads: int) -> None:
        """Build the block."""
        super().__init__()
        self.ln1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = CrossAttention(dim=dim, num_heads=num_heads)
        self.ln2 = nn.LayerNorm(dim, eps=EPSILON)
        self.ffn = nn.Sequential(
            nn.Linear(dim, MLP_RATIO * dim), nn.GELU(), nn.Linear(MLP_RATIO * dim, dim)
        )

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Map (b, n, d) and the other modality's (b, n, d) to (b, n, d)."""
        x = x + self.attn(self.ln1(x), self.ln1(other))
        return torch.as_tensor(x + self.ffn(self.ln2(x)))


class DecoderBranch(nn.Module):
    """What one modality has of its own: embedding, mask token, blocks, prediction."""

    positions: Tensor

    def __init__(self, sizes: DecoderSizes) -> None:
        """Build the branch."""
        super().__init__()
        dim = sizes.dim
        self.num_prefix_tokens = sizes.num_prefix_tokens
        self.embed = nn.Linear(sizes.encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        grid = sincos_grid(*sizes.grid_hw, dim)
        prefix = grid.new_zeros(1, sizes.num_prefix_tokens, dim)
        self.register_buffer('positions', torch.cat([prefix, grid], dim=1))
        self.cross = CrossBlock(dim=dim, num_heads=sizes.num_heads)
        self.blocks = nn.Sequential(*(_build_block(sizes) for _ in range(sizes.depth)))
        self.predict = nn.Linear(dim, sizes.patch_values)

    def unshuffle(self, encoded: Tensor, visible: Tensor) -> Tensor:
        """Put visible tokens in their places among mask tokens and add positions.

        Args:
            encoded: Encoder output, shape (b, prefix + v, encoder_dim).
            visible: Patch indices, shape (b, v), int64.

        Returns:
            Shape (b, prefix + n, dim).
        """
        tokens = self.embed(encoded)
        prefix, seen = tokens[:, : self.num_prefix_tokens], tokens[:, self.num_prefix_tokens :]
        b, _, d = seen.shape
        n = self.positions.shape[1] - self.num_prefix_tokens
        everywhere = self.mask_token.to(tokens.dtype).expand(b, n, d)
        everywhere = everywhere.scatter(1, visible[..., None].expand(-1, -1, d), seen)
        return torch.cat([prefix, everywhere], dim=1) + self.positions


class DualDecoder(nn.Module):
    """Two branches that look at each other once."""

    def __init__(self, sizes: DecoderSizes) -> None:
        """Build the decoder with random weights (linear layers Xavier, mask tokens 0.02)."""
        super().__init__()
        self.rgb = DecoderBranch(sizes)
        self.thermal = DecoderBranch(sizes)
        self.norm = nn.LayerNorm(sizes.dim, eps=EPSILON)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.rgb.mask_token, std=0.02)
        nn.init.normal_(self.thermal.mask_token, std=0.02)

    def forward(
        self, rgb: Tensor, thermal: Tensor, rgb_visible: Tensor, thermal_visible: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict the pixels of every patch of both modalities.

        Args:
            rgb: Encoder output of the visible RGB patches, shape (b, prefix + v, encoder_dim).
            thermal: The same of thermal, shape (b, prefix + u, encoder_dim).
            rgb_visible: Their patch indices, shape (b, v).
            thermal_visible: Shape (b, u).

        Returns:
            RGB and thermal predictions, each (b, n, patch_values), without prefix.
        """
        first = self.rgb.unshuffle(rgb, rgb_visible)
        second = self.thermal.unshuffle(thermal, thermal_visible)
        crossed = self.rgb.cross(first, second), self.thermal.cross(second, first)
        predictions = [
            branch.predict(self.norm(branch.blocks(tokens)))[:, branch.num_prefix_tokens :]
            for branch, tokens in zip((self.rgb, self.thermal), crossed, strict=True)
        ]
        return predictions[0], predictions[1]


def _build_block(sizes: DecoderSizes) -> nn.Module:
    norm: Any = partial(nn.LayerNorm, eps=EPSILON)
    return Block(sizes.dim, sizes.num_heads, MLP_RATIO, qkv_bias=True, norm_layer=norm)
