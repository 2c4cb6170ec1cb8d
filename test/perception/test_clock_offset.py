# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from rgbt_perception.clock_offset import (
    ClockOffsetEstimator,
    describe_offset,
    OffsetEstimate,
    OffsetFollower,
)

MS = 1_000_000
SURE = OffsetEstimate(
    offset_s=2.0, spread_s=0.001, drift_ppm=math.nan, span_s=20.0, is_confident=True
)


def feed(
    *,
    offset_ms: float,
    num_s: float = 20,
    drift_ppm: float = 0.0,
    rgb_hz: float = 30.0,
    thermal_hz: float = 30.0,
    transport: Any = lambda: 3.0,
    seed: int = 0,
) -> ClockOffsetEstimator:
    """Send both cameras' frames in order of arrival; ``transport`` gives ms, or takes the rng."""
    rng = np.random.default_rng(seed)
    frames = []
    for is_rgb, rate_hz in ((True, rgb_hz), (False, thermal_hz)):
        for index in range(int(num_s * rate_hz)):
            at_ms = 1000 + index * 1000 / rate_hz + (0 if is_rgb else 5)
            clock_ms = 0.0 if is_rgb else offset_ms + drift_ppm * 1e-6 * at_ms
            stamp_ns = round((at_ms + clock_ms) * MS)
            delay_ms = transport(rng) if transport.__code__.co_argcount else transport()
            frames.append((round((at_ms + delay_ms) * MS), is_rgb, stamp_ns))
    estimator = ClockOffsetEstimator()
    for received_ns, is_rgb, stamp_ns in sorted(frames):
        estimator.note(is_rgb, stamp_ns, received_ns)
    return estimator


@pytest.mark.parametrize('offset_ms', [2000, -2000, 37.5, -12, 0, 3_600_000])
def test_constant_offset_is_found_with_its_sign(offset_ms: float):
    estimate = feed(offset_ms=offset_ms).estimate
    assert estimate is not None
    assert estimate.offset_s == pytest.approx(offset_ms / 1000, abs=1e-6)
    assert estimate.is_confident
    assert estimate.spread_s == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize('thermal_hz', [9.0, 60.0])
def test_rates_may_differ_and_queueing_delays_do_not_matter(thermal_hz: float):
    estimate = feed(
        offset_ms=2000, thermal_hz=thermal_hz, transport=lambda rng: 3 + rng.exponential(10)
    ).estimate
    assert estimate is not None
    assert estimate.offset_s == pytest.approx(2.0, abs=0.003)
    assert estimate.is_confident


def test_drift_of_100_ppm_is_told_from_a_constant_offset():
    drifting = feed(offset_ms=40, drift_ppm=100, num_s=60).estimate
    constant = feed(offset_ms=40, num_s=60, transport=lambda rng: 3 + rng.exponential(2)).estimate
    assert drifting is not None
    assert constant is not None
    assert drifting.drift_ppm == pytest.approx(100, abs=2)
    assert constant.drift_ppm == pytest.approx(0, abs=15)


def test_drift_is_unknown_in_the_first_seconds():
    estimate = feed(offset_ms=0, drift_ppm=100, num_s=10).estimate
    assert estimate is not None
    assert math.isnan(estimate.drift_ppm)


def test_offset_is_told_after_a_second_and_a_half_but_not_at_once():
    assert feed(offset_ms=2000, num_s=0.2).estimate is None
    early = feed(offset_ms=2000, num_s=0.8).estimate
    assert early is not None
    assert not early.is_confident
    later = feed(offset_ms=2000, num_s=1.5).estimate
    assert later is not None
    assert later.is_confident


def test_strong_jitter_both_ways_is_not_trusted():
    estimate = feed(
        offset_ms=100, num_s=60, transport=lambda rng: 300 + rng.normal(0, 80)
    ).estimate
    assert estimate is not None
    assert not estimate.is_confident
    assert estimate.spread_s > 0.01


def test_one_wild_stamp_changes_nothing():
    estimator = feed(offset_ms=2000, num_s=10)
    estimator.note(False, 10**18, 11_001 * MS)
    for index in range(100):
        at_ns = (11_010 + index * 33) * MS
        estimator.note(True, at_ns - 3 * MS, at_ns)
        estimator.note(False, at_ns + 1997 * MS, at_ns)
    assert estimator.estimate is not None
    assert estimator.estimate.offset_s == pytest.approx(2.0, abs=1e-6)


def test_camera_that_is_silent_gives_no_estimate():
    estimator = ClockOffsetEstimator()
    for index in range(300):
        estimator.note(True, index * 33 * MS, index * 33 * MS)
    assert estimator.estimate is None


@pytest.mark.parametrize(
    ('offset_s', 'expected'),
    [
        (2.0, 'thermal runs 2.000 s ahead of rgb: set sync.offset_s to 2.000'),
        (-0.25, 'thermal runs 0.250 s behind rgb: set sync.offset_s to -0.250'),
        (0.04, ''),
    ],
)
def test_text_says_which_side_is_ahead_and_what_to_set(offset_s: float, expected: str):
    estimate = dataclasses.replace(SURE, offset_s=offset_s)
    assert describe_offset(estimate, 0.0, 0.02) == expected


def test_text_is_empty_when_there_is_nothing_to_correct():
    assert describe_offset(None, 0.0, 0.02) == ''
    assert describe_offset(dataclasses.replace(SURE, is_confident=False), 0.0, 0.02) == ''
    assert describe_offset(SURE, 2.01, 0.02) == ''
    assert describe_offset(SURE, 0.0, 2.0) == ''


def test_text_names_a_drift():
    text = describe_offset(dataclasses.replace(SURE, drift_ppm=-100.0), 2.0, 0.02)
    assert text == (
        'the offset drifts by -100 ppm: synchronise the clocks; '
        "meanwhile sync.offset_estimate 'apply' follows it"
    )


def _follow(follower: OffsetFollower, offset_s: float, **changes: Any) -> float:
    estimate = dataclasses.replace(SURE, offset_s=offset_s, **changes)
    return follower.update(estimate, 20 * MS) / MS


def test_far_offset_is_taken_over_in_one_step():
    assert _follow(OffsetFollower(0), 2.0) == 2000


def test_near_offset_is_taken_for_transport_and_only_its_changes_are_followed():
    follower = OffsetFollower(0)
    assert _follow(follower, 0.03) == 0
    assert _follow(follower, 0.034) == 0  # within a quarter of max_skew
    assert _follow(follower, 0.036) == pytest.approx(6)
    assert _follow(follower, 0.066) == pytest.approx(16)  # 30 ms apart, half of max_skew a step


def test_estimate_without_confidence_is_not_followed():
    assert _follow(OffsetFollower(0), 2.0, is_confident=False) == 0


def test_noise_within_three_spreads_is_not_followed():
    follower = OffsetFollower(2000 * MS)
    assert _follow(follower, 2.0, spread_s=0.005) == 2000
    for offset_s in (2.014, 1.986, 2.01, 1.99):
        assert _follow(follower, offset_s, spread_s=0.005) == 2000
