# SPDX-License-Identifier: Apache-2.0
"""A signal ends the process within two seconds and with status 0, whatever the engine does."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

from fakes import build_card, rgb_frame, thermal_frame
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_rig import FIRST_STAMP_NS, image_of
from sensor_msgs.msg import Image

from rgbt_perception.ros.background_job import BackgroundJob
from rgbt_perception.ros.node_process import woken_by_signals

TEST_DIR = Path(__file__).resolve().parents[1]
SCRIPT = Path(__file__).with_name('slow_node.py')
EXIT_S = 2.0
SCHEDULING_S = 2.0  # of a busy machine; without a limit it would be half a minute or for ever
DEADLINE_S = 60.0


def start(tmp_path, stage):
    build_card(tmp_path)
    paths = [str(TEST_DIR), str(TEST_DIR.parent), os.environ.get('PYTHONPATH', '')]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(tmp_path), stage],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
    )


def read_until(process, sentence):
    for line in process.stderr:
        if sentence in line:
            return
    pytest.fail(f'the process ended before it said {sentence!r}')


def assert_leaves(process, signal_number):
    sent_s = time.monotonic()
    process.send_signal(signal_number)
    _, log = process.communicate(timeout=DEADLINE_S)
    assert time.monotonic() - sent_s < EXIT_S + SCHEDULING_S, log
    assert process.returncode == 0, log
    assert 'Traceback' not in log


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_is_opened(tmp_path, signal_number):
    with start(tmp_path, 'load') as process:
        try:
            read_until(process, 'load begins')
            assert_leaves(process, signal_number)
        finally:
            process.kill()


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_an_inference_hangs(ros_context, tmp_path, signal_number):
    user = Node('user', context=ros_context)
    cameras = {
        name: user.create_publisher(Image, f'{name}/image_raw', 5) for name in ('rgb', 'thermal')
    }
    with start(tmp_path, 'run') as process:
        begun = threading.Thread(target=read_until, args=(process, 'run begins'), daemon=True)
        begun.start()
        try:
            deadline = time.monotonic() + DEADLINE_S
            count = 0
            while begun.is_alive():
                assert time.monotonic() < deadline
                stamp_ns = FIRST_STAMP_NS + count * 100_000_000
                cameras['rgb'].publish(image_of(rgb_frame(stamp_ns)))
                cameras['thermal'].publish(image_of(thermal_frame(stamp_ns)))
                begun.join(0.1)
                count += 1
            assert process.poll() is None
            assert_leaves(process, signal_number)
        finally:
            process.kill()
            user.destroy_node()


def test_a_signal_after_the_node_was_shut_down_by_a_transition(ros_context, tmp_path):
    user = Node('user', context=ros_context)
    executor = SingleThreadedExecutor(context=ros_context)
    executor.add_node(user)
    change = user.create_client(ChangeState, '/perception/change_state')
    ask = user.create_client(GetState, '/perception/get_state')
    shut_down = ChangeState.Request()
    shut_down.transition.id = Transition.TRANSITION_ACTIVE_SHUTDOWN

    def call(client, request):
        future = client.call_async(request)
        executor.spin_until_future_complete(future, 1.0)  # a first answer may get lost
        return future.result()

    with start(tmp_path, 'run') as process:
        try:
            deadline = time.monotonic() + DEADLINE_S
            state = None
            while state is None or state.current_state.id != State.PRIMARY_STATE_FINALIZED:
                assert time.monotonic() < deadline
                call(change, shut_down)  # refused until the node has activated itself
                state = call(ask, GetState.Request())
            assert_leaves(process, signal.SIGTERM)
        finally:
            process.kill()
            user.destroy_node()


def test_a_signal_wakes_who_waits_in_native_code():
    woken = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    threads = threading.active_count()
    try:
        with woken_by_signals(woken.set):
            for _ in range(2):
                assert not woken.is_set()
                signal.raise_signal(signal.SIGUSR1)
                assert woken.wait(DEADLINE_S)
                woken.clear()
        assert threading.active_count() == threads
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_job_hands_over_what_was_returned():
    job = BackgroundJob(lambda: 42)
    assert job.is_done(20.0)
    assert job.result() == 42


def test_a_job_hands_over_what_was_raised():
    job = BackgroundJob(lambda: 1 / 0)
    assert job.is_done(20.0)
    with pytest.raises(ZeroDivisionError):
        job.result()


def test_a_job_that_goes_on_is_not_done():
    go_on = threading.Event()
    job = BackgroundJob(lambda: go_on.wait(20.0))
    assert not job.is_done(0.0)
    go_on.set()
    assert job.is_done(20.0)
