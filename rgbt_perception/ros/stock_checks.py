# SPDX-License-Identifier: Apache-2.0
"""Checks of rate and stamps with the thresholds, texts and keys of diagnostic_updater.

diagnostic_updater itself is not everywhere (it is not on PyPI), and its texts name no cause and no
remedy: here both follow the stock sentence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
import math

from diagnostic_msgs.msg import DiagnosticStatus

from rgbt_perception.types import NS_PER_S

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
WINDOW_SIZE = 5  # reports; default of diagnostic_updater's FrequencyStatus


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict: a level and its sentence."""

    level: bytes
    text: str


def merge(findings: Iterable[Finding]) -> Finding:
    """Return the worst level with all sentences of problems, else the sentences that are fine.

    Same rule as ``DiagnosticStatusWrapper.mergeSummary``: a problem hides what is fine.
    """
    found = [finding for finding in findings if finding.text]
    problems = [finding for finding in found if finding.level != OK]
    shown = problems or found
    level = max((finding.level for finding in shown), default=OK)
    return Finding(level, '; '.join(finding.text for finding in shown))


@dataclass(slots=True, kw_only=True)
class FrequencyCheck:
    """Rate of events over the last five reports.

    Attributes:
        num_events: Events since the start.
    """

    start_ns: int
    num_events: int = 0
    _marks: deque[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        """Begin the window."""
        self._marks = deque([(self.start_ns, 0)], maxlen=WINDOW_SIZE)

    def restart(self, now_ns: int) -> None:
        """Begin a new window; the total stays."""
        self._marks = deque([(now_ns, self.num_events)], maxlen=WINDOW_SIZE)

    def tick(self) -> None:
        """Count one event."""
        self.num_events += 1

    def run(
        self, now_ns: int, *, min_hz: float, max_hz: float, slack: float, remedy: str
    ) -> tuple[Finding, dict[str, str]]:
        """Judge the rate; the oldest report leaves the window.

        Args:
            now_ns: Time, nanoseconds.
            min_hz: Lowest rate, 0 = no bound.
            max_hz: Highest rate, 0 = no bound.
            slack: Share by which a bound may be missed.
            remedy: What to do when the rate is out of bounds.
        """
        since_ns, num_before = self._marks[0]
        self._marks.append((now_ns, self.num_events))
        num_events = self.num_events - num_before
        window_s = max((now_ns - since_ns) / NS_PER_S, 1e-3)
        rate_hz = num_events / window_s
        lowest_hz = min_hz * (1.0 - slack)
        highest_hz = max_hz * (1.0 + slack) if max_hz > 0.0 else math.inf
        finding = Finding(OK, 'Desired frequency met')
        if num_events == 0:
            finding = Finding(ERROR, 'No events recorded.')
        elif rate_hz < lowest_hz:
            bound = f'{rate_hz:.1f} Hz, expected at least {min_hz:.1f} Hz; {remedy}'
            finding = Finding(WARN, f'Frequency too low. {bound}')
        elif rate_hz > highest_hz:
            bound = f'{rate_hz:.1f} Hz, expected at most {max_hz:.1f} Hz; {remedy}'
            finding = Finding(WARN, f'Frequency too high. {bound}')
        values = {
            'Events in window': str(num_events),
            'Events since startup': str(self.num_events),
            'Duration of window (s)': f'{window_s:.3f}',
            'Actual frequency (Hz)': f'{rate_hz:.3f}',
        }
        if min_hz > 0.0:
            values['Minimum acceptable frequency (Hz)'] = f'{lowest_hz:.3f}'
        if math.isfinite(highest_hz):
            values['Maximum acceptable frequency (Hz)'] = f'{highest_hz:.3f}'
        return finding, values


@dataclass(slots=True, kw_only=True)
class StampCheck:
    """How far stamps lie behind or ahead of the node's clock."""

    num_early: int = 0
    num_late: int = 0
    num_zero: int = 0
    _stamp_minus_arrival_ns: list[int] = field(default_factory=list)
    _has_zero: bool = False

    def tick(self, stamp_ns: int, now_ns: int) -> None:
        """Take in one stamp and the (monotonic) time of its arrival, nanoseconds."""
        if stamp_ns == 0:
            self._has_zero = True
            return
        difference_ns = stamp_ns - now_ns
        extremes = self._stamp_minus_arrival_ns
        if extremes:
            extremes[:] = [min(extremes[0], difference_ns), max(extremes[1], difference_ns)]
        else:
            extremes[:] = [difference_ns, difference_ns]

    def run(
        self, clock_ns: int, *, max_age_s: float, max_lead_s: float, remedy: str
    ) -> tuple[Finding, dict[str, str]]:
        """Judge the stamps since the last report.

        Args:
            clock_ns: Node clock minus the monotonic clock, nanoseconds.
            max_age_s: Largest accepted age of a stamp on arrival, s.
            max_lead_s: Largest accepted distance of a stamp into the future, s.
            remedy: What to do about stamps that are out of bounds.
        """
        delays_s = [(clock_ns - x) / NS_PER_S for x in reversed(self._stamp_minus_arrival_ns)]
        earliest_s, latest_s = delays_s or (math.nan, math.nan)
        findings = []
        if earliest_s < -max_lead_s:
            self.num_early += 1
            text = f'Timestamps too far in future seen. {-earliest_s:.3f} s ahead of this clock'
            findings.append(Finding(ERROR, f'{text}; {remedy}'))
        if latest_s > max_age_s:
            self.num_late += 1
            text = f'Timestamps too far in past seen. {latest_s:.3f} s behind this clock'
            findings.append(Finding(ERROR, f'{text}; {remedy}'))
        if self._has_zero:
            self.num_zero += 1
            text = 'Zero timestamp seen. The driver does not fill header.stamp; correct the driver'
            findings.append(Finding(ERROR, text))
        self._stamp_minus_arrival_ns.clear()
        self._has_zero = False
        values = {
            'Earliest timestamp delay:': f'{earliest_s:.6f}',
            'Latest timestamp delay:': f'{latest_s:.6f}',
            'Earliest acceptable timestamp delay:': f'{-max_lead_s:.6f}',
            'Latest acceptable timestamp delay:': f'{max_age_s:.6f}',
            'Late diagnostic update count:': str(self.num_late),
            'Early diagnostic update count:': str(self.num_early),
            'Zero seen diagnostic update count:': str(self.num_zero),
        }
        return merge(findings), values
