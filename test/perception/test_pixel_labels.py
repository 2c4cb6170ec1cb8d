# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from rgbt_perception import pixel_labels
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.pixel_labels import (
    find_axes,
    find_content,
    find_mixed,
    label_cells,
    label_pixels,
)
from rgbt_perception.types import LetterboxTransform

INPUT_HW = (96, 160)
GRID_HW = (24, 40)
STRIDE = 4  # network pixels per cell
# Where the best two logits are nearer than this, in units of the largest, rounding decides: of so
# large a share of the pixels at most.
ROUNDING, MAX_OTHERS = 1e-5, 1e-4
# Sources whose letterbox covers whole cells, with 1, 2 and 20 / 3 px per cell, and a fractional
# one: the last two pad the sides.
SOURCES = [(24, 40), (96, 160), (160, 1600 // 6), (480, 800), (101, 67), (90, 150), (96, 96)]


def draw_planes(seed: int, *, num_classes: int, smoothness: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    planes = rng.normal(0.0, 3.0, (num_classes, *GRID_HW)).astype(np.float32)
    if smoothness:
        planes = np.stack([cv2.GaussianBlur(plane, (0, 0), smoothness) for plane in planes])
    return planes


def enlarge(
    planes: np.ndarray, letterbox: LetterboxTransform, source_hw: tuple[int, int]
) -> np.ndarray:
    """Interpolate every class at every pixel, shape (k, height, width)."""
    height, width = source_hw
    content = find_content(letterbox, source_hw, len(planes[0]))
    if content is not None:
        cells = planes[:, content[0], content[1]]
        return np.stack([cv2.resize(plane, (width, height)) for plane in cells])
    # OpenCV's warp knows positions only roughly: by the definition then.
    weights = []
    pads = letterbox.pad_y, letterbox.pad_x
    for size, num_cells, pad in zip(source_hw, planes.shape[1:], pads, strict=True):
        centres = ((np.arange(size) + 0.5) * letterbox.scale + pad) / STRIDE - 0.5
        cells = np.arange(num_cells)
        weights.append(np.stack([np.interp(centres, cells, one) for one in np.eye(num_cells)]))
    return np.einsum('kij,iy,jx->kyx', planes, *weights, optimize=True)


def find_lags(label_map: np.ndarray, large: np.ndarray) -> np.ndarray:
    """Return how far labels lie behind the best class where they are another, shape (p,).

    Args:
        label_map: Class ids, shape (height, width).
        large: Logits of every class, shape (k, height, width); the largest is the unit.
    """
    found = np.take_along_axis(large, label_map[None].astype(np.int64), axis=0)[0]
    is_other = label_map != large.argmax(axis=0)
    return (large.max(axis=0) - found)[is_other] / np.abs(large).max()


@pytest.mark.parametrize('source_hw', SOURCES)
@pytest.mark.parametrize('smoothness', [0.0, 1.0, 4.0])
def test_labels_equal_those_of_all_classes_interpolated_everywhere(source_hw, smoothness):
    letterbox = letterbox_transform(source_hw, INPUT_HW)
    for seed in range(12):
        planes = draw_planes(seed, num_classes=2 + seed, smoothness=smoothness)
        label_map = label_pixels(planes, letterbox, source_hw)
        lags = find_lags(label_map, enlarge(planes, letterbox, source_hw))
        assert len(lags) <= MAX_OTHERS * label_map.size
        assert (lags < ROUNDING).all()


def test_blocks_are_labelled_however_many_at_once(monkeypatch):
    planes = draw_planes(0, num_classes=9, smoothness=1.0)
    letterbox = letterbox_transform((480, 800), INPUT_HW)
    label_map = label_pixels(planes, letterbox, (480, 800))
    monkeypatch.setattr(pixel_labels, 'BLOCKS_AT_ONCE', 100)
    np.testing.assert_array_equal(label_pixels(planes, letterbox, (480, 800)), label_map)


@pytest.mark.parametrize('offset', [-1e4, 1e4])
def test_small_leads_of_large_logits_are_told_apart(offset):
    # float32 has steps of 1e-3 there.
    rng = np.random.default_rng(3)
    planes = (offset + rng.normal(size=(4, *GRID_HW))).astype(np.float32)
    letterbox = letterbox_transform((480, 800), INPUT_HW)
    label_map = label_pixels(planes, letterbox, (480, 800))
    lags = find_lags(label_map, enlarge(planes, letterbox, (480, 800)))
    assert len(lags) <= 0.01 * label_map.size
    assert (lags < 1e-6).all()


def test_a_class_second_at_two_cells_is_the_best_between_them():
    planes = np.zeros((3, *GRID_HW), np.float32)
    planes[0, :, :20], planes[1, :, 20:], planes[2] = 4.0, 4.0, 3.0
    label_map = label_pixels(planes, letterbox_transform((480, 800), INPUT_HW), (480, 800))
    assert np.unique(label_map).tolist() == [0, 1, 2]
    assert (label_map[:, 400] == 2).all()  # the middle of the border


def test_on_equal_logits_the_lower_class_wins():
    planes = np.zeros((5, *GRID_HW), np.float32)
    assert (label_pixels(planes, letterbox_transform((480, 800), INPUT_HW), (480, 800)) == 0).all()


def test_on_equal_logits_in_mixed_blocks_the_lower_class_wins():
    planes = np.zeros((4, *GRID_HW), np.float32)
    planes[0, :, 20:] = -1.0
    planes[3, :, :20] = -1.0  # equal to the others in the right half
    label_map = label_pixels(planes, letterbox_transform((480, 800), INPUT_HW), (480, 800))
    assert (label_map[:, :390] == 0).all()
    assert (label_map[:, 390:] == 1).all()  # from the centre of the last left cell on


def test_the_class_of_a_cell_is_the_largest_and_the_lower_of_equal_ones():
    planes = np.array([[[-2.0, 1.0, 0.0]], [[-1.0, 1.0, 0.0]], [[-3.0, 0.0, 5.0]]], np.float32)
    np.testing.assert_array_equal(label_cells(planes), [[1, 0, 2]])


def test_255_classes_have_ids_to_254():
    planes = np.zeros((255, *GRID_HW), np.float32)
    planes[254, :, 20:] = 1.0
    label_map = label_pixels(planes, letterbox_transform((480, 800), INPUT_HW), (480, 800))
    assert (label_map[:, :390] == 0).all()
    assert (label_map[:, 391:] == 254).all()


def test_blocks_are_mixed_around_a_cell_of_another_class():
    cell_ids = np.zeros(GRID_HW, np.uint8)
    cell_ids[0, 7] = 3
    rows, columns = find_axes(letterbox_transform((480, 800), INPUT_HW), (480, 800), GRID_HW)
    is_mixed = find_mixed(cell_ids, rows, columns)
    # A block more than cells: those of rows 0 and 1, and of columns 7 and 8, touch the cell.
    assert is_mixed.shape == (25, 41)
    np.testing.assert_array_equal(np.argwhere(is_mixed), [[0, 7], [0, 8], [1, 7], [1, 8]])


def test_pixels_lie_between_the_centres_of_their_cells():
    rows, columns = find_axes(letterbox_transform((48, 80), INPUT_HW), (48, 80), GRID_HW)
    np.testing.assert_array_equal(rows.low[:3], [0, 0, 1])
    np.testing.assert_array_equal(rows.high[-3:], [22, 23, 23])
    # 2 px per cell: one in front of the first centre, then two in every block.
    np.testing.assert_array_equal(columns.pixels[:, [0, 1, 40]], [[0, 1, 79], [0, 2, 79]])
    np.testing.assert_allclose(columns.weights[:, [0, 1, 40]], [[0, 0.25, 0], [0, 0.75, 0]])
    np.testing.assert_array_equal(rows.cell_of_pixel[:5], [0, 0, 0, 1, 1])


@pytest.mark.parametrize('source_hw', [(4, 4), (4, 20), (20, 4), (1, 1)])
def test_planes_of_one_row_or_column_are_enlarged_too(source_hw):
    input_hw = tuple(max(STRIDE, size) for size in source_hw)
    letterbox = letterbox_transform(source_hw, input_hw)
    planes = np.zeros((2, *(size // STRIDE for size in input_hw)), np.float32)
    planes[1, -1, -1] = 1.0
    label_map = label_pixels(planes, letterbox, source_hw)
    large = enlarge(planes, letterbox, source_hw)
    np.testing.assert_array_equal(label_map, large.argmax(axis=0))


@pytest.mark.parametrize(
    ('source_hw', 'content'),
    [
        ((480, 800), (slice(0, 24), slice(0, 40))),
        ((96, 96), (slice(0, 24), slice(8, 32))),
        ((101, 67), None),
    ],
)
def test_content_is_where_the_letterbox_puts_whole_cells(source_hw, content):
    letterbox = letterbox_transform(source_hw, INPUT_HW)
    assert find_content(letterbox, source_hw, GRID_HW[0]) == content
