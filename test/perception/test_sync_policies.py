# SPDX-License-Identifier: Apache-2.0
"""Policies other than nearest."""

from __future__ import annotations

from pairer_feed import Feed, MS, rgb, thermal
import pytest

from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.errors import ConfigError
from rgbt_perception.sync import build_pairer
from rgbt_perception.types import DropReason


def test_exact_pairs_equal_stamps_only():
    feed = Feed(policy='exact', max_skew_s=0.02)
    feed.push(rgb(1000))
    feed.push(thermal(1000 + 1e-6))
    feed.push(rgb(1033))
    feed.push(thermal(1033))
    feed.flush()
    assert feed.pairs == [(1000, None), (1033, 1033)]


def test_exact_compares_stamps_without_the_offset():
    feed = Feed(policy='exact', offset_s=-0.25)
    feed.push(rgb(1000))
    assert feed.push(thermal(750), at_ms=1001) == [(1000, 750)]


def test_latest_lets_a_reference_frame_out_on_arrival_with_the_newest_other():
    feed = Feed(policy='latest', max_skew_s=0.05)
    feed.push(thermal(980))
    feed.push(thermal(990))
    assert feed.push(rgb(1000)) == [(1000, 990)]
    assert feed.push(rgb(1033)) == [(1033, 990)]
    assert feed.push(rgb(1041)) == [(1041, None)]
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 1}  # 980


def test_latest_accepts_exactly_max_skew_on_both_sides():
    feed = Feed(policy='latest', max_skew_s=0.05)
    feed.push(thermal(1050), at_ms=1000)
    assert feed.push(rgb(1000)) == [(1000, 1050)]
    assert feed.push(rgb(1100)) == [(1100, 1050)]
    assert feed.push(rgb(1100 + 1e-6)) == [(pytest.approx(1100), None)]


def test_latest_passes_over_a_frame_that_is_too_new():
    feed = Feed(policy='latest', max_skew_s=0.02)
    for stamp_ms in (995, 1100):
        feed.push(thermal(stamp_ms), at_ms=999)
    assert feed.push(rgb(1000)) == [(1000, 995)]
    assert feed.push(rgb(1090)) == [(1090, 1100)]


def test_hold_uses_a_frame_until_it_is_older_than_max_hold():
    feed = Feed(policy='hold', max_hold_s=0.3, missing_after_s=5.0)
    feed.push(thermal(1000))
    assert feed.push(rgb(1033)) == [(1033, 1000)]
    assert feed.push(rgb(1300)) == [(1300, 1000)]
    assert feed.push(rgb(1300 + 1e-6), at_ms=1301) == [(pytest.approx(1300), None)]
    feed.push(thermal(1310))
    assert feed.push(rgb(1333)) == [(1333, 1310)]


def test_hold_does_not_use_a_frame_newer_than_max_skew():
    feed = Feed(policy='hold', max_skew_s=0.02, max_hold_s=0.3)
    feed.push(thermal(1021), at_ms=1000)
    assert feed.push(rgb(1000)) == [(1000, None)]
    assert feed.push(rgb(1001)) == [(1001, 1021)]


def test_hold_at_30_and_9_hz_gives_every_reference_frame_at_once():
    feed = Feed(policy='hold', max_hold_s=0.12)
    arrivals = [(1000 + k * 100 / 3, rgb(1000 + k * 100 / 3)) for k in range(300)]
    arrivals += [(1000 + k * 1000 / 9, thermal(1000 + k * 1000 / 9)) for k in range(90)]
    feed.run(arrivals)
    assert len(feed.pairs) == 300
    assert len(feed.fused) == 299  # the first RGB frame came before any thermal one
    assert max(r - t for r, t in feed.fused) < 1000 / 9


@pytest.mark.parametrize('policy', ['latest', 'hold'])
def test_thermal_may_be_the_reference(policy: str):
    feed = Feed(policy=policy, reference='thermal', max_skew_s=0.05, offset_s=1.0)
    feed.push(rgb(1000))
    assert feed.push(thermal(2010), at_ms=1010) == [(1000, 2010)]
    assert feed.push(thermal(2043), at_ms=1043) == [(1000, 2043)]
    assert feed.push(rgb(1050)) == []


