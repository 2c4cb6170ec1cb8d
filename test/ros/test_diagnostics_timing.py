# SPDX-License-Identifier: Apache-2.0
"""When diagnostics are urgent, and from when on they wait for frames and results."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus
from diagnostics_feed import note_frames, SECOND, statuses, TOPICS
from made_results import build_result, rgb_frame
import pytest

from rgbt_perception.config import build_config, change_config
from rgbt_perception.ros.diagnostics import Diagnostics
from rgbt_perception.types import Modality, Mode, Pair


@pytest.fixture
def diagnostics():
    config = build_config({'sync.offset_s': 0.5, 'sync.max_skew_s': 0.03})
    return Diagnostics(config=config, topics=TOPICS, now_ns=0)


def test_changes_of_mode_and_failures_do_not_wait_for_the_next_report(diagnostics):
    diagnostics.note_result(build_result(), SECOND)
    assert not diagnostics.take_urgent(SECOND)
    alone = Pair(rgb=rgb_frame(), thermal=None)
    diagnostics.note_result(build_result(alone, mode=Mode.RGB_ONLY, mode_reason='x'), SECOND)
    assert diagnostics.take_urgent(SECOND)
    assert not diagnostics.take_urgent(3 * SECOND)
    diagnostics.note_failed('boom')
    diagnostics.note_failed('boom')
    assert diagnostics.take_urgent(3 * SECOND)
    statuses(diagnostics, 3 * SECOND)
    diagnostics.note_failed('boom')
    assert diagnostics.take_urgent(4 * SECOND)


def test_failures_without_end_are_urgent_once_per_period(diagnostics):
    num_urgent = 0
    for count in range(100):  # 50 Hz
        now_ns = SECOND + count * SECOND // 50
        diagnostics.note_failed('boom')
        if diagnostics.take_urgent(now_ns):
            num_urgent += 1
            statuses(diagnostics, now_ns)
    assert num_urgent == 2


def test_what_a_regular_report_has_said_is_not_urgent_any_more(diagnostics):
    diagnostics.note_failed('boom')
    statuses(diagnostics, SECOND)
    assert not diagnostics.take_urgent(SECOND)


def test_waiting_starts_over_when_the_inputs_are_switched_on_again(diagnostics):
    diagnostics.config = change_config(diagnostics.config, {'diagnostics.min_rgb_hz': 0.9})
    note_frames(diagnostics, SECOND)
    alone = Pair(rgb=rgb_frame(), thermal=None)
    diagnostics.note_result(build_result(alone, mode=Mode.RGB_ONLY, mode_reason='x'), SECOND)
    for count in range(2, 60):
        statuses(diagnostics, count * SECOND, is_enabled=False)
    diagnostics.start_over(60 * SECOND)
    found = statuses(diagnostics, 60 * SECOND)
    assert [item.message for item in found.values() if item.level != DiagnosticStatus.OK] == []
    note_frames(diagnostics, 60 * SECOND + SECOND // 2)
    found = statuses(diagnostics, 61 * SECOND)
    assert found['rgb input'].message == '1.0 Hz, 6x4 uint8'
    found = statuses(diagnostics, 70 * SECOND)
    assert 'no rgb frame for 9.5 s' in found['rgb input'].message
    assert 'no result for 10.0 s' in found['inference'].message


def test_an_incompatible_publisher_that_is_gone_is_not_the_cause_any_more(diagnostics):
    diagnostics.note_incompatible_qos(Modality.RGB, 'reliability')
    found = statuses(diagnostics, 2 * SECOND, publishers=(0, 1))['rgb input']
    assert 'no publisher on' in found.message
    diagnostics.note_incompatible_qos(Modality.RGB, 'reliability')
    note_frames(diagnostics, 3 * SECOND)  # from a publisher that fits
    found = statuses(diagnostics, 9 * SECOND)['rgb input']
    assert 'the publisher has gone quiet' in found.message


def test_an_urgent_report_between_two_results_is_not_a_lack_of_results(diagnostics):
    note_frames(diagnostics, SECOND)
    diagnostics.note_result(build_result(), SECOND)
    statuses(diagnostics, SECOND)
    found = statuses(diagnostics, SECOND + SECOND // 10)
    assert found['inference'].level == found['synchronisation'].level == DiagnosticStatus.OK
