# SPDX-License-Identifier: Apache-2.0
"""The node over the real middleware on an engine that hangs, fails or runs out of memory."""

from __future__ import annotations

import threading
import time

from fakes import (
    build_card,
    FailingEngine,
    FakeEngine,
    HangingEngine,
    rgb_frame,
    thermal_frame,
)
import pytest
from rclpy.node import Node
from ros_rig import FIRST_STAMP_NS, image_of, Rig
from sensor_msgs.msg import Image

from rgbt_perception.engine import SupervisedEngine
from rgbt_perception.engine.stages import blank_batch
from rgbt_perception.errors import EngineError, EngineGivenUpError
from rgbt_perception.nodes import perception_node
from rgbt_perception.pipeline import Pipeline

REPORT_WITHIN_S = 2.0
ACTIVE, INACTIVE = 3, 2  # lifecycle_msgs/State


@pytest.fixture
def make_rig(ros_context, tmp_path, capfd):
    rigs = []

    def make(engines, values=None):
        """Build a rig whose backends give these engines, one per opening."""
        left = {backend: list(items) for backend, items in engines.items()}

        def open_backend(backend):
            if not left[backend]:
                raise EngineError(f"backend '{backend}' cannot be opened")
            engine = left[backend].pop(0)
            engine.backend = backend
            return engine

        rig = Rig(
            ros_context,
            build_card(tmp_path),
            capfd,
            values=values or {},
            open_engine=lambda config: SupervisedEngine(
                config.engine,
                backends=tuple(engines),
                open_backend=open_backend,
                warm_up=blank_batch((64, 80)),
            ),
        )
        rigs.append(rig)
        rig.start()
        return rig

    yield make
    for rig in rigs:
        rig.close()


def send_until(rig, is_done, what):
    """Send pairs at about 50 Hz until something has happened."""
    next_s = 0.0

    def step():
        nonlocal next_s
        if is_done():
            return True
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + 0.02
            rig.send_pair()
        return False

    rig.wait_until(step, what)


def state_of(rig):
    return rig.node._state_machine.current_state[0]


# The first engine runs twice before a pair comes: in its opening, and when its numbers of classes
# are checked. Those opened later run once.


def test_a_hanging_inference_is_reported_in_time_and_the_engine_reopened(make_rig):
    hanging = HangingEngine(num_good=3)
    rig = make_rig({'onnx': [hanging, FakeEngine()]})  # with the time limit of the defaults
    rig.run_pair()
    rig.send_pair()
    rig.wait_until(hanging.is_hanging.is_set, 'the inference hangs')
    started = time.monotonic()
    rig.wait_until(lambda: rig.status('engine').get('timeouts') == '1', 'the hang is on record')
    assert time.monotonic() - started < REPORT_WITHIN_S
    rig.wait_until(
        lambda: 'the engine hangs and is given up: the inference on onnx, cpu' in rig.log_text(),
        'the log says so',
    )
    send_until(rig, lambda: rig.status('engine').get('reopened') == '1', 'it is reopened')
    rig.run_pair()
    assert rig.status('engine')['status'] == 'running'
    rig.wait_until(
        lambda: 'the network runs again, on onnx, cpu; it had failed: the inf' in rig.log_text(),
        'the log says so',
    )
    assert rig.status('synchronisation')['dropped_failed'] >= '1'


def test_the_next_backend_answers_when_the_first_hangs_again(make_rig):
    hanging = [HangingEngine(num_good=2), HangingEngine(num_good=1)]
    engines = {'onnx': hanging, 'torch': [FakeEngine()]}
    rig = make_rig(engines, {'engine.timeout_s': 0.2, 'diagnostics.period_s': 0.1})
    send_until(rig, lambda: rig.status('engine').get('fallback_from') == 'onnx', 'torch runs')
    rig.run_pair()
    assert rig.mdi_values()['backend'] == 'torch'
    assert rig.status('engine')['timeouts'] == '2'
    rig.wait_until(
        lambda: 'the network runs again, on torch, cpu instead of onnx' in rig.log_text(),
        'the log says so',
    )


def test_repeated_failures_are_reported_in_time_and_lead_to_the_next_backend(make_rig):
    engines = {'onnx': [FailingEngine(num_good=2), FailingEngine()], 'torch': [FakeEngine()]}
    rig = make_rig(engines)
    rig.send_pair()
    started = time.monotonic()
    rig.wait_until(
        lambda: rig.status('engine').get('last_problem') == 'the accelerator said no',
        'the failure is on record',
    )
    assert time.monotonic() - started < REPORT_WITHIN_S
    rig.wait_until(
        lambda: (
            'no result for the pair at 1700000000.200 s: the accelerator said' in rig.log_text()
        ),
        'the log says so',
    )
    send_until(rig, lambda: rig.received['mdi'], 'torch answers')
    assert rig.mdi_values()['backend'] == 'torch'


