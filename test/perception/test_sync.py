# SPDX-License-Identifier: Apache-2.0
"""Which frames are paired, and when."""

from __future__ import annotations

import numpy as np
from pairer_feed import Feed, MS, rgb, thermal

from rgbt_perception.types import DropReason


def test_pair_exactly_max_skew_apart_is_kept():
    feed = Feed(max_skew_s=0.02)
    feed.push(rgb(1000))
    feed.push(thermal(1020))
    assert feed.flush() == [(1000, 1020)]


def test_pair_one_nanosecond_beyond_max_skew_is_refused():
    feed = Feed(max_skew_s=0.02)
    feed.push(rgb(1000))
    feed.push(thermal(1020 + 1e-6))
    feed.flush()
    assert feed.pairs == [(1000, None)]
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 1}


def test_offset_is_subtracted_from_thermal_stamps():
    # Thermal clock 300 ms ahead: 1310 means 1010. The other sign would give 1610.
    feed = Feed(offset_s=0.3)
    feed.push(rgb(1000))
    feed.push(thermal(1310), at_ms=1010)
    assert feed.flush() == [(1000, 1310)]


def test_frames_of_equal_stamps_are_paired_on_arrival_of_the_second():
    feed = Feed()
    assert feed.push(rgb(1000)) == []
    assert feed.push(thermal(1000)) == [(1000, 1000)]
    assert feed.pairer.num_waiting == 0


def test_nearest_frame_wins_over_the_first():
    feed = Feed(max_skew_s=0.05)
    feed.push(rgb(1000))
    feed.push(thermal(1030))
    feed.push(rgb(1033))
    feed.flush()
    assert feed.pairs == [(1000, None), (1033, 1030)]


def test_nearest_frame_wins_also_when_it_is_the_earlier():
    feed = Feed(max_skew_s=0.05)
    feed.push(rgb(1000))
    feed.push(thermal(1005))
    feed.push(rgb(1033))
    assert feed.fused == [(1000, 1005)]


def test_on_a_tie_the_earlier_frame_wins():
    feed = Feed(max_skew_s=0.05)
    feed.push(rgb(1000))
    feed.push(rgb(1040))
    feed.push(thermal(1020))
    feed.flush()
    assert feed.pairs == [(1000, 1020), (1040, None)]


def test_constant_skew_is_paired_on_arrival_once_the_frame_interval_is_known():
    feed = Feed()
    feed.run([(1000, rgb(1000)), (1005, thermal(1005)), (1033, rgb(1033))])
    feed.push(thermal(1038))
    assert feed.push(rgb(1066)) == []
    assert feed.push(thermal(1071)) == [(1066, 1071)]


def test_pair_with_a_possible_rival_waits_for_it():
    # 30 Hz RGB is known; thermal at +18 ms is 15 ms before the RGB frame to come.
    feed = Feed()
    feed.push(rgb(967))
    feed.push(rgb(1000))
    assert (1000, 1018) not in feed.push(thermal(1018))
    feed.push(rgb(1033))
    feed.flush()
    assert feed.fused == [(1033, 1018)]


def test_waiting_for_a_rival_ends_at_max_wait():
    feed = Feed(max_wait_s=0.1)
    feed.push(rgb(1000), at_ms=1000)
    feed.push(thermal(1018), at_ms=1018)
    assert feed.pairer.next_deadline_ns == 1100 * MS
    assert feed.poll(1099.9) == []
    assert feed.poll(1100) == [(1000, 1018)]
    assert feed.pairer.next_deadline_ns is None


def test_rgb_without_partner_goes_out_alone_at_max_wait():
    feed = Feed(max_wait_s=0.15)
    feed.push(thermal(900))
    feed.push(rgb(1000))
    feed.poll(1149.9)
    assert feed.pairs == []
    feed.poll(1150)
    assert feed.pairs == [(1000, None)]
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 1}


def test_rgb_goes_out_alone_at_once_when_thermal_has_moved_on():
    feed = Feed(max_wait_s=1.0)
    feed.push(thermal(1000))
    feed.push(thermal(1111))
    assert feed.push(rgb(1066), at_ms=1120) == [(1066, None)]


def test_nominal_cameras_give_every_pair():
    feed = Feed()
    arrivals = []
    for index in range(300):
        stamp_ms = 1000 + index * 100 / 3
        arrivals += [(stamp_ms, rgb(stamp_ms)), (stamp_ms + 5, thermal(stamp_ms + 5))]
    feed.run(arrivals)
    assert len(feed.fused) == 300
    assert not feed.pairer.dropped


def test_30_hz_rgb_with_9_hz_thermal_pairs_the_nearest():
    # Best possible mean skew is 8.3 ms (uniform over a third of 1/30 s on either side).
    feed = Feed(max_skew_s=0.05)
    arrivals = [(1000 + k * 100 / 3 + 40, rgb(1000 + k * 100 / 3)) for k in range(300)]
    arrivals += [(1013 + k * 1000 / 9 + 10, thermal(1013 + k * 1000 / 9)) for k in range(89)]
    feed.run(arrivals)
    feed.flush()
    skews = [abs(t - r) for r, t in feed.fused]
    assert len(skews) == 89
    assert np.mean(skews) < 8.9
    assert max(skews) <= 1000 / 60 + 0.01
    assert len(feed.pairs) == 300
    assert not feed.pairer.dropped


def test_60_hz_thermal_gives_no_thermal_only_results_between_30_hz_rgb():
    feed = Feed()
    arrivals = [(1000 + k * 100 / 3, rgb(1000 + k * 100 / 3)) for k in range(60)]
    arrivals += [(1002 + k * 50 / 3, thermal(1002 + k * 50 / 3)) for k in range(120)]
    feed.run(arrivals)
    feed.flush()
    assert len(feed.pairs) == len(feed.fused) == 60
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 60}
