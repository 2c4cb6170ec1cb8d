# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_data import write_bag
from made_results import build_result, RGB_STAMP_NS
import numpy as np
import pytest

from rgbt_perception.bag import BagReader
from rgbt_perception.bag_messages import (
    build_typestore,
    DETECTION_ARRAY,
    DiagnosticText,
    Header,
    LABEL_INFO,
)
from rgbt_perception.bag_writer import BagWriter
from rgbt_perception.config import ThermalConfig
from rgbt_perception.errors import BagError
from rgbt_perception.frames import stamp_of
from rgbt_perception.temperature_status import temperature_texts

# The hashes that ROS itself computes for vision_msgs 4.1.1.
DETECTION_ARRAY_HASH = 'RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968'


def test_type_hashes_equal_those_of_ros():
    store = build_typestore()
    assert store.hash_rihs01(DETECTION_ARRAY) == DETECTION_ARRAY_HASH
    for name, start, end in (
        ('Detection2D', '0d12b69d', '38ea'),
        ('BoundingBox2D', '008eacbb', 'ce2f'),
        ('ObjectHypothesisWithPose', '41c12344', '80bc'),
        ('LabelInfo', '3d37df40', '0783'),
    ):
        digest = store.hash_rihs01(f'vision_msgs/msg/{name}')
        assert digest.startswith(f'RIHS01_{start}')
        assert digest.endswith(end)


def test_bag_declares_the_hash_of_its_detections(tmp_path):
    text = (write_bag(tmp_path / 'bag') / 'metadata.yaml').read_text()
    assert DETECTION_ARRAY_HASH in text


def test_existing_path_is_refused(tmp_path):
    with pytest.raises(BagError, match='exists already, expected a new folder; choose another'):
        BagWriter(tmp_path)


def test_equal_input_gives_equal_bytes(tmp_path):
    first, second = (write_bag(tmp_path / name / 'bag') for name in ('a', 'b'))
    assert (first / 'bag.mcap').read_bytes() == (second / 'bag.mcap').read_bytes()


def test_results_carry_the_header_centre_and_size(tmp_path):
    result = build_result()
    reference = result.pair.reference
    status = DiagnosticText(
        level=1, name='mdi', message='text', hardware_id='', values={'mode': 'fused', 'mdi': '0.2'}
    )
    with BagWriter(tmp_path / 'bag', compress=True) as writer:
        writer.write_label_info(('sky', 'road'), Header(stamp_ns=0, frame_id=''), 5)
        writer.write_detections(result.detections, ['person', 'bicycle'], reference, 6)
        writer.write_mask(result.label_map, reference, 7)
        writer.write_mdi(status, reference, 8)
    topics = (
        '/perception/label_info',
        '/perception/detections',
        '/perception/segmentation/mask',
        '/perception/mdi',
    )
    with BagReader(tmp_path / 'bag') as reader:
        messages = {topic: (log, message) for topic, log, message in reader.messages(*topics)}
        assert reader.topic_types['/perception/label_info'] == LABEL_INFO
    assert [messages[topic][0] for topic in topics] == [5, 6, 7, 8]
    labels, detections, mask, mdi = (messages[topic][1] for topic in topics)
    assert [(x.class_id, x.class_name) for x in labels.class_map] == [(0, 'sky'), (1, 'road')]
    for header in (detections.header, mask.header, mdi.header, detections.detections[1].header):
        assert stamp_of(header) == RGB_STAMP_NS
        assert header.frame_id == 'rgb_optical_frame'
    # Boxes (1, 0, 4, 2) and (0.5, 1, 1.5, 4): width and height, x and y apart.
    first, second = detections.detections
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (2.5, 1.0)
    assert (first.bbox.size_x, first.bbox.size_y) == (3.0, 2.0)
    assert (second.bbox.center.position.x, second.bbox.center.position.y) == (1.0, 2.5)
    assert second.results[0].hypothesis.class_id == 'bicycle'
    assert second.results[0].hypothesis.score == 0.5
    assert second.id == ''
    assert (mask.encoding, mask.height, mask.width, mask.step) == ('mono8', 4, 6, 6)
    np.testing.assert_array_equal(mask.data.reshape(4, 6), result.label_map)
    assert mdi.status[0].level == 1
    assert {x.key: x.value for x in mdi.status[0].values} == {'mode': 'fused', 'mdi': '0.2'}


def test_temperatures_are_one_status_per_detection(tmp_path):
    result = build_result()
    texts = temperature_texts(result, ('person', 'car', 'bicycle'), ThermalConfig(hot_spot_c=36.0))
    with BagWriter(tmp_path / 'bag') as writer:
        writer.write_temperatures(texts, result.pair.reference, 6)
        writer.write_temperatures([], result.pair.reference, 7)
    with BagReader(tmp_path / 'bag') as reader:
        (_, _, message), (_, _, empty) = reader.messages('/perception/temperatures')
    assert stamp_of(message.header) == RGB_STAMP_NS
    assert message.header.frame_id == 'rgb_optical_frame'
    assert [status.level for status in message.status] == [1, 0]
    assert {status.name for status in message.status} == {'perception: temperature'}
    values = [{x.key: x.value for x in status.values} for status in message.status]
    assert [(item['class'], item['max_c']) for item in values] == [
        ('person', '36.50'),
        ('bicycle', 'nan'),
    ]
    assert empty.status == []
