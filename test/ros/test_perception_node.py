# SPDX-License-Identifier: Apache-2.0
"""The node over the real middleware, on a fake engine: what goes in, what must come out."""

from __future__ import annotations

import threading
import time

import cv2
from fakes import (
    build_outputs,
    DETECTION_CLASSES,
    rgb_frame,
    SEGMENTATION_CLASSES,
    thermal_frame,
)
import numpy as np
import pytest
from rclpy.parameter import Parameter
from ros_rig import image_of, reliable_latched, stamp_of
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import LabelInfo, VisionInfo

from rgbt_perception.errors import EngineError
from rgbt_perception.ros.guarded_pairer import GuardedPairer
from rgbt_perception.ros.messages import header_of
from rgbt_perception.types import Frame, Modality


def test_every_output_carries_the_header_of_its_rgb_frame(rig):
    for skew_ns in (0, 7_000_000, -12_000_000):
        stamp_ns = rig.send_pair(skew_ns=skew_ns)
        results = rig.result_of(stamp_ns)
        header = header_of(rgb_frame(stamp_ns))
        for topic, message in results.items():
            assert message.header == header, topic
        assert [item.header for item in results['detections'].detections] == [header]


def test_a_detection_is_in_rgb_pixels_with_its_name(rig):
    detection = rig.run_pair()['detections'].detections[0]
    # 64x48 into the network's 80x64: scale 1.25, 2 px of padding above. The engine's box
    # (16, 8, 32, 40) is (12.8, 4.8, 25.6, 30.4) in the image.
    center = detection.bbox.center.position
    assert (center.x, center.y) == pytest.approx((19.2, 17.6), abs=1e-4)
    assert (detection.bbox.size_x, detection.bbox.size_y) == pytest.approx((12.8, 25.6), abs=1e-4)
    assert detection.results[0].hypothesis.class_id == 'person'
    assert detection.results[0].hypothesis.score == pytest.approx(0.9, abs=1e-6)


def test_the_mask_has_the_size_of_the_rgb_image(rig):
    mask = rig.run_pair(size_hw=(30, 70))['segmentation/mask']
    assert (mask.height, mask.width, mask.encoding, mask.step) == (30, 70, 'mono8', 70)
    assert len(mask.data) == 30 * 70
    assert set(mask.data) == {SEGMENTATION_CLASSES.index('road')}


def test_the_mdi_message_says_what_was_used(rig):
    stamp_ns = rig.send_pair(skew_ns=4_000_000)
    rig.result_of(stamp_ns)
    values = rig.mdi_values()
    assert values['mode'] == 'fused'
    assert values['mode_reason'] == ''
    assert values['skew_ms'] == '4.000'
    assert values['rgb_stamp'] == f'{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}'
    assert values['thermal_stamp'].endswith(f'{(stamp_ns + 4_000_000) % 10**9:09d}')
    assert float(values['rgb_share']) + float(values['thermal_share']) == pytest.approx(1.0)
    assert (values['backend'], values['model'], values['valid']) == ('fake', 'fake', 'true')
    assert float(values['latency_ms']) > 0.0


def test_label_sets_reach_a_late_subscriber(rig):
    rig.run_pair()
    for topic, kind in (
        ('label_info', LabelInfo),
        ('detections/label_info', LabelInfo),
        ('vision_info', VisionInfo),
    ):
        rig.listen(topic, kind, reliable_latched())
        rig.wait_until(lambda: rig.received[topic], f'{topic} arrives')  # noqa: B023 used at once
    names = {
        topic: tuple(item.class_name for item in rig.received[topic][0].class_map)
        for topic in ('label_info', 'detections/label_info')
    }
    assert names == {
        'label_info': SEGMENTATION_CLASSES,
        'detections/label_info': DETECTION_CLASSES,
    }
    assert rig.received['vision_info'][0].database_location == '/perception/detections/label_info'


def test_pictures_are_drawn_only_for_a_subscriber(rig, monkeypatch):
    drawn = []

    def draw(result, card, registration):
        assert registration is not None  # that of the pipeline: thermal may be the background
        drawn.append(result)
        return np.full((*result.pair.reference.size_hw, 3), 7, np.uint8)

    monkeypatch.setattr('rgbt_perception.ros.outputs.draw_overlay', draw)
    rig.run_pair()
    assert drawn == []
    rig.listen('overlay', Image)
    rig.wait_until(lambda: rig.node.count_subscribers('/perception/overlay'), 'overlay is found')
    rig.wait_until(
        lambda: rig.run_pair() and rig.received['overlay'], 'an overlay of some later pair comes'
    )
    overlay = rig.received['overlay'][0]
    assert (overlay.encoding, overlay.height, overlay.width, overlay.step) == ('rgb8', 48, 64, 192)
    assert set(overlay.data) == {7}
    assert overlay.header == header_of(drawn[0].pair.rgb)


