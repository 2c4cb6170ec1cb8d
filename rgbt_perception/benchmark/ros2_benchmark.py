# SPDX-License-Identifier: Apache-2.0
"""Latency, rate and jitter under the names that NVIDIA's ros2_benchmark writes in its results.

So figures of this package stand beside published ones without translation. Percentiles, which
ros2_benchmark does not give, are beside them under names of ours.

Source: ``basic_performance_calculator.py`` of ros2_benchmark, for names and definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

PREFIX = 'BasicPerformanceMetrics'
PERCENTILES = (50, 95, 99)
DIGITS = 3
NS_PER_MS = 1e6


def performance_metrics(
    sent_ns: Mapping[int, int], received_ns: Mapping[int, int]
) -> dict[str, float]:
    """Return the metrics of one run, ms and frames per second.

    Args:
        sent_ns: When each frame was sent, by its key, in the order of sending; one or more.
        received_ns: When the result of a frame came, by the same keys, in the order of arrival;
            a frame without one is missed.

    Returns:
        By 'BasicPerformanceMetrics.NAME', and 'latency_pNN_ms'. What needs more frames than came
        (a rate two, jitter three) is left out.

    Raises:
        ValueError: If no result came, or one of a frame that was not sent.
    """
    unknown = received_ns.keys() - sent_ns.keys()
    if not received_ns or unknown:
        raise ValueError(
            f'{len(received_ns)} results came, {len(unknown)} of frames that were not sent; '
            f'expected one or more, each of a sent frame; check the keys and the rate'
        )
    sent, received = (_milliseconds(times.values()) for times in (sent_ns, received_ns))
    latencies = np.array([(received_ns[key] - sent_ns[key]) / NS_PER_MS for key in received_ns])
    metrics = {
        'RECEIVED_DURATION': received[-1] - received[0],
        'NUM_MISSED_FRAMES': len(sent_ns) - len(received_ns),
        'NUM_FRAMES_SENT': len(sent_ns),
        'FIRST_SENT_RECEIVED_LATENCY': received[0] - sent[0],
        'LAST_SENT_RECEIVED_LATENCY': received[-1] - sent[-1],
        'FIRST_INPUT_LATENCY': latencies[0],
        'LAST_INPUT_LATENCY': latencies[-1],
        'MAX_LATENCY': latencies.max(),
        'MIN_LATENCY': latencies.min(),
        'MEAN_LATENCY': latencies.mean(),
    }
    for name, times in (('MEAN_PLAYBACK_FRAME_RATE', sent), ('MEAN_FRAME_RATE', received)):
        if times[-1] > times[0]:
            metrics[name] = 1e3 * len(times) / (times[-1] - times[0])
    if len(received) > 2:
        jitter = np.abs(np.diff(received, n=2))
        metrics['MAX_JITTER'], metrics['MIN_JITTER'] = jitter.max(), jitter.min()
        metrics['MEAN_JITTER'], metrics['STD_DEV_JITTER'] = jitter.mean(), jitter.std()
    named = {f'{PREFIX}.{name}': _round(value) for name, value in metrics.items()}
    return {**named, **latency_percentiles(latencies.tolist())}


def latency_percentiles(latencies_ms: Sequence[float]) -> dict[str, float]:
    """Return 'latency_p50_ms', 'latency_p95_ms' and 'latency_p99_ms' of one or more values."""
    values = np.asarray(latencies_ms, np.float64)
    return {f'latency_p{share}_ms': _round(np.percentile(values, share)) for share in PERCENTILES}


def back_to_back(durations_ms: Sequence[float]) -> tuple[dict[int, int], dict[int, int]]:
    """Return when frames were sent and answered had each begun when the one before it ended.

    For runs of an engine that other engines took turns with.
    """
    ends = np.cumsum(np.asarray(durations_ms, np.float64) * NS_PER_MS).astype(np.int64).tolist()
    begins = [0, *ends[:-1]]
    return dict(enumerate(begins)), dict(enumerate(ends))


def _milliseconds(times_ns: object) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(list(times_ns), np.float64) / NS_PER_MS  # type: ignore[call-overload]


def _round(value: float) -> float:
    return round(float(value), DIGITS)
