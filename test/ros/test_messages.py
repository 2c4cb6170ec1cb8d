# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from builtin_interfaces.msg import Time
import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from made_results import build_result, rgb_frame, RGB_STAMP_NS, thermal_frame
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from rgbt_perception.bag_messages import DiagnosticText
from rgbt_perception.errors import BackendUnavailableError, FrameError
from rgbt_perception.frames import frame_from_compressed, frame_from_image, stamp_of
from rgbt_perception.mdi_status import mdi_text
from rgbt_perception.ros.cdr import serialise_detections, serialise_image, serialise_statuses
from rgbt_perception.ros.messages import (
    build_image,
    build_label_info,
    build_status,
    build_vision_info,
    header_of,
    import_vision_msgs,
)
from rgbt_perception.types import Detections, Modality, Mode, Pair

HEADER = Header(stamp=Time(sec=1_700_000_001, nanosec=5), frame_id='rgb_optical_frame')
FRAME = rgb_frame(RGB_STAMP_NS)


def image_message(pixels, encoding, *, is_bigendian=0):
    message = Image(
        header=HEADER, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding
    )
    message.step, message.is_bigendian = pixels.strides[0], is_bigendian
    message.data.frombytes(pixels.tobytes())
    return message


def test_a_stamp_keeps_its_nanoseconds():
    assert stamp_of(HEADER) == 1_700_000_001_000_000_005


def test_the_header_of_a_frame_is_the_one_it_came_with():
    assert header_of(rgb_frame(RGB_STAMP_NS)) == HEADER


def test_an_rgb_image_becomes_a_frame_without_a_copy():
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    message = image_message(pixels, 'rgb8')
    frame = frame_from_image(message, modality=Modality.RGB, max_pixels=100)
    np.testing.assert_array_equal(frame.pixels, pixels)
    assert (frame.stamp_ns, frame.frame_id) == (RGB_STAMP_NS, 'rgb_optical_frame')
    assert np.shares_memory(frame.pixels, np.frombuffer(message.data, np.uint8))


def test_the_channels_of_bgr8_are_swapped():
    pixels = np.array([[[10, 20, 30]]], np.uint8)
    frame = frame_from_image(image_message(pixels, 'bgr8'), modality=Modality.RGB, max_pixels=100)
    assert frame.pixels.tolist() == [[[30, 20, 10]]]


@pytest.mark.parametrize(('order', 'flag'), [('<u2', 0), ('>u2', 1)])
def test_both_byte_orders_of_mono16_give_the_same_counts(order, flag):
    counts = np.array([[29315, 29316, 1], [2, 3, 65535]], order)
    frame = frame_from_image(
        image_message(counts, 'mono16', is_bigendian=flag),
        modality=Modality.THERMAL,
        max_pixels=100,
    )
    assert frame.pixels.dtype == np.uint16
    assert frame.pixels.tolist() == [[29315, 29316, 1], [2, 3, 65535]]


def test_a_bad_image_raises_the_decoders_sentence():
    message = image_message(np.zeros((2, 3, 3), np.uint8), 'yuv422')
    with pytest.raises(FrameError, match='yuv422'):
        frame_from_image(message, modality=Modality.RGB, max_pixels=100)


def test_a_compressed_png_keeps_16_bits():
    counts = np.array([[29315, 1, 2], [3, 4, 65535]], np.uint16)
    data = cv2.imencode('.png', counts)[1].tobytes()
    message = CompressedImage(header=HEADER, format='png', data=data)
    frame = frame_from_compressed(message, modality=Modality.THERMAL, max_pixels=100)
    np.testing.assert_array_equal(frame.pixels, counts)
    assert frame.stamp_ns == RGB_STAMP_NS


def test_a_compressed_rgb_image_is_red_green_blue():
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[..., 0] = 200  # red
    data = cv2.imencode('.png', pixels[..., ::-1])[1].tobytes()
    message = CompressedImage(header=HEADER, format='png', data=data)
    frame = frame_from_compressed(message, modality=Modality.RGB, max_pixels=100)
    np.testing.assert_array_equal(frame.pixels, pixels)