@pytest.mark.parametrize('policy', ['nearest', 'latest', 'hold'])
def test_skew_of_a_pair_is_less_the_offset(policy: str):
    feed = Feed(policy=policy, max_skew_s=0.05, offset_s=2.0)
    feed.push(thermal(3003), at_ms=1003)
    feed.push(rgb(1010))
    feed.flush()
    assert [pair.skew_ns for pair in feed.ready] == [-7_000_000]


@pytest.mark.parametrize('policy', ['latest', 'hold'])
def test_other_camera_goes_alone_when_the_reference_is_missing_and_stops_when_it_is_back(
    policy: str,
):
    feed = Feed(policy=policy, max_skew_s=0.05, missing_after_s=0.5)
    arrivals = [(1000 + k * 100, thermal(1000 + k * 100)) for k in range(20)]
    arrivals += [(1010 + k * 100, rgb(1010 + k * 100)) for k in (0, 1, 15, 16, 17, 18, 19)]
    feed.run(arrivals)
    feed.flush()
    alone = [t for r, t in feed.pairs if r is None]
    # Missing from 1610 on: then the newest that waits, later each one on arrival.
    assert alone == [1600 + k * 100 for k in range(10)]
    assert feed.fused[-5:] == [(2510 + k * 100, 2500 + k * 100) for k in range(5)]


def test_missing_reference_is_noticed_without_a_further_frame():
    feed = Feed(policy='latest', missing_after_s=0.5)
    feed.push(thermal(1000))
    assert feed.pairer.next_deadline_ns == 1500 * MS
    assert feed.poll(1499.9) == []
    assert feed.poll(1500) == [(None, 1000)]
    assert feed.pairer.next_deadline_ns is None


def test_hold_drops_unmatched_frames_only_while_both_deliver():
    feed = Feed(policy='hold', unmatched='drop', max_hold_s=0.1, missing_after_s=0.5)
    feed.push(thermal(1000))
    assert feed.push(rgb(1050)) == [(1050, 1000)]
    assert feed.push(rgb(1150)) == []
    assert feed.push(rgb(1550)) == [(1550, None)]
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 1}


def test_hold_counts_frames_that_were_in_no_pair_when_newer_ones_fill_the_queue():
    feed = Feed(policy='hold', queue_size=3, missing_after_s=60.0)
    for stamp_ms in (1000, 1010, 1020, 1030):
        feed.push(thermal(stamp_ms))
    assert feed.pairer.dropped == {DropReason.QUEUE_FULL: 1}
    assert feed.push(rgb(1040)) == [(1040, 1030)]
    assert feed.pairer.dropped == {DropReason.QUEUE_FULL: 1, DropReason.NO_PARTNER: 2}
    assert feed.pairer.num_waiting == 0


def test_hold_flush_gives_the_newest_other_frame_when_the_reference_never_came():
    feed = Feed(policy='hold')
    feed.push(thermal(1000))
    feed.push(thermal(1033))
    assert feed.flush() == [(None, 1033)]


@pytest.mark.parametrize('policy', ['latest', 'hold'])
def test_reference_frames_leave_in_order_and_once(policy: str):
    feed = Feed(policy=policy)
    for stamp_ms, at_ms in ((1033, 1040), (1000, 1041), (1033, 1042), (1066, 1066)):
        feed.push(rgb(stamp_ms), at_ms=at_ms)
    assert feed.pairs == [(1033, None), (1066, None)]
    assert feed.pairer.dropped == {DropReason.LATE: 1, DropReason.DUPLICATE_STAMP: 1}


@pytest.mark.parametrize('policy', ['approximate_time', 'exact_time'])
def test_policies_of_message_filters_are_refused_outside_of_ros(policy: str):
    expected = f"'{policy}', which needs ROS: message_filters; expected nearest.*set sync.policy"
    with pytest.raises(ConfigError, match=expected):
        build_pairer(SyncConfig(policy=policy), FallbackConfig())
