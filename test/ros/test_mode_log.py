# SPDX-License-Identifier: Apache-2.0
"""Changes of the mode in the log: said at once, and not many times a second."""

from __future__ import annotations

from made_results import build_result, rgb_frame
import pytest

from rgbt_perception.ros.mode_log import MAX_LINES, ModeLog, SPAN_S
from rgbt_perception.types import Mode, Pair

FUSED = build_result()
ALONE = build_result(
    Pair(rgb=rgb_frame(), thermal=None), mode=Mode.RGB_ONLY, mode_reason='no thermal frame'
)
FUSED_TEXT = 'mode fused: both cameras are used'
ALONE_TEXT = 'mode rgb_only: no thermal frame'


class Lines(list):
    """A logger that keeps its lines."""

    info = warning = list.append


@pytest.fixture
def lines():
    return Lines()


def test_every_change_is_said_once(lines):
    log = ModeLog(lines)
    for result, now_s in ((FUSED, 0.0), (FUSED, 0.1), (ALONE, 0.2), (ALONE, 0.3), (FUSED, 0.4)):
        log.note(result, now_s)
    assert lines == [FUSED_TEXT, ALONE_TEXT, FUSED_TEXT]


def test_a_fast_and_a_slow_camera_do_not_flood_the_log(lines):
    log = ModeLog(lines)
    for index in range(3000):  # 30 Hz and 10 Hz
        log.note(ALONE if index % 3 else FUSED, index / 30)
    assert len(lines) <= MAX_LINES * (1 + 100.0 / SPAN_S)


def test_a_change_that_was_left_out_is_said_when_it_lasts(lines):
    log = ModeLog(lines)
    for index in range(8):
        log.note(ALONE if index % 2 else FUSED, index / 30)
    assert lines[-1] == ALONE_TEXT
    log.note(FUSED, SPAN_S - 0.1)
    assert len(lines) == MAX_LINES
    log.note(FUSED, SPAN_S + 0.1)
    assert lines[-1] == FUSED_TEXT
