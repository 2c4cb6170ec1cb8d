# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from slow_vit import attention, double, randomise
import torch

from rgbt_models.errors import EncoderError
from rgbt_models.vit import BiasTableAttention, DecomposedAttention
from rgbt_models.vit.attention import (
    axis_table,
    bias_table_rows,
    join_windows,
    partition_windows,
)


def tokens(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_table_row_is_the_offset_query_minus_key():
    table = torch.tensor([[-2.0], [-1.0], [0.0], [1.0], [2.0]])
    expected = torch.tensor([[0.0, -1.0, -2.0], [1.0, 0.0, -1.0], [2.0, 1.0, 0.0]])
    assert torch.equal(axis_table(table, 3)[..., 0], expected)  # the same length: the same bits


def test_a_table_of_another_length_is_resized_linearly():
    # From 3 rows to 5 with half-pixel centres: sources -0.2 (edge), 0.4, 1, 1.6, 2.2 (edge).
    table = torch.tensor([[0.0], [10.0], [40.0]])
    offsets = axis_table(table, 3)
    expected = {-2: 0.0, -1: 4.0, 0: 10.0, 1: 28.0, 2: 40.0}
    for query in range(3):
        for key in range(3):
            assert offsets[query, key, 0].item() == pytest.approx(expected[query - key])


@torch.no_grad()
@pytest.mark.parametrize('grid_hw', [(3, 5), (4, 4)])
def test_decomposed_attention_equals_plain_loops(grid_hw):
    h, w = grid_hw
    layer = randomise(DecomposedAttention(dim=12, num_heads=3, grid_hw=(3, 5)), seed=0, scale=0.5)
    weights = {f'a.{name}': value for name, value in double(layer).items()}
    rows = axis_table(weights['a.rel_pos_h'], h)
    columns = axis_table(weights['a.rel_pos_w'], w)

    def bias(_, q):
        found = torch.zeros(h * w, h * w, dtype=torch.float64)
        for i in range(h * w):
            for j in range(h * w):
                row = rows[i // w, j // w]
                column = columns[i % w, j % w]
                found[i, j] = (q[i] * row).sum() + (q[i] * column).sum()
        return found

    grid = tokens(2, h, w, 12)
    for sample in range(2):
        flat = grid[sample].reshape(h * w, 12).double()
        expected = attention(flat, weights, 'a', heads=3, bias=bias).reshape(h, w, 12)
        torch.testing.assert_close(layer(grid)[sample].double(), expected, atol=1e-5, rtol=1e-5)


def test_tables_start_at_zero():
    layer = DecomposedAttention(dim=8, num_heads=2, grid_hw=(14, 60))
    assert tuple(layer.rel_pos_h.shape) == (27, 4)
    assert tuple(layer.rel_pos_w.shape) == (119, 4)
    assert not layer.rel_pos_h.any()
    assert not layer.rel_pos_w.any()
    assert (
        not BiasTableAttention(dim=8, num_heads=2, grid_hw=(2, 2))
        .state_dict()['relative_position_bias_table']
        .any()
    )


@pytest.mark.parametrize('size_hw', [(4, 6), (5, 7), (1, 2)])
def test_windows_are_cut_row_by_row_and_padded_right_and_below(size_hw):
    h, w = size_hw
    grid = torch.arange(1.0, 2 * h * w + 1).reshape(2, h, w, 1)
    windows = partition_windows(grid, 3)
    rows, columns = -(-h // 3), -(-w // 3)
    assert windows.shape == (2 * rows * columns, 3, 3, 1)
    for index, window in enumerate(windows):
        sample, place = divmod(index, rows * columns)
        for y in range(3):
            for x in range(3):
                source_y, source_x = place // columns * 3 + y, place % columns * 3 + x
                inside = source_y < h and source_x < w
                assert window[y, x, 0] == (grid[sample, source_y, source_x, 0] if inside else 0.0)
    torch.testing.assert_close(join_windows(windows, size_hw=size_hw), grid)


def test_the_bias_rows_of_a_grid_of_one_by_two():
    # Offsets dx = query - key in -1..1 are rows 0..2; class to patch 3, patch to class 4, own 5.
    expected = [[5, 3, 3], [4, 1, 0], [4, 2, 1]]
    assert bias_table_rows((1, 2)).tolist() == expected


@torch.no_grad()
def test_bias_table_attention_equals_plain_loops():
    h, w = 2, 3
    layer = randomise(BiasTableAttention(dim=8, num_heads=2, grid_hw=(h, w)), seed=0, scale=0.5)
    weights = {f'a.{name}': value for name, value in double(layer).items()}
    table = weights['a.relative_position_bias_table']
    assert tuple(table.shape) == (3 * 5 + 3, 2)

    def bias(head, _):
        found = torch.zeros(1 + h * w, 1 + h * w, dtype=torch.float64)
        for i in range(1 + h * w):
            for j in range(1 + h * w):
                if i == 0 or j == 0:
                    row = 17 if i == j else 15 if i == 0 else 16
                else:
                    dy = (i - 1) // w - (j - 1) // w
                    dx = (i - 1) % w - (j - 1) % w
                    row = (dy + 1) * 5 + dx + 2
                found[i, j] = table[row, head]
        return found

    sequence = tokens(1, 1 + h * w, 8)
    expected = attention(sequence[0].double(), weights, 'a', heads=2, bias=bias)
    actual = layer(sequence, bias_table_rows((h, w)))[0].double()
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_heads_must_divide_the_width():
    with pytest.raises(EncoderError, match='dim 10 does not split into 3 heads'):
        DecomposedAttention(dim=10, num_heads=3, grid_hw=(2, 2))
