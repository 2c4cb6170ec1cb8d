# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
import math
from types import SimpleNamespace

from diagnostic_msgs.msg import DiagnosticStatus
from made_results import build_result, rgb_frame, RGB_STAMP_NS, thermal_frame
import pytest

from rgbt_perception.config import build_config
from rgbt_perception.ros.diagnostics import Diagnostics, SyncCounts
from rgbt_perception.types import DropReason, Modality, Mode, Pair

SECOND = 1_000_000_000
TOPICS = {Modality.RGB: '/rgb/image_raw', Modality.THERMAL: '/thermal/image_raw'}
PIPELINE = SimpleNamespace(
    card=SimpleNamespace(
        name='tiny',
        version='1',
        architecture='rgbt_tiny',
        licence='Apache-2.0',
        training_data='a synthetic world',
        synthetic_only=True,
    ),
    engine=SimpleNamespace(backend='onnx', device='cpu', precision='fp32'),
    input_hw=(384, 512),
)


@pytest.fixture
def diagnostics():
    config = build_config({'sync.offset_s': 0.5, 'sync.max_skew_s': 0.03})
    return Diagnostics(config=config, topics=TOPICS, now_ns=0)


def statuses(diagnostics, now_ns, *, publishers=(1, 1), dropped=(), waiting=0):
    counts = SyncCounts(
        received=Counter({Modality.RGB: 11, Modality.THERMAL: 12}),
        dropped=Counter(dropped),
        waiting=waiting,
    )
    items = diagnostics.statuses(
        now_ns,
        counts=counts,
        num_publishers=dict(zip(Modality, publishers, strict=True)),
        pipeline=PIPELINE,
    )
    return {item.name.removeprefix('perception: '): item for item in items}


def values(status):
    return {item.key: item.value for item in status.values}


def test_there_are_six_statuses_with_these_names(diagnostics):
    assert list(statuses(diagnostics, SECOND)) == [
        'rgb input',
        'thermal input',
        'synchronisation',
        'inference',
        'modality dominance',
        'engine',
    ]


