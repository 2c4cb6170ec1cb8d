# SPDX-License-Identifier: Apache-2.0
"""Replay of a bag through the pipeline: every pair, by the bag's own clock, always the same.

The node drops pairs when it cannot keep up; replay never does. Its clock is the log time of the
messages, so a frame waits for its partner exactly as long as it did when the bag was recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
import json
from pathlib import Path
from typing import Any

from rgbt_perception.bag import BagReader
from rgbt_perception.bag_messages import Header
from rgbt_perception.bag_writer import BagWriter
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.errors import BagError
from rgbt_perception.mdi_status import mdi_text
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.sync import build_pairer
from rgbt_perception.temperature_status import temperature_texts, temperatures_to_json
from rgbt_perception.types import DropReason, Modality, Pair, Result

RESULTS_BAG = 'results'
RESULTS_FILE = 'results.jsonl'
SUMMARY_FILE = 'summary.json'


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySummary:
    """What became of the frames of a bag.

    Attributes:
        received: Frames by camera ('rgb', 'thermal').
        results: Results in all.
        modes: Results by mode.
        dropped_by_reason: Frames that did not become part of a result, by reason.
        detections: Detections in all.
        model: Name of the model card.
        backend: What ran the network.
        precision: Its arithmetic.
    """

    received: dict[str, int]
    results: int
    modes: dict[str, int]
    dropped_by_reason: dict[str, int]
    detections: int
    model: str
    backend: str
    precision: str


class PairStream:
    """Pairs of a bag as the node would have formed them, with the log time at which they were.

    Attributes:
        pairer: The synchroniser; its counters are complete when the stream has ended.
    """

    def __init__(self, reader: BagReader, config: PerceptionConfig) -> None:
        """Pair the frames of an opened bag by the settings of ``config``."""
        self.pairer = build_pairer(config.sync, config.fallback)
        self._reader = reader

    def __iter__(self) -> Iterator[tuple[int, Pair]]:
        """Yield (log time in nanoseconds, pair)."""
        log_ns = 0
        for logged in self._reader.frames():
            yield from self._expired(logged.log_ns)
            log_ns = logged.log_ns
            for pair in self.pairer.push(logged.frame, log_ns):
                yield log_ns, pair
        for pair in self.pairer.flush():
            yield log_ns, pair

    def dropped(self) -> Counter[DropReason]:
        """Return the frames that were lost so far, undecodable images included."""
        dropped = Counter(self.pairer.dropped)
        if bad := sum(self._reader.bad_frames.values()):
            dropped[DropReason.BAD_FRAME] += bad
        return dropped

    def received(self) -> Counter[Modality]:
        """Return the images seen so far by camera, undecodable ones included."""
        return self.pairer.received + self._reader.bad_frames

    def _expired(self, now_ns: int) -> Iterator[tuple[int, Pair]]:
        # Every deadline before ``now_ns`` fires at its own time, as the node's timer would let it.
        last_ns = -1
        while True:
            deadline_ns = self.pairer.next_deadline_ns
            if deadline_ns is None or not last_ns < deadline_ns <= now_ns:
                return
            for pair in self.pairer.poll(deadline_ns):
                yield deadline_ns, pair
            last_ns = deadline_ns


def replay(reader: BagReader, pipeline: Pipeline) -> Iterator[tuple[int, Result]]:
    """Yield (log time in nanoseconds, result) for every pair of an opened bag.

    Raises:
        BagError: If the bag is damaged or lacks a topic.
        ConfigError: If it lacks a camera_info that is needed, or one cannot be used.
    """
    pipeline.reset()
    take_cameras(reader, pipeline)
    for log_ns, pair in PairStream(reader, pipeline.config):
        yield log_ns, pipeline.run(pair)


def take_cameras(reader: BagReader, pipeline: Pipeline) -> None:
    """Give the camera models of an opened bag to a pipeline whose registration needs them.

    Raises:
        BagError: If the bag is damaged.
        ConfigError: If a camera_info cannot be used or is missing.
    """
    if not pipeline.registration.needs_cameras:
        return
    for modality, model in reader.camera_models().items():
        pipeline.set_camera(modality, model)
    pipeline.registration.check_complete()


def replay_to_folder(reader: BagReader, pipeline: Pipeline, out_dir: Path) -> ReplaySummary:
    """Replay an opened bag and write ``results/`` (a bag), ``results.jsonl`` and ``summary.json``.

    Args:
        reader: The opened bag.
        pipeline: The pipeline; its filters are reset first.
        out_dir: Folder to create; it must not hold results already.

    Raises:
        BagError: If the bag is damaged or lacks a topic, or ``out_dir`` holds results already.
        ConfigError: If it lacks a camera_info that is needed, or one cannot be used.
    """
    for modality in Modality:
        reader.camera_topic(modality)  # before anything is written
    pipeline.reset()
    take_cameras(reader, pipeline)
    stream = PairStream(reader, pipeline.config)
    modes: Counter[str] = Counter()
    num_detections = 0
    out_dir.mkdir(parents=True, exist_ok=True)
    with (
        BagWriter(out_dir / RESULTS_BAG, compress=True) as writer,
        (out_dir / RESULTS_FILE).open('w', encoding='utf-8') as lines,
    ):
        for index, (log_ns, pair) in enumerate(stream):
            result = pipeline.run(pair)
            if index == 0:
                classes = pipeline.card.segmentation_classes
                writer.write_label_info(classes, Header(stamp_ns=0, frame_id=''), log_ns)
            _write_result(writer, pipeline, result, log_ns)
            lines.write(json.dumps(result_to_dict(result, pipeline.card.detection_classes)) + '\n')
            modes[result.mode.value] += 1
            num_detections += len(result.detections)
    if not modes:
        raise BagError(
            f"bag '{reader.path}' gave 0 pairs from "
            f'{sum(stream.received().values())} images, expected at least one; '
            f'check the topics and the warnings above'
        )
    summary = ReplaySummary(
        received={modality.value: stream.received()[modality] for modality in Modality},
        results=modes.total(),
        modes=dict(sorted(modes.items())),
        dropped_by_reason=count_by_name(stream.dropped()),
        detections=num_detections,
        model=pipeline.card.name,
        backend=pipeline.engine.backend,
        precision=pipeline.engine.precision,
    )
    write_json(out_dir / SUMMARY_FILE, asdict(summary))
    return summary


def result_to_dict(result: Result, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Return a result as JSON values: stamps, mode, boxes, scores, classes, mdi, skew.

    ``temperatures_c`` holds min, mean and max of each detection, null when unknown.
    Processing times are left out, so that two replays write the same bytes.
    """
    pair, detections, dominance = result.pair, result.detections, result.dominance
    return {
        'rgb_stamp_ns': None if pair.rgb is None else pair.rgb.stamp_ns,
        'thermal_stamp_ns': None if pair.thermal is None else pair.thermal.stamp_ns,
        'skew_ns': pair.skew_ns,
        'mode': result.mode.value,
        'mode_reason': result.mode_reason,
        'boxes_xyxy': [[round(x, 3) for x in box] for box in detections.boxes_xyxy.tolist()],
        'scores': [round(score, 5) for score in detections.scores.tolist()],
        'class_names': [class_names[index] for index in detections.class_ids.tolist()],
        'temperatures_c': temperatures_to_json(result),
        'mdi': round(float(dominance.mdi), 5) if dominance.valid else None,
        'dominance_state': dominance.state.value,
        'dominance_method': dominance.method,
    }


def class_id_texts(result: Result, pipeline: Pipeline) -> list[str]:
    """Return ``class_id`` of every detection, as name or index as the settings say."""
    ids = result.detections.class_ids.tolist()
    if pipeline.config.output.class_id_format == 'index':
        return [str(class_id) for class_id in ids]
    return [pipeline.card.detection_classes[class_id] for class_id in ids]


def count_by_name(counter: Counter[DropReason]) -> dict[str, int]:
    """Return every drop reason with its count, in order of declaration."""
    return {reason.value: counter[reason] for reason in DropReason}


def write_json(path: Path, values: object) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes."""
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + '\n', encoding='utf-8')


def _write_result(writer: BagWriter, pipeline: Pipeline, result: Result, log_ns: int) -> None:
    reference = result.pair.reference
    status = mdi_text(result, backend=pipeline.engine.backend, model=pipeline.card.name)
    writer.write_detections(result.detections, class_id_texts(result, pipeline), reference, log_ns)
    writer.write_mask(result.label_map, reference, log_ns)
    writer.write_mdi(status, reference, log_ns)
    temperatures = temperature_texts(
        result, pipeline.card.detection_classes, pipeline.config.thermal
    )
    writer.write_temperatures(temperatures, reference, log_ns)
