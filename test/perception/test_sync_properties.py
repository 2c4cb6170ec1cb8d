# SPDX-License-Identifier: Apache-2.0
"""What holds for every policy, whatever the streams do."""

from __future__ import annotations

from collections.abc import Callable
import sys
from typing import Any

import numpy as np
from pairer_feed import Feed, rgb, thermal
import pytest

from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.sync import build_pairer
from rgbt_perception.types import Frame, Pair

POLICIES = ('nearest', 'exact', 'latest', 'hold')
MAX_SKEW_S, MAX_HOLD_S = 0.03, 0.2


def _disturbed(
    rng: np.random.Generator, *, has_jumps: bool, has_wild: bool = True
) -> list[tuple[float, Frame]]:
    arrivals = []
    for make, period in ((rgb, 33.3), (thermal, float(rng.choice([16.7, 33.3, 111.1])))):
        gap = sorted(rng.uniform(0, 6000, 2))
        clock_ms, base_ms = 0.0, float(rng.choice([0, 0, 0, 40, 2000]))
        for index in range(int(6000 / period)):
            at_ms = index * period
            if rng.random() < 0.1 or gap[0] < at_ms < gap[1]:
                continue
            if has_jumps and rng.random() < 0.02:
                clock_ms += float(rng.choice([-3000, -500, -100, 300, 5000]))
            stamp_ms = 20_000 + base_ms + at_ms + clock_ms + rng.normal(0, 4)
            if has_wild and rng.random() < 0.01:
                stamp_ms = float(rng.choice([0, stamp_ms + 700, stamp_ms + 90_000]))
            if rng.random() < 0.3:
                stamp_ms = round(stamp_ms / 10) * 10  # equal stamps do happen
            arrivals.append((at_ms + rng.exponential(20), make(stamp_ms)))
    return arrivals


def _feed(rng: np.random.Generator, policy: str, **sync: Any) -> Feed:
    settings: dict[str, Any] = {
        'max_skew_s': MAX_SKEW_S,
        'max_hold_s': MAX_HOLD_S,
        'queue_size': int(rng.integers(1, 30)),
        'max_wait_s': float(rng.choice([0.0, 0.05, 0.15, 1.0])),
        'unmatched': str(rng.choice(['alone', 'drop'])),
        'reference': str(rng.choice(['rgb', 'thermal'])),
    }
    return Feed(policy=policy, **{**settings, **sync})


def _skew_ns(pair: Pair) -> int | None:
    return None if pair.skew_ns is None else abs(pair.skew_ns)


@pytest.mark.parametrize('has_jumps', [False, True])
@pytest.mark.parametrize('seed', range(25))
@pytest.mark.parametrize('policy', POLICIES)
def test_nothing_is_lost_uncounted_and_no_pair_is_wrong(policy: str, seed: int, has_jumps: bool):
    rng = np.random.default_rng(seed)
    feed = _feed(rng, policy)
    feed.run(_disturbed(rng, has_jumps=has_jumps))  # checks the books at every step
    feed.flush()
    assert feed.pairer.num_waiting == 0
    limit_s = {'exact': 0.0, 'hold': MAX_HOLD_S}.get(policy, MAX_SKEW_S)
    assert all((_skew_ns(pair) or 0) <= limit_s * 1e9 for pair in feed.ready)
    if policy in ('nearest', 'exact'):
        for frames in ([p.rgb for p in feed.ready], [p.thermal for p in feed.ready]):
            used = [id(frame) for frame in frames if frame is not None]
            assert len(used) == len(set(used))


@pytest.mark.parametrize('seed', range(25))
@pytest.mark.parametrize('policy', POLICIES)
def test_references_leave_in_order_unless_stamps_jump(policy: str, seed: int):
    rng = np.random.default_rng(seed)
    feed = _feed(rng, policy, reference='rgb')
    feed.run(_disturbed(rng, has_jumps=False, has_wild=False))
    feed.flush()
    stamps = [pair.rgb.stamp_ns for pair in feed.ready if pair.rgb is not None]
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize('policy', POLICIES)
def test_never_silent_for_long_while_the_reference_delivers(policy: str, seed: int):
    rng = np.random.default_rng(seed)
    feed = _feed(rng, policy, unmatched='alone', reference='rgb', max_wait_s=0.15)
    # RGB is well; thermal does what it likes.
    well = [(k * 33.3, rgb(20_000 + k * 33.3)) for k in range(180)]
    wild = [(at, frame) for at, frame in _disturbed(rng, has_jumps=True) if frame.pixels.ndim == 2]
    times = []
    for at_ms, frame in sorted(well + wild, key=lambda item: item[0]):
        polls = np.arange((times or [0.0])[-1] + 10, at_ms, 10.0).tolist()
        times += [poll_ms for poll_ms in polls if feed.poll(poll_ms)]
        if feed.push(frame, at_ms=at_ms):
            times.append(at_ms)
    assert np.diff(times).max() <= 250


@pytest.mark.parametrize('seed', range(20))
def test_nearest_pairs_as_many_as_there_are_and_nearly_as_near(seed: int):
    # Every frame present, stamps and transport jitter, each camera's frames arrive in order.
    rng = np.random.default_rng(seed)
    feed = Feed(max_skew_s=float(rng.choice([0.016, 0.03, 0.1])))
    arrivals = []
    for make, phase_ms in ((rgb, 1000), (thermal, 1003)):
        at_ms = 0.0
        for k in range(200):
            stamp_ms = phase_ms + k * 33.3 + rng.uniform(-4, 4)
            at_ms = max(at_ms, stamp_ms + rng.exponential(15))
            arrivals.append((at_ms, make(stamp_ms)))
    feed.run(arrivals)
    feed.flush()
    assert len(feed.fused) >= 199
    assert all(abs(t - r) <= 11 for r, t in feed.fused)


@pytest.mark.parametrize('policy', POLICIES)
def test_work_per_frame_does_not_grow_with_what_waits(policy: str):
    # Counted in lines run instead of time: the same on every machine.
    def events(num_waiting: int) -> int:
        sync = SyncConfig(policy=policy, queue_size=1000, max_wait_s=10.0)
        pairer = build_pairer(sync, FallbackConfig(missing_after_s=60.0))
        for index in range(num_waiting):  # thermal runs far ahead: nothing matches
            pairer.push(thermal(60_000 + index * 33), index * 33_000_000)
        frames = [rgb(1000 + index * 33) for index in range(20)]
        frames += [thermal(60_000 + (num_waiting + index) * 33) for index in range(20)]
        return count_lines(lambda: [pairer.push(x, num_waiting * 33_000_000) for x in frames])

    assert events(900) <= 1.2 * events(10)


def count_lines(action: Callable[[], object]) -> int:
    num = 0

    def trace(_frame: Any, event: str, _arg: Any) -> Any:
        nonlocal num
        num += event == 'line'
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(old)
    return num
