# SPDX-License-Identifier: Apache-2.0
"""What the demonstration leaves behind: numbers and a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rgbt_models.card import ModelCard
from rgbt_perception.bag import BagReader
from rgbt_perception.bag_messages import BagTopics
from rgbt_perception.config import PerceptionConfig, SyncConfig
from rgbt_perception.demo import DemoRun, SentFrame
from rgbt_perception.geometry import resize
from rgbt_perception.overlay import draw_side_by_side
from rgbt_perception.received import ReceivedResult
from rgbt_perception.registration import Registration
from rgbt_perception.truth import Truth
from rgbt_perception.types import ByteArray, Frame, Mode, NS_PER_S, Pair

VIDEO_FILE = 'overlay.mp4'
FRAMES_DIR = 'overlay'
# Frames of a camera that are this much older than the result in hand are not needed any more.
KEEP_NS = 2 * NS_PER_S
SUCCESS_SHARE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SentPairs:
    """Which of the frames sent belong together.

    Attributes:
        pairs: (RGB stamp, thermal stamp), nanoseconds, ordered.
        singles: Frames without a partner.
    """

    pairs: tuple[tuple[int, int], ...]
    singles: int


def match_sent(sent: Iterable[SentFrame], sync: SyncConfig) -> SentPairs:
    """Match the frames sent by their stamps: nearest first, within the largest skew.

    It knows nothing of the node's synchroniser, so that it can judge it.

    Args:
        sent: Frames sent.
        sync: Offset and largest skew.
    """
    stamps: dict[str, list[int]] = {'rgb': [], 'thermal': []}
    for frame in sent:
        stamps[frame.modality].append(frame.stamp_ns)
    offset_ns, max_skew_ns = (
        round(value * NS_PER_S) for value in (sync.offset_s, sync.max_skew_s)
    )
    thermal = np.array(sorted(stamps['thermal']), np.int64)
    candidates = []
    for rgb_ns in stamps['rgb']:
        low, high = np.searchsorted(
            thermal, (rgb_ns + offset_ns - max_skew_ns, rgb_ns + offset_ns + max_skew_ns + 1)
        )
        candidates += [
            (abs(int(x) - offset_ns - rgb_ns), rgb_ns, int(x)) for x in thermal[low:high]
        ]
    pairs: list[tuple[int, int]] = []
    used_rgb: set[int] = set()
    used_thermal: set[int] = set()
    for _, rgb_ns, thermal_ns in sorted(candidates):
        if rgb_ns not in used_rgb and thermal_ns not in used_thermal:
            used_rgb.add(rgb_ns)
            used_thermal.add(thermal_ns)
            pairs.append((rgb_ns, thermal_ns))
    num_frames = len(stamps['rgb']) + len(stamps['thermal'])
    return SentPairs(pairs=tuple(sorted(pairs)), singles=num_frames - 2 * len(pairs))


def latencies_ms(run: DemoRun) -> dict[int, float]:
    """Return, by stamp of the result, the time from sending its last frame to its arrival here."""
    sent_ns = {(frame.modality, frame.stamp_ns): frame.sent_ns for frame in run.sent}
    latencies = {}
    for result in run.results:
        rgb_ns, thermal_ns = result.frame_stamps
        times = [sent_ns.get(('rgb', rgb_ns or 0)), sent_ns.get(('thermal', thermal_ns or 0))]
        last = max((value for value in times if value is not None), default=None)
        if last is not None:
            latencies[result.stamp_ns] = (result.received_ns - last) / 1e6
    return latencies


def summarise(
    run: DemoRun, config: PerceptionConfig, truths: Mapping[int, Truth]
) -> dict[str, Any]:
    """Return the numbers of the demonstration as JSON values.

    Args:
        run: What was sent and received.
        config: Settings of the node.
        truths: Ground truth by RGB stamp; it tells day from night.
    """
    matched = match_sent(run.sent, config.sync)
    stamps = {result.stamp_ns for result in run.results}
    modes = Counter(result.mode.value for result in run.results)
    mdis = {
        is_night: [
            result.mdi
            for result in run.results
            if result.mode is Mode.FUSED
            and result.is_mdi_valid
            and result.stamp_ns in truths
            and truths[result.stamp_ns].is_night is is_night
        ]
        for is_night in (False, True)
    }
    frames = Counter(frame.modality for frame in run.sent)
    return {
        'frames_sent': dict(sorted(frames.items())),
        'pairs_sent': len(matched.pairs),
        'single_frames_sent': matched.singles,
        'results_received': run.num_received,
        'pair_results_received': sum(1 for rgb_ns, _ in matched.pairs if rgb_ns in stamps),
        'dropped_by_reason': run.dropped_by_reason,
        'latency_ms': percentiles(list(latencies_ms(run).values())),
        'node_latency_ms': percentiles([result.latency_ms for result in run.results]),
        'detections': sum(len(result.scores) for result in run.results),
        'modes': dict(sorted(modes.items())),
        'mean_mdi_day': _mean(mdis[False]),
        'mean_mdi_night': _mean(mdis[True]),
        'duration_s': round(run.duration_s, 3),
        **{
            key: run.engine.get(key, '')
            for key in ('backend', 'device', 'precision', 'model', 'model_version')
        },
    }


def has_succeeded(summary: Mapping[str, Any]) -> bool:
    """Return whether at least 95 % of the pairs sent came back as results."""
    least = SUCCESS_SHARE * summary['pairs_sent']
    received = min(summary['results_received'], summary['pair_results_received'])
    return bool(summary['pairs_sent'] and received >= least)


def percentiles(values: list[float]) -> dict[str, float | None]:
    """Return the 50th, 95th and 99th percentile of values, None when there are none."""
    if not values:
        return {'p50': None, 'p95': None, 'p99': None}
    return {f'p{q}': round(float(np.percentile(values, q)), 2) for q in (50, 95, 99)}


def draw_results(
    bag: Path,
    results: Iterable[ReceivedResult],
    *,
    card: ModelCard,
    config: PerceptionConfig,
    topics: BagTopics | None = None,
) -> Iterator[ByteArray]:
    """Draw every result on the frames of the bag it belongs to.

    Args:
        bag: The bag that was played.
        results: Results ordered by stamp.
        card: Card of the node's model.
        config: Settings of the node.
        topics: Topics of the bag.

    Yields:
        Pictures, uint8 (h, 2w, 3) RGB.
    """
    registration = Registration(config.registration)
    waiting = list(results)[::-1]
    frames: dict[tuple[str, int], Frame] = {}
    with BagReader(bag, topics=topics) as reader:
        if registration.needs_cameras:
            for modality, model in reader.camera_models().items():
                registration.set_camera(modality, model)
        for logged in reader.frames():
            frame = logged.frame
            frames[frame.modality.value, frame.stamp_ns] = frame
            while waiting and (pair := _find_pair(waiting[-1], frames)) is not None:
                result = waiting.pop().to_result(pair, card)
                yield draw_side_by_side(result, card, registration)
                oldest_ns = result.pair.reference.stamp_ns - KEEP_NS
                frames = {key: item for key, item in frames.items() if key[1] >= oldest_ns}


def write_video(pictures: Iterable[ByteArray], out_dir: Path, *, rate_hz: float) -> Path:
    """Write pictures as ``overlay.mp4``, or as PNG files where OpenCV has no encoder.

    Args:
        pictures: uint8 (h, w, 3) RGB; one of another size than the first (its RGB frame was
            lost) is resized, because a video has one size.
        out_dir: Folder to write to.
        rate_hz: Pictures per second.

    Returns:
        The video file, or the folder of the PNG files.
    """
    path, frames_dir = out_dir / VIDEO_FILE, out_dir / FRAMES_DIR
    writer: cv2.VideoWriter | None = None
    size_hw = (0, 0)
    for index, picture in enumerate(pictures):
        if index == 0:
            size_hw = height, width = picture.shape[:2]
            codec = cv2.VideoWriter.fourcc(*'mp4v')
            writer = cv2.VideoWriter(str(path), codec, rate_hz, (width, height))
            if not writer.isOpened():
                writer = None
                frames_dir.mkdir(exist_ok=True)
        bgr = cv2.cvtColor(resize(picture, size_hw), cv2.COLOR_RGB2BGR)
        if writer is not None:
            writer.write(bgr)
        else:
            cv2.imwrite(str(frames_dir / f'{index:05d}.png'), bgr)
    if writer is None:
        return frames_dir
    writer.release()
    return path


def _find_pair(result: ReceivedResult, frames: Mapping[tuple[str, int], Frame]) -> Pair | None:
    rgb_ns, thermal_ns = result.frame_stamps
    rgb = None if rgb_ns is None else frames.get(('rgb', rgb_ns))
    thermal = None if thermal_ns is None else frames.get(('thermal', thermal_ns))
    if (rgb_ns is not None and rgb is None) or (thermal_ns is not None and thermal is None):
        return None
    return Pair(rgb=rgb, thermal=thermal)


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
