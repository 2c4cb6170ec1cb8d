# SPDX-License-Identifier: Apache-2.0
"""Hundreds of lifecycle cycles leave nothing behind, and a failed transition can be repeated."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
import threading

from fakes import build_outputs
import numpy as np
import pytest
from ros_rig import stamp_of
from source_tree import ROOT

from rgbt_perception.errors import BackendUnavailableError, EngineError

SCRIPT = Path(__file__).with_name('cycling_node.py')
MAX_GROWTH_BYTES = 500_000  # over 200 cycles; seen: 0 to 10 kB
TIMEOUT_S = 120.0


def growth_bytes(samples):
    """Return how much a straight line through the samples rises."""
    index = np.arange(len(samples))
    return np.polyfit(index, samples, 1)[0] * len(samples)


@pytest.mark.parametrize('kind', ['activate', 'configure'])
def test_two_hundred_cycles_leave_nothing_behind(tmp_path, kind):
    # In a process of its own: the memory of this one also moves with what earlier tests left.
    # Alone: what the middleware keeps about other participants comes in steps of half a megabyte,
    # whenever more of it is under way than ever before. With one arena: with several, a thread
    # that meets another one in malloc for the first time opens a new one. All look like growth.
    paths = os.pathsep.join([str(ROOT), str(ROOT / 'test')])
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), kind],
        env={
            **os.environ,
            'PYTHONPATH': paths,
            'MALLOC_ARENA_MAX': '1',
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'OFF',
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found['after'] == found['before']
    assert growth_bytes(found['private_bytes']) < MAX_GROWTH_BYTES, found['private_bytes']


@pytest.mark.parametrize('kind', ['activate', 'configure'])
def test_after_many_cycles_the_node_still_works(make_rig, kind):
    rig = make_rig()
    node = rig.node
    there, back = node.trigger_configure, node.trigger_cleanup
    if kind == 'activate':
        node.trigger_configure()
        there, back = node.trigger_activate, node.trigger_deactivate
    for _ in range(20):
        assert there().name == 'SUCCESS'
        assert back().name == 'SUCCESS'
    if kind == 'activate':
        node.trigger_cleanup()
    rig.start()
    rig.run_pair()


def test_a_failed_configure_can_be_repeated(make_rig):
    rig = make_rig()
    good = rig.node._open_with

    def refuse(config):
        raise EngineError('the graph has no output share_map; export the model again')

    rig.node._open_with = refuse
    for _ in range(2):
        assert rig.node.trigger_configure().name == 'FAILURE'
    rig.node._open_with = good
    rig.start()
    rig.run_pair()


def test_a_failed_activate_can_be_repeated(make_rig, monkeypatch):
    import rgbt_perception.ros.loop as module

    rig = make_rig()
    assert rig.node.trigger_configure().name == 'SUCCESS'
    num_threads, good = threading.active_count(), module.Cameras

    def refuse(*_):
        raise RuntimeError('no such policy')

    monkeypatch.setattr(module, 'Cameras', refuse)
    assert rig.node.trigger_activate().name == 'FAILURE'
    assert rig.node._state_machine.current_state[1] == 'inactive'
    assert threading.active_count() == num_threads
    rig.wait_until(
        lambda: 'cannot activate: unexpected RuntimeError: no such policy' in rig.log_text(),
        'the reason is logged',
    )
    monkeypatch.setattr(module, 'Cameras', good)
    assert rig.node.trigger_activate().name == 'SUCCESS'
    rig.wait_until(rig._is_connected, 'the node is connected')
    rig.run_pair()


def test_a_worker_that_does_not_end_fails_deactivate_and_the_next_attempt_works(rig):
    entered, go_on = threading.Event(), threading.Event()

    def wait_for_the_test(batch):
        entered.set()
        assert go_on.wait(20.0)
        raise EngineError('let go')

    rig.engine.outputs = wait_for_the_test
    rig.node._loop.drain_timeout_s = 0.05
    rig.send_pair()
    rig.wait_until(entered.is_set, 'the engine is busy')
    assert rig.node.trigger_deactivate().name == 'FAILURE'
    rig.wait_until(
        lambda: 'cannot deactivate: the engine is still busy after 0 s' in rig.log_text(),
        'the reason is logged',
    )
    go_on.set()
    rig.engine.outputs = None
    assert rig.node.trigger_deactivate().name == 'SUCCESS'
    assert rig.node.trigger_activate().name == 'SUCCESS'
    rig.wait_until(rig._is_connected, 'the node is connected')
    rig.run_pair()


def test_a_pair_of_the_last_activation_is_never_published_in_the_next(rig):
    entered, go_on = threading.Event(), threading.Event()

    def wait_for_the_test(batch):
        entered.set()
        assert go_on.wait(20.0)
        return build_outputs((64, 80))

    rig.engine.outputs = wait_for_the_test
    rig.node._loop.drain_timeout_s = 0.05
    stale_ns = rig.send_pair()
    rig.wait_until(entered.is_set, 'the engine is busy')
    assert rig.node.trigger_deactivate().name == 'FAILURE'
    assert rig.node.trigger_deactivate().name == 'SUCCESS'
    assert rig.node.trigger_activate().name == 'SUCCESS'
    rig.wait_until(rig._is_connected, 'the node is connected')
    rig.engine.outputs = None
    go_on.set()
    rig.run_pair()
    assert stale_ns not in [stamp_of(item) for item in rig.received['mdi']]
    rig.wait_until(
        lambda: rig.status('inference').get('pairs_superseded') == '1', 'the old one is counted'
    )


def test_a_failed_configure_leaves_no_publisher_behind(make_rig, monkeypatch):
    import rgbt_perception.ros.outputs as module

    rig = make_rig()
    num_publishers = len(list(rig.node.publishers))

    def refuse():
        raise BackendUnavailableError('vision_msgs is not installed; install it')

    monkeypatch.setattr(module, 'import_vision_msgs', refuse)
    assert rig.node.trigger_configure().name == 'FAILURE'
    assert len(list(rig.node.publishers)) == num_publishers


def test_activating_what_was_released_says_what_to_do(make_rig):
    rig = make_rig()
    assert rig.node.trigger_configure().name == 'SUCCESS'
    rig.node.close()
    assert rig.node.trigger_activate().name == 'FAILURE'
    rig.wait_until(
        lambda: 'cannot activate: the model was released already' in rig.log_text(), 'it is said'
    )
    assert rig.node.trigger_cleanup().name == 'SUCCESS'
    rig.start()
    rig.run_pair()


@pytest.mark.parametrize('transition', ['activate', 'deactivate', 'cleanup'])
def test_a_transition_that_does_not_fit_the_state_changes_nothing(make_rig, transition):
    rig = make_rig()
    assert getattr(rig.node, f'trigger_{transition}')().name == 'ERROR'
    rig.start()
    rig.run_pair()
