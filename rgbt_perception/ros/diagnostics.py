# SPDX-License-Identifier: Apache-2.0
"""What goes to /diagnostics: six statuses; every problem names its cause and its remedy.

The node notes events as they happen, from any thread; ``statuses`` sums up the time since it was
last called. Times are given by the caller (monotonic nanoseconds), so tests need no clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
import threading
from typing import TYPE_CHECKING

import numpy as np

from rgbt_perception.ros.input_status import InputFacts, InputMonitor
from rgbt_perception.ros.messages import build_status
from rgbt_perception.ros.pipeline_status import (
    engine_status,
    registration_finding,
    temperature_finding,
)
from rgbt_perception.ros.stock_checks import ERROR, Finding, merge, OK, WARN
from rgbt_perception.types import DropReason, Modality, Mode, NS_PER_S

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticStatus

    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.pipeline import Pipeline
    from rgbt_perception.types import Frame, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What only the node knows at the moment of a report.

    Attributes:
        received: Frames taken in by the pairer, per camera.
        dropped: Frames that left the pairer without a result, by reason.
        waiting: Frames in the queues of the pairer.
        num_publishers: Publishers on each input topic.
        clock_ns: Node clock minus the monotonic clock, nanoseconds.
        is_enabled: False while ``~/enable`` has switched the inputs off.
        offset_s: Offset subtracted from thermal stamps, s: as set, or as estimated.
        offset_text: What was found out about the clock offset of the cameras, '' for nothing.
    """

    received: Counter[Modality]
    dropped: Counter[DropReason]
    waiting: int
    num_publishers: dict[Modality, int]
    clock_ns: int
    is_enabled: bool = True
    offset_s: float = 0.0
    offset_text: str = ''


@dataclass(slots=True, kw_only=True)
class _Window:
    """Results since the last report."""

    latencies_ms: list[tuple[float, float, float, float]] = field(default_factory=list)
    mdis: list[float] = field(default_factory=list)
    skews_ms: list[float] = field(default_factory=list)
    modes: Counter[Mode] = field(default_factory=Counter)
    num_failed: int = 0
    num_superseded: int = 0