def test_the_share_map_covers_the_rgb_image(rig):
    rig.engine.outputs = build_outputs((64, 80), rgb_share=0.25)
    rig.listen('mdi/map', Image)
    rig.wait_until(lambda: rig.run_pair() and rig.received['mdi/map'], 'a share map comes')
    message = rig.received['mdi/map'][0]
    assert (message.encoding, message.height, message.width) == ('32FC1', 48, 64)
    assert message.step == 256
    np.testing.assert_allclose(np.frombuffer(message.data, np.float32), 0.25)


def test_without_thermal_the_node_goes_on_with_rgb_and_recovers(rig):
    rig.run_pair()
    rig.run_pair()
    assert rig.mdi_values()['mode'] == 'fused'
    for _ in range(3):
        stamp_ns = rig.next_stamp_ns()
        rig.send('rgb', image_of(rgb_frame(stamp_ns)))
        results = rig.result_of(stamp_ns)
        assert results['detections'].header == header_of(rgb_frame(stamp_ns))
        values = rig.mdi_values()
        assert (values['mode'], values['thermal_stamp']) == ('rgb_only', '')
        assert 'thermal' in values['mode_reason']
        assert (values['mdi'], values['state']) == ('1.0000', 'single')
        assert rig.engine.batches[-1].available.tolist() == [[1.0, 0.0]]
    rig.run_pair()  # may still be RGB alone: a camera is missing until its first frame is back
    rig.run_pair()
    assert rig.mdi_values()['mode'] == 'fused'
    assert 'mode rgb_only: no thermal frame' in rig.log_text()


def test_without_rgb_the_node_goes_on_with_thermal(rig):
    for _ in range(2):
        stamp_ns = rig.next_stamp_ns()
        rig.send('thermal', image_of(thermal_frame(stamp_ns)))
        if rig.received['mdi']:
            break
    # RGB counts as missing half a second after the first thermal frame: later ones pass at once.
    rig.wait_until(lambda: _send_thermal(rig) and rig.received['mdi'], 'a thermal result comes')
    message = rig.received['mdi'][-1]
    results = rig.result_of(stamp_of(message))
    mask = results['segmentation/mask']
    assert rig.mdi_values()['mode'] == 'thermal_only'
    assert (mask.height, mask.width) == (40, 56)
    assert mask.header.frame_id == 'thermal_optical_frame'
    assert rig.engine.batches[-1].available.tolist() == [[0.0, 1.0]]


def _send_thermal(rig):
    rig.send('thermal', image_of(thermal_frame(rig.next_stamp_ns())))
    return True


def test_a_dark_rgb_image_is_named_and_its_header_kept(rig):
    stamp_ns = rig.next_stamp_ns()
    rig.send('rgb', image_of(rgb_frame(stamp_ns, value=3)))
    rig.send('thermal', image_of(thermal_frame(stamp_ns)))
    results = rig.result_of(stamp_ns)
    assert rig.mdi_values()['mode'] == 'thermal_only'
    assert 'rgb is dark' in rig.mdi_values()['mode_reason']
    assert results['detections'].header.frame_id == 'rgb_optical_frame'
    assert (results['segmentation/mask'].height, results['segmentation/mask'].width) == (48, 64)


def test_two_blind_cameras_give_an_empty_result_that_says_so(rig):
    stamp_ns = rig.next_stamp_ns()
    rig.send('rgb', image_of(rgb_frame(stamp_ns, value=3)))
    rig.send('thermal', image_of(thermal_frame(stamp_ns, value=29_500)))
    results = rig.result_of(stamp_ns)
    values = rig.mdi_values()
    assert (values['mode'], values['valid'], values['mdi']) == ('none', 'false', 'nan')
    assert 'rgb is dark' in values['mode_reason']
    assert 'thermal has no contrast' in values['mode_reason']
    assert list(results['detections'].detections) == []
    assert set(results['segmentation/mask'].data) == {255}
    assert rig.engine.batches == []


