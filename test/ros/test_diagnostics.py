# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
import math
from types import SimpleNamespace

from diagnostic_msgs.msg import DiagnosticStatus
from diagnostics_feed import changed, CLOCK_NS, note_frames, PIPELINE, SECOND, statuses, TOPICS
from made_results import build_result, rgb_frame, RGB_STAMP_NS, thermal_frame
import pytest

from rgbt_perception.config import build_config
from rgbt_perception.engine.base import EngineState
from rgbt_perception.ros.diagnostics import Diagnostics
from rgbt_perception.types import DropReason, Modality, Mode, Pair


@pytest.fixture
def diagnostics():
    config = build_config({'sync.offset_s': 0.5, 'sync.max_skew_s': 0.03})
    return Diagnostics(config=config, topics=TOPICS, now_ns=0)


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
        note_frames(diagnostics, index * SECOND // 4)
        diagnostics.note_result(build_result(), index * SECOND // 4)
    found = statuses(diagnostics, SECOND)
    assert {item.level for item in found.values()} == {DiagnosticStatus.OK}
    assert found['rgb input'].message == '4.0 Hz, 6x4 uint8'
    assert found['rgb input'].hardware_id == 'rgb_optical_frame'
    assert values(found['rgb input'])['age_s'] == '0.250'
    assert found['thermal input'].message == '4.0 Hz, 5x3 uint16'
    assert values(found['thermal input'])['reading'] == 'counts of uint16'
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
    assert status.level == DiagnosticStatus.ERROR
    assert status.message == (
        'No events recorded. no rgb frame for 3.0 s: no publisher on /rgb/image_raw; '
        'start the camera or remap the topic'
    )


def test_a_publisher_whose_images_never_arrive_points_to_the_transport(diagnostics):
    status = statuses(diagnostics, 3 * SECOND)['thermal input']
    assert 'config/fastdds_shm.xml' in status.message


def test_a_camera_that_stopped_is_said_to_be_quiet(diagnostics):
    diagnostics.note_frame(rgb_frame(), SECOND)
    statuses(diagnostics, 2 * SECOND)
    status = statuses(diagnostics, 5 * SECOND)['rgb input']
    assert status.message == (
        'No events recorded. no rgb frame for 4.0 s: the publisher has gone quiet; '
        'check the camera and its driver'
    )
    assert values(status)['age_s'] == '4.000'


def test_bad_frames_are_counted_and_the_last_sentence_is_kept(diagnostics):
    diagnostics.note_bad_frame(Modality.THERMAL, 'encoding is yuv, expected mono16')
    found = statuses(diagnostics, SECOND)
    assert found['thermal input'].level == DiagnosticStatus.ERROR  # not one good frame
    assert found['thermal input'].message == '1 frames dropped: encoding is yuv, expected mono16'
    assert values(found['synchronisation'])['dropped_bad_frame'] == '1'
    later = statuses(diagnostics, 2 * SECOND)['thermal input']
    assert values(later)['bad_frames'] == '1'
    assert values(later)['last_problem'] == 'encoding is yuv, expected mono16'


def test_every_drop_reason_is_listed_and_both_sources_are_added(diagnostics):
    diagnostics.note_superseded()
    diagnostics.note_superseded()
    diagnostics.note_failed('boom')
    found = statuses(diagnostics, SECOND, dropped=Counter({DropReason.NO_PARTNER: 3}), waiting=2)
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
    status = statuses(diagnostics, SECOND, offset_s=0.5)['synchronisation']
    assert status.level == DiagnosticStatus.WARN
    # 2.5 s apart, of which the offset in force takes 0.5 s.
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
    assert (status.level, status.message) == (
        DiagnosticStatus.WARN,
        'no result for 3.0 s; see the input and synchronisation statuses',
    )
    assert math.isnan(float(values(status)['latency_p95_ms']))


def test_a_single_camera_mode_is_a_warning_with_its_reason(diagnostics):
    pair = Pair(rgb=rgb_frame(), thermal=None)
    result = build_result(pair, mode=Mode.RGB_ONLY, mode_reason='no thermal frame')
    diagnostics.note_result(result, SECOND)
    status = statuses(diagnostics, SECOND)['modality dominance']
    assert (status.level, status.message) == (
        DiagnosticStatus.WARN,
        'rgb_only: no thermal frame; see the input statuses',
    )


def test_the_engine_status_reports_what_the_engine_says(diagnostics):
    status = statuses(diagnostics, SECOND)['engine']
    assert status.message == 'tiny on onnx, cpu, fp32: trained on synthetic data only'
    assert values(status)['input_size'] == '512x384'
    assert values(status)['synthetic_only'] == 'true'


def test_stock_texts_come_first_then_numbers_cause_and_remedy(diagnostics):
    diagnostics.config = build_config({'diagnostics.min_rgb_hz': 20.0})
    for index in range(10):
        note_frames(diagnostics, index * SECOND // 10)
    status = statuses(diagnostics, SECOND)['rgb input']
    assert status.level == DiagnosticStatus.WARN
    assert status.message == (
        'Frequency too low. 10.0 Hz, expected at least 20.0 Hz; check the camera and the '
        'transport, or correct diagnostics.min_rgb_hz or diagnostics.max_rgb_hz'
    )
    assert values(status)['Minimum acceptable frequency (Hz)'] == '18.000'
    diagnostics.config = build_config({'diagnostics.max_rgb_hz': 5.0})
    for index in range(10, 20):
        note_frames(diagnostics, index * SECOND // 10)
    assert 'Frequency too high. 10.0 Hz' in statuses(diagnostics, 2 * SECOND)['rgb input'].message


@pytest.mark.parametrize(
    ('lead_s', 'text'),
    [
        (-6, 'Timestamps too far in past seen. 6.000 s behind this clock; synchronise the clocks'),
        (2, 'Timestamps too far in future seen. 2.000 s ahead of this clock; synchronise'),
    ],
)
def test_stamps_far_from_the_clock_are_an_error(diagnostics, lead_s, text):
    note_frames(diagnostics, SECOND)
    diagnostics.note_frame(rgb_frame(CLOCK_NS + (1 + lead_s) * SECOND), SECOND)
    found = statuses(diagnostics, SECOND)
    assert found['rgb input'].level == DiagnosticStatus.ERROR
    assert text in found['rgb input'].message
    assert found['thermal input'].level == DiagnosticStatus.OK


def test_a_zero_stamp_is_an_error(diagnostics):
    note_frames(diagnostics, SECOND)
    diagnostics.note_frame(rgb_frame(0), SECOND)
    status = statuses(diagnostics, SECOND)['rgb input']
    assert (status.level, status.message[:21]) == (DiagnosticStatus.ERROR, 'Zero timestamp seen. ')
    assert values(status)['Zero seen diagnostic update count:'] == '1'


def test_an_incompatible_publisher_is_named_with_the_parameter_that_mends_it(diagnostics):
    diagnostics.note_incompatible_qos(Modality.RGB, 'reliability')
    status = statuses(diagnostics, 3 * SECOND)['rgb input']
    assert (
        'offers an incompatible reliability; set qos_overrides./rgb/image_raw.' in status.message
    )
    assert values(status)['incompatible_qos'] == 'reliability'


def test_messages_the_middleware_lost_are_counted_and_warned_of(diagnostics):
    note_frames(diagnostics, SECOND)
    diagnostics.note_lost(Modality.THERMAL, 3)
    found = statuses(diagnostics, SECOND)
    assert 'the middleware lost 3 messages and delivered 1' in found['thermal input'].message
    assert found['rgb input'].level == DiagnosticStatus.OK
    note_frames(diagnostics, 2 * SECOND)
    later = statuses(diagnostics, 2 * SECOND)['thermal input']
    assert (later.level, values(later)['lost_messages']) == (DiagnosticStatus.OK, '3')


def test_a_camera_that_is_not_used_says_why_on_its_own_status(diagnostics):
    note_frames(diagnostics, SECOND)
    health = SimpleNamespace(problems={Modality.THERMAL: 'thermal is frozen (FFC shutter?)'})
    found = statuses(diagnostics, SECOND, pipeline=changed(health=health))
    assert found['thermal input'].message == 'thermal is frozen (FFC shutter?)'
    assert found['thermal input'].level == DiagnosticStatus.WARN
    assert found['rgb input'].level == DiagnosticStatus.OK


def test_inputs_switched_off_are_not_a_problem(diagnostics):
    found = statuses(diagnostics, 9 * SECOND, is_enabled=False)
    for name in ('rgb input', 'thermal input'):
        assert found[name].message == 'disabled by ~/enable; call it with true to go on'
    assert {item.level for item in found.values()} == {DiagnosticStatus.OK}


def test_a_clock_offset_is_reported_beside_the_pairs(diagnostics):
    note_frames(diagnostics, SECOND)
    diagnostics.note_result(build_result(), SECOND)
    text = 'thermal runs 0.012 s ahead of rgb: set sync.offset_s to 0.012'
    status = statuses(diagnostics, SECOND, offset_text=text)['synchronisation']
    assert (status.level, status.message) == (DiagnosticStatus.WARN, text)


def test_misregistration_beyond_the_bound_says_where_thermal_lies(diagnostics):
    note_frames(diagnostics, SECOND)
    diagnostics.config = build_config({'registration.max_parallax_px': 4.0})
    diagnostics.note_result(build_result(), SECOND)  # +3 right, -4 down: 5 px, confidence 0.5
    status = statuses(diagnostics, SECOND)['synchronisation']
    assert status.level == DiagnosticStatus.WARN
    assert 'thermal lies 5 px beside RGB (+3 right, -4 down), allowed 4 px' in status.message
    diagnostics.config = build_config({'registration.max_parallax_px': 5.0})
    assert statuses(diagnostics, SECOND)['synchronisation'].level == DiagnosticStatus.OK


def test_a_registration_that_lacks_something_is_a_warning(diagnostics):
    note_frames(diagnostics, SECOND)
    diagnostics.note_result(build_result(), SECOND)
    registration = SimpleNamespace(problem='extrinsics needs camera_info of rgb')
    found = statuses(diagnostics, SECOND, pipeline=changed(registration=registration))
    assert found['synchronisation'].level == DiagnosticStatus.WARN
    assert found['synchronisation'].message.endswith('extrinsics needs camera_info of rgb')


def test_the_hottest_detection_above_the_limit_is_named(diagnostics):
    note_frames(diagnostics, SECOND)
    diagnostics.config = build_config({'thermal.hot_spot_c': 36.0})
    diagnostics.note_result(build_result(), SECOND)
    status = statuses(diagnostics, SECOND)['thermal input']
    assert status.level == DiagnosticStatus.WARN
    assert status.message.startswith('hot spot: person at 36.5 C, limit thermal.hot_spot_c 36.0 C')
    diagnostics.config = build_config({'thermal.hot_spot_c': 36.5})
    note_frames(diagnostics, 2 * SECOND)
    assert statuses(diagnostics, 2 * SECOND)['thermal input'].level == DiagnosticStatus.OK


def test_a_build_in_the_background_is_shown(diagnostics):
    engine = SimpleNamespace(
        **{**vars(PIPELINE.engine), 'state': EngineState(building='tensorrt')}
    )
    status = statuses(diagnostics, SECOND, pipeline=changed(engine=engine))['engine']
    assert (status.level, values(status)['building']) == (DiagnosticStatus.OK, 'tensorrt')


@pytest.mark.parametrize(
    ('state', 'level', 'text'),
    [
        (
            EngineState(status='reopening', last_problem='no answer for 1.5 s'),
            DiagnosticStatus.ERROR,
            'the engine is being reopened: no answer for 1.5 s',
        ),
        (
            EngineState(status='given_up', last_problem='boom'),
            DiagnosticStatus.ERROR,
            'no engine is left: boom; correct the cause, then deactivate and activate the node',
        ),
        (
            EngineState(
                fallback_from='openvino', fallback_reason='boom', last_problem='a later one'
            ),
            DiagnosticStatus.WARN,
            (
                'running on onnx because openvino failed: boom; correct the cause, then activate '
                'the node again, or configure it again if openvino never ran'
            ),
        ),
    ],
)
def test_trouble_of_the_engine_is_said_with_its_cause(diagnostics, state, level, text):
    engine = SimpleNamespace(**{**vars(PIPELINE.engine), 'state': state})
    status = statuses(diagnostics, SECOND, pipeline=changed(engine=engine))['engine']
    assert status.level == level
    assert status.message.startswith(text)