def test_out_of_memory_once_costs_its_pair_only(make_rig):
    engine = FailingEngine(num_good=3, num_bad=1, error=MemoryError())
    rig = make_rig({'onnx': [engine]}, {'diagnostics.period_s': 0.1})
    rig.run_pair()
    lost_ns = rig.send_pair()
    rig.wait_until(
        lambda: rig.status('synchronisation').get('dropped_failed') == '1', 'the pair is counted'
    )
    rig.wait_until(
        lambda: 'the engine ran out of memory (MemoryError), expected room for' in rig.log_text(),
        'the log says so',
    )
    rig.run_pair()
    assert rig.status('engine')['reopened'] == '0'
    assert rig._find('detections', lost_ns) is None


def test_without_any_engine_the_node_stays_and_says_so_and_publishes_nothing(make_rig):
    rig = make_rig({'onnx': [FailingEngine(num_good=2)]}, {'diagnostics.period_s': 0.1})
    send_until(rig, lambda: rig.status('engine').get('status') == 'given_up', 'it is given up')
    assert state_of(rig) == ACTIVE
    assert not rig.received['detections']
    assert "backend 'onnx' cannot be opened" in rig.status('engine')['last_problem']


def test_on_error_deactivate_ends_inactive_and_can_be_activated_again(make_rig):
    engines = {'onnx': [HangingEngine(num_good=2), FakeEngine()], 'torch': [FakeEngine()]}
    rig = make_rig(engines, {'engine.timeout_s': 0.2, 'engine.on_error': 'deactivate'})
    rig.send_pair()
    rig.wait_until(lambda: state_of(rig) == INACTIVE, 'the node deactivates itself')
    rig.wait_until(
        lambda: (
            'deactivating: the engine has failed for good (tried: onnx, torch)' in rig.log_text()
        ),
        'the log says so',
    )
    assert not rig.received['detections']
    rig.node.trigger_activate()
    assert state_of(rig) == ACTIVE
    rig.wait_until(rig._is_connected, 'everybody is there again')
    send_until(rig, lambda: rig.received['mdi'], 'a result comes')
    assert rig.mdi_values()['backend'] == 'onnx'


def test_activation_keeps_the_engine_that_configure_opened(make_rig):
    engines = {'onnx': [], 'torch': [FakeEngine()]}  # the first cannot be opened
    rig = make_rig(engines, {'engine.on_error': 'deactivate', 'diagnostics.period_s': 0.1})
    rig.run_pair()
    assert rig.mdi_values()['backend'] == 'torch'
    rig.wait_until(lambda: rig.status('engine'), 'the engine has a status')
    status = rig.status('engine')
    found = [status[name] for name in ('status', 'fallback_from', 'reopened')]
    assert found == ['running', 'onnx', '0']


def test_on_error_raise_leaves_spin(make_rig):
    values = {'engine.on_error': 'raise', 'engine.max_failures': 2}
    rig = make_rig({'onnx': [FailingEngine(num_good=2)]}, values)
    with pytest.raises(EngineGivenUpError, match=r'failed for good .* the accelerator said no'):
        send_until(rig, lambda: False, 'the node leaves')


def publish_pairs(context, stop):
    """Be the cameras, in a thread of their own, until told to stop."""
    user = Node('cameras', context=context)
    cameras = {
        name: user.create_publisher(Image, f'{name}/image_raw', 10) for name in ('rgb', 'thermal')
    }
    stamp_ns = FIRST_STAMP_NS
    while not stop.wait(0.05):
        stamp_ns += 50_000_000
        cameras['rgb'].publish(image_of(rgb_frame(stamp_ns)))
        cameras['thermal'].publish(image_of(thermal_frame(stamp_ns)))
    user.destroy_node()


def test_on_error_raise_ends_the_process_with_status_1_and_one_fatal_line(
    ros_context, tmp_path, capfd, monkeypatch
):
    card, stop = build_card(tmp_path), threading.Event()
    monkeypatch.setattr(perception_node, 'note_signals', threading.Event)
    # Engines of the tests above still hang in this process.
    monkeypatch.setattr(perception_node, 'has_busy_threads', lambda: False)
    cameras = threading.Thread(target=publish_pairs, args=(ros_context, stop))
    cameras.start()

    def open_with(config):
        engine = SupervisedEngine(
            config.engine, backends=('onnx',), open_backend=lambda _: FailingEngine(num_good=1)
        )
        return Pipeline(card=card, engine=engine, config=config)

    arguments = ['--ros-args', '-p', 'engine.on_error:=raise', '-p', 'engine.max_failures:=2']
    try:
        status = perception_node.main(
            ['perception_node', *arguments, '-p', 'autostart:=true'], open_with=open_with
        )
    finally:
        stop.set()
        cameras.join()
    assert status == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if 'FATAL' in line]
    assert len(lines) == 1
    assert "leaving, as engine.on_error 'raise' asks for: the engine has failed for " in lines[0]


def test_deactivation_does_not_wait_for_a_hanging_engine(make_rig):
    hanging = HangingEngine(num_good=2)
    rig = make_rig({'onnx': [hanging, FakeEngine()]}, {'engine.timeout_s': 0.3})
    rig.send_pair()
    rig.wait_until(hanging.is_hanging.is_set, 'the inference hangs')
    started = time.monotonic()
    rig.node.trigger_deactivate()
    assert time.monotonic() - started < 5.0  # half a minute if it waited
    assert state_of(rig) == INACTIVE
    hanging.release()
