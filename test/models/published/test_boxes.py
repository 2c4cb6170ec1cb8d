# SPDX-License-Identifier: Apache-2.0
"""Anchors, box coder, suppression and pooling against loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from slow_layers import roi_align
import torch

from rgbt_models.published.boxes import (
    anchor_grid,
    choose_levels,
    decode_boxes,
    pool_boxes,
    suppress_by_group,
)


def test_anchors_run_ratios_first_then_x_then_y_and_start_at_the_origin():
    anchors = anchor_grid(2, 3, 4, like=torch.zeros(1, dtype=torch.float64))
    expected = []
    for row in range(2):
        for column in range(3):
            for ratio in (0.5, 1.0, 2.0):  # height / width
                height, width = 32 * math.sqrt(ratio), 32 / math.sqrt(ratio)
                x, y = column * 4.0, row * 4.0
                expected.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    np.testing.assert_allclose(anchors.numpy(), expected, rtol=1e-12)


def test_the_wide_anchor_comes_first():
    # Literal: stride 16, ratio 1/2 of height to width.
    first = anchor_grid(1, 1, 16, like=torch.zeros(1, dtype=torch.float64))[0]
    half_w, half_h = 64 * math.sqrt(2), 64 / math.sqrt(2)
    np.testing.assert_allclose(first.numpy(), [-half_w, -half_h, half_w, half_h], rtol=1e-12)


def test_decoding_shifts_by_box_sizes_and_scales_by_exponentials():
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0]], dtype=torch.float64)
    deltas = torch.tensor([[1.0, -2.0, math.log(2) / 0.2, 0.0]], dtype=torch.float64)
    decoded = decode_boxes(boxes, deltas, stds=(0.1, 0.1, 0.2, 0.2), clip_hw=(100, 200))
    # centre (20, 40) moves by 0.1 * 20 and -0.2 * 40; the width doubles to 40.
    np.testing.assert_allclose(decoded.numpy(), [[2.0, 12.0, 42.0, 52.0]], rtol=1e-12)


def test_decoding_clips_x_to_the_width_and_y_to_the_height():
    boxes = torch.tensor([[-5.0, -6.0, 300.0, 400.0]])
    decoded = decode_boxes(boxes, torch.zeros(1, 4), stds=(1, 1, 1, 1), clip_hw=(50, 70))
    assert decoded.tolist() == [[0.0, 0.0, 70.0, 50.0]]


def test_decoding_limits_the_growth_of_a_side():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    deltas = torch.tensor([[0.0, 0.0, 99.0, -99.0]], dtype=torch.float64)
    decoded = decode_boxes(boxes + 500, deltas, stds=(1, 1, 1, 1), clip_hw=(9999, 9999))[0]
    np.testing.assert_allclose(float(decoded[2] - decoded[0]), 62.5, rtol=1e-9)
    np.testing.assert_allclose(float(decoded[3] - decoded[1]), 0.016, rtol=1e-9)


def test_an_overlap_of_exactly_the_threshold_is_kept():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0]])
    scores, same = torch.tensor([0.9, 0.8]), torch.zeros(2)
    assert suppress_by_group(boxes, scores, same, max_iou=0.5).tolist() == [0, 1]
    assert suppress_by_group(boxes, scores, same, max_iou=0.49).tolist() == [0]


def test_groups_do_not_suppress_one_another_and_the_best_comes_first():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]] * 3)
    kept = suppress_by_group(
        boxes, torch.tensor([0.2, 0.9, 0.5]), torch.tensor([0, 1, 0]), max_iou=0.5
    )
    assert kept.tolist() == [1, 2]


def test_nothing_is_suppressed_of_nothing():
    assert (
        suppress_by_group(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), max_iou=0.5).tolist()
        == []
    )


@pytest.mark.parametrize(
    ('side', 'level'), [(1.0, 0), (111.0, 0), (112.1, 1), (223.0, 1), (225.0, 2), (900.0, 3)]
)
def test_the_level_of_a_box_follows_its_size(side, level):
    boxes = torch.tensor([[3.0, 4.0, 3.0 + 2 * side, 4.0 + side / 2]])
    assert choose_levels(boxes, num_levels=4).tolist() == [level]


def test_pooling_equals_a_slow_reference_on_every_level_and_beyond_the_border():
    generator = torch.Generator().manual_seed(0)
    sides = [(120, 140), (60, 70), (30, 35), (15, 18)]
    levels = [torch.randn(2, 2, h, w, generator=generator).double() for h, w in sides]
    boxes = torch.tensor(
        [
            [10.0, 20.0, 37.0, 90.0],
            [-30.0, 5.0, 170.0, 120.0],
            [100.0, 90.0, 420.0, 300.0],
            [0.0, 0.0, 560.0, 480.0],
        ],
        dtype=torch.float64,
    )
    pooled = pool_boxes(levels, boxes, image_index=1, output_size=7).numpy()
    for row, (box, index) in enumerate(zip(boxes.tolist(), (0, 1, 2, 3), strict=True)):
        level = levels[index][1].numpy()
        expected = roi_align(level, box, 1 / (4 * 2**index), 7)
        np.testing.assert_allclose(pooled[row], expected, rtol=1e-9, atol=1e-12)
