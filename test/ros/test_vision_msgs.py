# SPDX-License-Identifier: Apache-2.0
"""The vision_msgs in use is the one that every other ROS 2 machine knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

vision_msgs = pytest.importorskip(
    'vision_msgs', reason='needs a C compiler: tools/pip_ros/install_vision_msgs.py builds it'
)

import rclpy  # noqa: E402 - the skip above comes first
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402 - (same)
from vision_msgs.msg import (  # noqa: E402 - (same)
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    VisionClass,
    VisionInfo,
)

# Upstream's vision_msgs 4.1.1. The hash covers the types and names of all fields, at every depth.
DETECTIONS_HASH = 'RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968'
HASH_ENDS = {
    'BoundingBox2D': ('008eacbb', 'ce2f'),
    'Detection2D': ('0d12b69d', '38ea'),
    'Detection2DArray': ('21427412', 'a968'),
    'LabelInfo': ('3d37df40', '0783'),
    'ObjectHypothesisWithPose': ('41c12344', '80bc'),
    'VisionInfo': ('95d3116a', 'd284'),
}


def type_hash(name: str) -> str:
    """Read the hash of a message from the description installed with it."""
    for prefix in Path(vision_msgs.__file__).parents:
        path = prefix / 'share' / 'vision_msgs' / 'msg' / f'{name}.json'
        if path.is_file():
            hashes = json.loads(path.read_text('utf-8'))['type_hashes']
            return {item['type_name']: item['hash_string'] for item in hashes}[
                f'vision_msgs/msg/{name}'
            ]
    raise AssertionError(f'no description of {name} is installed')


@pytest.fixture
def detections() -> Detection2DArray:
    message = Detection2DArray()
    message.header.stamp.sec = 7
    message.header.stamp.nanosec = 250_000_000
    message.header.frame_id = 'rgb_optical_frame'
    for name, score, x in (('person', 0.875, 12.5), ('car', 0.5, 100.25)):
        detection = Detection2D(header=message.header)
        detection.bbox.center.position.x = x
        detection.bbox.center.position.y = 31.0
        detection.bbox.size_x = 20.0
        detection.bbox.size_y = 44.0
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = name
        result.hypothesis.score = score
        detection.results.append(result)
        message.detections.append(detection)
    return message


def test_detections_hash_equals_upstream():
    assert type_hash('Detection2DArray') == DETECTIONS_HASH


@pytest.mark.parametrize('name', HASH_ENDS)
def test_other_hashes_equal_upstream(name):
    start, end = HASH_ENDS[name]
    assert type_hash(name).startswith(f'RIHS01_{start}')
    assert type_hash(name).endswith(end)


def test_detections_survive_serialisation(detections):
    received = deserialize_message(serialize_message(detections), Detection2DArray)
    assert received == detections
    assert received.detections[1].bbox.center.position.x == 100.25
    assert received.detections[0].results[0].hypothesis.class_id == 'person'
    assert received.detections[0].header.stamp.nanosec == 250_000_000


def test_label_info_survives_serialisation():
    message = LabelInfo(threshold=0.25)
    message.class_map = [VisionClass(class_id=0, class_name='sky')]
    message.class_map.append(VisionClass(class_id=255, class_name='unlabeled'))
    received = deserialize_message(serialize_message(message), LabelInfo)
    assert received == message
    assert [item.class_id for item in received.class_map] == [0, 255]


def test_vision_info_survives_serialisation():
    message = VisionInfo(method='tiny', database_location='~/label_info', database_version=3)
    assert deserialize_message(serialize_message(message), VisionInfo) == message


def test_hash_on_the_wire_equals_upstream():
    with rclpy.init():
        node = rclpy.create_node('vision_msgs_hash')
        try:
            node.create_publisher(Detection2DArray, 'detections', 1)
            (endpoint,) = node.get_publishers_info_by_topic('detections')
        finally:
            node.destroy_node()
    assert endpoint.topic_type == 'vision_msgs/msg/Detection2DArray'
    assert str(endpoint.topic_type_hash) == DETECTIONS_HASH
