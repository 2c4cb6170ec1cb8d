# SPDX-License-Identifier: Apache-2.0
"""Stamps and clocks that jump, drift or repeat themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faults.rig import NOTHING, STEP_NS
from faults.table import live

if TYPE_CHECKING:
    from faults.rig import FaultRig

FAMILY = 'Time'
SECOND = 1_000_000_000


@live(
    FAMILY,
    'stamps jump back by 10 s (bag loop)',
    mode='fused',
    status='rgb input',
    level='ERROR',
    text='Timestamps too far in past seen. .*use_sim_time',
)
def jump_back(rig: FaultRig) -> None:
    rig.jump(-10.0)
    rig.steps(4)


@live(
    FAMILY,
    'a loop with one camera longer than the other: unmatched frames are left over',
    mode='fused',
    status='synchronisation',
    level='OK',
    text='pairs, mean',
    diagnostics__max_stamp_age_s=60.0,
)
def jump_back_with_leftovers(rig: FaultRig) -> None:
    rig.steps(10, thermal=lambda: NOTHING)
    rig.jump(-10.0)
    rig.steps(6)


@live(
    FAMILY,
    'stamps jump back by 0.5 s',
    mode='fused',
    status='synchronisation',
    level='OK',
    text='dropped .*late|dropped .*stamp',
)
def small_jump_back(rig: FaultRig) -> None:
    for _ in range(3):  # a report that holds the drop and no pair yet says something else
        rig.steps(20)
        rig.jump(-0.5)
        num_results = len(rig.received['mdi'])
        for _ in range(40):
            rig.step(has_answer=False)
            if len(rig.received['mdi']) > num_results and rig.last_mode() == 'fused':
                break


@live(
    FAMILY,
    'stamps jump forward by one hour',
    mode='fused',
    status='thermal input',
    level='ERROR',
    text='Timestamps too far in future seen',
    recovers=False,
)
def jump_forward(rig: FaultRig) -> None:
    rig.jump(3600.0)
    rig.steps(4)


@live(
    FAMILY,
    'one frame with a stamp an hour ahead',
    mode='fused',
    status='rgb input',
    level='ERROR',
    text='Timestamps too far in future seen',
)
def one_future_stamp(rig: FaultRig) -> None:
    rig.step(stamp_ns=rig.next_stamp_ns() + 3600 * SECOND, thermal=NOTHING, has_answer=False)
    for _ in range(60):
        rig.step()


@live(
    FAMILY,
    'the RGB driver sends zero stamps',
    status='rgb input',
    level='ERROR',
    text='Zero timestamp seen. The driver does not fill header.stamp',
)
def zero_stamps(rig: FaultRig) -> None:
    for _ in range(4):
        rig.step(stamp_ns=0, thermal_stamp_ns=rig.next_stamp_ns(), has_answer=False)


@live(
    FAMILY,
    'both drivers send zero stamps',
    status='thermal input',
    level='ERROR',
    text='Zero timestamp seen',
)
def all_zero_stamps(rig: FaultRig) -> None:
    for _ in range(4):
        rig.step(stamp_ns=0, has_answer=False)


@live(
    FAMILY,
    'every frame is sent twice',
    mode='fused',
    status='synchronisation',
    level='OK',
    text='dropped .*duplicate_stamp',
)
def duplicates(rig: FaultRig) -> None:
    for _ in range(4):
        rig.step(stamp_ns=rig.step(), has_answer=False)
    rig.steps(2)
    assert rig.counted('dropped_duplicate_stamp') > 0


@live(
    FAMILY,
    'frames arrive out of order',
    mode='fused',
    status='synchronisation',
    level='OK',
    text='dropped .*late',
)
def out_of_order(rig: FaultRig) -> None:
    for _ in range(4):
        early_ns, late_ns = rig.next_stamp_ns(), rig.next_stamp_ns()
        rig.step(stamp_ns=late_ns, has_answer=False)
        rig.step(stamp_ns=early_ns, has_answer=False)
    rig.steps(3)


@live(
    FAMILY,
    'the clock of thermal is 2 s ahead',
    mode='rgb_only',
    status='synchronisation',
    level='WARN',
    # Within 10 ms either way: arrivals, which the estimate is made from, scatter by about one.
    text=r'thermal runs (1\.99\d*|2\.00\d*) s ahead of rgb: set sync.offset_s to (1\.99|2\.0)',
)
def constant_offset(rig: FaultRig) -> None:
    for index in range(200):  # more than 45 where arrivals jitter, as on a busy machine
        stamp_ns = rig.next_stamp_ns()
        rig.step(stamp_ns=stamp_ns, thermal_stamp_ns=stamp_ns + 2 * SECOND, has_answer=False)
        if index >= 45 and any('offset_s to ' in text for text in rig.said('synchronisation')):
            break


@live(
    FAMILY,
    'the clock of thermal is 2 s ahead and the offset may be applied',
    mode='fused',
    status='synchronisation',
    level='OK',
    text='pairs, mean',
    sync__offset_estimate='apply',
    recovers=False,
)
def constant_offset_applied(rig: FaultRig) -> None:
    for _ in range(90):
        stamp_ns = rig.next_stamp_ns()
        rig.step(stamp_ns=stamp_ns, thermal_stamp_ns=stamp_ns + 2 * SECOND, has_answer=False)
        if rig.last_mode() == 'fused' and rig.counted('rgb_frames') > 50:
            break


@live(
    FAMILY,
    'the clock of thermal drifts by 100 ppm',
    mode='fused',
    status='synchronisation',
    level='OK',
    text='pairs, mean',
)
def drift(rig: FaultRig) -> None:
    for index in range(20):
        stamp_ns = rig.next_stamp_ns()
        drift_ns = index * STEP_NS // 10_000
        rig.step(stamp_ns=stamp_ns, thermal_stamp_ns=stamp_ns + drift_ns)


@live(
    FAMILY,
    'the stamps stand still (/clock pauses) while frames go on arriving',
    status='synchronisation',
    level='OK',
    text='dropped .*duplicate_stamp',
)
def clock_pauses(rig: FaultRig) -> None:
    stamp_ns = rig.step()
    for _ in range(5):
        rig.step(stamp_ns=stamp_ns, has_answer=False)
    rig.steps(2)
    assert rig.counted('dropped_duplicate_stamp') > 0
