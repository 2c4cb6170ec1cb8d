# SPDX-License-Identifier: Apache-2.0
"""What goes to /diagnostics: six statuses that name the cause, with numbers and their units.

The node notes events as they happen, from any thread; ``statuses`` sums up the time since it was
last called. Times are given by the caller (monotonic nanoseconds), so tests need no clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
import threading
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np

from rgbt_perception.ros.messages import build_status
from rgbt_perception.types import DropReason, Modality, Mode, NS_PER_S

if TYPE_CHECKING:
    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.pipeline import Pipeline
    from rgbt_perception.types import Frame, Result

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
TRANSPORT_HINT = (
    'a publisher is there but no image arrives; large best-effort images need the Fast DDS '
    'profile config/fastdds_shm.xml on both sides (FASTDDS_DEFAULT_PROFILES_FILE), and room in '
    '/dev/shm'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncCounts:
    """Numbers of the pairer at one moment.

    Attributes:
        received: Frames taken in, per camera.
        dropped: Frames that left without a result, by reason.
        waiting: Frames in the queues.
    """

    received: Counter[Modality]
    dropped: Counter[DropReason]
    waiting: int


@dataclass(slots=True, kw_only=True)
class _Camera:
    """What is known of one input."""

    topic: str
    num_frames: int = 0
    num_new: int = 0
    num_bad: int = 0
    num_new_bad: int = 0
    problem: str = ''
    newest: Frame | None = None
    newest_ns: int = 0


@dataclass(slots=True, kw_only=True)
class _Window:
    """Results since the last report."""

    latencies_ms: list[tuple[float, float, float, float]] = field(default_factory=list)
    mdis: list[float] = field(default_factory=list)
    skews_ms: list[float] = field(default_factory=list)
    modes: Counter[Mode] = field(default_factory=Counter)
    num_failed: int = 0


class Diagnostics:
    """Collects events of the node and turns them into diagnostic statuses."""

    def __init__(
        self, *, config: PerceptionConfig, topics: dict[Modality, str], now_ns: int
    ) -> None:
        """Begin counting.

        Args:
            config: Settings in force.
            topics: Resolved input topic of each camera.
            now_ns: Time, nanoseconds, any origin.
        """
        self._config = config
        self._cameras = {item: _Camera(topic=topic) for item, topic in topics.items()}
        self._lock = threading.Lock()
        self._window = _Window()
        self._dropped: Counter[DropReason] = Counter()
        self._num_results = 0
        self._last: Result | None = None
        self._last_error = ''
        self._start_ns = self._reported_ns = self._result_ns = now_ns

    @property
    def dropped(self) -> Counter[DropReason]:
        """Losses outside the pairer: bad frames; pairs superseded or failed."""
        with self._lock:
            return Counter(self._dropped)

    def note_frame(self, frame: Frame, now_ns: int) -> None:
        """Count a usable frame."""
        camera = self._cameras[frame.modality]
        with self._lock:
            camera.num_frames += 1
            camera.num_new += 1
            camera.newest, camera.newest_ns = frame, now_ns

    def note_bad_frame(self, modality: Modality, problem: str) -> None:
        """Count a frame that could not be used, and remember why."""
        camera = self._cameras[modality]
        with self._lock:
            camera.num_bad += 1
            camera.num_new_bad += 1
            camera.problem = problem
            self._dropped[DropReason.BAD_FRAME] += 1

    def note_superseded(self) -> None:
        """Count a pair that a newer one replaced before the worker took it."""
        with self._lock:
            self._dropped[DropReason.SUPERSEDED] += 1

    def note_failed(self, problem: str) -> None:
        """Count a pair on which the pipeline raised, and remember why."""
        with self._lock:
            self._dropped[DropReason.FAILED] += 1
            self._window.num_failed += 1
            self._last_error = problem

    def note_result(self, result: Result, now_ns: int) -> None:
        """Count a published result."""
        times, skew_ns = result.times, result.pair.skew_ns
        stages = (times.preprocess_ms, times.infer_ms, times.postprocess_ms)
        with self._lock:
            self._num_results += 1
            self._last, self._result_ns = result, now_ns
            self._window.latencies_ms.append((times.latency_ms, *stages))
            self._window.modes[result.mode] += 1
            if result.dominance.valid:
                self._window.mdis.append(result.dominance.mdi)
            if skew_ns is not None:
                self._window.skews_ms.append(skew_ns / 1e6)

    def statuses(
        self,
        now_ns: int,
        *,
        counts: SyncCounts,
        num_publishers: dict[Modality, int],
        pipeline: Pipeline,
    ) -> list[DiagnosticStatus]:
        """Sum up the time since the last call.

        Args:
            now_ns: Time, nanoseconds, same origin as at construction.
            counts: Numbers of the pairer.
            num_publishers: Publishers seen on each input topic.
            pipeline: What runs; asked for its engine and card.

        Returns:
            Six statuses: both inputs, synchronisation, inference, modality dominance, engine.
        """
        with self._lock:
            window, self._window = self._window, _Window()
            span_s = max((now_ns - self._reported_ns) / NS_PER_S, 1e-3)
            self._reported_ns = now_ns
            inputs = [
                self._input_status(item, now_ns, span_s, num_publishers[item]) for item in Modality
            ]
            return [
                *inputs,
                self._sync_status(window, now_ns, counts),
                self._inference_status(window, now_ns, span_s),
                self._dominance_status(window),
                engine_status(pipeline),
            ]

    def _age_s(self, camera: _Camera, now_ns: int) -> float:
        return (now_ns - (camera.newest_ns if camera.newest else self._start_ns)) / NS_PER_S

    def _is_silent(self, camera: _Camera, now_ns: int) -> bool:
        limit_s = max(self._config.fallback.missing_after_s, self._config.diagnostics.period_s)
        return self._age_s(camera, now_ns) > limit_s

    def _input_status(
        self, modality: Modality, now_ns: int, span_s: float, num_publishers: int
    ) -> DiagnosticStatus:
        camera = self._cameras[modality]
        name, age_s, rate_hz = modality.value, self._age_s(camera, now_ns), camera.num_new / span_s
        newest = camera.newest
        size = f'{newest.size_hw[1]}x{newest.size_hw[0]}' if newest else ''
        level, text = OK, f'{rate_hz:.1f} Hz, {size} {newest.pixels.dtype if newest else ""}'
        if camera.num_new_bad:
            level, text = WARN, f'{camera.num_new_bad} frames dropped: {camera.problem}'
        elif self._is_silent(camera, now_ns) or newest is None:
            level = WARN
            cause = f'no publisher on {camera.topic}; start the camera or remap the topic'
            if num_publishers:
                cause = TRANSPORT_HINT if newest is None else 'the publisher has gone quiet'
            text = f'no {name} frame for {age_s:.1f} s: {cause}'
        values = {
            'topic': camera.topic,
            'publishers': str(num_publishers),
            'rate_hz': f'{rate_hz:.2f}',
            'age_s': f'{age_s:.3f}',
            'size': size,
            'frames': str(camera.num_frames),
            'bad_frames': str(camera.num_bad),
            'last_problem': camera.problem,
        }
        camera.num_new = camera.num_new_bad = 0
        frame_id = newest.frame_id if newest else ''
        return build_status(
            level=level,
            name=_name(f'{name} input'),
            text=text,
            values=values,
            hardware_id=frame_id,
        )

    def _sync_status(self, window: _Window, now_ns: int, counts: SyncCounts) -> DiagnosticStatus:
        is_single = any(self._is_silent(item, now_ns) for item in self._cameras.values())
        skews_ms = window.skews_ms
        mean_ms = float(np.mean(np.abs(skews_ms))) if skews_ms else float('nan')
        largest_ms = float(np.max(np.abs(skews_ms))) if skews_ms else float('nan')
        level, text = OK, f'{len(skews_ms)} pairs, mean |skew| {mean_ms:.1f} ms'
        if is_single:
            text = 'nothing to pair: one camera or both are silent'
        elif not skews_ms:
            level, text = WARN, self._explain_no_pair()
        totals = counts.dropped + self._dropped
        values = {
            'mean_skew_ms': f'{mean_ms:.3f}',
            'max_skew_ms': f'{largest_ms:.3f}',
            'waiting_frames': str(counts.waiting),
            **{f'{item.value}_frames': str(counts.received[item]) for item in Modality},
            **{f'dropped_{reason.value}': str(totals[reason]) for reason in DropReason},
        }
        return build_status(level=level, name=_name('synchronisation'), text=text, values=values)

    def _explain_no_pair(self) -> str:
        rgb, thermal = (self._cameras[item].newest for item in Modality)
        if rgb is None or thermal is None:
            return 'no pair yet'
        sync = self._config.sync
        apart_s = (thermal.stamp_ns - rgb.stamp_ns) / NS_PER_S - sync.offset_s
        return (
            f'both cameras deliver but no pair was formed: their newest stamps are '
            f'{apart_s:+.3f} s apart (thermal - rgb), allowed {sync.max_skew_s} s; correct the '
            f'clocks, or set sync.offset_s or sync.max_skew_s'
        )

    def _inference_status(self, window: _Window, now_ns: int, span_s: float) -> DiagnosticStatus:
        num_results = len(window.latencies_ms)
        latencies = np.asarray(window.latencies_ms or [(float('nan'),) * 4])
        p50, p95, p99 = np.percentile(latencies[:, 0], (50, 95, 99))
        level, text = OK, f'{num_results / span_s:.1f} results/s, latency p95 {p95:.0f} ms'
        if window.num_failed:
            level = WARN if num_results else ERROR
            text = f'{window.num_failed} pairs failed: {self._last_error}'
        elif not num_results:
            level = WARN
            text = f'no result for {(now_ns - self._result_ns) / NS_PER_S:.1f} s'
        stages = dict(
            zip(('preprocess', 'infer', 'postprocess'), latencies.mean(0)[1:], strict=True)
        )
        values = {
            'rate_hz': f'{num_results / span_s:.2f}',
            'latency_p50_ms': f'{p50:.2f}',
            'latency_p95_ms': f'{p95:.2f}',
            'latency_p99_ms': f'{p99:.2f}',
            **{f'{stage}_mean_ms': f'{value:.2f}' for stage, value in stages.items()},
            'results': str(self._num_results),
            'pairs_superseded': str(self._dropped[DropReason.SUPERSEDED]),
            'pairs_failed': str(self._dropped[DropReason.FAILED]),
            'last_error': self._last_error,
        }
        return build_status(level=level, name=_name('inference'), text=text, values=values)

    def _dominance_status(self, window: _Window) -> DiagnosticStatus:
        last, mdis = self._last, window.mdis
        mean = float(np.mean(mdis)) if mdis else float('nan')
        modes = {f'results_{mode.value}': str(window.modes[mode]) for mode in Mode}
        values = {
            'mode': last.mode.value if last else '',
            'mode_reason': last.mode_reason if last else '',
            'state': last.dominance.state.value if last else '',
            'mean_mdi': f'{mean:.4f}',
            'min_mdi': f'{min(mdis, default=float("nan")):.4f}',
            'max_mdi': f'{max(mdis, default=float("nan")):.4f}',
            **modes,
        }
        level, text = OK, f'mean mdi {mean:+.2f}' if mdis else 'no usable dominance in this period'
        if last is None:
            text = 'no result yet'
        elif last.mode is not Mode.FUSED:
            level, text = WARN, f'{last.mode.value}: {last.mode_reason}'
        return build_status(
            level=level, name=_name('modality dominance'), text=text, values=values
        )


def engine_status(pipeline: Pipeline) -> DiagnosticStatus:
    """Say what runs: backend, device and precision as the engine itself reports them."""
    card, engine = pipeline.card, pipeline.engine
    kind = 'trained on synthetic data only' if card.synthetic_only else card.training_data
    height, width = pipeline.input_hw
    values = {
        'backend': engine.backend,
        'device': engine.device,
        'precision': engine.precision,
        'model': card.name,
        'model_version': card.version,
        'architecture': card.architecture,
        'input_size': f'{width}x{height}',
        'synthetic_only': 'true' if card.synthetic_only else 'false',
        'licence': card.licence,
    }
    text = f'{card.name} on {engine.backend}, {engine.device}, {engine.precision}: {kind}'
    return build_status(
        level=OK, name=_name('engine'), text=text, values=values, hardware_id=engine.device
    )


def _name(part: str) -> str:
    return f'perception: {part}'
