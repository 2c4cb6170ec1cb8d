# SPDX-License-Identifier: Apache-2.0
"""``~/enable`` and ``~/snapshot`` over the real middleware."""

from __future__ import annotations

import json
from pathlib import Path
import stat
import threading
import time

import cv2
from fakes import build_outputs, rgb_frame, thermal_frame
import numpy as np
import pytest
from ros_rig import image_of
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import SetBool, Trigger

from rgbt_perception.config import flatten, load_config
from rgbt_perception.errors import EngineError
from rgbt_perception.ros.snapshot import MAX_SNAPSHOTS
from rgbt_perception.types import Frame, Modality

NOTHING_ELSE_S = 5.0
INPUTS_AND_INFERENCE = ('rgb input', 'thermal input', 'inference')


@pytest.fixture
def snapshot_rig(make_rig, tmp_path):
    rig = make_rig({'output.snapshot_dir': str(tmp_path / 'bugs'), 'sync.max_skew_s': 0.03125})
    rig.start()
    return rig


def test_disabled_the_node_drops_images_and_says_so(rig):
    rig.run_pair()
    answer = rig.call(SetBool, 'enable', data=False)
    assert (answer.success, answer.message) == (True, 'disabled: images are dropped')
    for messages in rig.received.values():
        messages.clear()
    num_batches = len(rig.engine.batches)
    for _ in range(3):
        rig.send_pair()
    rig.wait_until(
        lambda: any('disabled by ~/enable' in text for text in texts(rig, 'rgb input')),
        'the diagnostics say so',
    )
    rig.wait_until(lambda: len(rig.received['diagnostics']) >= 3, 'more diagnostics come')
    assert [rig.received[topic] for topic in ('detections', 'segmentation/mask', 'mdi')] == [
        []
    ] * 3
    assert len(rig.engine.batches) == num_batches


def test_enabled_again_the_node_starts_afresh_without_a_stale_pair(rig):
    rig.run_pair()
    left_over = rig.next_stamp_ns()
    rig.send('thermal', image_of(thermal_frame(left_over)))  # waits for its partner
    rig.wait_until(
        lambda: rig.status('thermal input').get('frames') == '2', 'the thermal frame is there'
    )
    rig.call(SetBool, 'enable', data=False)
    assert rig.call(SetBool, 'enable', data=True).message == 'enabled: images are used'
    rig.send('rgb', image_of(rgb_frame(left_over)))
    rig.run_pair()
    stamps = {values['thermal_stamp'] for values in map(mdi_of, rig.received['mdi'])}
    assert f'{left_over // 10**9}.{left_over % 10**9:09d}' not in stamps
    rig.run_pair()
    assert rig.mdi_values()['mode'] == 'fused'
    rig.wait_until(
        lambda: rig.status('synchronisation').get('dropped_no_partner') == '1', 'it is counted'
    )


def test_enabled_again_the_cameras_are_not_blamed_for_the_time_in_between(make_rig):
    rig = make_rig({'fallback.missing_after_s': 0.2})
    rig.start()
    rig.run_pair()
    rig.call(SetBool, 'enable', data=False)
    off_s = time.monotonic()
    rig.wait_until(lambda: time.monotonic() - off_s > 0.5, 'a while has passed')
    rig.received['diagnostics'].clear()
    rig.call(SetBool, 'enable', data=True)

    def first_report():
        said = zip(*(texts(rig, name) for name in INPUTS_AND_INFERENCE), strict=True)
        return next((item for item in said if 'disabled' not in item[0]), None)

    rig.wait_until(first_report, 'diagnostics come')
    rgb, thermal, inference = first_report()
    assert 'no rgb frame' not in rgb
    assert 'no thermal frame' not in thermal
    assert 'no result' not in inference


def test_a_pair_in_work_is_not_published_once_the_node_is_disabled(rig):
    entered, go_on = threading.Event(), threading.Event()

    def wait_for_the_test(batch):
        entered.set()
        assert go_on.wait(20.0)
        return build_outputs((64, 80))

    rig.engine.outputs = wait_for_the_test
    rig.send_pair()
    rig.wait_until(entered.is_set, 'the engine is busy')
    rig.call(SetBool, 'enable', data=False)
    go_on.set()
    rig.wait_until(
        lambda: rig.status('synchronisation').get('dropped_superseded') == '1', 'it is counted'
    )
    assert rig.received['mdi'] == []


