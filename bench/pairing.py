# SPDX-License-Identifier: Apache-2.0
"""CPU time per message of the pairing policies, against message_filters where it is installed.

    python -m bench.pairing [--rounds N] [--out DIR]

All sides get the same messages in the same order of arrival and take turns in every round.
message_filters reads stamps out of messages; ``nearest + frame`` therefore is our default policy
together with building its frames from the same messages.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
import gc
import importlib.util
from pathlib import Path
import sys
from time import process_time_ns
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    print_bounds,
    write_results,
)
from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.frames import stamp_of
from rgbt_perception.sync import build_pairer
from rgbt_perception.types import Frame, Modality, NS_PER_S

STOCK = 'approximate_time'
QUEUE_SIZES = (10, 100)
MAX_SKEW_S = 0.02
NUM_MESSAGES = 4000
MAX_US = 30.0
MIN_RATIO = 5.0
PIXELS = {
    Modality.RGB: np.zeros((2, 2, 3), np.uint8),
    Modality.THERMAL: np.zeros((2, 2), np.uint8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Two cameras: their rates, Hz, and how far thermal runs ahead, s."""

    name: str
    rgb_hz: float
    thermal_hz: float
    offset_s: float = 0.0
    is_matching: bool = True


STREAMS = (
    Stream(name='30 + 30 Hz', rgb_hz=30.0, thermal_hz=30.0),
    Stream(name='30 + 9 Hz', rgb_hz=30.0, thermal_hz=9.0),
    Stream(name='60 + 30 Hz', rgb_hz=60.0, thermal_hz=30.0),
    Stream(
        name='30 + 30 Hz, 2 s apart',
        rgb_hz=30.0,
        thermal_hz=30.0,
        offset_s=2.0,
        is_matching=False,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One message: as a frame, and as message_filters wants it (None where ROS is absent)."""

    received_ns: int
    frame: Frame
    message: Any


def build_arrivals(stream: Stream) -> list[Arrival]:
    """Return the messages of a stream in order of arrival; thermal exposes 5 ms after RGB."""
    duration_s = NUM_MESSAGES / (stream.rgb_hz + stream.thermal_hz)
    arrivals = []
    for modality, rate_hz, phase_s, offset_s in (
        (Modality.RGB, stream.rgb_hz, 0.0, 0.0),
        (Modality.THERMAL, stream.thermal_hz, 0.005, stream.offset_s),
    ):
        for index in range(int(duration_s * rate_hz)):
            at_s = 10.0 + index / rate_hz + phase_s
            stamp_ns = round((at_s + offset_s) * NS_PER_S)
            frame = Frame(
                pixels=PIXELS[modality],
                stamp_ns=stamp_ns,
                frame_id=modality.value,
                modality=modality,
            )
            arrivals.append(
                Arrival(
                    received_ns=round(at_s * NS_PER_S),
                    frame=frame,
                    message=_build_message(stamp_ns),
                )
            )
    return sorted(arrivals, key=lambda arrival: arrival.received_ns)


def _build_message(stamp_ns: int) -> Any:
    if importlib.util.find_spec('sensor_msgs') is None:
        return None
    from sensor_msgs.msg import Image

    message = Image()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, NS_PER_S)
    return message


def run_ours(policy: str, queue_size: int, arrivals: list[Arrival]) -> tuple[int, int]:
    """Push all frames; return CPU nanoseconds and complete pairs."""
    sync = SyncConfig(policy=policy, queue_size=queue_size, max_skew_s=MAX_SKEW_S)
    pairer = build_pairer(sync, FallbackConfig())
    push, num_pairs = pairer.push, 0
    started = process_time_ns()
    for arrival in arrivals:
        for pair in push(arrival.frame, arrival.received_ns):
            if pair.rgb is not None and pair.thermal is not None:
                num_pairs += 1
    return process_time_ns() - started, num_pairs


def run_ours_with_frames(queue_size: int, arrivals: list[Arrival]) -> tuple[int, int]:
    """Build each frame from its message and push it; return CPU nanoseconds and pairs."""
    sync = SyncConfig(queue_size=queue_size, max_skew_s=MAX_SKEW_S)
    pairer = build_pairer(sync, FallbackConfig())
    push, num_pairs = pairer.push, 0
    started = process_time_ns()
    for arrival in arrivals:
        given, header = arrival.frame, arrival.message.header
        frame = Frame(
            pixels=given.pixels,
            stamp_ns=stamp_of(header),
            frame_id=header.frame_id,
            modality=given.modality,
        )
        for pair in push(frame, arrival.received_ns):
            if pair.rgb is not None and pair.thermal is not None:
                num_pairs += 1
    return process_time_ns() - started, num_pairs


def run_stock(queue_size: int, arrivals: list[Arrival]) -> tuple[int, int]:
    """Signal all messages to message_filters; return CPU nanoseconds and pairs."""
    import message_filters

    inputs = {modality: message_filters.SimpleFilter() for modality in Modality}
    synchroniser = message_filters.ApproximateTimeSynchronizer(
        list(inputs.values()), queue_size, MAX_SKEW_S
    )
    pairs: list[tuple[Any, Any]] = []
    synchroniser.registerCallback(lambda rgb, thermal: pairs.append((rgb, thermal)))
    signal = {modality: item.signalMessage for modality, item in inputs.items()}
    calls = [(signal[arrival.frame.modality], arrival.message) for arrival in arrivals]
    started = process_time_ns()
    for call, message in calls:
        call(message)
    return process_time_ns() - started, len(pairs)


def build_sides(queue_size: int) -> dict[str, Callable[[list[Arrival]], tuple[int, int]]]:
    """Return what is compared, by name; what is not installed is left out."""
    sides: dict[str, Callable[[list[Arrival]], tuple[int, int]]] = {
        policy: lambda arrivals, policy=policy: run_ours(policy, queue_size, arrivals)
        for policy in ('nearest', 'exact', 'latest', 'hold')
    }
    if importlib.util.find_spec('sensor_msgs') is not None:
        sides['nearest + frame'] = lambda arrivals: run_ours_with_frames(queue_size, arrivals)
    if importlib.util.find_spec('message_filters') is not None:
        sides[STOCK] = lambda arrivals: run_stock(queue_size, arrivals)
    return sides


def measure(stream: Stream, queue_size: int, rounds: int) -> dict[str, Any]:
    """Return microseconds per message and pairs of every side on one stream."""
    arrivals = build_arrivals(stream)
    sides = build_sides(queue_size)
    samples: dict[str, list[float]] = {name: [] for name in sides}
    pairs: dict[str, int] = {}
    for index in range(rounds + 1):
        for name, run in sides.items():
            gc.collect()
            spent_ns, pairs[name] = run(arrivals)
            if index:  # the first round warms up
                samples[name].append(spent_ns / len(arrivals) / 1e3)
    result: dict[str, Any] = {
        'stream': stream.name,
        'queue_size': queue_size,
        'us_per_message': {name: describe(values) for name, values in samples.items()},
        'pairs': pairs,
    }
    if STOCK in samples:
        stock = np.asarray(samples[STOCK])
        result['stock_over_ours'] = {
            name: round(float(np.median(stock / np.asarray(values))), 2)
            for name, values in samples.items()
            if name != STOCK
        }
    return result


def find_bounds(results: list[dict[str, Any]]) -> list[Bound]:
    """Return the promises: our default in absolute terms, and against message_filters."""
    slowest = max(item['us_per_message']['nearest']['median'] for item in results)
    bounds = [Bound(name='nearest, slowest stream', value=slowest, at_most=MAX_US, unit='us')]
    ratios = [item['stock_over_ours']['nearest'] for item in results if 'stock_over_ours' in item]
    if ratios:
        bounds.append(
            Bound(
                name='approximate_time over nearest, least favourable stream',
                value=min(ratios),
                at_least=MIN_RATIO,
                unit='times',
            )
        )
    return bounds


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write; return 1 when a bound is broken."""
    parser = argparse.ArgumentParser(prog='python -m bench.pairing', description=__doc__)
    add_common_arguments(parser, rounds=15)
    args = parser.parse_args(argv)
    has_stock = importlib.util.find_spec('message_filters') is not None
    results = [
        measure(stream, queue_size, args.rounds)
        for queue_size in QUEUE_SIZES
        for stream in STREAMS
    ]
    bounds = find_bounds(results)
    path = write_results(
        'pairing',
        {
            'conditions': conditions(
                rounds=args.rounds,
                messages=NUM_MESSAGES,
                max_skew_s=MAX_SKEW_S,
                has_message_filters=has_stock,
            ),
            'results': results,
            **describe_bounds(bounds),
        },
        Path(args.out),
    )
    _print(results, has_stock=has_stock)
    return print_bounds(bounds, path)


def _print(results: list[dict[str, Any]], *, has_stock: bool) -> None:
    console = Console(width=118)
    names = list(results[0]['us_per_message'])
    table = Table(title='CPU microseconds per message: median (pairs); x = stock over nearest')
    for column in ('stream', 'queue', *names, *(['x'] if has_stock else [])):
        table.add_column(column)
    for item in results:
        cells = [
            f'{item["us_per_message"][name]["median"]:.2f} ({item["pairs"][name]})'
            for name in names
        ]
        ratio = [f'{item["stock_over_ours"]["nearest"]:.1f}'] if has_stock else []
        table.add_row(item['stream'], str(item['queue_size']), *cells, *ratio)
    console.print(table)
    if not has_stock:
        console.print(
            'message_filters is not installed (it is not on PyPI): only our own policies'
        )


if __name__ == '__main__':
    sys.exit(main())
