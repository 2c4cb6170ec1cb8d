# SPDX-License-Identifier: Apache-2.0
"""Self-attention with the two relative position terms that published checkpoints carry.

``DecomposedAttention`` is that of ViTDet (https://arxiv.org/abs/2203.16527, after MViTv2): the
bias depends on the query, one table per axis. ``BiasTableAttention`` is that of BEiT: a learned
bias per offset and head, with three extra rows for the class token. Both hand their bias to
PyTorch's scaled dot product as an additive mask, so the attention itself stays fused.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn import functional

from rgbt_models.errors import EncoderError


class _Attention(nn.Module):
    def __init__(self, *, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise EncoderError(
                f'dim {dim} does not split into {num_heads} heads; expected a multiple; correct '
                f'dim or num_heads'
            )
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project tokens (b, n, d) to queries, keys and values, each (b, heads, n, d / heads)."""
        b, n, _ = tokens.shape
        qkv = self.qkv(tokens).reshape(b, n, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def merge(self, heads: Tensor) -> Tensor:
        """Project (b, heads, n, d / heads) back to tokens (b, n, d)."""
        # A true copy: the exporter mixes up the strides of the fused kernel and its decomposition.
        tokens = heads.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        joined: Tensor = self.proj(tokens.flatten(2))
        return joined


class DecomposedAttention(_Attention):
    """Attention over a grid with a query-dependent bias per axis.

    The logit of query i and key j gains q_i . (R_h[y_i - y_j] + R_w[x_i - x_j]) with the query
    before scaling. Source: ViTDet; the tables start at zero.
    """

    def __init__(self, *, dim: int, num_heads: int, grid_hw: tuple[int, int]) -> None:
        """Build the layer; ``grid_hw`` sets the tables' length 2 * side - 1."""
        super().__init__(dim=dim, num_heads=num_heads)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid_hw[0] - 1, self.head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid_hw[1] - 1, self.head_dim))

    def forward(self, grid: Tensor) -> Tensor:
        """Map a token grid (b, h, w, d) to (b, h, w, d); h and w may differ from the tables'."""
        b, h, w, d = grid.shape
        q, k, v = self.split(grid.reshape(b, h * w, d))
        on_grid = q.reshape(b, self.num_heads, h, w, self.head_dim)
        rows, columns = axis_table(self.rel_pos_h, h), axis_table(self.rel_pos_w, w)
        along_y = torch.einsum('bnyxc,yjc->bnyxj', on_grid, rows.to(q.dtype))
        along_x = torch.einsum('bnyxc,xjc->bnyxj', on_grid, columns.to(q.dtype))
        bias = along_y[..., :, None] + along_x[..., None, :]  # (b, heads, h, w, h, w)
        bias = bias.reshape(b, self.num_heads, h * w, h * w)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.merge(attended).reshape(b, h, w, d)


def axis_table(table: Tensor, side: int) -> Tensor:
    """Look up one axis' table for every query and key position.

    Args:
        table: (l, c), row r is the offset r - (l - 1) / 2 of query minus key.
        side: Positions along the axis; a table not of length 2 * side - 1 is resized linearly
            (``align_corners=False``), as the release does.

    Returns:
        (side, side, c), query first.
    """
    # Always resized: at equal length it is the identity, and an exported graph must not depend on
    # the size it was traced with.
    table = functional.interpolate(table.T[None], size=2 * side - 1, mode='linear')[0].T
    position = torch.arange(side, device=table.device)
    return table[position[:, None] - position[None, :] + side - 1]


def partition_windows(grid: Tensor, window: int) -> Tensor:
    """Cut (b, h, w, d) into windows (b * k, window, window, d), zeros added right and below.

    The padding takes part in the attention of its window, as in the release: its keys are those
    of a zero token.
    """
    b, h, w, d = grid.shape
    rows, columns = _count_windows(h, window), _count_windows(w, window)
    grid = functional.pad(grid, (0, 0, 0, columns * window - w, 0, rows * window - h))
    cut = grid.reshape(b, rows, window, columns, window, d).transpose(2, 3)
    return cut.reshape(b * rows * columns, window, window, d)


def join_windows(windows: Tensor, *, size_hw: tuple[int, int]) -> Tensor:
    """Undo ``partition_windows`` for a grid of ``size_hw``: (b, h, w, d), padding dropped."""
    count, window, _, d = windows.shape
    h, w = size_hw
    rows, columns = _count_windows(h, window), _count_windows(w, window)
    grid = windows.reshape(count // (rows * columns), rows, columns, window, window, d)
    grid = grid.transpose(2, 3).reshape(-1, rows * window, columns * window, d)
    return grid[:, :h, :w]


def _count_windows(side: int, window: int) -> int:
    # Rounded up without negative numbers, which ONNX divides towards zero.
    return (side + window - 1) // window


class BiasTableAttention(_Attention):
    """Attention over a class token and a grid of fixed size with a learned bias per offset.

    ``relative_position_bias_table`` has a row per offset and three more: class to patch, patch to
    class, class to class. Source: BEiT; starts at zero as in M-SpecGene's segmentation release.
    """

    def __init__(self, *, dim: int, num_heads: int, grid_hw: tuple[int, int]) -> None:
        """Build the layer for a grid of ``grid_hw`` tokens."""
        super().__init__(dim=dim, num_heads=num_heads)
        rows = (2 * grid_hw[0] - 1) * (2 * grid_hw[1] - 1) + 3
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))

    def forward(self, tokens: Tensor, table_rows: Tensor) -> Tensor:
        """Attend.

        Args:
            tokens: (b, 1 + h * w, d), class token first.
            table_rows: (1 + h * w, 1 + h * w) from ``bias_table_rows``, query first.

        Returns:
            (b, 1 + h * w, d).
        """
        q, k, v = self.split(tokens)
        bias = self.relative_position_bias_table.T[:, table_rows][None].to(q.dtype)
        return self.merge(functional.scaled_dot_product_attention(q, k, v, attn_mask=bias))


def bias_table_rows(grid_hw: tuple[int, int]) -> Tensor:
    """Return the row of the bias table for every query and key.

    Offsets are query minus key, y-major: row (dy + h - 1) * (2 * w - 1) + dx + w - 1.

    Args:
        grid_hw: Rows and columns of the token grid.

    Returns:
        (1 + h * w, 1 + h * w) int64, query first, class token at 0. Source: BEiT.
    """
    h, w = grid_hw
    y = torch.arange(h).repeat_interleave(w)
    x = torch.arange(w).repeat(h)
    rows = torch.empty(1 + h * w, 1 + h * w, dtype=torch.int64)
    dy, dx = y[:, None] - y[None, :], x[:, None] - x[None, :]
    rows[1:, 1:] = (dy + h - 1) * (2 * w - 1) + dx + w - 1
    offsets = (2 * h - 1) * (2 * w - 1)
    rows[0, :], rows[:, 0], rows[0, 0] = offsets, offsets + 1, offsets + 2
    return rows
