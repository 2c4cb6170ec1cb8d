# SPDX-License-Identifier: Apache-2.0
"""Measure decoding: outputs of the network to the bytes of the messages, 100 boxes and a mask.

    python -m bench.decoding [--rounds N] [--out DIR]

The mask is of what the shipped network gives for a frame of the sample bag, the boxes are made,
each seen by three anchors. A mask of noise, in which every class is everywhere, is reported beside
it. Boxes are also decoded by a loop over anchors and boxes in plain Python, which gives the same
detections. Processor time of the thread; the sides take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
import math
import sys
from time import thread_time
from typing import Any

import cv2
import numpy as np

from bench.__main__ import load_pairs
from bench.node_overhead import build_outputs
from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    new_parser,
    print_bounds,
    read_load,
    write_results,
)
from rgbt_models.card import load_card, ModelCard
from rgbt_perception.box_votes import find_planes, Votes
from rgbt_perception.config import OutputConfig, PerceptionConfig
from rgbt_perception.engine import Engine, open_engine
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.memory import keep_freed_memory
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.postprocess import decode_detections, decode_label_map
from rgbt_perception.ros.cdr import serialise_detections, serialise_image
from rgbt_perception.share import find_share_file
from rgbt_perception.sources import load_rig, with_registration
from rgbt_perception.types import Batch, Detections, Frame, LetterboxTransform, RawOutputs

NUM_BOXES = 100
COPIES = 3  # anchors that see the same object
MAX_MS = 1.0
MIN_GAIN = 10.0


class RecordingEngine:
    """Runs another engine and keeps its last outputs."""

    def __init__(self, engine: Engine) -> None:
        """Take over the engine."""
        self._engine = engine
        self.backend, self.device, self.precision = engine.backend, engine.device, engine.precision
        self.state = engine.state
        self.raw: RawOutputs | None = None

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network and keep what it gives."""
        self.raw = self._engine.run(batch)
        return self.raw

    def close(self) -> None:
        """Release the network."""
        self._engine.close()


def run_network(card: ModelCard) -> tuple[RawOutputs, Frame]:
    """Return what the network gives for the first pair of the sample bag, and its RGB frame."""
    bag = find_share_file('bags/sample_drive')
    config = with_registration(PerceptionConfig(), load_rig(bag))
    engine = RecordingEngine(open_engine(card, config.engine))
    pipeline = Pipeline(card=card, engine=engine, config=config)
    pair = load_pairs(bag, config)[0]
    pipeline.run(pair)
    pipeline.close()
    assert engine.raw is not None
    return engine.raw, pair.reference


def with_boxes(raw: RawOutputs, input_hw: tuple[int, int]) -> RawOutputs:
    """Return the outputs with 100 objects on a grid in place of what was found."""
    side = math.isqrt(NUM_BOXES)
    cell = np.array([input_hw[1], input_hw[0]], np.float32) / side
    rows, columns = np.divmod(np.arange(NUM_BOXES), side)
    low = np.stack([columns, rows], axis=1) * cell
    found = np.concatenate([low + 2.0, low + cell - 4.0], axis=1)
    logits, boxes = np.full_like(raw.class_logits, -6.0), np.zeros_like(raw.boxes_xyxy)
    for copy in range(COPIES):
        anchors = slice(copy * NUM_BOXES, (copy + 1) * NUM_BOXES)
        boxes[0, anchors] = found + copy * 0.5
        logits[0, anchors, 0] = 2.0 - copy
    return replace(raw, class_logits=logits, boxes_xyxy=boxes)


def decode_in_a_loop(
    raw: RawOutputs,
    letterbox: LetterboxTransform,
    source_hw: tuple[int, int],
    config: OutputConfig,
) -> Detections:
    """Decode boxes one by one, as code that is ported line by line does."""
    candidates = []
    for anchor in range(raw.class_logits.shape[1]):
        for class_id in range(raw.class_logits.shape[2]):
            score = 1.0 / (1.0 + math.exp(-float(raw.class_logits[0, anchor, class_id])))
            if score >= config.score_threshold:
                candidates.append((score, class_id, _box(raw, anchor, letterbox, source_hw)))
    candidates.sort(key=lambda item: -item[0])
    kept: list[tuple[float, int, list[float]]] = []
    for score, class_id, box in candidates:
        rivals = (other for _, other_id, other in kept if other_id == class_id)
        if all(_iou(box, other) <= config.nms_iou for other in rivals):
            kept.append((score, class_id, box))
    kept = kept[: config.max_detections]
    return Detections(
        boxes_xyxy=np.array([box for _, _, box in kept], np.float32).reshape(-1, 4),
        scores=np.array([score for score, _, _ in kept], np.float32),
        class_ids=np.array([class_id for _, class_id, _ in kept], np.int64),
    )


