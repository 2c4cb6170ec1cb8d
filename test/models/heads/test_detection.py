# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from rgbt_models.heads import anchor_points, DetectionHead

CPU = torch.device('cpu')
CHANNELS = (4, 5, 6)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return DetectionHead(channels=CHANNELS, num_classes=3).eval()


def levels(height, width, *, batch=2):
    """Features of an input of (16 * height, 16 * width)."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, c, height * scale, width * scale, generator=generator)
        for c, scale in zip(CHANNELS, (4, 2, 1), strict=True)
    ]


def silence_regressors(head, biases):
    """Let each level predict constant distances: softplus of the biases."""
    for regressor in head.regressors:
        torch.nn.init.zeros_(regressor.weight)
        regressor.bias.data = torch.tensor(biases)


def test_points_are_cell_centres_xy_row_by_row():
    # 2 rows and 3 columns at stride 8
    expected = [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
    assert anchor_points(2, 3, 8, device=CPU).tolist() == expected


def test_the_points_of_one_cell_are_its_middle():
    assert anchor_points(1, 1, 16, device=CPU).tolist() == [[8.0, 8.0]]


@pytest.mark.parametrize('size', [(1, 1), (2, 5), (5, 2)])
def test_every_point_of_every_level_has_logits_and_a_box(head, size):
    h, w = size
    logits, boxes = head(levels(h, w))
    count = h * w * (16 + 4 + 1)
    assert logits.shape == (2, count, 3)
    assert boxes.shape == (2, count, 4)


def test_boxes_reach_left_top_right_bottom_of_their_point(head):
    distances = [1.0, 2.0, 3.0, 4.0]  # in units of stride * 2
    silence_regressors(head, [math.log(math.expm1(d)) for d in distances])
    _, boxes = head(levels(1, 2))  # 32 wide, 16 high: 4x8, 2x4 and 1x2 cells
    stride_4, stride_8, stride_16 = boxes[0].split([32, 8, 2])
    # second cell of the second row at stride 4: centre (6, 6)
    torch.testing.assert_close(stride_4[9], torch.tensor([6.0 - 8, 6 - 16, 6 + 24, 6 + 32]))
    # third cell of the first row at stride 8: centre (20, 4)
    torch.testing.assert_close(stride_8[2], torch.tensor([20.0 - 16, 4 - 32, 20 + 48, 4 + 64]))
    # second cell at stride 16: centre (24, 8)
    torch.testing.assert_close(stride_16[1], torch.tensor([24.0 - 32, 8 - 64, 24 + 96, 8 + 128]))


def test_logits_of_a_point_come_from_its_cell(head):
    features = levels(1, 2)
    logits, _ = head(features)
    tower = head.towers[1](features[1])
    expected = head.classifiers[1](tower)[1, :, 1, 2]  # sample 1, row 1, column 2 of 2x4 cells
    torch.testing.assert_close(logits[1, 32 + 1 * 4 + 2], expected)


@torch.no_grad()
def test_at_the_start_nearly_every_point_is_background_and_every_box_has_a_size(head):
    logits, boxes = head(levels(2, 3))
    assert 0.003 < float(logits.sigmoid().mean()) < 0.03
    assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_boxes_stay_in_float_when_features_are_half_precision(head):
    head = head.to(torch.bfloat16)
    _, boxes = head([level.to(torch.bfloat16) for level in levels(1, 2)])
    assert boxes.dtype == torch.float32
