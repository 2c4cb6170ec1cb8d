# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from typing import Any

import cv2
from fakes import build_outputs
import numpy as np
import pytest

from rgbt_perception.config import OutputConfig
from rgbt_perception.geometry import letterbox_boxes, letterbox_transform
from rgbt_perception.postprocess import (
    decode_detections,
    decode_label_map,
    suppress,
    SUPPRESSING_AT_ONCE,
)
from rgbt_perception.types import Detections, RawOutputs

INPUT_HW = (256, 320)
SOURCE_HW = (480, 640)  # scale 0.5, 8 px above and below
LETTERBOX = letterbox_transform(SOURCE_HW, INPUT_HW)


def decode(boxes: Any, **config: Any) -> Detections:
    raw = build_outputs(INPUT_HW, boxes=boxes)
    return decode_detections(raw, LETTERBOX, SOURCE_HW, OutputConfig(**config))


def test_box_comes_back_in_source_pixels():
    detections = decode([(2, 0.75, (10, 28, 30, 48))])
    np.testing.assert_allclose(detections.boxes_xyxy, [[20, 40, 60, 80]])
    np.testing.assert_allclose(detections.scores, [0.75], rtol=1e-6)
    np.testing.assert_array_equal(detections.class_ids, [2])
    assert detections.boxes_xyxy.dtype == detections.scores.dtype == np.float32
    assert detections.class_ids.dtype == np.int64


def test_no_box_gives_empty_arrays():
    detections = decode([])
    assert detections.boxes_xyxy.shape == (0, 4)
    assert len(detections) == 0


def test_threshold_is_inclusive():
    # Logit 0 is a score of exactly 0.5.
    raw = build_outputs(INPUT_HW, boxes=[(0, 0.5, (10, 20, 30, 40))])
    raw.class_logits[0, 0, 0] = 0.0
    for threshold, number in ((0.5, 1), (0.5001, 0)):
        config = OutputConfig(score_threshold=threshold)
        assert len(decode_detections(raw, LETTERBOX, SOURCE_HW, config)) == number


def test_detections_are_sorted_by_score():
    boxes = [
        (0, score, (10 + 60 * k, 20, 50 + 60 * k, 60)) for k, score in enumerate((0.4, 0.9, 0.6))
    ]
    np.testing.assert_allclose(decode(boxes).scores, [0.9, 0.6, 0.4], rtol=1e-6)


def test_equal_scores_keep_the_order_of_the_anchors():
    boxes = [(1, 0.8, (10 + 30 * k, 20, 30 + 30 * k, 60)) for k in range(8)]
    lefts = decode(boxes).boxes_xyxy[:, 0]
    np.testing.assert_allclose(lefts, [20 + 60 * k for k in range(8)])


def test_overlap_of_one_class_is_suppressed_and_of_two_classes_kept():
    # Intersection 36x40 of 40x40 each: IoU 0.818.
    near = (14, 60, 54, 100)
    assert len(decode([(0, 0.9, (10, 60, 50, 100)), (0, 0.8, near)])) == 1
    assert len(decode([(0, 0.9, (10, 60, 50, 100)), (1, 0.8, near)])) == 2


def test_overlap_of_exactly_nms_iou_is_kept():
    # Intersection 20 of a union of 60 columns: IoU 1/3.
    boxes = [(0, 0.9, (0, 60, 40, 100)), (0, 0.8, (20, 60, 60, 100))]
    assert len(decode(boxes, nms_iou=float(np.float32(1) / np.float32(3)))) == 2
    assert len(decode(boxes, nms_iou=0.33)) == 1


def test_suppressed_box_suppresses_no_other():
    # Chain: the second overlaps both neighbours, the third does not overlap the first enough.
    boxes = [(0, 0.9, (0, 60, 40, 100)), (0, 0.8, (8, 60, 48, 100)), (0, 0.7, (16, 60, 56, 100))]
    np.testing.assert_allclose(decode(boxes, nms_iou=0.5).scores, [0.9, 0.7], rtol=1e-6)


def test_one_anchor_may_give_two_classes():
    raw = build_outputs(INPUT_HW)
    raw.class_logits[0, 0, :3] = (2.0, -20.0, 1.0)
    detections = decode_detections(raw, LETTERBOX, SOURCE_HW, OutputConfig())
    np.testing.assert_array_equal(detections.class_ids, [0, 2])


def test_boxes_are_clipped_to_the_image():
    detections = decode([(0, 0.9, (-50, -50, 999, 999))])
    np.testing.assert_allclose(detections.boxes_xyxy, [[0, 0, 640, 480]])


@pytest.mark.parametrize(
    'box',
    [
        (10, 0, 30, 8),  # in the padding above
        (319.6, 20, 400, 60),  # 0.8 source px inside
        (30, 40, 30, 80),
        (60, 40, 30, 80),
    ],
)
def test_degenerate_boxes_are_dropped(box: tuple[float, float, float, float]):
    assert len(decode([(0, 0.9, box)])) == 0


def test_number_of_detections_is_limited_to_the_best():
    boxes = [(0, 0.5 + k / 100, (k * 20, 20, k * 20 + 15, 60)) for k in range(15)]
    detections = decode(boxes, max_detections=3)
    np.testing.assert_allclose(detections.scores, [0.64, 0.63, 0.62], rtol=1e-6)