def _box(
    raw: RawOutputs, anchor: int, letterbox: LetterboxTransform, source_hw: tuple[int, int]
) -> list[float]:
    x_min, y_min, x_max, y_max = (float(value) for value in raw.boxes_xyxy[0, anchor])
    height, width = source_hw
    return [
        min(max((value - pad) / letterbox.scale, 0.0), limit)
        for value, pad, limit in (
            (x_min, letterbox.pad_x, width),
            (y_min, letterbox.pad_y, height),
            (x_max, letterbox.pad_x, width),
            (y_max, letterbox.pad_y, height),
        )
    ]


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (sum(areas) - common)


class Sides:
    """What is timed, all on the same outputs."""

    def __init__(self, card: ModelCard) -> None:
        """Prepare outputs and frame."""
        raw, self._frame = run_network(card)
        self._card, self._config = card, OutputConfig()
        self._raw = with_boxes(raw, card.input_hw)
        self._noise = build_outputs(card)
        self._letterbox = letterbox_transform(self._frame.size_hw, card.input_hw)
        self._votes = Votes(
            detections=decode_detections(
                self._raw, self._letterbox, self._frame.size_hw, self._config
            ),
            planes=find_planes(card.detection_classes, card.segmentation_classes),
            weight=self._config.box_votes,
        )

    def boxes(self) -> bytes:
        """Decode the boxes, vectorised, and build their message."""
        return self._message(decode_detections)

    def boxes_in_a_loop(self) -> bytes:
        """Decode the boxes one by one, and build their message."""
        return self._message(decode_in_a_loop)

    def mask(self) -> bytes:
        """Decode the label map and build its message."""
        return self._mask_message(self._raw)

    def mask_of_noise(self) -> bytes:
        """Do the same with outputs in which every class is everywhere."""
        return self._mask_message(self._noise)

    def mask_with_votes(self) -> bytes:
        """Let the detections have a say in the label map, too; they are there."""
        return self._mask_message(self._raw, votes=self._votes)

    def boxes_and_mask(self) -> int:
        """Do what the node does for every pair."""
        return len(self.boxes()) + len(self.mask_with_votes())

    def _mask_message(self, raw: RawOutputs, votes: Votes | None = None) -> bytes:
        label_map = decode_label_map(raw, self._letterbox, self._frame.size_hw, votes=votes)
        return serialise_image(label_map, 'mono8', self._frame)

    def _message(self, decode: Callable[..., Detections]) -> bytes:
        detections = decode(self._raw, self._letterbox, self._frame.size_hw, self._config)
        assert len(detections) == NUM_BOXES
        return serialise_detections(
            detections,
            frame=self._frame,
            class_names=self._card.detection_classes,
            use_names=True,
        )


def measure(sides: Sides, num_rounds: int) -> dict[str, list[float]]:
    """Return milliseconds of processor time, by side; the sides take turns."""
    actions: dict[str, Callable[[], Any]] = {
        'boxes and mask': sides.boxes_and_mask,
        'boxes': sides.boxes,
        'boxes in a loop': sides.boxes_in_a_loop,
        'mask': sides.mask,
        'mask of noise': sides.mask_of_noise,
        'mask with votes of the boxes': sides.mask_with_votes,
    }
    times_ms: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(num_rounds):
        for name, action in actions.items():
            began_s = thread_time()
            action()
            times_ms[name].append((thread_time() - began_s) * 1e3)
    return times_ms


def list_bounds(times_ms: dict[str, list[float]]) -> list[Bound]:
    """Judge the times."""
    medians = {name: float(np.median(samples)) for name, samples in times_ms.items()}
    return [
        Bound(
            name='decoding and messages of 100 boxes and a mask',
            value=medians['boxes and mask'],
            at_most=MAX_MS,
            unit='ms',
        ),
        Bound(
            name='boxes one by one over boxes vectorised',
            value=medians['boxes in a loop'] / medians['boxes'],
            at_least=MIN_GAIN,
            unit='x',
        ),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status, 1 when a bound is broken."""
    parser = new_parser('decoding', __doc__)
    add_common_arguments(parser, rounds=100)
    args, load_at_start = parser.parse_args(argv), read_load()
    keep_freed_memory()  # as the node's program does
    cv2.setNumThreads(1)
    card = load_card('tiny')
    times_ms = measure(Sides(card), args.rounds)
    bounds = list_bounds(times_ms)
    results = {
        'conditions': conditions(
            card=card,
            load_1min_at_start=load_at_start,
            images='480x640',
            boxes=NUM_BOXES,
            segmentation_classes=len(card.segmentation_classes),
            rounds=args.rounds,
        ),
        'cpu_ms': {name: describe(samples) for name, samples in times_ms.items()},
        **describe_bounds(bounds),
    }
    return print_bounds(bounds, write_results('decoding', results, args.out))


if __name__ == '__main__':
    sys.exit(main())
