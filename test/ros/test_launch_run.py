# SPDX-License-Identifier: Apache-2.0
"""Every launch file comes up, gives results, and ends on Ctrl-C; where launch is installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from source_tree import ROOT

from rgbt_perception.ros.messages import build_image, header_of
from rgbt_perception.types import Frame, Modality

DEADLINE_S = 60.0
NUM_RESULTS = 3
SEND_PERIOD_S = 0.3
# What `ros2 launch` does, without the ros2 command.
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
path, *given = sys.argv[1:]
source = PythonLaunchDescriptionSource(path)
arguments = [item.split(':=', 1) for item in given]
service = LaunchService(argv=given)
include = IncludeLaunchDescription(source, launch_arguments=arguments)
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""
BAG = ROOT / 'bags' / 'sample_drive'
SMALL = 'rig_file:={folder}/small.yaml'
SMALL_TEXT = '/**: {ros__parameters: {model: {input_height: 96, input_width: 128}}}\n'


@pytest.fixture
def folder(tmp_path):
    """A folder with parameters that make the network quick; skips where launch cannot run."""
    if importlib.util.find_spec('launch_ros') is None:
        pytest.skip('needs launch (not on PyPI)')
    from ament_index_python import get_packages_with_prefixes

    assert 'rgbt_perception' in get_packages_with_prefixes(), 'source the workspace first'
    (tmp_path / 'small.yaml').write_text(SMALL_TEXT, 'utf-8')
    return tmp_path


def image(modality, stamp_ns):
    draw = np.random.default_rng(stamp_ns)
    if modality is Modality.RGB:
        pixels, encoding = draw.integers(0, 256, (48, 64, 3), np.uint8), 'rgb8'
    else:
        pixels, encoding = draw.integers(29_000, 31_000, (48, 64)).astype(np.uint16), 'mono16'
    frame = Frame(pixels=pixels, stamp_ns=stamp_ns, frame_id='camera', modality=modality)
    return build_image(pixels, encoding, header_of(frame))


class User:
    """Cameras in the given namespaces, and a listener to the results there."""

    def __init__(self, context, namespaces, *, sends):
        self.node = Node('launch_user', context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.results = {name: [] for name in namespaces}
        for name, results in self.results.items():
            self.node.create_subscription(
                DiagnosticArray, f'{name}/perception/mdi', results.append, 10
            )
        self.cameras = [
            (modality, self.node.create_publisher(Image, f'{name}/{modality.value}/image_raw', 1))
            for name in namespaces
            for modality in Modality
            if sends
        ]

    def work(self, process):
        deadline, due = time.monotonic() + DEADLINE_S, 0.0
        while any(len(results) < NUM_RESULTS for results in self.results.values()):
            self.executor.spin_once(timeout_sec=0.05)
            assert process.poll() is None, 'launch ended by itself'
            assert time.monotonic() < deadline, 'no results in time'
            if time.monotonic() >= due:
                due = time.monotonic() + SEND_PERIOD_S
                stamp_ns = time.time_ns()
                for modality, publisher in self.cameras:
                    publisher.publish(image(modality, stamp_ns))


@pytest.mark.parametrize(
    ('name', 'arguments', 'namespaces', 'sends'),
    [
        ('perception', ['namespace:=robot', SMALL], ['robot'], True),
        ('replay', [f'bag:={BAG}', 'loop:=true', SMALL], [''], False),
        ('demo', [SMALL], [''], False),
        ('multi_rig', [SMALL], ['front', 'rear'], True),
        ('multi_rig', ['one_process:=true', SMALL], ['front', 'rear'], True),
    ],
)
def test_it_comes_up_gives_results_and_ends(
    ros_context, folder, name, arguments, namespaces, sends
):
    path = ROOT / 'launch' / f'{name}.launch.py'
    given = [item.format(folder=folder) for item in arguments]
    command = [sys.executable, '-c', RUN, str(path), *given]
    log_path = folder / 'launch.log'
    with log_path.open('wb') as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'ROS_LOG_DIR': str(folder)},
            start_new_session=True,
        )
    user = User(ros_context, namespaces, sends=sends)
    try:
        user.work(process)
        process.send_signal(signal.SIGINT)
        status = process.wait(DEADLINE_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        user.node.destroy_node()
    text = log_path.read_text('utf-8')
    assert status == 0, text
    assert 'Traceback' not in text
    assert 'process has died' not in text
    assert text.count('process has finished cleanly') == text.count('process started with pid')