def test_thousands_of_candidates_are_cut_to_the_best():
    rng = np.random.default_rng(0)
    corners = rng.uniform(10, 200, (5000, 2))
    boxes = np.concatenate([corners, corners + 20], 1)
    raw = dataclasses.replace(
        build_outputs(INPUT_HW),
        class_logits=rng.normal(0, 3, (1, 5000, 3)).astype(np.float32),
        boxes_xyxy=boxes[None].astype(np.float32),
    )
    config = OutputConfig(score_threshold=0.0, max_detections=1000, nms_iou=1.0)
    detections = decode_detections(raw, LETTERBOX, SOURCE_HW, config)
    best = np.sort(1 / (1 + np.exp(-raw.class_logits.ravel().astype(np.float64))))[::-1][:1000]
    np.testing.assert_allclose(detections.scores, best, rtol=1e-6)


def suppress_slowly(boxes: np.ndarray, class_ids: np.ndarray, max_iou: float) -> list[bool]:
    keep: list[bool] = []
    for i, (box, class_id) in enumerate(zip(boxes, class_ids, strict=True)):
        overlaps = []
        for j in range(i):
            if keep[j] and class_ids[j] == class_id:
                width = min(box[2], boxes[j][2]) - max(box[0], boxes[j][0])
                height = min(box[3], boxes[j][3]) - max(box[1], boxes[j][1])
                common = max(width, 0) * max(height, 0)
                areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, boxes[j])]
                overlaps.append(common / (sum(areas) - common))
        keep.append(all(overlap <= max_iou for overlap in overlaps))
    return keep


@pytest.mark.parametrize('seed', range(5))
def test_suppression_equals_a_slow_reference(seed: int):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 100, (80, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 60, (80, 2))], 1).astype(np.float32)
    class_ids = rng.integers(0, 3, 80)
    assert suppress(boxes, class_ids, 0.4).tolist() == suppress_slowly(boxes, class_ids, 0.4)


def test_suppression_of_more_boxes_than_are_looked_at_at_once_equals_the_slow_reference():
    rng = np.random.default_rng(7)
    corners = rng.uniform(0, 160, (2 * SUPPRESSING_AT_ONCE + 40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, corners.shape)], 1)
    boxes, class_ids = boxes.astype(np.float32), np.zeros(len(corners), np.int64)
    assert suppress(boxes, class_ids, 0.4).tolist() == suppress_slowly(boxes, class_ids, 0.4)


def segmentation(input_hw: tuple[int, int], label_map: np.ndarray) -> RawOutputs:
    """Outputs whose logits prefer ``label_map`` (at stride 4)."""
    raw = build_outputs(input_hw)
    logits = np.stack([np.where(label_map == k, 5.0, 0.0) for k in range(8)])
    return dataclasses.replace(raw, segmentation_logits=logits[None].astype(np.float32))


def test_label_map_has_reference_size_and_lies_where_the_letterbox_says():
    labels = np.full((64, 80), 2)
    labels[2:32] = 7  # rows 0..1 are padding (8 px), the content's upper half is class 7
    labels[:, 60:] = 4
    label_map = decode_label_map(segmentation(INPUT_HW, labels), LETTERBOX, SOURCE_HW)
    assert label_map.shape == SOURCE_HW
    assert label_map.dtype == np.uint8
    assert (label_map[:238, :478] == 7).all()
    assert (label_map[242:, :478] == 2).all()
    assert (label_map[:, 482:] == 4).all()


@pytest.mark.parametrize('source_hw', [(101, 67), (33, 250), (512, 640), (64, 80)])
def test_label_border_falls_where_the_letterbox_maps_it(source_hw: tuple[int, int]):
    input_hw = (128, 160)
    transform = letterbox_transform(source_hw, input_hw)
    height, width = source_hw
    box = np.array([[width * 0.3, height * 0.4, width * 0.9, height * 0.8]], np.float32)
    x0, y0, x1, y1 = letterbox_boxes(box, transform)[0] / 4
    rows, columns = np.arange(32) + 0.5, np.arange(40) + 0.5
    inside = ((rows > y0) & (rows < y1))[:, None] & ((columns > x0) & (columns < x1))
    label_map = decode_label_map(segmentation(input_hw, inside * 5), transform, source_hw)
    found = np.argwhere(label_map == 5)
    cell = 4 / transform.scale  # source pixels
    np.testing.assert_allclose(found.min(0), box[0, [1, 0]], atol=cell)
    np.testing.assert_allclose(found.max(0) + 1, box[0, [3, 2]], atol=cell)


def test_moving_the_letterbox_by_a_hair_changes_next_to_nothing():
    small = np.random.default_rng(1).integers(0, 8, (8, 10)).astype(np.uint8)
    labels = cv2.resize(small, (80, 64), interpolation=cv2.INTER_NEAREST)
    raw = segmentation(INPUT_HW, labels)
    moved = dataclasses.replace(LETTERBOX, pad_y=LETTERBOX.pad_y + 1e-4)
    fast = decode_label_map(raw, LETTERBOX, SOURCE_HW)
    exact = decode_label_map(raw, moved, SOURCE_HW)
    assert (fast == exact).mean() > 0.998


def test_on_equal_logits_the_lower_class_wins():
    raw = segmentation(INPUT_HW, np.full((64, 80), 99))
    assert (decode_label_map(raw, LETTERBOX, SOURCE_HW) == 0).all()
