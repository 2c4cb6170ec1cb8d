# SPDX-License-Identifier: Apache-2.0
"""Which frames are paired, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
from pairer_feed import Feed, MS, rgb, thermal
import pytest

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


def _rgb_30_thermal_9(rgb_transport_ms: float, thermal_transport_ms: float) -> list[Any]:
    stamps = [1000 + k * 100 / 3 for k in range(300)]
    arrivals = [(stamp + rgb_transport_ms, rgb(stamp)) for stamp in stamps]
    stamps = [1013 + k * 1000 / 9 for k in range(89)]
    return arrivals + [(stamp + thermal_transport_ms, thermal(stamp)) for stamp in stamps]


@pytest.mark.parametrize('max_skew_s', [0.02, 0.05, 0.1, 0.5])
@pytest.mark.parametrize('transport_ms', [(40, 10), (10, 40), (0, 0)])
def test_30_hz_rgb_with_9_hz_thermal_pairs_the_nearest_whatever_max_skew_is(
    max_skew_s: float, transport_ms: tuple[float, float]
):
    feed = Feed(max_skew_s=max_skew_s)
    feed.run(_rgb_30_thermal_9(*transport_ms))
    feed.flush()
    # Best possible: each of the 89 thermal frames with its nearest RGB frame.
    rgb_ms = 1000 + np.arange(300) * 100 / 3
    best = [np.abs(1013 + k * 1000 / 9 - rgb_ms).min() for k in range(89)]
    skews = [abs(t - r) for r, t in feed.fused]
    assert np.mean(skews) <= 1.2 * np.mean(best)
    assert len(skews) == 89
    assert len(feed.pairs) == 300
    assert not feed.pairer.dropped


def test_wide_window_does_not_hold_up_rgb_frames_that_will_have_no_partner():
    # The next RGB frame comes before the thermal frame that is due, so this one is passed over.
    feed = Feed(max_skew_s=0.5)
    feed.run([(1000 + k * 33, rgb(1000 + k * 33)) for k in range(4)] + [(1002, thermal(1002))])
    assert feed.push(thermal(1102)) == [(1033, None), (1066, None), (1099, 1102)]
    assert feed.push(rgb(1132)) == []
    assert feed.push(rgb(1165)) == [(1132, None)]


def test_chain_of_preferences_is_resolved_from_its_nearest_link():
    # 1000-1018 (18), 1018-1033 (15), 1033-1038 (5): the last link holds, so the first does too.
    feed = Feed(max_skew_s=0.03)
    feed.run([(1000, rgb(1000)), (1018, thermal(1018)), (1033, rgb(1033))])
    feed.push(thermal(1038))
    feed.push(rgb(1066))
    assert feed.pairs[:2] == [(1000, 1018), (1033, 1038)]


def test_pairs_never_cross():
    feed = Feed(max_skew_s=0.5, max_wait_s=1.0)
    for frame in (rgb(1000), rgb(1033), thermal(1035), rgb(1066), thermal(1068), thermal(1101)):
        feed.push(frame)
    feed.flush()
    assert feed.pairs == [(1000, None), (1033, 1035), (1066, 1068)]
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 1}


def test_unmatched_drop_drops_rgb_without_partner_while_both_deliver():
    feed = Feed(unmatched='drop', missing_after_s=0.5)
    arrivals = [(1000 + k * 33, rgb(1000 + k * 33)) for k in range(40)]
    arrivals += [(1000 + k * 33, thermal(1000 + k * 33)) for k in range(40) if k not in (5, 6)]
    feed.run(arrivals)
    assert feed.pairs == [(1000 + k * 33, 1000 + k * 33) for k in range(40) if k not in (5, 6)]
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 2}


def test_unmatched_drop_lets_rgb_go_alone_when_thermal_is_missing():
    feed = Feed(unmatched='drop', missing_after_s=0.5, max_wait_s=0.15)
    feed.run([(1000 + k * 100, rgb(1000 + k * 100)) for k in range(10)])
    assert feed.pairs == [(1400 + k * 100, None) for k in range(6)]
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 4}


def test_60_hz_thermal_gives_no_thermal_only_results_between_30_hz_rgb():
    feed = Feed()
    arrivals = [(1000 + k * 100 / 3, rgb(1000 + k * 100 / 3)) for k in range(60)]
    arrivals += [(1002 + k * 50 / 3, thermal(1002 + k * 50 / 3)) for k in range(120)]
    feed.run(arrivals)
    feed.flush()
    assert len(feed.pairs) == len(feed.fused) == 60
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 60}
