# SPDX-License-Identifier: Apache-2.0
"""Hundreds of lifecycle cycles leave nothing behind, and a failed transition can be repeated."""

from __future__ import annotations

import gc
import os
from pathlib import Path
import threading

from fakes import build_outputs
import numpy as np
import pytest
from ros_rig import stamp_of

from rgbt_perception.errors import BackendUnavailableError, EngineError

NUM_CYCLES, NUM_FIRST = 400, 200  # the first ones fill the pools of Fast DDS and malloc
MAX_GROWTH_BYTES = 1_500_000  # of the other 200; the noise of malloc
PAGE_BYTES = os.sysconf('SC_PAGE_SIZE')


def rss_bytes():
    gc.collect()
    return int(Path('/proc/self/statm').read_text().split()[1]) * PAGE_BYTES


def held(node):
    """Count what a node may leave behind: descriptors, threads, and entities by kind."""
    gc.collect()
    kinds = (node.publishers, node.subscriptions, node.timers, node.services, node.waitables)
    return (
        sum(1 for _ in Path('/proc/self/fd').iterdir()),
        threading.active_count(),
        *(len(list(kind)) for kind in kinds),
        len(node._managed_entities),
        sum(entity() is not None for entity in node.default_callback_group.entities),
    )


def growth_bytes(samples):
    """Return how much a straight line through the samples rises."""
    index = np.arange(len(samples))
    return np.polyfit(index, samples, 1)[0] * len(samples)


def run_cycles(rig, there, back, samples):
    before = None
    gc.collect()
    for cycle in range(NUM_CYCLES):
        assert there().name == 'SUCCESS'
        assert back().name == 'SUCCESS'
        rig.engine.batches.clear()  # those of the warm-up
        if cycle == NUM_FIRST:
            before = held(rig.node)
        if cycle >= NUM_FIRST and cycle % 10 == 0:
            samples.append(rss_bytes())
    assert held(rig.node) == before


def test_two_hundred_activations_leave_nothing_behind(make_rig):
    rig = make_rig(topics={})
    node, samples = rig.node, []
    node.trigger_configure()
    run_cycles(rig, node.trigger_activate, node.trigger_deactivate, samples)
    assert growth_bytes(samples) < MAX_GROWTH_BYTES, samples
    node.trigger_activate()
    rig.engine.batches.clear()
    rig.wait_until(
        lambda: (
            rig.cameras['rgb'].get_subscription_count() == 1
            and rig.cameras['thermal'].get_subscription_count() == 1
        ),
        'the cameras are heard',
    )
    rig.send_pair()
    rig.wait_until(lambda: rig.engine.batches, 'the node still works')


def test_two_hundred_configurations_leave_nothing_behind(make_rig):
    rig = make_rig(topics={})
    node, samples = rig.node, []
    run_cycles(rig, node.trigger_configure, node.trigger_cleanup, samples)
    assert growth_bytes(samples) < MAX_GROWTH_BYTES, samples
    rig.start()


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
