# SPDX-License-Identifier: Apache-2.0
"""The best class of every pixel, from logits on the coarser grid of the network.

Logits are interpolated and then compared, which gives smoother borders than enlarging class ids.
An interpolated logit is a weighted mean of those of four cells. So a class that is the best in
all four is the best between them: on street scenes that decides six pixels of seven, which are
filled. Of the others, only classes are interpolated whose largest of the four logits is not below
the smallest of another class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np

from rgbt_perception.geometry import Matrix
from rgbt_perception.types import BoolArray, ByteArray, FloatArray, IntArray, LetterboxTransform

Window: TypeAlias = tuple[slice, slice]  # rows and columns

# Of the warp from cells to pixels.
SAMPLING_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
# Blocks that are interpolated at once, which bounds the memory.
BLOCKS_AT_ONCE = 1024
MAX_GEOMETRIES = 8


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Axis:
    """How the pixels of the reference image lie between the cells, along one axis.

    A block is the pixels between the centres of two neighbouring cells. Those before the first
    and behind the last centre are blocks too, between a cell and itself.

    Attributes:
        low: Cell before each block, shape (b,).
        high: Cell behind each block, shape (b,).
        pixels: Pixels of each block, shape (n, b); a block of fewer than n repeats its last.
        weights: Share of ``high`` in each of ``pixels``, shape (n, b), float32.
        cell_of_pixel: ``low`` by pixel, shape (p,).
    """

    low: IntArray
    high: IntArray
    pixels: IntArray
    weights: FloatArray
    cell_of_pixel: IntArray


def label_pixels(
    planes: FloatArray, letterbox: LetterboxTransform, source_hw: tuple[int, int]
) -> ByteArray:
    """Return the class with the largest logit at every pixel of the reference image.

    Args:
        planes: Logits, shape (k, h, w), float32, finite; 1 to 255 classes.
        letterbox: How reference pixels became network pixels.
        source_hw: Height and width of the reference image, px.

    Returns:
        Class ids, shape ``source_hw``, uint8; the lower id on equal logits.
    """
    _, num_rows, num_columns = planes.shape
    rows, columns = find_axes(letterbox, source_hw, (num_rows, num_columns))
    cell_ids = label_cells(planes)
    label_map = cell_ids[:, columns.cell_of_pixel].take(rows.cell_of_pixel, axis=0)
    mixed = np.stack(find_mixed(cell_ids, rows, columns).nonzero())
    for begin in range(0, mixed.shape[1], BLOCKS_AT_ONCE):
        blocks = mixed[:, begin : begin + BLOCKS_AT_ONCE]
        _label_blocks(planes, (rows, columns), blocks, label_map)
    return label_map


def label_cells(planes: FloatArray) -> ByteArray:
    """Return the class with the largest logit in every cell, shape (h, w); the lower on a tie."""
    # The first class that reaches the maximum; argmax takes three times as long.
    inverse_ids = np.arange(len(planes), 0, -1, dtype=np.uint8)[:, None, None]
    is_best = planes == planes.max(axis=0)
    return np.asarray(np.uint8(len(planes)) - (is_best * inverse_ids).max(axis=0))


def find_mixed(cell_ids: ByteArray, rows: Axis, columns: Axis) -> BoolArray:
    """Return in which blocks the four cells are not all of one class, shape (rows, columns)."""
    left, right = cell_ids[:, columns.low], cell_ids[:, columns.high]
    is_mixed = left != right
    is_mixed = is_mixed.take(rows.low, axis=0) | is_mixed.take(rows.high, axis=0)
    return np.asarray(is_mixed | (left.take(rows.low, axis=0) != left.take(rows.high, axis=0)))


@lru_cache(MAX_GEOMETRIES)
def find_axes(
    letterbox: LetterboxTransform, source_hw: tuple[int, int], cells_hw: tuple[int, int]
) -> tuple[Axis, Axis]:
    """Return where the pixels lie between the cells, by rows and by columns.

    Args:
        letterbox: How reference pixels became network pixels.
        source_hw: Height and width of the reference image, px.
        cells_hw: Height and width of a plane of logits.
    """
    content = find_content(letterbox, source_hw, cells_hw[0])
    (scale, _, left), (_, _, top) = sampling_matrix(letterbox, source_hw, cells_hw[0])
    axes = []
    for axis, begin in enumerate((top, left)):
        cells = range(cells_hw[axis]) if content is None else range(cells_hw[axis])[content[axis]]
        axes.append(_build_axis(begin + scale * np.arange(source_hw[axis]), cells))
    return axes[0], axes[1]


def _build_axis(positions: Matrix, cells: range) -> Axis:
    """Return where pixels lie.

    Args:
        positions: Of the centres of the pixels, shape (p,); those of cells are whole numbers.
        cells: Cells that are used.
    """
    before = np.floor(positions).astype(np.int64).clip(cells[0] - 1, cells[-1])
    blocks, begins = np.unique(before, return_index=True)
    ends = np.append(begins[1:], len(positions))
    steps = np.arange((ends - begins).max())[:, None]
    pixels = np.minimum(begins + steps, ends - 1)
    low = blocks.clip(cells[0])
    return Axis(
        low=low,
        high=(blocks + 1).clip(max=cells[-1]),
        pixels=pixels,
        weights=(positions.clip(cells[0], cells[-1])[pixels] - low).astype(np.float32),
        cell_of_pixel=before.clip(cells[0]),
    )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Candidates:
    """The classes that can be the best in each block, all first ones, then all second ones, ...

    Blocks with the most classes come first, so those with an i-th one are always the first ones.

    Attributes:
        order: Indices of the blocks, shape (b,).
        counts: How many blocks have a first class, a second one, ...: all have a first.
        members: Which block of ``order`` each candidate belongs to, shape (p,).
        class_ids: Shape (p,), uint8, ascending within a block.
        logits: In the four cells of the block, shape (4, p).
    """

    order: IntArray
    counts: list[int]
    members: IntArray
    class_ids: ByteArray
    logits: FloatArray


def _label_blocks(
    planes: FloatArray, axes: tuple[Axis, Axis], blocks: IntArray, label_map: ByteArray
) -> None:
    """Interpolate the classes that can be the best in blocks, and write the best.

    Args:
        planes: Logits, shape (k, h, w).
        axes: Rows and columns.
        blocks: Row and column of each block, shape (2, b).
        label_map: Where to write, shape ``source_hw``, contiguous.
    """
    rows, columns = axes
    candidates = _find_candidates(_gather_corners(planes, axes, blocks))
    in_rows, in_columns = blocks.take(candidates.order, axis=1)
    weights = rows.weights.take(in_rows, axis=1), columns.weights.take(in_columns, axis=1)
    first_pixels = rows.pixels.take(in_rows, axis=1)[:, None] * label_map.shape[1]
    pixels = first_pixels + columns.pixels.take(in_columns, axis=1)  # (y, x, b)
    label_map.reshape(-1)[pixels] = _find_best(candidates, *weights)


def _gather_corners(planes: FloatArray, axes: tuple[Axis, Axis], blocks: IntArray) -> FloatArray:
    """Return the logits of blocks, shape (k, 4, b): top left and right, bottom left and right."""
    rows, columns = axes
    width = planes.shape[2]
    top, bottom = rows.low[blocks[0]] * width, rows.high[blocks[0]] * width
    left, right = columns.low[blocks[1]], columns.high[blocks[1]]
    cells = np.stack([top + left, top + right, bottom + left, bottom + right])
    return planes.reshape(len(planes), -1).take(cells, axis=1)


def _find_candidates(corners: FloatArray) -> _Candidates:
    """Return which classes can be the best, of logits with shape (k, 4, b)."""
    is_possible = corners.max(axis=1) >= corners.min(axis=1).max(axis=0)  # (k, b)
    num_possible = np.add.reduce(is_possible, axis=0, dtype=np.int64)
    order = np.argsort(-num_possible, kind='stable')
    num_possible = num_possible[order]
    members, class_ids = is_possible.take(order, axis=1).T.nonzero()
    begins = num_possible.cumsum() - num_possible
    ranks = (np.arange(len(members)) - begins[members]).astype(np.uint8)
    by_rank = np.argsort(ranks, kind='stable')
    members, class_ids = members[by_rank], class_ids[by_rank]
    _, num_corners, num_blocks = corners.shape
    cells = (class_ids * num_corners + np.arange(num_corners)[:, None]) * num_blocks
    return _Candidates(
        order=order,
        counts=np.bincount(ranks).tolist(),
        members=members,
        class_ids=class_ids.astype(np.uint8),
        logits=corners.reshape(-1).take(cells + order[members]),
    )


def _find_best(candidates: _Candidates, y_weights: FloatArray, x_weights: FloatArray) -> ByteArray:
    """Return the best class of the pixels of each block, shape (y, x, b).

    Args:
        candidates: With b blocks.
        y_weights: Share of the bottom cells, shape (y, b).
        x_weights: Share of the right cells, shape (x, b).
    """
    num_blocks, *counts = candidates.counts
    # What is interpolated is by how much a class leads before the first one of its block.
    members, class_ids = candidates.members[num_blocks:], candidates.class_ids[num_blocks:]
    leads = candidates.logits[:, num_blocks:] - candidates.logits[:, members]
    left, right = leads[::2, None], leads[1::2, None]
    top, bottom = left + (right - left) * x_weights.take(members, axis=1)
    leads = (bottom - top) * y_weights.take(members, axis=1)[:, None]
    leads += top  # (y, x, p)
    best = np.zeros((*leads.shape[:2], num_blocks), np.float32)
    best_ids = np.empty(best.shape, np.uint8)
    best_ids[:] = candidates.class_ids[:num_blocks]
    end = 0
    for count in counts:
        begin, end = end, end + count
        lead, most, ids = leads[..., begin:end], best[..., :count], best_ids[..., :count]
        # Ids ascend, so the larger of old and new id is the new one where it is better.
        better_ids = (lead > most).view(np.uint8) * class_ids[begin:end]
        np.maximum(ids, better_ids, out=ids)
        np.maximum(most, lead, out=most)
    return best_ids


def find_content(
    letterbox: LetterboxTransform, source_hw: tuple[int, int], num_rows: int
) -> Window | None:
    """Return the cells that the image covers in the letterbox; None when they are not whole.

    Args:
        letterbox: How reference pixels became network pixels.
        source_hw: Height and width of the reference image, px.
        num_rows: Rows of a plane, which tell how many network pixels a cell covers.
    """
    height, width = source_hw
    stride = find_stride(letterbox, height, num_rows)
    top, left = letterbox.pad_y / stride, letterbox.pad_x / stride
    scale = letterbox.scale / stride
    edges = [round(value, 6) for value in (top, height * scale, left, width * scale)]
    if not all(value.is_integer() for value in edges):
        return None
    y, rows, x, columns = (int(value) for value in edges)
    return slice(y, y + rows), slice(x, x + columns)


def sampling_matrix(
    letterbox: LetterboxTransform, source_hw: tuple[int, int], num_rows: int
) -> Matrix:
    """Return which cell lies under a pixel, shape (2, 3), centre units; it mixes no axes.

    Args:
        letterbox: How reference pixels became network pixels.
        source_hw: Height and width of the reference image, px.
        num_rows: Rows of a plane.
    """
    stride = find_stride(letterbox, source_hw[0], num_rows)
    scale = letterbox.scale / stride
    left, top = letterbox.pad_x / stride, letterbox.pad_y / stride
    # Edge units to OpenCV's centre units: the constant term takes half a pixel on either side.
    return np.array([[scale, 0.0, scale / 2 + left - 0.5], [0.0, scale, scale / 2 + top - 0.5]])


def find_stride(letterbox: LetterboxTransform, height: int, num_rows: int) -> int:
    """Return how many network pixels a cell covers."""
    return round((height * letterbox.scale + 2 * letterbox.pad_y) / num_rows)