@pytest.mark.parametrize(
    ('kind', 'service', 'fields'), [(SetBool, 'enable', {'data': True}), (Trigger, 'snapshot', {})]
)
def test_an_inactive_node_refuses_with_a_sentence(make_rig, kind, service, fields):
    rig = make_rig()
    assert rig.node.trigger_configure().name == 'SUCCESS'
    sentence = 'the node is not active; activate it first: ros2 lifecycle set /perception activate'
    answer = rig.call(kind, service, **fields)
    assert (answer.success, answer.message) == (False, sentence)
    rig.node.trigger_activate()
    rig.node.trigger_deactivate()
    rig.node.trigger_cleanup()
    assert rig.call(kind, service, **fields).message == sentence


def test_a_snapshot_before_the_first_pair_is_refused(snapshot_rig):
    answer = snapshot_rig.call(Trigger, 'snapshot')
    assert (answer.success, answer.message) == (
        False,
        'no pair was processed yet; see /diagnostics for the reason',
    )


def test_a_snapshot_holds_the_pair_its_result_and_the_settings(snapshot_rig):
    rig = snapshot_rig
    stamp_ns = rig.send_pair()
    rig.result_of(stamp_ns)
    rig.wait_until(lambda: rig.received['diagnostics'], 'diagnostics come')
    answer = rig.call(Trigger, 'snapshot')
    assert answer.success, answer.message
    folder = Path(answer.message)
    assert folder.name == f'snapshot_{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}'
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    rgb = cv2.cvtColor(cv2.imread(str(folder / 'rgb.png')), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(rgb, rgb_frame(stamp_ns).pixels)
    thermal = cv2.imread(str(folder / 'thermal.png'), cv2.IMREAD_UNCHANGED)
    assert thermal.dtype == np.uint16
    np.testing.assert_array_equal(thermal, thermal_frame(stamp_ns).pixels)
    result = json.loads((folder / 'result.json').read_text())
    assert (result['rgb_stamp_ns'], result['mode']) == (stamp_ns, 'fused')
    assert result['class_names'] == ['person']
    assert cv2.imread(str(folder / 'overlay.png')).shape == (48, 64, 3)
    assert flatten(load_config(folder / 'parameters.yaml')) == flatten(rig.node._config)
    statuses = json.loads((folder / 'diagnostics.json').read_text())
    assert [item['name'] for item in statuses][-1] == 'perception: engine'
    versions = (folder / 'versions.txt').read_text()
    assert 'engine fake, cpu, fp32\n' in versions
    assert f'numpy {np.__version__}\n' in versions


def test_a_second_snapshot_of_a_pair_gets_a_name_of_its_own(snapshot_rig):
    snapshot_rig.run_pair()
    names = [Path(snapshot_rig.call(Trigger, 'snapshot').message).name for _ in range(2)]
    assert names[1] == f'{names[0]}_2'


def test_a_snapshot_keeps_temperatures_exactly(snapshot_rig):
    rig = snapshot_rig
    stamp_ns = rig.next_stamp_ns()
    pixels = np.linspace(10.0, 40.0, 40 * 56, dtype=np.float32).reshape(40, 56)
    pixels[3, 4] = np.nan
    frame = Frame(pixels=pixels, stamp_ns=stamp_ns, frame_id='t', modality=Modality.THERMAL)
    rig.send('rgb', image_of(rgb_frame(stamp_ns)))
    rig.send('thermal', image_of(frame))
    rig.result_of(stamp_ns)
    folder = Path(rig.call(Trigger, 'snapshot').message)
    np.testing.assert_array_equal(np.load(folder / 'thermal.npy', allow_pickle=False), pixels)


def test_a_snapshot_of_a_pair_that_failed_says_why(snapshot_rig):
    rig = snapshot_rig
    rig.engine.error = EngineError('the network gave NaN in class_logits')
    rig.send_pair()
    rig.wait_until(lambda: rig.status('inference').get('pairs_failed') == '1', 'it has failed')
    folder = Path(rig.call(Trigger, 'snapshot').message)
    result = json.loads((folder / 'result.json').read_text())
    assert result == {'problem': 'the network gave NaN in class_logits'}
    assert (folder / 'rgb.png').exists()
    assert not (folder / 'overlay.png').exists()


def test_a_snapshot_holds_the_cameras(snapshot_rig):
    rig = snapshot_rig
    info = CameraInfo(height=48, width=64, distortion_model='plumb_bob', d=[0.1, 0.0, 0.0, 0.0])
    info.k = [50.0, 0.0, 31.5, 0.0, 51.0, 23.5, 0.0, 0.0, 1.0]
    publisher = rig.user.create_publisher(CameraInfo, 'rgb/camera_info', 1)
    rig.wait_until(publisher.get_subscription_count, 'somebody listens')
    publisher.publish(info)
    rig.wait_until(lambda: rig.node._loop._cameras.infos, 'it has arrived')
    rig.run_pair()
    folder = Path(rig.call(Trigger, 'snapshot').message)
    cameras = json.loads((folder / 'cameras.json').read_text())
    assert cameras['rgb']['k'] == list(info.k)
    assert 'thermal' not in cameras


def test_a_snapshot_that_fails_half_way_leaves_nothing(snapshot_rig, tmp_path, monkeypatch):
    import rgbt_perception.ros.snapshot as module

    def refuse(*_):
        raise ValueError('no picture')

    snapshot_rig.run_pair()
    monkeypatch.setattr(module, 'draw_overlay', refuse)
    answer = snapshot_rig.call(Trigger, 'snapshot')
    assert (answer.success, answer.message) == (False, 'unexpected ValueError: no picture')
    assert list((tmp_path / 'bugs').iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(make_rig, tmp_path):
    blocker = tmp_path / 'file'
    blocker.write_text('')
    rig = make_rig({'output.snapshot_dir': str(blocker / 'bugs')})
    rig.start()
    rig.run_pair()
    answer = rig.call(Trigger, 'snapshot')
    assert not answer.success
    assert answer.message == (
        f"cannot write a snapshot below '{blocker / 'bugs'}' (Not a directory); expected a folder "
        f'with room that this user may write; correct output.snapshot_dir'
    )
    rig.run_pair()


def test_snapshots_do_not_fill_the_disk(snapshot_rig, tmp_path):
    for index in range(MAX_SNAPSHOTS):
        (tmp_path / 'bugs' / f'snapshot_{index}').mkdir(parents=True)
    snapshot_rig.run_pair()
    answer = snapshot_rig.call(Trigger, 'snapshot')
    assert not answer.success
    assert 'holds 20 snapshots, expected fewer; move or delete them' in answer.message


def test_a_snapshot_is_answered_when_it_is_written_though_nothing_else_happens(
    make_rig, tmp_path, monkeypatch
):
    values = {'diagnostics.period_s': 60.0, 'fallback.missing_after_s': 60.0}
    rig = make_rig({**values, 'output.snapshot_dir': str(tmp_path)})
    rig.start()
    rig.run_pair()

    def write_late(*_args, **_how):
        time.sleep(0.5)
        return tmp_path

    monkeypatch.setattr('rgbt_perception.ros.loop.write_snapshot', write_late)
    client = rig.user.create_client(Trigger, '/perception/snapshot')
    rig.wait_until(client.service_is_ready, 'the service is offered')
    asked_s = time.monotonic()
    answer = client.call_async(Trigger.Request())
    while not answer.done():
        rig.wait_for_event(NOTHING_ELSE_S)
    assert time.monotonic() - asked_s < NOTHING_ELSE_S


def test_receiving_does_not_wait_for_a_snapshot(snapshot_rig, monkeypatch):
    rig = snapshot_rig
    go_on = threading.Event()

    def write_when_told(*_):
        assert go_on.wait(20.0)
        return Path('/told')

    monkeypatch.setattr('rgbt_perception.ros.loop.write_snapshot', write_when_told)
    rig.run_pair()
    client = rig.user.create_client(Trigger, '/perception/snapshot')
    rig.wait_until(client.service_is_ready, 'the service is there')
    future = client.call_async(Trigger.Request())
    for _ in range(3):
        rig.run_pair()
    assert not future.done()
    go_on.set()
    rig.wait_until(future.done, 'it answers')
    assert future.result().message == '/told'


def texts(rig, name):
    return [
        status.message
        for message in rig.received['diagnostics']
        for status in message.status
        if status.name == f'perception: {name}'
    ]


def mdi_of(message):
    return {item.key: item.value for item in message.status[0].values}
