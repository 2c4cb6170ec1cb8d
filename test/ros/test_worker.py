# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time

from fakes import rgb_frame, thermal_frame
import pytest

from rgbt_perception.ros.engine_watch import drain_timeout_s
from rgbt_perception.ros.worker import GIVE_WAY_S, prefers_fused, Worker
from rgbt_perception.types import NS_PER_S, Pair

DEADLINE_S = 10.0


class Gate:
    """A handler that waits until it is let go, and says when it was entered."""

    def __init__(self):
        self.entered, self.open = threading.Event(), threading.Event()
        self.handled = []

    def __call__(self, item):
        self.entered.set()
        assert self.open.wait(DEADLINE_S)
        self.handled.append(item)


def test_while_the_worker_is_busy_only_the_newest_item_waits():
    gate = Gate()
    worker = Worker(gate, name='test')
    assert worker.put('first') is None
    assert gate.entered.wait(DEADLINE_S)
    assert worker.put('second') is None
    assert worker.put('third') == 'second'
    assert worker.put('fourth') == 'third'
    gate.open.set()
    assert worker.stop(DEADLINE_S)
    assert gate.handled == ['first', 'fourth']


def test_a_caller_gives_way_to_an_idle_worker_only():
    gate = Gate()
    worker = Worker(gate, name='test')
    began_s = time.monotonic()
    for _ in range(100):  # the first finds the worker idle, or about to be
        worker.put('item')
    assert time.monotonic() - began_s < 50 * GIVE_WAY_S
    gate.open.set()
    assert worker.stop(DEADLINE_S)


def test_a_caller_goes_on_when_an_idle_worker_gets_no_time_to_run():
    worker = Worker(lambda _item: None, name='test')
    while not worker._is_idle:
        time.sleep(0.001)
    taken = threading.Event()
    take, worker._take = worker._take, lambda: taken.wait(DEADLINE_S) and take()
    worker.put('wakes the thread')  # which then stands still in the next ``_take``
    while worker._slot:
        time.sleep(0.001)
    worker._is_idle = True
    began_s = time.monotonic()
    assert worker.put('waits') is None
    assert GIVE_WAY_S <= time.monotonic() - began_s < DEADLINE_S
    taken.set()
    assert worker.stop(DEADLINE_S)


def test_who_gives_way_sleeps_while_the_worker_is_busy_only():
    gate = Gate()
    worker = Worker(gate, name='test')
    while not worker._is_idle:
        time.sleep(0.001)
    began_s = time.monotonic()
    for _ in range(100):
        worker.give_way()
    assert time.monotonic() - began_s < 50 * GIVE_WAY_S
    worker.put('item')
    assert gate.entered.wait(DEADLINE_S)
    began_s = time.monotonic()
    worker.give_way()
    assert time.monotonic() - began_s >= GIVE_WAY_S
    gate.open.set()
    assert worker.stop(DEADLINE_S)


def test_after_stop_an_item_comes_back():
    handled = []
    worker = Worker(handled.append, name='test')
    assert worker.stop(DEADLINE_S)
    assert worker.put('late') == 'late'
    assert handled == []


def test_stop_says_when_the_handler_does_not_come_back():
    gate = Gate()
    worker = Worker(gate, name='test')
    worker.put('stuck')
    assert gate.entered.wait(DEADLINE_S)
    assert not worker.stop(0.01)
    gate.open.set()
    assert worker.stop(DEADLINE_S)


def fused(stamp_ns):
    return Pair(rgb=rgb_frame(stamp_ns), thermal=thermal_frame(stamp_ns))


def alone(stamp_ns):
    return Pair(rgb=rgb_frame(stamp_ns), thermal=None)


@pytest.mark.parametrize(
    ('waiting', 'new', 'stays'),
    [
        (fused(NS_PER_S), alone(NS_PER_S), True),
        (fused(NS_PER_S), alone(NS_PER_S + 149_999_999), True),
        (fused(NS_PER_S), alone(NS_PER_S + 150_000_000), False),  # too old by then
        (fused(NS_PER_S), alone(NS_PER_S - 1), False),  # stamps jumped back
        (fused(NS_PER_S), fused(NS_PER_S + 1), False),
        (alone(NS_PER_S), alone(NS_PER_S + 1), False),
        (alone(NS_PER_S), fused(NS_PER_S + 1), False),
    ],
)
def test_only_a_fused_pair_outlives_a_newer_one_and_only_one_of_a_single_camera(
    waiting, new, stays
):
    assert prefers_fused(waiting, new) is stays


def test_what_is_left_out_for_a_waiting_pair_comes_back():
    gate = Gate()
    worker = Worker(gate, name='test', keeps=prefers_fused)
    first, kept = fused(NS_PER_S), fused(NS_PER_S + 100)
    late = [alone(NS_PER_S + 200), alone(NS_PER_S + 300)]
    worker.put(first)
    assert gate.entered.wait(DEADLINE_S)
    assert worker.put(kept) is None
    assert [worker.put(pair) for pair in late] == late
    gate.open.set()
    assert worker.stop(DEADLINE_S)
    assert gate.handled == [first, kept]


def test_rgb_at_30_hz_leaves_thermal_at_9_hz_its_share_of_a_slow_worker():
    # Time is counted, not waited for: the worker takes one pair every 200 ms.
    slots = {'newest wins': None, 'fused stays': prefers_fused}
    num_fused, oldest_ns = {}, {}
    for name, keeps in slots.items():
        taken, waiting = [], None
        for tick in range(300):
            now_ns = NS_PER_S + tick * NS_PER_S // 30
            new = fused(now_ns) if tick % 10 in (0, 3, 6) else alone(now_ns)
            if waiting is None or keeps is None or not keeps(waiting, new):
                waiting = new
            if tick % 6 == 5:
                taken.append((waiting, now_ns - waiting.reference.stamp_ns))
                waiting = None
        num_fused[name] = sum(pair.skew_ns is not None for pair, _ in taken)
        oldest_ns[name] = max(age_ns for _, age_ns in taken)
    assert num_fused == {'newest wins': 10, 'fused stays': 50}
    assert oldest_ns['fused stays'] < 150_000_000


@pytest.mark.parametrize(('limit_s', 'drain_s'), [(0.1, 30.0), (1.5, 30.0), (100.0, 205.0)])
def test_the_drain_outlasts_the_pair_in_work_and_the_one_that_waits(limit_s, drain_s):
    assert drain_timeout_s(limit_s) == drain_s