def test_a_healthy_second(diagnostics):
    for index in range(4):
        diagnostics.note_frame(rgb_frame(index), index * SECOND // 4)
        diagnostics.note_frame(thermal_frame(index), index * SECOND // 4)
        diagnostics.note_result(build_result(), index * SECOND // 4)
    found = statuses(diagnostics, SECOND)
    assert {item.level for item in found.values()} == {DiagnosticStatus.OK}
    assert found['rgb input'].message == '4.0 Hz, 6x4 uint8'
    assert found['rgb input'].hardware_id == 'rgb_optical_frame'
    assert values(found['rgb input'])['age_s'] == '0.250'
    assert found['thermal input'].message == '4.0 Hz, 5x3 uint16'
    assert values(found['synchronisation'])['mean_skew_ms'] == '7.250'
    assert values(found['inference'])['latency_p50_ms'] == '24.75'
    assert values(found['inference'])['infer_mean_ms'] == '20.25'
    assert values(found['modality dominance'])['mean_mdi'] == '0.2500'
    assert values(found['modality dominance'])['results_fused'] == '4'


def test_rates_are_of_the_time_since_the_last_report(diagnostics):
    for index in range(4):
        diagnostics.note_frame(rgb_frame(index), SECOND // 2)
    statuses(diagnostics, SECOND)
    diagnostics.note_frame(rgb_frame(9), 2 * SECOND)
    found = values(statuses(diagnostics, 3 * SECOND)['rgb input'])
    assert (found['rate_hz'], found['frames']) == ('0.50', '5')


def test_a_camera_without_publisher_names_the_topic_and_what_to_do(diagnostics):
    status = statuses(diagnostics, 3 * SECOND, publishers=(0, 1))['rgb input']
    assert status.level == DiagnosticStatus.WARN
    assert status.message == (
        'no rgb frame for 3.0 s: no publisher on /rgb/image_raw; '
        'start the camera or remap the topic'
    )


def test_a_publisher_whose_images_never_arrive_points_to_the_transport(diagnostics):
    status = statuses(diagnostics, 3 * SECOND)['thermal input']
    assert 'config/fastdds_shm.xml' in status.message


def test_a_camera_that_stopped_is_said_to_be_quiet(diagnostics):
    diagnostics.note_frame(rgb_frame(), SECOND)
    statuses(diagnostics, 2 * SECOND)
    status = statuses(diagnostics, 5 * SECOND)['rgb input']
    assert status.message == 'no rgb frame for 4.0 s: the publisher has gone quiet'
    assert values(status)['age_s'] == '4.000'


def test_bad_frames_are_counted_and_the_last_sentence_is_kept(diagnostics):
    diagnostics.note_bad_frame(Modality.THERMAL, 'encoding is yuv, expected mono16')
    found = statuses(diagnostics, SECOND)
    assert found['thermal input'].level == DiagnosticStatus.WARN
    assert found['thermal input'].message == '1 frames dropped: encoding is yuv, expected mono16'
    assert values(found['synchronisation'])['dropped_bad_frame'] == '1'
    later = statuses(diagnostics, 2 * SECOND)['thermal input']
    assert values(later)['bad_frames'] == '1'
    assert values(later)['last_problem'] == 'encoding is yuv, expected mono16'


def test_every_drop_reason_is_listed_and_both_sources_are_added(diagnostics):
    diagnostics.note_superseded()
    diagnostics.note_superseded()
    diagnostics.note_failed('boom')
    found = statuses(diagnostics, SECOND, dropped={DropReason.NO_PARTNER: 3}, waiting=2)
    numbers = values(found['synchronisation'])
    expected = {f'dropped_{reason.value}': '0' for reason in DropReason}
    expected |= {'dropped_no_partner': '3', 'dropped_superseded': '2', 'dropped_failed': '1'}
    assert {key: numbers[key] for key in numbers if key.startswith('dropped_')} == expected
    assert (numbers['waiting_frames'], numbers['rgb_frames'], numbers['thermal_frames']) == (
        '2',
        '11',
        '12',
    )


def test_two_cameras_that_never_pair_are_told_how_far_their_clocks_are_apart(diagnostics):
    diagnostics.note_frame(rgb_frame(RGB_STAMP_NS), SECOND)
    diagnostics.note_frame(thermal_frame(RGB_STAMP_NS + 2_500_000_000), SECOND)
    status = statuses(diagnostics, SECOND)['synchronisation']
    assert status.level == DiagnosticStatus.WARN
    # 2.5 s apart, of which sync.offset_s takes 0.5 s.
    assert 'newest stamps are +2.000 s apart' in status.message
    assert 'allowed 0.03 s' in status.message
    assert 'set sync.offset_s' in status.message


def test_failed_pairs_are_an_error_when_nothing_else_came_out(diagnostics):
    diagnostics.note_failed('engine gave NaN')
    status = statuses(diagnostics, SECOND)['inference']
    assert status.level == DiagnosticStatus.ERROR
    assert status.message == '1 pairs failed: engine gave NaN'
    diagnostics.note_failed('engine gave NaN')
    diagnostics.note_result(build_result(), SECOND)
    assert statuses(diagnostics, 2 * SECOND)['inference'].level == DiagnosticStatus.WARN


def test_no_result_says_for_how_long(diagnostics):
    diagnostics.note_result(build_result(), SECOND)
    statuses(diagnostics, SECOND)
    status = statuses(diagnostics, 4 * SECOND)['inference']
    assert (status.level, status.message) == (DiagnosticStatus.WARN, 'no result for 3.0 s')
    assert math.isnan(float(values(status)['latency_p95_ms']))


def test_a_single_camera_mode_is_a_warning_with_its_reason(diagnostics):
    pair = Pair(rgb=rgb_frame(), thermal=None)
    result = build_result(pair, mode=Mode.RGB_ONLY, mode_reason='no thermal frame')
    diagnostics.note_result(result, SECOND)
    status = statuses(diagnostics, SECOND)['modality dominance']
    assert (status.level, status.message) == (DiagnosticStatus.WARN, 'rgb_only: no thermal frame')


def test_the_engine_status_reports_what_the_engine_says(diagnostics):
    status = statuses(diagnostics, SECOND)['engine']
    assert status.message == 'tiny on onnx, cpu, fp32: trained on synthetic data only'
    assert values(status)['input_size'] == '512x384'
    assert values(status)['synthetic_only'] == 'true'