def _with(message, **fields):
    for name, value in fields.items():
        setattr(message, name, value)
    return message


BAD_MESSAGES = {
    'unknown rgb encoding': ('rgb', {'encoding': 'nv99'}, "encoding 'nv99', expected one of"),
    'rgb step too small': ('rgb', {'step': 100}, 'step 100, expected at least 192'),
    'rgb data too short': ('rgb', {'height': 49}, '9216 bytes of data, expected 9408'),
    'rgb 0x0': ('rgb', {'height': 0, 'width': 0}, '0x0, expected at least 1x1'),
    'rgb too large': ('rgb', {'height': 70_000, 'width': 70_000}, 'expected at most 33554432'),
    'unknown thermal encoding': (
        'thermal',
        {'encoding': 'nv99'},
        "encoding 'nv99', expected one of",
    ),
    'thermal data too long': ('thermal', {'height': 39}, '4480 bytes of data, expected 4368'),
}


@pytest.mark.parametrize(('camera', 'fields', 'sentence'), BAD_MESSAGES.values(), ids=BAD_MESSAGES)
def test_a_bad_image_is_dropped_counted_and_explained(rig, camera, fields, sentence):
    rig.run_pair()
    make = rgb_frame if camera == 'rgb' else thermal_frame
    rig.send(camera, _with(image_of(make(rig.next_stamp_ns())), **fields))
    rig.wait_until(
        lambda: rig.status('synchronisation').get('dropped_bad_frame') == '1',
        'the drop is counted',
    )
    rig.wait_until(lambda: sentence in rig.log_text(), f'the log says {sentence!r}')
    assert sentence in rig.status(f'{camera} input')['last_problem']
    rig.run_pair()  # and the node lives on
    assert rig.status('synchronisation')['dropped_bad_frame'] == '1'


def test_the_image_size_may_change_from_frame_to_frame(rig):
    for size_hw in ((48, 64), (20, 90), (100, 30)):
        mask = rig.run_pair(size_hw=size_hw)['segmentation/mask']
        assert (mask.height, mask.width) == size_hw


def test_nan_in_a_temperature_image_is_no_reason_to_stop(rig):
    stamp_ns = rig.next_stamp_ns()
    pixels = np.linspace(10.0, 40.0, 40 * 56, dtype=np.float32).reshape(40, 56)
    pixels[3, 5:20] = np.nan
    frame = Frame(pixels=pixels, stamp_ns=stamp_ns, frame_id='thermal', modality=Modality.THERMAL)
    rig.send('rgb', image_of(rgb_frame(stamp_ns)))
    rig.send('thermal', image_of(frame))
    rig.result_of(stamp_ns)
    assert rig.mdi_values()['mode'] == 'fused'
    assert np.isfinite(rig.engine.batches[-1].thermal).all()


def test_a_failing_engine_is_counted_and_the_next_pair_works(rig):
    rig.engine.error = EngineError('the network gave NaN in class_logits')
    rig.send_pair()
    rig.wait_until(
        lambda: rig.status('inference').get('pairs_failed') == '1', 'the failure is counted'
    )
    rig.wait_until(lambda: 'gave NaN in class_logits' in rig.log_text(), 'the failure is logged')
    assert rig.status('synchronisation')['dropped_failed'] == '1'
    rig.engine.error = None
    rig.run_pair()


def test_while_the_engine_is_busy_only_the_newest_pair_waits(rig):
    entered, go_on = threading.Event(), threading.Event()

    def wait_for_the_test(batch):
        entered.set()
        assert go_on.wait(20.0)
        return build_outputs((64, 80))

    rig.engine.outputs = wait_for_the_test
    first = rig.send_pair()
    rig.wait_until(entered.is_set, 'the engine is busy')
    for count in range(1, 4):
        last = rig.send_pair()
        rig.wait_until(
            lambda: rig.status('thermal input').get('frames') == str(count + 1),  # noqa: B023 used at once
            'the pair has arrived',
        )
    go_on.set()
    rig.result_of(first)
    rig.result_of(last)
    rig.wait_until(
        lambda: rig.status('inference').get('results') == '2', 'both results are counted'
    )
    assert rig.status('synchronisation')['dropped_superseded'] == '2'
    assert len(rig.engine.batches) == 2


def test_the_score_threshold_is_live(rig):
    assert len(rig.run_pair()['detections'].detections) == 1
    (result,) = rig.node.set_parameters([Parameter('output.score_threshold', value=0.95)])
    assert result.successful
    assert len(rig.run_pair()['detections'].detections) == 0


