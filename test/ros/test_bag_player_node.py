# SPDX-License-Identifier: Apache-2.0
"""The player as a process of its own, with a subscriber over the real middleware."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from made_data import (
    FIRST_NS,
    rgb_pixels,
    SKEW_NS,
    STEP_NS,
    thermal_pixels,
    write_bag,
    write_raw_bag,
)
import numpy as np
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from rgbt_perception.bag import BagReader
from rgbt_perception.frames import stamp_of
from rgbt_perception.nodes.bag_player_node import frame_interval_ns, raw_encoding
from rgbt_perception.types import Frame, Modality

DEADLINE_S = 60.0
COMMAND = [sys.executable, '-m', 'rgbt_perception.nodes.bag_player_node', '--ros-args']


def arguments_of(**parameters):
    return [part for name, value in parameters.items() for part in ('-p', f'{name}:={value}')]


def play_to_its_end(**parameters):
    done = subprocess.run(
        [*COMMAND, *arguments_of(**parameters)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.returncode, done.stderr


def listen_while_playing(context, kind, suffix, **parameters):
    """Play a bag and return the messages by camera, with their arrival times."""
    node = Node('listener', context=context)
    received = {'rgb': [], 'thermal': []}
    qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
    for name, messages in received.items():

        def keep(message, messages=messages):
            messages.append((time.monotonic(), message))

        node.create_subscription(kind, f'{name}/image_raw{suffix}', keep, qos)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    command = [*COMMAND, *arguments_of(**parameters)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + DEADLINE_S
        quiet_since = deadline
        while process.poll() is None or time.monotonic() < quiet_since + 0.5:
            executor.spin_once(timeout_sec=0.05)
            assert time.monotonic() < deadline
            if process.poll() is None:
                quiet_since = time.monotonic()
    finally:
        process.kill()
        _, log = process.communicate()
        node.destroy_node()
    assert process.returncode == 0, log
    return received


def test_raw_images_come_with_their_own_stamps_and_pixels(ros_context, tmp_path):
    bag = write_bag(tmp_path / 'bag', num_instants=5, without_thermal=(3,))
    report = tmp_path / 'sent.json'
    received = listen_while_playing(
        ros_context, Image, '', bag=bag, rate_hz=20.0, report_file=report
    )
    rgb = [message for _, message in received['rgb']]
    thermal = [message for _, message in received['thermal']]
    stamps = [stamp_of(message.header) for message in rgb]
    assert stamps == [FIRST_NS + index * STEP_NS for index in range(5)]
    assert stamp_of(thermal[3].header) == FIRST_NS + 4 * STEP_NS + SKEW_NS
    assert len(thermal) == 4
    assert (rgb[1].encoding, rgb[1].height, rgb[1].width, rgb[1].step) == ('rgb8', 48, 64, 192)
    assert rgb[1].header.frame_id == 'rgb_optical_frame'
    pixels = np.frombuffer(rgb[1].data, np.uint8).reshape(48, 64, 3)
    assert abs(pixels.astype(int) - rgb_pixels(1)).mean() < 4.0
    assert (thermal[1].encoding, thermal[1].step) == ('mono16', 112)
    counts = np.frombuffer(thermal[1].data, np.uint16).reshape(40, 56)
    np.testing.assert_array_equal(counts, thermal_pixels(1))
    sent = json.loads(report.read_text())
    assert [item[:2] for item in sent['sent']][:3] == [
        ['rgb', FIRST_NS],
        ['thermal', FIRST_NS + SKEW_NS],
        ['rgb', FIRST_NS + STEP_NS],
    ]
    assert len(sent['sent']) == 9
    assert sent['bad_frames'] == 0


def test_rate_scales_the_times_of_the_bag(ros_context, tmp_path):
    bag = write_bag(tmp_path / 'bag', num_instants=11)
    report = tmp_path / 'sent.json'
    listen_while_playing(ros_context, Image, '', bag=bag, rate_hz=10.0, report_file=report)
    times = [item[2] for item in json.loads(report.read_text())['sent'] if item[0] == 'rgb']
    # 10 intervals of 0.1 s instead of the 0.2 s of the bag; a loaded machine may be late.
    assert 0.95 <= (times[-1] - times[0]) / 1e9 <= 1.6


def test_compressed_images_pass_through_unchanged(ros_context, tmp_path):
    bag = write_bag(tmp_path / 'bag', num_instants=3)
    received = listen_while_playing(
        ros_context, CompressedImage, '/compressed', bag=bag, rate_hz=20.0, transport='compressed'
    )
    with BagReader(bag) as reader:
        expected = [x.message for x in reader.images() if x.modality is Modality.THERMAL]
    thermal = [message for _, message in received['thermal']]
    assert [bytes(x.data) for x in thermal] == [bytes(x.data) for x in expected]
    assert {x.format for x in thermal} == {'mono16; png compressed '}


def test_nobody_listening_is_told(tmp_path):
    status, log = play_to_its_end(bag=write_bag(tmp_path / 'bag'), wait_s=0.2)
    assert status == 1
    assert 'nobody listened to /rgb/image_raw and /thermal/image_raw within 0.2 s' in log
    assert 'Traceback' not in log


@pytest.mark.parametrize(
    ('parameters', 'sentence'),
    [
        ({'bag': '/nothing/here'}, "there is no bag at '/nothing/here'"),
        ({'bag': 'x', 'transport': 'zip'}, "transport is 'zip', expected raw or compressed"),
        ({'bag': 'x', 'rate_hz': '5'}, 'a number with a point is a double: write 5.0, not 5'),
        ({'bag': 'x', 'rate_hz': '-5.0'}, 'rate_hz is -5.0, expected 0 (as recorded) or more'),
    ],
)
def test_mistakes_end_it_with_one_sentence(parameters, sentence):
    status, log = play_to_its_end(**parameters)
    assert status == 1
    assert sentence in log
    assert 'Traceback' not in log


def test_interval_is_the_median_of_the_rgb_stamps(tmp_path):
    with BagReader(write_bag(tmp_path / 'bag', num_instants=4)) as reader:
        assert frame_interval_ns(reader) == STEP_NS
    with BagReader(write_raw_bag(tmp_path / 'one', encodings=('mono16',))) as reader:
        assert frame_interval_ns(reader) == 0.0


@pytest.mark.parametrize(
    ('modality', 'pixels', 'encoding'),
    [
        (Modality.RGB, np.zeros((2, 3, 3), np.uint8), 'rgb8'),
        (Modality.THERMAL, np.zeros((2, 3), np.uint8), 'mono8'),
        (Modality.THERMAL, np.zeros((2, 3), np.uint16), 'mono16'),
        (Modality.THERMAL, np.zeros((2, 3), np.float32), '32FC1'),
    ],
)
def test_encoding_follows_the_pixels(modality, pixels, encoding):
    frame = Frame(pixels=pixels, stamp_ns=1, frame_id='', modality=modality)
    assert raw_encoding(frame) == encoding
