# SPDX-License-Identifier: Apache-2.0
"""Clocks that step, drift, stand still or lie."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from pairer_feed import Feed, rgb, thermal
import pytest

from rgbt_perception.types import DropReason, Frame, Modality

PERIOD_MS = 100 / 3


def _both(
    num: int, *, start_ms: float, at_ms: float, skew_ms: float = 5
) -> list[tuple[float, Frame]]:
    """Return arrivals of both cameras at 30 Hz, stamped from ``start_ms`` on."""
    arrivals = []
    for index in range(num):
        passed_ms = index * PERIOD_MS
        arrivals.append((at_ms + passed_ms, rgb(start_ms + passed_ms)))
        arrivals.append((at_ms + passed_ms + skew_ms, thermal(start_ms + passed_ms + skew_ms)))
    return arrivals


def _run(feed: Feed, *parts: list[tuple[float, Frame]]) -> Feed:
    for part in parts:
        feed.run(part)
    feed.flush()
    return feed


@pytest.mark.parametrize('step_ms', [200, 500, 900, 1000, 1100, 3000])
def test_step_back_of_both_clocks_costs_at_most_three_pairs(step_ms: float):
    feed = _run(
        Feed(),
        _both(90, start_ms=9000, at_ms=9000),
        _both(90, start_ms=12_000 - step_ms, at_ms=12_000),
    )
    assert len(feed.fused) >= 177
    assert all(t - r == pytest.approx(5, abs=1e-5) for r, t in feed.fused)


@pytest.mark.parametrize('step_ms', [0.3, 0.9, 5.0, 3600.0])
def test_step_forward_of_both_clocks_costs_no_pair(step_ms: float):
    feed = _run(
        Feed(),
        _both(90, start_ms=9000, at_ms=9000),
        _both(90, start_ms=12_000 + step_ms * 1000, at_ms=12_000),
    )
    assert len(feed.fused) == 180


@pytest.mark.parametrize('length_s', [0.5, 0.9, 1.0])
def test_short_bag_that_loops_costs_at_most_three_pairs_per_pass(length_s: float):
    num = round(length_s * 30)
    passes = [_both(num, start_ms=5000, at_ms=9000 + k * num * PERIOD_MS) for k in range(6)]
    feed = _run(Feed(), *passes)
    assert len(feed.fused) >= 6 * num - 5 * 3


def test_burst_of_late_frames_is_no_step_back():
    feed = Feed()
    feed.run(_both(30, start_ms=1000, at_ms=1000))
    newest = feed.pairs[-1][0]
    assert newest is not None
    for k in range(5, 0, -1):
        feed.push(rgb(newest - k * PERIOD_MS - 1), at_ms=2010)
    assert feed.pairer.dropped == {DropReason.LATE: 5}
    feed.run(_both(30, start_ms=2033, at_ms=2033))
    assert len(feed.fused) == 60


@pytest.mark.parametrize('ahead_ms', [300, 900, 90_000, 1e9])
@pytest.mark.parametrize('make', [rgb, thermal])
def test_one_wild_future_stamp_costs_at_most_four_pairs(ahead_ms: float, make: Any):
    feed = Feed()
    arrivals = _both(90, start_ms=1000, at_ms=1000)
    wild = make(2000 + ahead_ms)
    feed.run([*arrivals, (2001, wild)])
    feed.flush()
    assert len(feed.fused) >= 86
    assert feed.pairs[-1] == (arrivals[-2][1].stamp_ns / 1e6, arrivals[-1][1].stamp_ns / 1e6)


@pytest.mark.parametrize('make', [rgb, thermal])
def test_zero_stamp_among_good_ones_is_refused_and_costs_nothing_else(make: Any):
    feed = Feed()
    feed.run([*_both(60, start_ms=10_000, at_ms=10_000), (11_001, make(0))])
    assert len(feed.fused) == 60
    assert feed.pairer.dropped == {DropReason.BAD_FRAME: 1}


def test_clocks_may_start_at_zero():
    feed = _run(Feed(), _both(30, start_ms=0, at_ms=5000, skew_ms=0))
    assert len(feed.fused) == 30


def test_jump_back_of_one_camera_alone_leaves_rgb_going_on():
    feed = Feed()
    feed.run(_both(60, start_ms=100_000, at_ms=1000))
    arrivals = [(3000 + k * 33, rgb(102_000 + k * 33)) for k in range(90)]
    arrivals += [(3005 + k * 33, thermal(5 + k * 33)) for k in range(90)]
    feed.run(arrivals)
    feed.flush()
    num_lost = feed.pairer.dropped[DropReason.STAMP_JUMP]
    assert num_lost <= 1
    assert sum(r is not None for r, _ in feed.pairs) >= 149


def test_drift_of_100_ppm_loses_no_pair_while_the_right_partner_is_the_nearest():
    # 5 ms and 100 ppm: half a frame interval, 16.7 ms, is reached after 117 s.
    feed = Feed(max_skew_s=0.02)
    for index in range(3450):
        stamp_ms = 1000 + index * PERIOD_MS
        feed.push(rgb(stamp_ms))
        feed.push(thermal(stamp_ms + 5 + 1e-4 * index * PERIOD_MS), at_ms=stamp_ms + 5)
    feed.flush()
    assert len(feed.fused) == 3450


def _drifting(num_s: int) -> list[tuple[float, Frame]]:
    arrivals: list[tuple[float, Frame]] = []
    for index in range(num_s * 30):
        at_ms = 1000 + index * PERIOD_MS
        arrivals.append((at_ms + 3, rgb(at_ms)))
        arrivals.append((at_ms + 8, thermal((at_ms + 5) * (1 + 1e-4))))
    return arrivals


def test_drift_is_followed_when_the_estimate_is_applied():
    # After 10 minutes the clocks are 60 ms apart: three times max_skew.
    feed = _run(Feed(max_skew_s=0.02, offset_estimate='apply'), _drifting(600))
    assert len(feed.fused) == 18_000
    true_skews = [t / (1 + 1e-4) - r for r, t in feed.fused]
    assert true_skews == pytest.approx([5.0] * 18_000, abs=1e-3)  # never the neighbour


def test_drift_is_not_followed_when_the_estimate_is_only_reported():
    feed = _run(Feed(max_skew_s=0.02, offset_estimate='report'), _drifting(600))
    assert len(feed.fused) < 18_000
    estimate = feed.pairer.offset_estimate
    assert estimate is not None
    assert estimate.drift_ppm == pytest.approx(100, abs=10)


@pytest.mark.parametrize('offset_ms', [2000, -2000, 350])
@pytest.mark.parametrize('policy', ['nearest', 'latest', 'hold'])
def test_constant_offset_is_found_and_applied(offset_ms: float, policy: str):
    feed = Feed(policy=policy, max_skew_s=0.04, offset_estimate='apply')
    arrivals = [(at, frame) for at, frame in _both(600, start_ms=10_000, at_ms=50_000)]
    shifted = [
        (at, thermal(frame.stamp_ns / 1e6 + offset_ms))
        if frame.modality is Modality.THERMAL
        else (at, frame)
        for at, frame in arrivals
    ]
    feed.run(shifted)
    feed.flush()
    late = [pair for pair in feed.pairs if (pair[0] or 0) >= 20_000]
    assert feed.pairer.offset_s == pytest.approx(offset_ms / 1000, abs=1e-3)
    assert len(late) >= 299
    assert all(t is not None and abs(t - r - offset_ms) <= 40 for r, t in late if r is not None)


def test_transport_that_differs_by_30_ms_is_not_taken_for_an_offset():
    feed = Feed(offset_estimate='apply')
    arrivals = [(1040 + k * PERIOD_MS, rgb(1000 + k * PERIOD_MS)) for k in range(900)]
    arrivals += [(1015 + k * PERIOD_MS, thermal(1005 + k * PERIOD_MS)) for k in range(900)]
    _run(feed, arrivals)
    assert feed.pairer.offset_s == 0.0
    assert len(feed.fused) == 900


def test_constant_offset_without_correction_lets_rgb_go_at_once_when_thermal_is_ahead():
    feed = Feed(max_wait_s=1.0, queue_size=500)
    arrivals = []
    for index in range(90):
        at_ms = 1000 + index * PERIOD_MS
        arrivals += [(at_ms, rgb(at_ms)), (at_ms + 1, thermal(at_ms + 2000))]
    feed.run(arrivals)
    assert len(feed.pairs) >= 89
    assert not feed.fused


def test_stamps_standing_still_give_one_pair_and_go_on_after_the_pause():
    # /clock pauses: both cameras repeat their last stamp for 3 s.
    feed = Feed()
    feed.run(_both(30, start_ms=1000, at_ms=1000))
    last_ms = 1000 + 29 * PERIOD_MS
    pause: list[tuple[float, Frame]] = []
    for index in range(90):
        at_ms = 2000 + index * PERIOD_MS
        pause += [(at_ms, rgb(last_ms)), (at_ms + 5, thermal(last_ms + 5))]
    feed.run(pause)
    assert len(feed.pairs) == 30
    feed.run(_both(30, start_ms=2000, at_ms=5000))
    assert len(feed.fused) == 60


def test_arrivals_standing_still_do_not_stop_the_pairing():
    # Log time of a badly recorded bag: every message at the same moment.
    feed = Feed(max_wait_s=0.15)
    for _, frame in _both(60, start_ms=1000, at_ms=0):
        feed.push(frame, at_ms=7000)
    feed.flush()
    assert len(feed.fused) == 60


def test_pause_of_both_streams_costs_no_pair():
    feed = _run(
        Feed(missing_after_s=0.5),
        _both(30, start_ms=1000, at_ms=1000),
        _both(30, start_ms=2000, at_ms=9000),
    )
    assert len(feed.fused) == 60


@pytest.mark.parametrize('seed', range(5))
def test_jitter_of_five_times_the_usual_keeps_the_right_partners(seed: int):
    rng = np.random.default_rng(seed)
    feed = Feed(max_skew_s=0.03)
    arrivals = []
    for index in range(300):
        at_ms = 1000 + index * PERIOD_MS
        arrivals.append((at_ms + rng.exponential(2), rgb(at_ms + rng.normal(0, 1))))
        arrivals.append((at_ms + 5 + rng.exponential(10), thermal(at_ms + 5 + rng.normal(0, 5))))
    _run(feed, arrivals)
    assert len(feed.fused) >= 290


@pytest.mark.parametrize('stopping', [Modality.RGB, Modality.THERMAL])
def test_camera_that_is_back_is_fused_within_three_pairs(stopping: Modality):
    feed = Feed(missing_after_s=0.5, max_wait_s=0.15)
    arrivals = [
        (at, frame)
        for at, frame in _both(120, start_ms=1000, at_ms=1000)
        if frame.modality is not stopping or not 2000 <= at < 4000
    ]
    feed.run(arrivals)
    feed.flush()
    after = [pair for pair in feed.pairs if max(pair[0] or 0, pair[1] or 0) >= 4000]
    first = next(index for index, pair in enumerate(after) if None not in pair)
    assert first <= 2
    assert all(None not in pair for pair in after[first:])


def test_consumer_that_raises_between_two_pushes_harms_nothing():
    feed = Feed()
    num_results = 0

    def consume(pairs: list[Any]) -> None:
        nonlocal num_results
        num_results += len(pairs)
        if pairs:
            raise RuntimeError

    for at_ms, frame in sorted(_both(300, start_ms=1000, at_ms=1000), key=lambda item: item[0]):
        with contextlib.suppress(RuntimeError):
            consume(feed.push(frame, at_ms=at_ms))
    assert num_results == len(feed.fused) == 300
