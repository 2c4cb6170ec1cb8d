# SPDX-License-Identifier: Apache-2.0
"""Cameras that are not there, freeze, or run at rates of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from faults.messages import rgb, thermal
from faults.rig import NOTHING, STEP_NS
from faults.table import live

if TYPE_CHECKING:
    from faults.rig import FaultRig

FAMILY = 'Presence'


@live(
    FAMILY,
    'the thermal camera stops',
    mode='rgb_only',
    status='thermal input',
    level='ERROR',
    text='no thermal frame for .*gone quiet',
)
def thermal_stops(rig: FaultRig) -> None:
    rig.steps(8, thermal=lambda: NOTHING)
    rig.spin_until(lambda: False, 0.6)
    rig.steps(2, thermal=lambda: NOTHING)


@live(
    FAMILY,
    'the RGB camera stops',
    mode='thermal_only',
    status='rgb input',
    level='ERROR',
    text='no rgb frame for .*gone quiet',
)
def rgb_stops(rig: FaultRig) -> None:
    rig.spin_until(lambda: False, 0.6)
    rig.steps(8, rgb=lambda: NOTHING)


@live(
    FAMILY,
    'both cameras stop',
    status='inference',
    level='WARN',
    text='no result for .* see the input',
)
def both_stop(rig: FaultRig) -> None:
    rig.spin_until(lambda: False, 0.7)


@live(
    FAMILY,
    'thermal shutter (FFC): the same image is repeated',
    mode='rgb_only',
    status='thermal input',
    level='WARN',
    text='thermal is frozen',
)
def thermal_freezes(rig: FaultRig) -> None:
    repeated = thermal()
    rig.steps(16, thermal=lambda: repeated)


@live(
    FAMILY,
    'the RGB driver repeats its last image',
    mode='thermal_only',
    status='rgb input',
    level='WARN',
    text='rgb is frozen',
)
def rgb_freezes(rig: FaultRig) -> None:
    repeated = rgb()
    rig.steps(16, rgb=lambda: repeated)


@live(
    FAMILY,
    'a gap of both cameras, then they go on',
    mode='fused',
    status='rgb input',
    level='ERROR',
    text='no rgb frame for',
)
def gap_of_both(rig: FaultRig) -> None:
    rig.spin_until(lambda: False, 0.7)
    rig.steps(3)


@live(
    FAMILY,
    'thermal joins late, after frames of RGB alone',
    mode='fused',
    status='thermal input',
    level='ERROR',
    text='no thermal frame for',
)
def thermal_joins_late(rig: FaultRig) -> None:
    rig.spin_until(lambda: False, 0.6)
    rig.steps(5, thermal=lambda: NOTHING)
    rig.steps(4)


@live(
    FAMILY,
    'RGB at 30 Hz, thermal at 10 Hz',
    status='synchronisation',
    level='OK',
    text=r'pairs, mean .skew. 0\.0 ms',
)
def slow_thermal(rig: FaultRig) -> None:
    for index in range(18):
        rig.step(thermal=None if index % 3 == 0 else NOTHING, has_answer=index % 3 == 0)


@live(
    FAMILY,
    'thermal at 60 Hz, RGB at 30 Hz',
    mode='fused',
    status='synchronisation',
    level='OK',
    text=r'pairs, mean .skew. 0\.0 ms',
)
def fast_thermal(rig: FaultRig) -> None:
    for _ in range(10):
        stamp_ns = rig.step()
        rig.step(rgb=NOTHING, thermal_stamp_ns=stamp_ns + STEP_NS // 2, has_answer=False)


@live(
    FAMILY,
    'one camera with five times the jitter',
    mode='fused',
    status='synchronisation',
    level='OK',
    text=r'pairs, mean .skew. [0-9]\.[0-9] ms',
)
def jitter(rig: FaultRig) -> None:
    rng = np.random.default_rng(3)
    for _ in range(15):
        stamp_ns = rig.next_stamp_ns()
        rig.step(
            stamp_ns=stamp_ns, thermal_stamp_ns=stamp_ns + int(rng.integers(-9, 10)) * 1_000_000
        )


@live(
    FAMILY,
    'the rate of RGB falls below its bound',
    mode='fused',
    status='rgb input',
    level='WARN',
    text='Frequency too low. .*expected at least 300.0 Hz; check the camera',
    diagnostics__min_rgb_hz=300.0,
)
def rate_too_low(rig: FaultRig) -> None:
    rig.steps(5)


@live(
    FAMILY,
    'the rate of thermal rises above its bound',
    mode='fused',
    status='thermal input',
    level='WARN',
    text='Frequency too high. .*expected at most 0.5 Hz',
    diagnostics__max_thermal_hz=0.5,
)
def rate_too_high(rig: FaultRig) -> None:
    rig.steps(10)
