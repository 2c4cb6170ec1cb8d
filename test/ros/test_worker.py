# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

from rgbt_perception.ros.worker import Worker

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
