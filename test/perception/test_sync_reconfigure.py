# SPDX-License-Identifier: Apache-2.0
"""Live settings of the pairing: taken over while running, without losing what waits."""

from __future__ import annotations

from typing import Any

from pairer_feed import Feed, MS, rgb, thermal
import pytest

from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.types import DropReason


def _set(feed: Feed, *, missing_after_s: float = 0.5, **sync: Any) -> None:
    feed.pairer.reconfigure(SyncConfig(**sync), FallbackConfig(missing_after_s=missing_after_s))


def test_wider_max_skew_pairs_what_waits():
    feed = Feed(max_skew_s=0.02)
    feed.push(rgb(1000))
    feed.push(thermal(1030))
    feed.push(rgb(1500), at_ms=1031)
    _set(feed, max_skew_s=0.04)
    assert feed.poll(1032) == []  # 1000 had gone out alone: thermal had moved on
    assert feed.pairs == [(1000, None)]
    feed.push(rgb(2000))
    feed.push(thermal(2035), at_ms=2001)
    feed.push(rgb(2500), at_ms=2002)
    assert feed.fused == [(2000, 2035)]


def test_max_wait_moves_the_deadline_of_what_waits():
    feed = Feed(max_wait_s=0.15)
    feed.push(rgb(1000))
    assert feed.pairer.next_deadline_ns == 1150 * MS
    _set(feed, max_wait_s=0.05)
    assert feed.pairer.next_deadline_ns == 1050 * MS
    assert feed.poll(1050) == [(1000, None)]


def test_missing_after_is_live():
    feed = Feed(missing_after_s=5.0, max_wait_s=10.0)
    feed.push(thermal(1000))
    _set(feed, missing_after_s=0.2, max_wait_s=10.0)
    assert feed.pairer.next_deadline_ns == 1200 * MS
    assert feed.poll(1200) == [(None, 1000)]


def test_unmatched_is_live():
    feed = Feed(unmatched='alone')
    feed.push(thermal(900))
    feed.push(rgb(1000))
    _set(feed, unmatched='drop')
    feed.poll(1150)
    assert feed.pairs == []
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 2}


@pytest.mark.parametrize('policy', ['nearest', 'hold'])
def test_offset_moves_thermal_frames_that_wait(policy: str):
    feed = Feed(policy=policy, max_skew_s=0.02)
    feed.push(thermal(3010), at_ms=1000)
    _set(feed, policy=policy, offset_s=2.0, max_skew_s=0.02)
    assert feed.pairer.offset_s == 2.0
    feed.push(rgb(1010), at_ms=1011)
    assert feed.pairs == [(1010, 3010)]
    feed.push(thermal(3010), at_ms=1012)
    assert feed.pairer.dropped == {DropReason.DUPLICATE_STAMP: 1}


@pytest.mark.parametrize('policy', ['latest', 'hold'])
def test_a_new_offset_makes_no_thermal_reference_frame_late(policy: str):
    settings = {'policy': policy, 'reference': 'thermal', 'max_skew_s': 0.02}
    feed = Feed(**settings)
    feed.push(thermal(3000), at_ms=1000)
    _set(feed, **settings, offset_s=0.9)
    assert feed.push(thermal(3033), at_ms=1033) == [(None, 3033)]


def test_max_hold_is_live():
    feed = Feed(policy='hold', max_hold_s=0.1)
    feed.push(thermal(1000))
    _set(feed, policy='hold', max_hold_s=0.3)
    assert feed.push(rgb(1250)) == [(1250, 1000)]


def test_estimate_can_be_switched_off_and_on():
    feed = Feed(offset_estimate='report')
    for index in range(300):
        feed.push(rgb(1000 + index * 33))
        feed.push(thermal(3000 + index * 33), at_ms=1000 + index * 33)
    assert feed.pairer.offset_estimate is not None
    _set(feed, offset_estimate='off')
    assert feed.pairer.offset_estimate is None
    _set(feed, offset_estimate='report')
    assert feed.pairer.offset_estimate is None  # begins anew


def test_applied_offset_is_given_up_when_it_is_only_to_be_reported():
    feed = Feed(offset_estimate='apply')
    for index in range(300):
        feed.push(rgb(1000 + index * 33))
        feed.push(thermal(3000 + index * 33), at_ms=1000 + index * 33)
    assert feed.pairer.offset_s == 2.0
    _set(feed, offset_estimate='apply', max_skew_s=0.03)
    assert feed.pairer.offset_s == 2.0
    _set(feed, offset_estimate='report')
    assert feed.pairer.offset_s == 0.0
    _set(feed, offset_estimate='apply')
    assert feed.pairer.offset_s == 2.0


def test_settings_that_are_not_live_stay():
    feed = Feed(queue_size=2, missing_after_s=60.0, max_wait_s=10.0)
    _set(feed, queue_size=5, missing_after_s=60.0, max_wait_s=10.0)
    for stamp_ms in (1000, 1033, 1066):
        feed.push(thermal(stamp_ms))
    assert feed.pairer.dropped == {DropReason.QUEUE_FULL: 1}
