# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from bench.decoding import decode_in_a_loop, list_bounds, NUM_BOXES, with_boxes
from bench.node_overhead import build_outputs
from rgbt_models.card import load_card
from rgbt_perception.config import OutputConfig
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.postprocess import decode_detections

SOURCE_HW = (480, 640)


def test_the_loop_gives_the_same_hundred_boxes():
    card = load_card('tiny')
    raw = with_boxes(build_outputs(card), card.input_hw)
    letterbox = letterbox_transform(SOURCE_HW, card.input_hw)
    fast, slow = (
        decode(raw, letterbox, SOURCE_HW, OutputConfig())
        for decode in (decode_detections, decode_in_a_loop)
    )
    assert len(fast) == len(slow) == NUM_BOXES
    np.testing.assert_allclose(slow.boxes_xyxy, fast.boxes_xyxy, atol=1e-3)
    np.testing.assert_allclose(slow.scores, fast.scores, rtol=1e-6)
    np.testing.assert_array_equal(slow.class_ids, fast.class_ids)


def test_bounds_are_one_millisecond_and_ten_times():
    times_ms = {'boxes and mask': [0.9, 1.1, 5.0], 'boxes': [0.2], 'boxes in a loop': [2.0]}
    duration, gain = list_bounds(times_ms)
    assert (duration.value, duration.at_most, duration.is_kept) == (1.1, 1.0, False)
    assert (gain.at_least, gain.is_kept) == (10.0, True)
