# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from bench.soak_plan import build_plan, CAMERAS, Fault, FaultKind, ONE_CAMERA
from bench.soak_shots import FaultyCamera, Shot

STAMP_NS = 1_700_000_000_000_000_000


def fault(kind, camera='rgb'):
    return Fault(kind=kind, cameras=(camera,), begin_s=1.0, end_s=2.0)


def shot(camera='rgb', *, value=100, stamp_ns=STAMP_NS):
    if camera == 'rgb':
        pixels, encoding = np.full((4, 6, 3), value, np.uint8), 'rgb8'
    else:
        pixels, encoding = np.full((4, 6), value, np.uint16), 'mono16'
    return Shot(camera=camera, pixels=pixels, stamp_ns=stamp_ns, encoding=encoding)


def test_the_same_seed_gives_the_same_faults_and_another_one_others():
    assert build_plan(seed=3, duration_s=1200.0) == build_plan(seed=3, duration_s=1200.0)
    assert build_plan(seed=3, duration_s=1200.0) != build_plan(seed=4, duration_s=1200.0)


@pytest.mark.parametrize('duration_s', [30.0, 300.0, 1200.0])
def test_faults_are_apart_and_outside_the_windows(duration_s):
    plan = build_plan(seed=1, duration_s=duration_s)
    assert plan.faults
    for before, after in pairwise(plan.faults):
        assert after.begin_s - before.end_s >= 2.0
    for begin_s, end_s in (plan.first_window, plan.last_window):
        assert all(item.end_s <= begin_s or item.begin_s >= end_s for item in plan.faults)
    assert plan.last_window[1] == duration_s


def test_in_the_warm_up_every_kind_happens_and_those_that_fill_buffers_again():
    plan = build_plan(seed=1, duration_s=1200.0)
    early = [item.kind for item in plan.faults if item.end_s <= plan.warm_up_s]
    late = {item.kind for item in plan.faults if item.begin_s > plan.warm_up_s}
    assert sorted(early[: len(FaultKind)], key=list(FaultKind).index) == list(FaultKind)
    assert {FaultKind.BURST, FaultKind.SNAPSHOT, FaultKind.CYCLE} == set(early[len(FaultKind) :])
    assert late == set(FaultKind)


def test_faults_of_one_camera_hit_either():
    plan = build_plan(seed=1, duration_s=1200.0)
    hit = {item.cameras for item in plan.faults if item.kind in ONE_CAMERA}
    assert hit == {('rgb',), ('thermal',)}
    assert all(item.cameras == CAMERAS for item in plan.faults if item.kind not in ONE_CAMERA)


def test_the_end_of_a_fault_is_right_again():
    (item,) = (fault(FaultKind.BLACK),)
    assert [item.is_active(time_s) for time_s in (0.99, 1.0, 1.99, 2.0)] == [
        False,
        True,
        True,
        False,
    ]


def test_without_a_fault_the_shot_goes_out_as_it_is():
    item = shot()
    assert FaultyCamera().apply(item, []) is item
    assert item.step == 18
    assert bytes(item.data) == bytes([100]) * 72


def test_a_dropout_sends_nothing():
    assert FaultyCamera().apply(shot(), [fault(FaultKind.DROPOUT)]) is None


def test_black_and_saturated_are_the_ends_of_the_range():
    for kind, value in ((FaultKind.BLACK, 0), (FaultKind.SATURATED, 65_535)):
        sent = FaultyCamera().apply(shot('thermal'), [fault(kind, 'thermal')])
        assert np.unique(sent.pixels).tolist() == [value]


def test_messages_lie_about_step_data_and_size():
    camera = FaultyCamera()
    assert camera.apply(shot(), [fault(FaultKind.WRONG_STEP)]).step == 17
    assert len(camera.apply(shot(), [fault(FaultKind.TRUNCATED)]).data) == 36
    empty = camera.apply(shot(), [fault(FaultKind.EMPTY)])
    assert empty.pixels.shape[:2] == (0, 0)
    assert (empty.step, len(empty.data)) == (0, 0)


def test_a_frozen_camera_repeats_its_first_image_with_new_stamps_and_then_goes_on():
    camera, item = FaultyCamera(), fault(FaultKind.FROZEN)
    sent = [
        camera.apply(shot(value=value, stamp_ns=STAMP_NS + value), [item]) for value in (1, 2, 3)
    ]
    assert [int(one.pixels[0, 0, 0]) for one in sent] == [1, 1, 1]
    assert [one.stamp_ns - STAMP_NS for one in sent] == [1, 2, 3]
    again = camera.apply(shot(value=9), [fault(FaultKind.FROZEN)])  # another fault, another image
    assert int(again.pixels[0, 0, 0]) == 9


@pytest.mark.parametrize(
    ('kind', 'camera', 'shift_ns'),
    [
        (FaultKind.JUMP_BACK, 'rgb', -60_000_000_000),
        (FaultKind.JUMP_FORWARD, 'rgb', 60_000_000_000),
        (FaultKind.FUTURE_STAMP, 'rgb', 3_600_000_000_000),
        (FaultKind.CLOCK_OFFSET, 'thermal', 2_000_000_000),
        (FaultKind.CLOCK_OFFSET, 'rgb', 0),
        (FaultKind.ZERO_STAMP, 'rgb', -STAMP_NS),
    ],
)
def test_stamps_are_bent(kind, camera, shift_ns):
    sent = FaultyCamera().apply(shot(camera), [fault(kind, camera)])
    assert sent.stamp_ns == STAMP_NS + shift_ns


def test_every_other_stamp_is_out_of_order():
    camera, item = FaultyCamera(), fault(FaultKind.OUT_OF_ORDER)
    stamps = [camera.apply(shot(), [item]).stamp_ns - STAMP_NS for _ in range(4)]
    assert sorted(stamps) == [-150_000_000, -150_000_000, 0, 0]
    assert stamps[0] != stamps[1]


def test_swapped_cameras_keep_their_images():
    sent = FaultyCamera().apply(shot('thermal'), [fault(FaultKind.SWAPPED)])
    assert (sent.camera, sent.encoding) == ('rgb', 'mono16')


def test_another_resolution_keeps_type_and_channels():
    sent = FaultyCamera().apply(shot('thermal'), [fault(FaultKind.SMALL)])
    assert (sent.pixels.shape, sent.pixels.dtype) == ((120, 160), np.uint16)
