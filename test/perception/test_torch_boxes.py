# SPDX-License-Identifier: Apache-2.0
"""Detections as torch decodes them, against the decoding on the CPU."""

from __future__ import annotations

from made_outputs import as_tensors, draw_outputs, INPUT_HW, SOURCES
import numpy as np
import pytest

from rgbt_perception.config import OutputConfig
from rgbt_perception.engine.torch_stages import find_boxes
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.postprocess import decode_detections
from rgbt_perception.types import RawOutputs


def assert_same_detections(raw: RawOutputs, source_hw: tuple[int, int], config: OutputConfig):
    letterbox = letterbox_transform(source_hw, INPUT_HW)
    wanted = decode_detections(raw, letterbox, source_hw, config)
    found = find_boxes(as_tensors(raw), letterbox, source_hw, config)
    np.testing.assert_array_equal(found['class_ids'].numpy(), wanted.class_ids)
    np.testing.assert_allclose(found['scores'].numpy(), wanted.scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found['boxes_xyxy'].numpy(), wanted.boxes_xyxy, rtol=0, atol=1e-3)
    return wanted


@pytest.mark.parametrize('source_hw', SOURCES)
@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.9, 1.0])
def test_detections_and_their_order_are_those_of_the_cpu(source_hw, threshold):
    config = OutputConfig(score_threshold=threshold, nms_iou=0.45, max_detections=1000)
    for seed in range(3):
        wanted = assert_same_detections(draw_outputs(seed), source_hw, config)
        assert bool(len(wanted)) == (threshold < 1.0)


def test_the_threshold_is_inclusive_and_the_best_are_kept_of_equal_ones():
    raw = draw_outputs(0)
    raw.class_logits[:] = 0.0  # a score of exactly .5
    for threshold, limit in ((0.5, 1000), (0.5, 3), (0.5000001, 1000)):
        config = OutputConfig(score_threshold=threshold, max_detections=limit)
        wanted = assert_same_detections(raw, (480, 640), config)
        assert (len(wanted) > 0) == (threshold == 0.5)
        assert len(wanted) <= limit


def test_scores_near_1_are_rounded_and_ordered_as_on_the_cpu():
    raw = draw_outputs(0)
    raw.class_logits[:] = np.random.default_rng(1).uniform(8.0, 17.0, raw.class_logits.shape)
    config = OutputConfig(nms_iou=1.0, max_detections=1000)
    assert_same_detections(raw, INPUT_HW, config)


@pytest.mark.parametrize('overlap', [0.5, 0.49])
def test_an_overlap_of_exactly_the_limit_is_kept(overlap):
    raw = draw_outputs(0, num_anchors=2, num_classes=1)
    raw.class_logits[:] = 2.0
    raw.boxes_xyxy[0] = [[10, 10, 40, 30], [20, 10, 50, 30]]  # 400 of 800 px
    config = OutputConfig(nms_iou=overlap)
    assert len(assert_same_detections(raw, INPUT_HW, config)) == (2 if overlap == 0.5 else 1)


def test_a_sliver_suppresses_nothing():
    raw = draw_outputs(0, num_anchors=2, num_classes=1)
    raw.class_logits[0, :, 0] = [3.0, 2.0]
    raw.boxes_xyxy[0] = [[10, 10, 40, 10.9], [10, 10, 40, 11.1]]
    config = OutputConfig(nms_iou=0.5)
    assert len(assert_same_detections(raw, INPUT_HW, config)) == 1