@pytest.mark.parametrize(
    ('pixels', 'encoding', 'step'),
    [
        (np.arange(6, dtype=np.uint8).reshape(2, 3), 'mono8', 3),
        (np.arange(18, dtype=np.uint8).reshape(2, 3, 3), 'rgb8', 9),
        (np.arange(6, dtype=np.float32).reshape(2, 3) / 7, '32FC1', 12),
        (np.arange(12, dtype=np.uint8).reshape(2, 6)[:, ::2], 'mono8', 3),  # not contiguous
    ],
)
def test_an_image_message_has_no_padding_and_the_same_values(pixels, encoding, step):
    message = build_image(pixels, encoding, HEADER)
    assert (message.height, message.width, message.encoding) == (2, 3, encoding)
    assert message.step == step
    assert len(message.data) == message.step * message.height
    found = np.frombuffer(message.data, pixels.dtype).reshape(pixels.shape)
    np.testing.assert_array_equal(found, pixels)
    assert message.header == HEADER


def build_detections(detections, **how):
    written = serialise_detections(detections, frame=FRAME, **how)
    return deserialize_message(written, Detection2DArray)


def build_mdi(result):
    written = serialise_statuses([mdi_text(result, backend='onnx', model='tiny')], FRAME)
    return deserialize_message(written, DiagnosticArray)


@pytest.mark.parametrize(
    ('pixels', 'encoding'),
    [
        (np.arange(15, dtype=np.uint8).reshape(3, 5)[:, ::2], 'mono8'),
        (np.arange(18, dtype=np.uint8).reshape(2, 3, 3), 'rgb8'),
        (np.arange(6, dtype=np.float32).reshape(2, 3), '32FC1'),
    ],
)
def test_an_image_written_directly_reads_as_the_message_it_stands_for(pixels, encoding):
    frame = replace(FRAME, stamp_ns=-2_999_999_993, frame_id='caméra')
    header = Header(stamp=Time(sec=-3, nanosec=7), frame_id='caméra')
    image = deserialize_message(serialise_image(pixels, encoding, frame), Image)
    assert image == build_image(pixels, encoding, header)


@pytest.mark.parametrize('name', ['', 'a', 'ab', 'abc', 'abcd'])  # every padding
def test_statuses_written_directly_read_as_the_message_they_stand_for(name):
    texts = [
        DiagnosticText(level=2, name=name, message='m', hardware_id='hw', values={'k': 'vv'}),
        DiagnosticText(level=0, name='n', message=name, hardware_id='', values={}),
    ]
    message = deserialize_message(serialise_statuses(texts, FRAME), DiagnosticArray)
    statuses = [
        build_status(
            level=bytes([text.level]),
            name=text.name,
            text=text.message,
            values=text.values,
            hardware_id=text.hardware_id,
        )
        for text in texts
    ]
    assert message == DiagnosticArray(header=HEADER, status=statuses)


def test_a_detection_is_centre_and_size_with_the_header_of_the_frame():
    message = build_detections(
        build_result().detections,
        class_names=('person', 'car', 'bicycle'),
        use_names=True,
    )
    assert message.header == HEADER
    first, second = message.detections
    assert first.header == second.header == HEADER
    # Box (1, 0, 4, 2): centre (2.5, 1), 3 wide, 2 high.
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (2.5, 1.0)
    assert (first.bbox.size_x, first.bbox.size_y, first.bbox.center.theta) == (3.0, 2.0, 0.0)
    assert first.results[0].hypothesis.class_id == 'person'
    assert first.results[0].hypothesis.score == 0.75
    assert second.results[0].hypothesis.class_id == 'bicycle'
    assert first.id == ''


