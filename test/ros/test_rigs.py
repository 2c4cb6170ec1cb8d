# SPDX-License-Identifier: Apache-2.0
"""Several rigs: one process with a node each, or one node each in its own namespace."""

from __future__ import annotations

from collections import defaultdict
import subprocess
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray
from fakes import build_onnx_card, rgb_frame, thermal_frame
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_rig import image_of, stamp_of, values_of
from sensor_msgs.msg import Image

from rgbt_perception.errors import ConfigError
from rgbt_perception.ros.node_process import parse_rigs, rig_arguments

COMMAND = [sys.executable, '-m', 'rgbt_perception.nodes.perception_node']
DEADLINE_S = 60.0
SIZES = {'front': (48, 64), 'rear': (30, 90)}


def test_rigs_are_read_beside_ros_arguments():
    command = [
        'node',
        '--rig',
        'front',
        '--rig',
        '/rear/',
        '--ros-args',
        '-p',
        'a:=1',
        '-r',
        'b:=c',
    ]
    assert parse_rigs(command) == ['front', 'rear']
    assert parse_rigs(['node', '--ros-args', '-r', '__ns:=/x', '--', '--rig', 'left']) == ['left']
    assert parse_rigs(['node']) == []


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['--rig', 'a', '--rig', 'a'], "rig 'a' is given twice"),
        (['--rig', '/'], "rig '' is given twice or empty"),
        (['--rig', 'front-left'], "rig 'front-left' is no name for a namespace, expected letters"),
        (['--rig', '2nd'], "rig '2nd' is no name for a namespace"),
        (['--rigs=a'], "unknown argument '--rigs=a', expected --rig NAME"),
        (['front'], "unknown argument 'front', expected --rig NAME"),
    ],
)
def test_wrong_arguments_are_refused(arguments, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_rigs(['node', *arguments])


@pytest.mark.parametrize(
    ('arguments', 'namespace'),
    [
        ([], '/front'),
        (['--ros-args', '-r', '__ns:=/robot'], '/robot/front'),
        (['--ros-args', '-r', '__ns:=/'], '/front'),
        (['--ros-args', '--remap', 'perception:__namespace:=/robot/'], '/robot/front'),
        (['--ros-args', '-r', 'rgb/image_raw:=/cam'], '/front'),
    ],
)
def test_a_rig_lies_below_the_namespace_of_the_process(arguments, namespace):
    assert rig_arguments('front', ['node', *arguments]) == [
        '--ros-args',
        '-r',
        f'__ns:={namespace}',
    ]


class RigUser(Node):
    """Cameras of two rigs and a listener to both nodes."""

    def __init__(self, context, base):
        super().__init__('user', context=context)
        self.masks, self.statuses = defaultdict(dict), {}
        self._count = 0
        self.cameras = {
            (rig, name): self.create_publisher(Image, f'{base}/{rig}/{name}/image_raw', 5)
            for rig in SIZES
            for name in ('rgb', 'thermal')
        }
        for rig in SIZES:
            self.create_subscription(
                Image,
                f'{base}/{rig}/perception/segmentation/mask',
                lambda message, rig=rig: self._note(rig, message),
                10,
            )
        self.create_subscription(DiagnosticArray, '/diagnostics', self._note_statuses, 10)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self)

    def _note(self, rig, message):
        self.masks[rig][stamp_of(message)] = message

    def _note_statuses(self, message):
        self.statuses.update({item.name: values_of(item) for item in message.status})

    def send(self, rig):
        """Send a pair of one rig; stamps tell the rigs apart."""
        self._count += 1
        stamp_ns = (1000 if rig == 'front' else 2000) * 10**9 + self._count * 10**8
        self.cameras[rig, 'rgb'].publish(image_of(rgb_frame(stamp_ns, size_hw=SIZES[rig])))
        self.cameras[rig, 'thermal'].publish(image_of(thermal_frame(stamp_ns)))
        return True

    def wait_until(self, is_done, process):
        deadline = time.monotonic() + DEADLINE_S
        while not is_done():
            self._executor.spin_once(timeout_sec=0.05)
            assert process.poll() is None, 'the process ended'
            assert time.monotonic() < deadline, 'the deadline has passed'


def test_two_rigs_in_one_process_do_not_mix(ros_context, tmp_path):
    build_onnx_card(tmp_path / 'card')
    path = tmp_path / 'rigs.param.yaml'
    path.write_text(
        f'/**/perception:\n  ros__parameters:\n    model.card: {tmp_path}/card\n'
        '    diagnostics.period_s: 0.2\n'
        '/robot/rear/perception:\n  ros__parameters:\n    input.max_pixels: 100\n'
    )
    command = [*COMMAND, '--rig', 'front', '--rig', 'rear', '--ros-args', '-r', '__ns:=/robot']
    user = RigUser(ros_context, '/robot')
    with subprocess.Popen(
        [*command, '--params-file', str(path)], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            user.wait_until(
                lambda: all(item.get_subscription_count() for item in user.cameras.values()),
                process,
            )
            user.wait_until(lambda: user.send('front') and len(user.masks['front']) > 3, process)
            user.wait_until(
                lambda: (
                    user.send('rear')
                    and 'expected at most 100'
                    in user.statuses.get('robot/rear/perception: rgb input', {}).get(
                        'last_problem', ''
                    )
                ),
                process,
            )
            key = 'robot/front/perception: rgb input'
            user.wait_until(lambda: key in user.statuses, process)
            assert not user.masks['rear']  # its own parameter section holds for it alone
            front = user.statuses[key]
            assert (front['topic'], front['bad_frames']) == ('/robot/front/rgb/image_raw', '0')
            for stamp_ns, mask in user.masks['front'].items():
                assert stamp_ns < 2000 * 10**9
                assert (mask.height, mask.width) == SIZES['front']
            process.terminate()
            _, log = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
            user.destroy_node()
    assert process.returncode == 0, log
    assert 'Traceback' not in log
    assert 'nodes are called' not in log


def test_two_nodes_of_one_name_are_warned_of(make_rig):
    first = make_rig()
    first.start()
    second = make_rig()
    assert second.node.start()
    # Without their number: a node of an earlier test that was killed is in the graph for a while.
    sentence = ' nodes are called /perception: their results mix; start the other one in its own'
    first.wait_until(lambda: sentence in first.log_text(), 'the log says so')
    first.wait_until(
        lambda: any(
            sentence in status.message
            for message in first.received['diagnostics']
            for status in message.status
            if status.name == 'perception: engine' and status.level == b'\x01'
        ),
        'the diagnostics say so',
    )
