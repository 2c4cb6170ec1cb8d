# SPDX-License-Identifier: Apache-2.0
"""Looping and /clock of the player; it ends on Ctrl-C like a program that was meant to."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from made_data import write_bag
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from rgbt_perception.bag import BagReader
from rgbt_perception.frames import stamp_of
from rgbt_perception.types import Modality, NS_PER_S

DEADLINE_S = 60.0
COMMAND = [sys.executable, '-m', 'rgbt_perception.nodes.bag_player_node', '--ros-args']


@pytest.fixture
def listener(ros_context):
    node = Node('loop_listener', context=ros_context)
    yield node
    node.destroy_node()


def play(bag, listener, *, is_enough, **parameters):
    """Play until enough was heard, then interrupt; return the exit status and the log."""
    values = {'bag': bag, 'rate_hz': 60.0, **parameters}
    arguments = [part for name, value in values.items() for part in ('-p', f'{name}:={value}')]
    executor = SingleThreadedExecutor(context=listener.context)
    executor.add_node(listener)
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not is_enough():
            executor.spin_once(timeout_sec=0.05)
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    return process.returncode, log


def test_a_loop_repeats_the_stamps_until_it_is_interrupted(tmp_path, listener):
    bag = write_bag(tmp_path / 'bag')
    with BagReader(bag) as reader:
        recorded = [image.message for image in reader.images() if image.modality is Modality.RGB]
    stamps = []
    listener.create_subscription(
        Image, 'rgb/image_raw', lambda message: stamps.append(stamp_of(message.header)), 50
    )
    listener.create_subscription(Image, 'thermal/image_raw', lambda _: None, 50)
    status, log = play(
        bag, listener, is_enough=lambda: len(stamps) >= 2 * len(recorded) + 1, loop='true'
    )
    first = [stamp_of(message.header) for message in recorded]
    assert stamps[: 2 * len(first) + 1] == [*first, *first, first[0]]
    assert status == 0, log
    assert 'Traceback' not in log


def test_the_clock_tells_the_log_time_of_each_image(tmp_path, listener):
    bag = write_bag(tmp_path / 'bag')
    with BagReader(bag) as reader:
        logged = [image.log_ns for image in reader.images()]
    clocks = []
    listener.create_subscription(
        Clock,
        '/clock',
        lambda message: clocks.append(message.clock.sec * NS_PER_S + message.clock.nanosec),
        QoSProfile(depth=100),
    )
    for camera in ('rgb', 'thermal'):
        listener.create_subscription(Image, f'{camera}/image_raw', lambda _: None, 50)
    status, log = play(
        bag,
        listener,
        is_enough=lambda: len(clocks) >= len(logged),
        loop='true',
        clock='true',
    )
    assert clocks[: len(logged)] == logged
    assert status == 0, log
