# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics says about one camera: is it there, at what rate, with what problem."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rgbt_perception.ros.messages import build_status
from rgbt_perception.ros.stock_checks import (
    ERROR,
    Finding,
    FrequencyCheck,
    merge,
    OK,
    StampCheck,
    WARN,
)
from rgbt_perception.types import Modality, NS_PER_S

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticStatus

    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.types import Frame

TRANSPORT_HINT = (
    'a publisher is there but no image arrives; large best-effort images need the Fast DDS '
    'profile config/fastdds_shm.xml on both sides (FASTDDS_DEFAULT_PROFILES_FILE), and room in '
    '/dev/shm'
)
RATE_REMEDY = 'check the camera and the transport, or correct diagnostics.{bound}'
STAMP_REMEDY = (
    'synchronise the clocks (chrony, PTP); with a bag set use_sim_time, and play it with --clock'
)
DISABLED_TEXT = 'disabled by ~/enable; call it with true to go on'


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFacts:
    """What the node knows about one input at the moment of a report.

    Attributes:
        num_publishers: Publishers on the topic.
        clock_ns: Node clock minus the monotonic clock, nanoseconds.
        is_enabled: False while ``~/enable`` has switched the inputs off.
        problem: Why the camera is not used though its frames arrive, '' when it is.
        notes: Further verdicts.
        values: Further key-values.
    """

    num_publishers: int
    clock_ns: int
    is_enabled: bool = True
    problem: str = ''
    notes: tuple[Finding, ...] = ()
    values: dict[str, str] = field(default_factory=dict)


