# SPDX-License-Identifier: Apache-2.0
"""The simulated cameras as a process of their own, with a listener over the real middleware."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from types import SimpleNamespace

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
import numpy as np
import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from rgbt_models.synthetic import build_rig, Scenario
from rgbt_perception.frames import stamp_of
from rgbt_perception.nodes import rig_simulator_node
from rgbt_perception.ros.pose_lookup import rotation_matrix
from rgbt_perception.ros.rig_messages import build_transform, import_tf2_msgs, quaternion_of
from rgbt_perception.simulated_rig import render_clip
from rgbt_perception.simulation import load_scenario
from rgbt_perception.types import Modality

DEADLINE_S = 60.0
COMMAND = [sys.executable, '-m', 'rgbt_perception.nodes.rig_simulator_node', '--ros-args']
SCENARIO = """
layout: path
duration_s: 1.0
conditions: [{condition: day}]
ego: {path: still}
rig: {scale: 0.2, rgb: {rate_hz: 10.0}, thermal: {rate_hz: 5.0}}
"""


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / 'scenario.yaml'
    path.write_text(SCENARIO, encoding='utf-8')
    return path


def arguments_of(**parameters):
    return [
        part
        for name, value in parameters.items()
        for part in ('-p', f'{name.replace("__", ".")}:={value}')
    ]


class Listener:
    """A node that keeps what the simulator sends."""

    def __init__(self, context, **parameters):
        self.received = {name: [] for name in ('rgb', 'thermal', 'info', 'truth')}
        self.node = Node('listener', context=context)
        qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        for name, kind, topic in (
            ('rgb', Image, 'rgb/image_raw'),
            ('thermal', Image, 'thermal/image_raw'),
            ('info', CameraInfo, 'thermal/camera_info'),
            ('truth', Detection2DArray, 'rig_simulator/truth'),
        ):

            def keep(message, name=name):
                self.received[name].append((time.time_ns(), message))

            self.node.create_subscription(kind, topic, keep, qos)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self.process = subprocess.Popen(
            [*COMMAND, *arguments_of(**parameters)], stderr=subprocess.PIPE, text=True
        )

    def wait(self, is_done):
        deadline = time.monotonic() + DEADLINE_S
        while not is_done():
            self._executor.spin_once(timeout_sec=0.05)
            assert self.process.poll() is None or is_done(), self.process.communicate()[1]
            assert time.monotonic() < deadline

    def wait_for(self, name, count):
        """Wait for so many further messages and return them."""
        start = len(self.received[name])
        self.wait(lambda: len(self.received[name]) >= start + count)
        return [message for _, message in self.received[name][start:]]

    def call(self, kind, service, request):
        client = self.node.create_client(kind, f'rig_simulator/{service}')
        self.wait(client.service_is_ready)
        future = client.call_async(request)
        self.wait(future.done)
        self.node.destroy_client(client)
        return future.result()

    def set_fault(self, camera, name):
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=name)
        parameters = [Parameter(name=f'fault.{camera}', value=value)]
        (result,) = self.call(
            SetParameters, 'set_parameters', SetParameters.Request(parameters=parameters)
        ).results
        return result

    def close(self):
        self.process.send_signal(signal.SIGINT)
        _, log = self.process.communicate(timeout=DEADLINE_S)
        self.node.destroy_node()
        return log


@pytest.fixture
def listen(ros_context):
    listeners = []

    def start(**parameters):
        listeners.append(Listener(ros_context, **parameters))
        return listeners[-1]

    yield start
    for listener in listeners:
        if listener.process.poll() is None:
            listener.process.kill()
        if not listener.process.stderr.closed:
            listener.process.communicate()


def pixels_of(message):
    dtype = {'rgb8': np.uint8, 'mono16': np.uint16}[message.encoding]
    shape = (message.height, message.width, *((3,) if message.encoding == 'rgb8' else ()))
    return np.frombuffer(message.data, dtype).reshape(shape)


def test_both_cameras_come_at_their_rates_with_stamps_of_this_clock(listen, scenario):
    listener = listen(scenario=scenario)
    listener.wait_for('rgb', 25)
    rgb, thermal = listener.received['rgb'], listener.received['thermal']
    stamps = [stamp_of(message.header) for _, message in rgb]
    # A machine that stands still for half a second leaves images out, but never moves a stamp.
    assert np.median(np.diff(stamps)) == 100_000_000
    assert not (np.diff(stamps) % 100_000_000).any()
    steps = np.diff([stamp_of(message.header) for _, message in thermal])
    assert 190_000_000 < np.median(steps) < 210_000_000
    # 25 ms on the way; a loaded machine may be late, but never early.
    delays = [when - stamp for (when, _), stamp in zip(rgb, stamps, strict=True)]
    assert 20_000_000 <= min(delays) < 500_000_000
    first_rgb, first_thermal = rgb[0][1], thermal[0][1]
    assert (first_rgb.encoding, first_rgb.height, first_rgb.width, first_rgb.step) == (
        *('rgb8', 96, 128),
        384,
    )
    assert (first_thermal.encoding, first_thermal.height, first_thermal.width) == (
        *('mono16', 51),
        64,
    )
    assert first_rgb.header.frame_id == 'rgb_optical_frame'
    assert first_thermal.header.frame_id == 'thermal_optical_frame'
    log = listener.close()
    assert listener.process.returncode == 0, log
    assert '15 images rendered in' in log


def test_images_truth_and_camera_model_are_those_of_the_scenario(listen, scenario):
    *_, clip = render_clip(load_scenario(str(scenario)))
    images = [image for image in clip.images if image.modality is Modality.RGB]
    listener = listen(scenario=scenario)
    listener.wait(lambda: len(listener.received['truth']) >= 3 and listener.received['info'])
    sent = {stamp_of(x.header): pixels_of(x) for _, x in listener.received['rgb']}
    truths = {stamp_of(x.header): x for _, x in listener.received['truth']}
    for stamp in sorted(truths)[:3]:
        (index,) = (i for i, x in enumerate(images) if np.array_equal(x.pixels, sent[stamp]))
        expected, found = images[index].truth, truths[stamp]
        assert found.header.frame_id == 'rgb_optical_frame'
        names = [item.results[0].hypothesis.class_id for item in found.detections]
        assert names == list(expected.class_names)
        scores = [item.results[0].hypothesis.score for item in found.detections]
        assert scores == [0.0 if ignore else 1.0 for ignore in expected.ignore]
        for item, box in zip(found.detections, expected.boxes_xyxy, strict=True):
            assert item.bbox.center.position.x == pytest.approx((box[0] + box[2]) / 2)
            assert item.bbox.size_y == pytest.approx(box[3] - box[1])
    info = listener.received['info'][0][1]
    assert (info.height, info.width) == (51, 64)
    np.testing.assert_allclose(info.k, clip.rig.thermal.intrinsics.ravel())
    assert list(info.d) == [0.0] * 5


def test_faults_are_injected_and_mended_while_it_plays(listen, scenario):
    listener = listen(scenario=scenario, fault__thermal='saturated')
    assert (pixels_of(listener.wait_for('thermal', 1)[-1]) == 65_535).all()
    assert listener.set_fault('thermal', 'none').successful
    assert pixels_of(listener.wait_for('thermal', 3)[-1]).max() < 65_535
    assert listener.set_fault('rgb', 'covered').successful
    assert pixels_of(listener.wait_for('rgb', 3)[-1]).mean() < 4.0
    assert listener.set_fault('rgb', 'gap').successful
    listener.wait_for('thermal', 2)
    num_rgb = len(listener.received['rgb'])
    listener.wait_for('thermal', 3)
    assert len(listener.received['rgb']) == num_rgb
    assert listener.set_fault('rgb', 'none').successful
    listener.wait_for('rgb', 2)


def test_what_cannot_be_is_refused_and_changes_nothing(listen, scenario):
    listener = listen(scenario=scenario)
    listener.wait_for('rgb', 1)
    result = listener.set_fault('rgb', 'ffc')
    assert not result.successful
    assert "fault.rgb is 'ffc', expected one of none, gap" in result.reason
    request = DescribeParameters.Request(names=['fault.thermal', 'scenario'])
    fault, name = listener.call(DescribeParameters, 'describe_parameters', request).descriptors
    assert 'ffc, late' in fault.additional_constraints
    assert not fault.read_only
    assert name.read_only


def test_without_loop_it_ends_after_the_last_image(listen, scenario):
    # Long enough for a loaded machine to notice that it has begun.
    listener = listen(scenario=scenario, loop='false', rate_scale=2.0, duration_s=8.0)
    listener.wait(lambda: listener.process.poll() is not None)
    assert listener.process.returncode == 0
    stamps = [stamp_of(message.header) for _, message in listener.received['rgb']]
    assert 10 < len(stamps) <= 80
    assert min(np.diff(stamps)) == 50_000_000
    assert not (np.diff(stamps) % 50_000_000).any()


@pytest.mark.parametrize(
    ('parameters', 'sentence'),
    [
        ({'scenario': 'fgo'}, "there is no scenario 'fgo'"),
        ({'rate_scale': '0.0'}, 'rate_scale is 0.0, expected a number above 0'),
        ({'scale': '2'}, 'a number with a point is a double: write 5.0, not 5'),
        ({'fault__rgb': 'ffc'}, "fault.rgb is 'ffc', expected one of none"),
    ],
)
def test_mistakes_end_it_with_one_sentence(parameters, sentence):
    done = subprocess.run(
        [*COMMAND, *arguments_of(**parameters)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert 'Traceback' not in done.stderr


def test_quaternions_are_those_of_the_rotations():
    rng = np.random.default_rng(5)
    for _ in range(200):
        quaternion = rng.normal(size=4)
        quaternion *= np.sign(quaternion[3]) / np.linalg.norm(quaternion)
        found = quaternion_of(rotation_matrix(*quaternion))
        np.testing.assert_allclose(found, quaternion, atol=1e-9)
    # A camera that looks along x with y to its right: turned by 120 degrees about a diagonal.
    optical = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    np.testing.assert_allclose(quaternion_of(optical), [-0.5, 0.5, -0.5, 0.5])
    half_turn = np.diag([1.0, -1.0, -1.0])
    np.testing.assert_allclose(quaternion_of(half_turn), [1.0, 0.0, 0.0, 0.0])


def test_a_transform_says_where_the_camera_is_on_the_rig():
    header = Header(frame_id='rig')
    message = build_transform(np.eye(3), np.array([0.1, -0.2, 0.3]), header, 'thermal')
    assert isinstance(message, TransformStamped)
    assert (message.header.frame_id, message.child_frame_id) == ('rig', 'thermal')
    assert message.transform.translation.y == -0.2
    assert message.transform.rotation.w == 1.0


def test_transforms_of_both_cameras_are_published_once(monkeypatch):
    # tf2_msgs is not on PyPI: its message is a plain value here.
    published = []
    monkeypatch.setattr(
        rig_simulator_node, 'import_tf2_msgs', lambda: SimpleNamespace(TFMessage=SimpleNamespace)
    )
    node = SimpleNamespace(
        get_clock=lambda: SimpleNamespace(now=lambda: SimpleNamespace(to_msg=Time)),
        create_publisher=lambda kind, topic, qos: SimpleNamespace(
            publish=lambda message: published.append((topic, qos.durability, message))
        ),
    )
    rig = build_rig(Scenario())
    rig_simulator_node.RigSimulatorNode._publish_transforms(node, SimpleNamespace(rig=rig))
    ((topic, durability, message),) = published
    assert topic == '/tf_static'
    assert durability is DurabilityPolicy.TRANSIENT_LOCAL
    rgb, thermal = message.transforms
    assert (rgb.header.frame_id, rgb.child_frame_id) == ('rig', 'rgb_optical_frame')
    turn, move = thermal.transform.rotation, thermal.transform.translation
    np.testing.assert_allclose(
        rotation_matrix(turn.x, turn.y, turn.z, turn.w), rig.thermal.rotation, atol=1e-9
    )
    assert (move.x, move.y, move.z) == tuple(rig.thermal.position)


def test_transforms_need_messages_that_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_msgs', None)
    monkeypatch.setitem(sys.modules, 'tf2_msgs.msg', None)
    assert import_tf2_msgs() is None
