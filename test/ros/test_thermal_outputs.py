# SPDX-License-Identifier: Apache-2.0
"""What is in thermal pixels, temperatures, and that nothing is built for nobody."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray
from fakes import build_outputs, rgb_frame, thermal_frame
import numpy as np
import pytest
from ros_rig import image_of, stamp_of, values_of
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from rgbt_perception.ros.messages import header_of

KINDS = {
    'detections': Detection2DArray,
    'segmentation/mask': Image,
    'mdi': DiagnosticArray,
    'temperatures': DiagnosticArray,
    'segmentation/color_mask': Image,
    'overlay': Image,
    'mdi/map': Image,
    'thermal/detections': Detection2DArray,
    'thermal/segmentation/mask': Image,
}
BUILDERS = (
    'serialise_detections',
    'serialise_image',
    'serialise_statuses',
    'mdi_text',
    'temperature_texts',
    'color_label_map',
    'draw_overlay',
    'share_map_at_reference',
    'detections_in_thermal',
    'label_map_in_thermal',
)


def output_of(rig, topic, stamp_ns):
    """Send pairs until one arrives on a topic that was subscribed to just now."""
    rig.wait_until(lambda: _find(rig, topic, stamp_ns), f'{topic} of {stamp_ns} arrives')
    return _find(rig, topic, stamp_ns)


def _find(rig, topic, stamp_ns):
    return next((item for item in rig.received[topic] if stamp_of(item) == stamp_ns), None)


def spy_on(original, name, built):
    def spy(*args, **how):
        built.add(name)
        return original(*args, **how)

    return spy


def process_pair(rig):
    """Send a pair and wait for its inference; publishing follows."""
    num_batches = len(rig.engine.batches)
    rig.send_pair()
    rig.wait_until(lambda: len(rig.engine.batches) > num_batches, 'the pair is in work')
    return True


def listen(rig, topic):
    rig.listen(topic, KINDS[topic])
    rig.wait_until(
        lambda: (
            rig.node.count_subscribers(f'/perception/{topic}')
            and rig.user.count_publishers(f'/perception/{topic}')
        ),
        f'{topic} is connected',
    )
    rig.wait_until(lambda: rig.run_pair() and rig.received[topic], f'{topic} flows')


def test_boxes_and_mask_in_thermal_pixels_carry_the_thermal_header(rig):
    listen(rig, 'thermal/detections')
    listen(rig, 'thermal/segmentation/mask')
    stamp_ns = rig.send_pair(skew_ns=5_000_000)
    header = header_of(thermal_frame(stamp_ns + 5_000_000))
    message = output_of(rig, 'thermal/detections', stamp_ns + 5_000_000)
    assert message.header == header
    assert header.frame_id == 'thermal_optical_frame'
    (detection,) = message.detections
    assert detection.header == header
    # In RGB (64x48) the centre is (19.2, 17.6), the size 12.8 x 25.6; thermal is 56x40.
    center = detection.bbox.center.position
    assert (center.x, center.y) == pytest.approx((19.2 * 56 / 64, 17.6 * 40 / 48), abs=1e-3)
    assert (detection.bbox.size_x, detection.bbox.size_y) == pytest.approx(
        (12.8 * 56 / 64, 25.6 * 40 / 48), abs=1e-3
    )
    mask = output_of(rig, 'thermal/segmentation/mask', stamp_ns + 5_000_000)
    assert (mask.header, mask.height, mask.width, mask.encoding) == (header, 40, 56, 'mono8')
    assert set(mask.data) == {1}


def test_a_shifted_registration_moves_the_thermal_boxes_and_cuts_them(make_rig):
    # Thermal pixel (x, y) lies at RGB (x + 20, y): the box's left part is outside of thermal.
    matrix = [1.0, 0.0, 20.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    rig = make_rig(
        {'registration.method': 'homography', 'registration.homography_thermal_to_rgb': matrix}
    )
    rig.start()
    listen(rig, 'thermal/detections')
    (detection,) = rig.received['thermal/detections'][-1].detections
    # In RGB the box spans x 12.8..25.6: -7.2..5.6 in thermal, of which 0..5.6 is seen.
    assert detection.bbox.size_x == pytest.approx(5.6, abs=0.01)
    assert detection.bbox.center.position.x == pytest.approx(2.8, abs=0.01)


def test_without_a_thermal_frame_nothing_goes_out_in_thermal_pixels(rig):
    listen(rig, 'thermal/detections')
    alone = [rig.next_stamp_ns() for _ in range(3)]
    for stamp_ns in alone:
        rig.send('rgb', image_of(rgb_frame(stamp_ns)))
        rig.result_of(stamp_ns)
    assert not [item for item in rig.received['thermal/detections'] if stamp_of(item) in alone]


def test_temperatures_have_a_status_for_each_detection(make_rig):
    rig = make_rig({'thermal.reading': 'tlinear_10mk', 'thermal.hot_spot_c': 15.0})
    rig.start()
    listen(rig, 'temperatures')
    stamp_ns = rig.send_pair()
    message = output_of(rig, 'temperatures', stamp_ns)
    assert message.header == header_of(rgb_frame(stamp_ns))
    (status,) = message.status
    values = values_of(status)
    # Counts of 29,000 to 30,000 in 0.01 K are 16.85 to 26.85 degrees C.
    assert 16.85 <= float(values['min_c']) <= float(values['mean_c']) <= float(values['max_c'])
    assert float(values['max_c']) <= 26.86
    assert (status.level, values['class']) == (b'\x01', 'person')
    assert status.message.startswith('hot spot: person')


def test_temperatures_of_grey_levels_are_unknown(rig):
    listen(rig, 'temperatures')
    (status,) = rig.received['temperatures'][-1].status
    assert values_of(status)['max_c'] == 'nan'
    assert status.level == b'\x00'


def test_nothing_is_built_without_a_subscriber(make_rig, monkeypatch):
    rig = make_rig(topics={})
    rig.start()
    built = []
    for name in BUILDERS:
        monkeypatch.setattr(
            f'rgbt_perception.ros.outputs.{name}',
            lambda *_, name=name, **__: built.append(name),
        )
    for _ in range(3):
        process_pair(rig)
    rig.wait_until(lambda: rig.status('inference').get('results') == '3', 'all are done')
    assert built == []


@pytest.mark.parametrize('topic', KINDS)
def test_only_what_is_listened_to_is_built(make_rig, monkeypatch, topic):
    import rgbt_perception.ros.outputs as module

    rig = make_rig(topics={})
    rig.start()
    built = set()
    for name in BUILDERS:
        monkeypatch.setattr(module, name, spy_on(getattr(module, name), name, built))
    rig.listen(topic, KINDS[topic])
    rig.wait_until(lambda: process_pair(rig) and rig.received[topic], f'{topic} flows')
    expected = {
        'detections': {'serialise_detections'},
        'segmentation/mask': {'serialise_image'},
        'mdi': {'serialise_statuses', 'mdi_text'},
        'temperatures': {'serialise_statuses', 'temperature_texts'},
        'segmentation/color_mask': {'serialise_image', 'color_label_map'},
        'overlay': {'serialise_image', 'draw_overlay'},
        'mdi/map': {'serialise_image', 'share_map_at_reference'},
        'thermal/detections': {'serialise_detections', 'detections_in_thermal'},
        'thermal/segmentation/mask': {'serialise_image', 'label_map_in_thermal'},
    }
    assert built == expected[topic]


def test_twenty_subscribers_all_get_every_result(rig):
    rig.engine.outputs = build_outputs((64, 80), class_id=2)
    for index in range(20):
        topic = f'copy {index}'
        rig.user.create_subscription(
            Image, '/perception/segmentation/mask', rig.received[topic].append, 10
        )
    rig.wait_until(
        lambda: rig.node.count_subscribers('/perception/segmentation/mask') == 21,
        'all are connected',
    )
    rig.wait_until(
        lambda: rig.run_pair() and all(rig.received[f'copy {index}'] for index in range(20)),
        'all get something',
    )
    stamps = [rig.send_pair()]
    for _ in range(4):
        rig.result_of(stamps[-1])
        stamps.append(rig.send_pair())
    rig.result_of(stamps[-1])
    for index in range(20):
        topic = f'copy {index}'
        rig.wait_until(lambda: _find(rig, topic, stamps[-1]), 'the last comes')  # noqa: B023
        masks = rig.received[topic][-5:]
        assert [stamp_of(mask) for mask in masks] == stamps
        assert all(np.unique(mask.data).tolist() == [2] for mask in masks)
