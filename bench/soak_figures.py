# SPDX-License-Identifier: Apache-2.0
"""What a soak run says: slopes, windows, recovery, counting. No ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.soak_plan import Plan
from rgbt_perception.types import NS_PER_S

S_PER_H = 3600.0
MIB = float(1 << 20)
BIN_S = 10.0
NUM_RESAMPLES = 300
RECOVERY_LIMIT_S = 60.0  # what is reported when a fault was never recovered from
COUNT_SLACK = 4  # frames and pairs on their way while the node counts
PAIRER_DROPS = ('duplicate_stamp', 'late', 'no_partner', 'queue_full', 'stamp_jump')


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSample:
    """One look at a process.

    Attributes:
        time_s: Seconds after the start of the run.
        rss_bytes: Resident memory.
        private_bytes: That of it which is neither shared nor a file.
        num_descriptors: Open file descriptors.
        num_threads: Threads.
    """

    time_s: float
    rss_bytes: int
    private_bytes: int
    num_descriptors: int
    num_threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSample:
    """One received result.

    Attributes:
        time_s: Arrival, seconds after the start of the run.
        latency_ms: Arrival minus stamp; means nothing while a fault bends the stamps.
        mode: What the node worked with.
    """

    time_s: float
    latency_ms: float
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """A growth per hour, with the interval in which it lies with 95 % probability."""

    per_hour: float
    low: float
    high: float


def sample_process(pid: int, time_s: float) -> ProcessSample:
    """Look at a process of this machine.

    Raises:
        OSError: If it is gone.
    """
    root = Path('/proc') / str(pid)
    fields = dict(
        line.split(':', 1)
        for line in (root / 'status').read_text(encoding='utf-8').splitlines()
        if ':' in line
    )
    return ProcessSample(
        time_s=time_s,
        rss_bytes=int(fields['VmRSS'].split()[0]) * 1024,
        private_bytes=int(fields['RssAnon'].split()[0]) * 1024,
        num_descriptors=sum(1 for _ in (root / 'fd').iterdir()),
        num_threads=int(fields['Threads']),
    )


def fit_slope(times_s: Sequence[float], values: Sequence[float], *, seed: int = 0) -> Slope:
    """Fit a growth that single outliers do not move: the median of all slopes of two points.

    Values are first reduced to medians of 10 s. The interval comes from resampling those.
    Source: Theil 1950, Sen 1968; percentile bootstrap.

    Args:
        times_s: Times, seconds, shape (n,).
        values: Values, shape (n,).
        seed: Of the resampling.

    Returns:
        NaN when the samples cover less than three bins.
    """
    times, medians = _bin(np.asarray(times_s, np.float64), np.asarray(values, np.float64))
    if len(times) < 3:
        return Slope(per_hour=float('nan'), low=float('nan'), high=float('nan'))
    draw = np.random.default_rng(seed)
    resampled = []
    for _ in range(NUM_RESAMPLES):
        chosen = draw.integers(0, len(times), len(times))
        slope = _theil_sen(times[chosen], medians[chosen])
        if not np.isnan(slope):
            resampled.append(slope)
    low, high = np.percentile(resampled, (2.5, 97.5)) * S_PER_H
    return Slope(per_hour=_theil_sen(times, medians) * S_PER_H, low=float(low), high=float(high))


def latencies_in(results: Sequence[ResultSample], window: tuple[float, float]) -> list[float]:
    """Return the latencies of the results that arrived in a window, milliseconds."""
    return [item.latency_ms for item in results if window[0] <= item.time_s < window[1]]


def recoveries_s(plan: Plan, results: Sequence[ResultSample]) -> list[float]:
    """Return the time from the end of each fault to the next result of both cameras, seconds."""
    fused_s = np.asarray(sorted(item.time_s for item in results if item.mode == 'fused'))
    found = []
    for fault in plan.faults:
        index = int(np.searchsorted(fused_s, fault.end_s))
        is_there = index < len(fused_s)
        found.append(float(fused_s[index]) - fault.end_s if is_there else RECOVERY_LIMIT_S)
    return found


def results_by_fault(plan: Plan, results: Sequence[ResultSample]) -> list[dict[str, object]]:
    """Return per fault: kind, cameras, times, results while it was on, time to recover."""
    rows: list[dict[str, object]] = []
    for fault, recovery_s in zip(plan.faults, recoveries_s(plan, results), strict=True):
        num = sum(1 for item in results if fault.is_active(item.time_s))
        rows.append(
            {
                'kind': fault.kind.value,
                'cameras': '+'.join(fault.cameras),
                'begin_s': round(fault.begin_s, 1),
                'end_s': round(fault.end_s, 1),
                'results_meanwhile': num,
                'recovery_s': round(recovery_s, 3),
            }
        )
    return rows


def is_counted_right(values: Mapping[str, str]) -> bool:
    """Return whether the counts of one diagnostics message account for every frame.

    Frames taken in are in a pair, dropped for a reason, or waiting; a pair has one or two frames
    and became a result, was superseded, or failed.

    Args:
        values: Key-values of the synchronisation and inference statuses together.
    """
    frames = int(values['rgb_frames']) + int(values['thermal_frames'])
    dropped = sum(int(values[f'dropped_{reason}']) for reason in PAIRER_DROPS)
    paired = frames - dropped - int(values['waiting_frames'])
    pairs = sum(int(values[key]) for key in ('results', 'pairs_superseded', 'pairs_failed'))
    return pairs - COUNT_SLACK <= paired <= 2 * (pairs + COUNT_SLACK)


def growth(samples: Sequence[ProcessSample], plan: Plan, name: str) -> float:
    """Return the median of a field in the last window minus that in the first."""
    medians = [
        float(np.median([getattr(item, name) for item in samples if begin <= item.time_s < end]))
        for begin, end in (plan.first_window, plan.last_window)
    ]
    return medians[1] - medians[0]


def seconds_since(origin_ns: int, now_ns: int) -> float:
    """Return the time of the run."""
    return (now_ns - origin_ns) / NS_PER_S


def _bin(
    times: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bins = np.floor(times / BIN_S).astype(np.int64)
    chosen = [bins == index for index in np.unique(bins)]
    return (
        np.asarray([np.median(times[item]) for item in chosen]),
        np.asarray([np.median(values[item]) for item in chosen]),
    )


def _theil_sen(times: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    first, second = np.triu_indices(len(times), 1)
    spans = times[second] - times[first]
    is_apart = spans != 0.0
    if not is_apart.any():
        return float('nan')
    return float(np.median((values[second] - values[first])[is_apart] / spans[is_apart]))