class Diagnostics:
    """Collects events of the node and turns them into diagnostic statuses.

    Attributes:
        config: Settings in force; may be replaced at any time.
    """

    def __init__(
        self,
        *,
        config: PerceptionConfig,
        topics: dict[Modality, str],
        now_ns: int,
        node_name: str = 'perception',
    ) -> None:
        """Begin counting.

        Args:
            config: Settings in force.
            topics: Resolved input topic of each camera.
            now_ns: Time, nanoseconds, any origin.
            node_name: Begins the name of every status.
        """
        self.config = config
        self._node_name = node_name
        self._inputs = {item: InputMonitor(item, topic, now_ns) for item, topic in topics.items()}
        self._lock = threading.Lock()
        self._window = _Window()
        self._dropped: Counter[DropReason] = Counter()
        self._reported_drops: Counter[DropReason] = Counter()  # of the pairer
        self._num_results = 0
        self._last: Result | None = None
        self._last_error = ''
        self._is_urgent = False
        self._urgent_ns: int | None = None
        self._reported_ns = self._result_ns = self._paired_ns = now_ns

    @property
    def is_urgent(self) -> bool:
        """True from something that should not wait for the next report until that is taken."""
        with self._lock:
            return self._is_urgent

    def take_urgent(self, now_ns: int) -> bool:
        """Return, once, whether something happened that should not wait for the next report.

        At most once per ``diagnostics.period_s``: a mode that changes with every pair, or an
        engine that fails on every pair, must not flood the topic.

        Args:
            now_ns: Time, nanoseconds, same origin as at construction.
        """
        with self._lock:
            last_ns = self._urgent_ns
            if not self._is_urgent or (
                last_ns is not None and not self._is_long_ago(last_ns, now_ns)
            ):
                return False
            self._is_urgent, self._urgent_ns = False, now_ns
        return True

    def start_over(self, now_ns: int) -> None:
        """Begin to wait for frames and results anew, as after a time in which none was wanted.

        Totals stay.

        Args:
            now_ns: Time, nanoseconds, same origin as at construction.
        """
        with self._lock:
            self._last = None
            self._result_ns = self._paired_ns = now_ns
            for monitor in self._inputs.values():
                monitor.start_over(now_ns)

    def note_frame(self, frame: Frame, now_ns: int) -> None:
        """Count a usable frame."""
        with self._lock:
            self._inputs[frame.modality].note_frame(frame, now_ns)

    def note_bad_frame(self, modality: Modality, problem: str) -> None:
        """Count a frame that could not be used, and remember why."""
        with self._lock:
            self._inputs[modality].note_bad_frame(problem)
            self._dropped[DropReason.BAD_FRAME] += 1

    def note_lost(self, modality: Modality, num_messages: int) -> None:
        """Count messages of a camera that the middleware lost."""
        with self._lock:
            self._inputs[modality].note_lost(num_messages)

    def note_incompatible_qos(self, modality: Modality, policy: str) -> None:
        """Remember that a publisher of a camera offers less than is asked for.

        Args:
            modality: The camera.
            policy: Name of the policy that does not fit, e.g. 'reliability'.
        """
        with self._lock:
            self._inputs[modality].note_incompatible_qos(policy)
            self._is_urgent = True

    def note_camera_info(self, modality: Modality, problem: str) -> None:
        """Remember why the camera_info of a camera cannot be used, '' when it can."""
        with self._lock:
            self._inputs[modality].camera_info_problem = problem

    def note_superseded(self) -> None:
        """Count a pair that a newer one replaced before the worker took it."""
        with self._lock:
            self._dropped[DropReason.SUPERSEDED] += 1
            self._window.num_superseded += 1

    def note_failed(self, problem: str) -> None:
        """Count a pair on which the pipeline raised, and remember why."""
        with self._lock:
            self._dropped[DropReason.FAILED] += 1
            self._is_urgent |= not self._window.num_failed
            self._window.num_failed += 1
            self._last_error = problem

    def note_result(self, result: Result, now_ns: int) -> None:
        """Count a published result."""
        times, skew_ns = result.times, result.pair.skew_ns
        stages = (times.preprocess_ms, times.infer_ms, times.postprocess_ms)
        with self._lock:
            self._num_results += 1
            self._is_urgent |= self._last is not None and self._last.mode is not result.mode
            self._last, self._result_ns = result, now_ns
            self._window.latencies_ms.append((times.latency_ms, *stages))
            self._window.modes[result.mode] += 1
            if result.dominance.valid:
                self._window.mdis.append(result.dominance.mdi)
            if skew_ns is not None:
                self._window.skews_ms.append(skew_ns / 1e6)
                self._paired_ns = now_ns

    def statuses(
        self, now_ns: int, facts: NodeFacts, pipeline: Pipeline
    ) -> list[DiagnosticStatus]:
        """Sum up the time since the last call.

        Args:
            now_ns: Time, nanoseconds, same origin as at construction.
            facts: What only the node knows.
            pipeline: What runs; asked for its engine, card and stages.

        Returns:
            Six statuses: both inputs, synchronisation, inference, modality dominance, engine.
        """
        with self._lock:
            window, self._window = self._window, _Window()
            self._is_urgent = False
            span_s = max((now_ns - self._reported_ns) / NS_PER_S, 1e-3)
            self._reported_ns = now_ns
            inputs = [self._input_status(item, now_ns, facts, pipeline) for item in Modality]
            return [
                *inputs,
                self._sync_status(window, now_ns, facts, pipeline),
                self._inference_status(window, now_ns, span_s, is_enabled=facts.is_enabled),
                self._dominance_status(window),
                engine_status(pipeline, self._node_name),
            ]

    def _input_status(
        self, modality: Modality, now_ns: int, facts: NodeFacts, pipeline: Pipeline
    ) -> DiagnosticStatus:
        monitor = self._inputs[modality]
        notes: list[Finding] = []
        values: dict[str, str] = {}
        if modality is Modality.THERMAL:
            notes = [
                Finding(WARN, pipeline.scaler.problem),
                temperature_finding(self._last, pipeline.card, self.config.thermal),
            ]
            if monitor.newest is not None:
                values['reading'] = pipeline.radiometry.describe(monitor.newest.pixels)
        input_facts = InputFacts(
            num_publishers=facts.num_publishers[modality],
            clock_ns=facts.clock_ns,
            is_enabled=facts.is_enabled,
            problem=pipeline.health.problems.get(modality, ''),
            notes=tuple(notes),
            values=values,
        )
        return monitor.status(now_ns, input_facts, self.config, node_name=self._node_name)

    def _sync_status(
        self, window: _Window, now_ns: int, facts: NodeFacts, pipeline: Pipeline
    ) -> DiagnosticStatus:
        is_single = any(item.is_silent(now_ns, self.config) for item in self._inputs.values())
        skews_ms = window.skews_ms
        mean_ms = float(np.mean(np.abs(skews_ms))) if skews_ms else float('nan')
        largest_ms = float(np.max(np.abs(skews_ms))) if skews_ms else float('nan')
        totals = facts.dropped + self._dropped
        text = f'{len(skews_ms)} pairs, mean |skew| {mean_ms:.1f} ms{self._new_drops(facts)}'
        pairing = Finding(OK, text)
        if is_single or not facts.is_enabled:
            pairing = Finding(OK, 'nothing to pair: one camera or both are silent')
        elif not skews_ms and self._is_long_ago(self._paired_ns, now_ns):
            pairing = Finding(WARN, self._explain_no_pair(window, facts))
        offset = Finding(WARN, '' if pairing.level == WARN else facts.offset_text)
        misregistration = registration_finding(self._last, pipeline, self.config.registration)
        verdict = merge([pairing, offset, misregistration])
        shift = self._last.misregistration if self._last else None
        values = {
            'mean_skew_ms': f'{mean_ms:.3f}',
            'max_skew_ms': f'{largest_ms:.3f}',
            'clock_offset': facts.offset_text,
            'misregistration_px': f'{shift.shift_px:.1f}' if shift else 'nan',
            'misregistration_confidence': f'{shift.confidence:.2f}' if shift else '0.00',
            'waiting_frames': str(facts.waiting),
            **{f'{item.value}_frames': str(facts.received[item]) for item in Modality},
            **{f'dropped_{reason.value}': str(totals[reason]) for reason in DropReason},
        }
        return self._status(verdict, 'synchronisation', values)

    def _new_drops(self, facts: NodeFacts) -> str:
        """Say what the pairer dropped since the last report, by reason."""
        new = facts.dropped - self._reported_drops
        self._reported_drops = Counter(facts.dropped)
        counts = [f'{new[reason]} {reason.value}' for reason in DropReason if new[reason]]
        return f', dropped {", ".join(counts)}' if counts else ''

    def _is_long_ago(self, event_ns: int, now_ns: int) -> bool:
        """Return whether an event is older than one regular report; urgent ones come sooner."""
        return now_ns - event_ns >= self.config.diagnostics.period_s * NS_PER_S

    def _explain_no_pair(self, window: _Window, facts: NodeFacts) -> str:
        rgb, thermal = (self._inputs[item].newest for item in Modality)
        if rgb is None or thermal is None:
            return 'no pair yet; wait for the first frame of both cameras'
        if window.num_failed:
            return f'no pair got through: {window.num_failed} failed; see the inference status'
        if facts.offset_text:
            return f'both cameras deliver but no pair was formed: {facts.offset_text}'
        apart_s = (thermal.stamp_ns - rgb.stamp_ns) / NS_PER_S - facts.offset_s
        return (
            f'both cameras deliver but no pair was formed: their newest stamps are '
            f'{apart_s:+.3f} s apart (thermal - rgb), allowed {self.config.sync.max_skew_s} s; '
            f'correct the clocks, or set sync.offset_s or sync.max_skew_s'
        )

    def _inference_status(
        self, window: _Window, now_ns: int, span_s: float, *, is_enabled: bool
    ) -> DiagnosticStatus:
        num_results = len(window.latencies_ms)
        latencies = np.asarray(window.latencies_ms or [(float('nan'),) * 4])
        p50, p95, p99 = np.percentile(latencies[:, 0], (50, 95, 99))
        text = f'{num_results / span_s:.1f} results/s, latency p95 {p95:.0f} ms'
        if window.num_superseded:
            num_pairs = num_results + window.num_failed + window.num_superseded
            share = window.num_superseded / num_pairs
            text += f', {share:.0%} of the pairs superseded by newer ones'
        verdict = Finding(OK, text)
        if window.num_failed:
            level = WARN if num_results else ERROR
            verdict = Finding(level, f'{window.num_failed} pairs failed: {self._last_error}')
        elif not num_results and is_enabled and self._is_long_ago(self._result_ns, now_ns):
            silent_s = (now_ns - self._result_ns) / NS_PER_S
            text = f'no result for {silent_s:.1f} s; see the input and synchronisation statuses'
            verdict = Finding(WARN, text)
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
        return self._status(verdict, 'inference', values)

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
        verdict = Finding(
            OK, f'mean mdi {mean:+.2f}' if mdis else 'no usable dominance in this period'
        )
        if last is None:
            verdict = Finding(OK, 'no result yet')
        elif last.mode is not Mode.FUSED:
            remedy = 'see the input statuses'
            verdict = Finding(WARN, f'{last.mode.value}: {last.mode_reason}; {remedy}')
        return self._status(verdict, 'modality dominance', values)

    def _status(self, verdict: Finding, part: str, values: dict[str, str]) -> DiagnosticStatus:
        return build_status(
            level=verdict.level,
            name=f'{self._node_name}: {part}',
            text=verdict.text,
            values=values,
        )