class InputMonitor:
    """Counts the events of one camera; not thread-safe, its owner holds a lock.

    Attributes:
        newest: Newest usable frame.
        topic: Resolved input topic.
        camera_info_problem: Why the camera_info cannot be used, '' when it can.
    """

    def __init__(self, modality: Modality, topic: str, now_ns: int) -> None:
        """Begin counting."""
        self.newest: Frame | None = None
        self.topic = topic
        self.camera_info_problem = ''
        self._modality = modality
        self._start_ns = self._newest_ns = self._reported_ns = now_ns
        self._frequency = FrequencyCheck(start_ns=now_ns)
        self._stamps = StampCheck()
        self._num_new = 0
        self._new_problems: Counter[str] = Counter()
        self._num_bad = 0
        self._last_problem = ''
        self._num_lost = self._num_new_lost = 0
        self._incompatible_policy = ''

    def start_over(self, now_ns: int) -> None:
        """Begin to wait for frames anew; totals stay."""
        self._newest_ns = now_ns
        self._frequency.restart(now_ns)

    def note_frame(self, frame: Frame, now_ns: int) -> None:
        """Count a usable frame."""
        self._frequency.tick()
        self._stamps.tick(frame.stamp_ns, now_ns)
        self._num_new += 1
        self.newest, self._newest_ns = frame, now_ns
        self._incompatible_policy = ''  # a publisher that fits is there

    def note_bad_frame(self, problem: str) -> None:
        """Count a frame that could not be used, and remember why."""
        self._num_bad += 1
        self._new_problems[problem] += 1
        self._last_problem = problem

    def note_lost(self, num_messages: int) -> None:
        """Count messages the middleware lost."""
        self._num_lost += num_messages
        self._num_new_lost += num_messages

    def note_incompatible_qos(self, policy: str) -> None:
        """Remember that a publisher offers less than is asked for."""
        self._incompatible_policy = policy

    def age_s(self, now_ns: int) -> float:
        """Return the time since the newest usable frame, or since the start."""
        return (now_ns - self._newest_ns) / NS_PER_S

    def is_silent(self, now_ns: int, config: PerceptionConfig) -> bool:
        """Return whether the camera has given no usable frame for long enough to say so."""
        limit_s = max(config.fallback.missing_after_s, config.diagnostics.period_s)
        return self.newest is None or self.age_s(now_ns) > limit_s

    def status(
        self, now_ns: int, facts: InputFacts, config: PerceptionConfig, *, node_name: str
    ) -> DiagnosticStatus:
        """Sum up the time since the last call."""
        limits, name = config.diagnostics, self._modality.value
        frequency, frequency_values = self._frequency.run(
            now_ns,
            min_hz=getattr(limits, f'min_{name}_hz'),
            max_hz=getattr(limits, f'max_{name}_hz'),
            slack=limits.rate_slack,
            remedy=RATE_REMEDY.format(bound=f'min_{name}_hz or diagnostics.max_{name}_hz'),
        )
        stamps, stamp_values = self._stamps.run(
            facts.clock_ns,
            max_age_s=limits.max_stamp_age_s,
            max_lead_s=limits.max_stamp_lead_s,
            remedy=STAMP_REMEDY,
        )
        rate_hz = self._num_new / max((now_ns - self._reported_ns) / NS_PER_S, 1e-3)
        verdict = self._verdict(now_ns, facts, config, frequency, stamps, rate_hz)
        values = self._values(now_ns, facts, rate_hz) | facts.values
        values |= frequency_values | stamp_values
        self._num_new = self._num_new_lost = 0
        self._new_problems.clear()
        self._reported_ns = now_ns
        return build_status(
            level=verdict.level,
            name=f'{node_name}: {name} input',
            text=verdict.text,
            values=values,
            hardware_id=self.newest.frame_id if self.newest else '',
        )

    def _verdict(
        self,
        now_ns: int,
        facts: InputFacts,
        config: PerceptionConfig,
        frequency: Finding,
        stamps: Finding,
        rate_hz: float,
    ) -> Finding:
        if not facts.is_enabled:
            return Finding(OK, DISABLED_TEXT)
        if self._new_problems:
            problem, _ = self._new_problems.most_common(1)[0]
            num_bad = self._new_problems.total()
            level = WARN if self._num_new else ERROR
            return merge([Finding(level, f'{num_bad} frames dropped: {problem}'), stamps])
        if self.is_silent(now_ns, config):
            text = f'No events recorded. {self._silence(now_ns, facts.num_publishers)}'
            return Finding(ERROR, text)
        size_hw, dtype = self._format()
        fine = Finding(OK, f'{rate_hz:.1f} Hz, {size_hw[1]}x{size_hw[0]} {dtype}')
        is_slow = frequency.level == WARN  # no event at all is what is_silent has judged already
        return merge(
            [
                fine,
                Finding(WARN, facts.problem),
                frequency if is_slow else Finding(OK, ''),
                stamps,
                self._lost(),
                Finding(WARN, self.camera_info_problem),
                *facts.notes,
            ]
        )

    def _silence(self, now_ns: int, num_publishers: int) -> str:
        """Say for how long nothing came, why, and what to do."""
        if self._incompatible_policy and num_publishers:
            cause = (
                f'a publisher of {self.topic} offers an incompatible {self._incompatible_policy}; '
                f'set qos_overrides.{self.topic}.subscription.{self._incompatible_policy} '
                f'to what it offers'
            )
        elif not num_publishers:
            cause = f'no publisher on {self.topic}; start the camera or remap the topic'
        elif self.newest is None:
            cause = TRANSPORT_HINT
        else:
            cause = 'the publisher has gone quiet; check the camera and its driver'
        return f'no {self._modality.value} frame for {self.age_s(now_ns):.1f} s: {cause}'

    def _lost(self) -> Finding:
        if self._num_new_lost <= 0.1 * self._num_new:
            return Finding(OK, '')
        text = (
            f'the middleware lost {self._num_new_lost} messages and delivered {self._num_new}; '
            f'use the Fast DDS profile config/fastdds_shm.xml on both sides'
        )
        return Finding(WARN, text)

    def _format(self) -> tuple[tuple[int, int], str]:
        return (
            (self.newest.size_hw, str(self.newest.pixels.dtype)) if self.newest else ((0, 0), '')
        )

    def _values(self, now_ns: int, facts: InputFacts, rate_hz: float) -> dict[str, str]:
        size_hw, dtype = self._format()
        return {
            'topic': self.topic,
            'publishers': str(facts.num_publishers),
            'rate_hz': f'{rate_hz:.2f}',
            'age_s': f'{self.age_s(now_ns):.3f}',
            'size': f'{size_hw[1]}x{size_hw[0]}' if self.newest else '',
            'dtype': dtype,
            'frames': str(self._frequency.num_events),
            'bad_frames': str(self._num_bad),
            'lost_messages': str(self._num_lost),
            'incompatible_qos': self._incompatible_policy,
            'last_problem': self._last_problem,
        }