def test_compressed_images_are_decoded(make_rig):
    rig = make_rig(
        {'input.rgb_transport': 'compressed', 'input.thermal_transport': 'compressed'},
        image_type=CompressedImage,
    )
    rig.start()
    stamp_ns = rig.next_stamp_ns()
    rgb, thermal = rgb_frame(stamp_ns), thermal_frame(stamp_ns)
    for name, frame, suffix in (('rgb', rgb, '.jpg'), ('thermal', thermal, '.png')):
        data = cv2.imencode(suffix, frame.pixels)[1].tobytes()
        rig.send(name, CompressedImage(header=header_of(frame), format=suffix[1:], data=data))
    rig.result_of(stamp_ns)
    assert rig.mdi_values()['mode'] == 'fused'


def test_stamps_that_jump_back_do_not_stop_the_results(rig):
    first = rig.send_pair()
    rig.result_of(first)
    rig.run_pair()
    rig._stamp_ns = first - 60 * 1_000_000_000  # the bag starts again
    rig.run_pair()
    assert rig.mdi_values()['mode'] == 'fused'


def test_diagnostics_have_six_statuses_and_name_the_engine(rig):
    rig.run_pair()
    rig.wait_until(lambda: rig.received['diagnostics'], 'diagnostics arrive')
    message = rig.received['diagnostics'][-1]
    assert len(message.status) == 6
    assert {item.name.partition(': ')[0] for item in message.status} == {'perception'}
    assert rig.status('engine')['precision'] == 'fp32'
    assert rig.status('rgb input')['topic'] == '/rgb/image_raw'


def test_results_only_while_active_through_many_cycles(make_rig):
    rig = make_rig()
    num_threads = threading.active_count()
    for _ in range(5):
        rig.start()
        rig.run_pair()
        assert rig.node.trigger_deactivate().name == 'SUCCESS'
        assert threading.active_count() == num_threads
        rig.wait_until(lambda: rig.cameras['rgb'].get_subscription_count() == 0, 'nobody listens')
        assert rig.node.trigger_activate().name == 'SUCCESS'
        rig.wait_until(rig._is_connected, 'node and user find each other again')
        rig.run_pair()
        assert rig.node.trigger_deactivate().name == 'SUCCESS'
        assert rig.node.trigger_cleanup().name == 'SUCCESS'
        assert rig.engine.is_closed
        rig.engine.is_closed = False


def test_a_pipeline_that_cannot_open_fails_configure_with_its_sentence(make_rig):
    rig = make_rig()

    def refuse(config):
        raise EngineError('the graph has no output share_map; export the model again')

    rig.node._open_with = refuse
    assert not rig.node.start()
    assert rig.node._state_machine.current_state[1] == 'unconfigured'
    sentence = 'cannot configure: the graph has no output share_map; export the model again'
    rig.wait_until(lambda: sentence in rig.log_text(), 'the sentence is logged')


def test_a_network_that_fails_its_warm_up_fails_configure_and_is_released(make_rig):
    rig = make_rig()
    rig.engine.error = EngineError('ONNX Runtime failed on an input of (64, 80) px')
    assert not rig.node.start()
    assert rig.engine.is_closed
    rig.wait_until(
        lambda: 'cannot configure: ONNX Runtime failed on an input' in rig.log_text(),
        'the sentence is logged',
    )


def test_an_unexpected_error_in_configure_is_logged_too(make_rig):
    rig = make_rig()
    rig.node._open_with = lambda config: 1 / 0
    assert not rig.node.start()
    rig.wait_until(
        lambda: 'cannot configure: unexpected ZeroDivisionError' in rig.log_text(),
        'the error is logged',
    )


def test_a_synthetic_model_says_so_at_start(rig):
    rig.wait_until(lambda: 'synthetic data only' in rig.log_text(), 'the warning is logged')


def test_an_idle_node_does_not_poll(rig, monkeypatch):
    rig.run_pair()
    polls_s = []
    poll = GuardedPairer.poll

    def counted(*args):
        polls_s.append(time.monotonic())
        return poll(*args)

    monkeypatch.setattr(GuardedPairer, 'poll', counted)
    end_s = time.monotonic() + 1.0
    rig.wait_until(lambda: time.monotonic() > end_s, 'a second has passed')
    assert len(polls_s) <= 1  # what was urgent about the pair may come late
