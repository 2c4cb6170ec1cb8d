# SPDX-License-Identifier: Apache-2.0
"""The executable, as a process of its own: exit status, sentences, signals, and real inference."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

from fakes import build_card, build_onnx_card, rgb_frame, thermal_frame
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_rig import FIRST_STAMP_NS, image_of, stamp_of
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from rgbt_perception.ros.qos import input_qos

DEADLINE_S = 60.0
COMMAND = [sys.executable, '-m', 'rgbt_perception.nodes.perception_node', '--ros-args']


def run_to_its_end(*arguments):
    """Run the executable until it ends by itself; return exit status and log."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    return done.returncode, done.stderr


def param_file(tmp_path, text):
    path = tmp_path / 'rig.param.yaml'
    path.write_text(f'perception:\n  ros__parameters:\n{text}')
    return str(path)


def assert_one_sentence(log, sentence):
    assert sentence in log
    assert 'Traceback' not in log


def test_an_unknown_parameter_in_the_file_ends_the_node_with_its_sentence(tmp_path):
    path = param_file(tmp_path, '    sync:\n      max_skew: 0.05\n')
    status, log = run_to_its_end('--params-file', path)
    assert status == 1
    assert_one_sentence(
        log,
        "cannot start: unknown parameter 'sync.max_skew'; expected one of the documented "
        "parameters; did you mean 'sync.max_skew_s'?",
    )


def test_a_parameter_file_that_is_not_there_ends_the_node(tmp_path):
    status, log = run_to_its_end('--params-file', str(tmp_path / 'none.yaml'))
    assert status == 1
    assert_one_sentence(log, 'cannot start: ')
    assert 'none.yaml' in log


def test_a_missing_model_ends_the_node_with_its_sentence(tmp_path):
    status, log = run_to_its_end('-p', f'model.card:={tmp_path}/none')
    assert status == 1
    assert_one_sentence(log, f"cannot configure: no model card at '{tmp_path}/none/card.json'")


def test_altered_weights_are_refused(tmp_path):
    card = build_onnx_card(tmp_path)
    with card.graph_path.open('ab') as file:
        file.write(b'x')
    status, log = run_to_its_end('-p', f'model.card:={tmp_path}', '-p', 'engine.backend:=onnx')
    assert status == 1
    assert_one_sentence(log, 'cannot configure: model file')
    assert 'the file was altered or belongs to another card' in log


def test_missing_weights_are_refused(tmp_path):
    build_card(tmp_path)
    status, log = run_to_its_end('-p', f'model.card:={tmp_path}', '-p', 'engine.backend:=onnx')
    assert status == 1
    assert_one_sentence(log, 'model.onnx')
    assert 'is missing; expected it beside its card.json' in log


class User(Node):
    """Cameras and a listener in the test's process."""

    def __init__(self, context):
        super().__init__('user', context=context)
        self.detections, self.masks = [], []
        self.sent_ns = []
        self.create_subscription(
            Detection2DArray, '/rig/perception/detections', self.detections.append, 10
        )
        self.create_subscription(Image, '/rig/perception/segmentation/mask', self.masks.append, 10)
        # Best effort, as camera drivers send: large images need the shipped Fast DDS profile.
        self.cameras = {
            name: self.create_publisher(Image, f'/rig/{name}/image_raw', input_qos())
            for name in ('rgb', 'thermal')
        }
        self.executor_ = SingleThreadedExecutor(context=context)
        self.executor_.add_node(self)

    def wait_until(self, is_done, process):
        deadline = time.monotonic() + DEADLINE_S
        while not is_done():
            self.executor_.spin_once(timeout_sec=0.05)
            assert process.poll() is None, 'the node ended'
            assert time.monotonic() < deadline, 'the deadline has passed'

    def send_pair(self):
        stamp_ns = FIRST_STAMP_NS + len(self.sent_ns) * 100_000_000
        self.sent_ns.append(stamp_ns)
        for name, frame in (
            ('rgb', rgb_frame(stamp_ns, size_hw=(480, 640))),
            ('thermal', thermal_frame(stamp_ns, size_hw=(512, 640))),
        ):
            self.cameras[name].publish(image_of(frame))
        return True


@pytest.fixture
def user(ros_context):
    user = User(ros_context)
    yield user
    user.executor_.shutdown()
    user.destroy_node()


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_another_process_runs_real_inference_and_leaves_cleanly(user, tmp_path, signal_number):
    build_onnx_card(tmp_path, input_hw=(96, 128))
    arguments = ['-p', f'model.card:={tmp_path}', '-r', '__ns:=/rig']
    with subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        try:
            user.wait_until(
                lambda: all(item.get_subscription_count() for item in user.cameras.values()),
                process,
            )
            # Best effort may lose an image on a busy machine: go on until five results are back.
            user.wait_until(
                lambda: user.send_pair() and min(len(user.detections), len(user.masks)) >= 5,
                process,
            )
            for message in (*user.detections, *user.masks):
                assert message.header.frame_id == 'rgb_optical_frame'
                assert stamp_of(message) in user.sent_ns
            for message in user.detections:
                assert [item.header for item in message.detections] == [message.header]
            for mask in user.masks:
                assert (mask.height, mask.width, mask.encoding) == (480, 640, 'mono8')
                assert len(mask.data) == 480 * 640
            # The graph's box is the middle of the network input, here that of the image.
            center = user.detections[-1].detections[0].bbox.center.position
            assert (center.x, center.y) == pytest.approx((320.0, 240.0), abs=0.01)
            process.send_signal(signal_number)
            _, log = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert process.returncode == 0, log
    assert 'Traceback' not in log


def test_a_lifecycle_manager_may_start_it_instead(user, tmp_path):
    from lifecycle_msgs.srv import GetState

    build_onnx_card(tmp_path)
    arguments = ['-p', f'model.card:={tmp_path}', '-p', 'autostart:=false', '-r', '__ns:=/rig']
    with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            client = user.create_client(GetState, '/rig/perception/get_state')
            user.wait_until(client.service_is_ready, process)
            future = client.call_async(GetState.Request())
            user.wait_until(future.done, process)
            assert future.result().current_state.label == 'unconfigured'
            process.terminate()
            process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert process.returncode == 0


def test_what_modules_without_ros_say_is_in_the_log(user, tmp_path):
    build_onnx_card(tmp_path)
    arguments = ['-p', f'model.card:={tmp_path}', '-r', '__ns:=/rig']
    with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            user.wait_until(
                lambda: all(item.get_subscription_count() for item in user.cameras.values()),
                process,
            )
            process.terminate()
            _, log = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert re.search(
        r"\[INFO\] .*\[rig\.perception\]: model 'fake' version 1 runs on cpu \(fp32, .*usable", log
    )