@pytest.mark.parametrize('frame_id', ['', 'a', 'ab', 'abc', 'abcd', 'abcdefgh'])
def test_detections_of_classes_in_turn_are_read_whatever_their_padding(frame_id):
    names = ('x', 'per', 'person', 'traffic light')
    class_ids = np.array([0, 1, 1, 1, 2, 3, 0, 2, 2, 3], np.int64)
    low = np.arange(20, dtype=np.float32).reshape(10, 2)
    detections = Detections(
        boxes_xyxy=np.concatenate([low, low + np.float32([2, 4])], axis=1),
        scores=np.arange(10, dtype=np.float32) / 16,
        class_ids=class_ids,
    )
    frame = replace(FRAME, frame_id=frame_id)
    written = serialise_detections(detections, frame=frame, class_names=names, use_names=True)
    found = deserialize_message(written, Detection2DArray).detections
    centres = [(item.bbox.center.position.x, item.bbox.center.position.y) for item in found]
    np.testing.assert_array_equal(centres, low + np.float32([1, 2]))
    assert {(item.bbox.size_x, item.bbox.size_y, item.bbox.center.theta) for item in found} == {
        (2.0, 4.0, 0.0)
    }
    results = [item.results[0] for item in found]
    assert [one.hypothesis.score for one in results] == detections.scores.tolist()
    assert [one.hypothesis.class_id for one in results] == [names[k] for k in class_ids]
    assert all(one.pose.pose.orientation.w == 1.0 for one in results)
    assert {item.header.frame_id for item in found} == {frame_id}


def test_class_ids_may_be_indices():
    message = build_detections(
        build_result().detections, class_names=('a', 'b', 'c'), use_names=False
    )
    assert [item.results[0].hypothesis.class_id for item in message.detections] == ['0', '2']


def test_no_detection_is_an_empty_array_with_a_header():
    empty = Detections(
        boxes_xyxy=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        class_ids=np.zeros(0, np.int64),
    )
    message = build_detections(empty, class_names=('a',), use_names=True)
    assert list(message.detections) == []
    assert message.header == HEADER


def values_of(message):
    return {item.key: item.value for item in message.status[0].values}


def test_the_mdi_message_of_a_fused_result():
    message = build_mdi(build_result())
    assert message.header == HEADER
    assert message.status[0].level == DiagnosticStatus.OK
    assert message.status[0].message == 'fused: mdi +0.25 (rgb)'
    assert values_of(message) == {
        'mode': 'fused',
        'mode_reason': '',
        'mdi': '0.2500',
        'rgb_share': '0.6250',
        'thermal_share': '0.3750',
        'rgb_entropy': '0.5000',
        'thermal_entropy': '0.7500',
        'skew_ms': '7.250',
        'rgb_stamp': '1700000001.000000005',
        'thermal_stamp': '1700000001.007250005',
        'misregistration_px': '5.0',
        'misregistration_confidence': '0.50',
        'method': 'linear_share',
        'valid': 'true',
        'state': 'rgb',
        'latency_ms': '24.75',
        'preprocess_ms': '1.50',
        'infer_ms': '20.25',
        'postprocess_ms': '3.00',
        'backend': 'onnx',
        'model': 'tiny',
    }


def test_the_mdi_message_of_one_camera_warns_and_leaves_out_what_is_not_there():
    pair = Pair(rgb=None, thermal=thermal_frame())
    result = build_result(pair, mode=Mode.THERMAL_ONLY, mode_reason='no RGB frame for 0.7 s')
    message = build_mdi(result)
    assert message.status[0].level == DiagnosticStatus.WARN
    assert message.status[0].message == 'thermal_only: no RGB frame for 0.7 s'
    values = values_of(message)
    assert (values['skew_ms'], values['rgb_stamp']) == ('', '')
    assert values['thermal_stamp'] == '1700000001.007250005'


def test_label_info_names_every_id():
    message = build_label_info(('sky', 'road'), header=Header(), threshold=0.5)
    assert [(item.class_id, item.class_name) for item in message.class_map] == [
        (0, 'sky'),
        (1, 'road'),
    ]
    assert message.threshold == 0.5


@pytest.mark.parametrize(('version', 'number'), [('3', 3), ('1.2', 0)])
def test_vision_info_names_the_model(version, number):
    card = SimpleNamespace(name='tiny', version=version, architecture='rgbt_tiny')
    message = build_vision_info(card, header=Header(), database_location='/p/label_info')
    assert message.method == f'tiny version {version} (rgbt_tiny)'
    assert (message.database_location, message.database_version) == ('/p/label_info', number)


def test_missing_vision_msgs_names_both_ways_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'vision_msgs.msg', None)
    with pytest.raises(
        BackendUnavailableError, match=r'apt install.*tools/pip_ros/install_vision'
    ):
        import_vision_msgs()
