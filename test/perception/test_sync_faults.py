# SPDX-License-Identifier: Apache-2.0
"""Pairing when stamps jump, cameras stop and frames come late or twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from pairer_feed import Feed, MS, rgb, thermal
import pytest

from rgbt_perception.types import DropReason, Modality


def _bag(num_rgb: int, num_thermal: int, *, start_ms: float, received_ms: float) -> list[Any]:
    shift = received_ms - start_ms
    arrivals = []
    for index in range(num_rgb):
        stamp_ms = start_ms + index * 100 / 3
        arrivals.append((stamp_ms + shift, rgb(stamp_ms)))
    for index in range(num_thermal):
        stamp_ms = start_ms + index * 100 / 3 + 5
        arrivals.append((stamp_ms + shift, thermal(stamp_ms)))
    return arrivals


@pytest.mark.parametrize('num_left_over', [0, 9, 10, 30])
def test_bag_loop_keeps_every_pair_of_both_passes(num_left_over: int):
    feed = Feed()
    feed.run(_bag(300 + num_left_over, 300, start_ms=1000, received_ms=50_000))
    first = len(feed.fused)
    feed.run(_bag(300 + num_left_over, 300, start_ms=1000, received_ms=62_000))
    feed.flush()
    assert first == 300
    assert len(feed.fused) == 600


def test_bag_loop_after_ten_frames_without_partner_of_each_camera_keeps_every_pair():
    feed = Feed()
    feed.run(_bag(300, 300, start_ms=1000, received_ms=50_000))
    left_over = [(60_100 + k, rgb(11_500 + k * 100 / 3)) for k in range(10)]
    left_over += [(60_200 + k, thermal(13_500 + k * 100 / 3)) for k in range(10)]
    feed.run(left_over)
    feed.run(_bag(300, 300, start_ms=1000, received_ms=60_300))
    feed.flush()
    assert len(feed.fused) == 600


@pytest.mark.parametrize('late', [Modality.RGB, Modality.THERMAL])
def test_cameras_may_jump_back_at_different_moments(late: Modality):
    # The late camera sends five more old frames after the other one has started over.
    feed = Feed()
    arrivals = _bag(100, 100, start_ms=1000, received_ms=50_000)
    second = _bag(100, 100, start_ms=1000, received_ms=60_000)
    make = rgb if late is Modality.RGB else thermal
    extra = [(60_000 + k * 100 / 3 + 1, make(4400 + k * 100 / 3)) for k in range(5)]
    second = [(at, frame) for at, frame in second if frame.modality is not late or at > 60_160]
    feed.run(arrivals + extra + second)
    feed.flush()
    assert len(feed.fused) == 195
    assert all(abs(t - r) == pytest.approx(5) for r, t in feed.fused)


def test_jump_back_drops_what_waits_and_goes_on_at_once():
    feed = Feed()
    feed.push(rgb(9000), at_ms=9000)
    feed.push(rgb(9033), at_ms=9033)
    feed.push(rgb(1000), at_ms=9066)
    assert feed.pairer.dropped == {DropReason.STAMP_JUMP: 2}
    assert feed.push(thermal(1000), at_ms=9067) == [(1000, 1000)]


def test_jump_back_of_exactly_one_second_is_a_late_frame():
    feed = Feed()
    feed.push(rgb(5000))
    feed.push(thermal(5000))
    feed.push(rgb(4000), at_ms=5001)
    assert feed.pairer.dropped == {DropReason.LATE: 1}


def test_one_stamp_far_in_the_future_costs_one_frame():
    feed = Feed()
    feed.push(rgb(1000), at_ms=1000)
    feed.push(rgb(90_000), at_ms=1033)
    feed.push(rgb(1066), at_ms=1066)
    feed.push(thermal(1000), at_ms=1067)
    feed.push(thermal(1066), at_ms=1068)
    assert feed.pairs == [(1000, 1000), (1066, 1066)]
    assert feed.pairer.dropped == {DropReason.STAMP_JUMP: 1}


def test_jump_forward_goes_on():
    feed = Feed()
    feed.run(_bag(10, 10, start_ms=1000, received_ms=1000))
    feed.run(_bag(10, 10, start_ms=900_000, received_ms=2000))
    assert len(feed.fused) == 20


def test_repeated_stamp_is_dropped():
    feed = Feed()
    feed.push(rgb(1000))
    feed.push(rgb(1000), at_ms=1033)
    feed.push(thermal(1000), at_ms=1034)
    feed.push(rgb(1000), at_ms=1066)
    assert feed.pairs == [(1000, 1000)]
    assert feed.pairer.dropped == {DropReason.DUPLICATE_STAMP: 2}


def test_frames_out_of_order_in_the_queue_are_paired_and_leave_in_order():
    feed = Feed()
    for frame, at_ms in ((rgb(1033), 1040), (rgb(1000), 1041), (thermal(1033), 1042)):
        feed.push(frame, at_ms=at_ms)
    feed.push(thermal(1000), at_ms=1043)
    feed.flush()
    stamps = [r for r, _ in feed.pairs]
    assert stamps == sorted(stamps)
    assert (1033, 1033) in feed.pairs


def test_rgb_older_than_the_last_result_is_late():
    feed = Feed()
    feed.push(rgb(1033))
    feed.push(thermal(1033))
    assert feed.push(rgb(1000), at_ms=1040) == []
    assert feed.pairer.dropped == {DropReason.LATE: 1}


def test_thermal_arriving_after_its_rgb_went_out_is_late():
    feed = Feed(max_wait_s=0.05)
    arrivals = [(1000 + k * 33, rgb(1000 + k * 33)) for k in range(20)]
    arrivals += [(1200 + k * 33, thermal(1000 + k * 33)) for k in range(10)]
    feed.run(arrivals)
    assert not feed.fused
    assert feed.pairer.dropped[DropReason.LATE] == 10


def test_full_queue_lets_its_oldest_rgb_frame_go_alone():
    feed = Feed(queue_size=2, max_wait_s=10.0, missing_after_s=60.0)
    for stamp_ms in (1000, 1033, 1066):
        feed.push(rgb(stamp_ms))
    assert feed.pairs == [(1000, None)]
    assert feed.flush() == [(1033, None), (1066, None)]
    assert not feed.pairer.dropped


def test_full_queue_loses_its_oldest_rgb_frame_where_unmatched_ones_are_dropped():
    feed = Feed(queue_size=2, max_wait_s=10.0, missing_after_s=60.0, unmatched='drop')
    for stamp_ms in (1000, 1033, 1066):
        feed.push(rgb(stamp_ms))
    assert feed.pairer.dropped == {DropReason.QUEUE_FULL: 1}
    assert feed.pairer.num_waiting == 2


def test_full_queue_loses_its_oldest_thermal_frame():
    feed = Feed(queue_size=2, max_wait_s=10.0, missing_after_s=60.0)
    for stamp_ms in (1000, 1033, 1066):
        feed.push(thermal(stamp_ms))
    assert feed.pairer.dropped == {DropReason.QUEUE_FULL: 1}
    assert feed.push(rgb(1033)) == [(1033, 1033)]


def test_thermal_far_behind_does_not_silence_a_fast_rgb_camera():
    # 120 Hz: more RGB frames arrive within max_wait than the queue holds.
    feed = Feed(queue_size=10, max_wait_s=0.15)
    arrivals = [(1000 + k * 8, rgb(1000 + k * 8)) for k in range(250)]
    arrivals += [(3000 + k * 8, thermal(1000 + k * 8)) for k in range(250)]
    arrivals += [(3000 + k * 8, rgb(3000 + k * 8)) for k in range(250)]
    feed.run(arrivals)
    feed.flush()
    assert [r for r, _ in feed.pairs] == [1000 + k * 8 for k in range(500)]


def test_thermal_stopping_leaves_rgb_alone_and_recovers():
    feed = Feed(missing_after_s=0.5, max_wait_s=0.15)
    arrivals = []
    for index in range(90):
        stamp_ms = 1000 + index * 100 / 3
        arrivals.append((stamp_ms, rgb(stamp_ms)))
        if not 30 <= index < 60:
            arrivals.append((stamp_ms + 5, thermal(stamp_ms + 5)))
    feed.run(arrivals)
    feed.flush()
    alone = [index for index, (_, t) in enumerate(feed.pairs) if t is None]
    assert len(feed.pairs) == 90
    # The first RGB frame after the pause has gone out before thermal is heard of again.
    assert alone == [*range(30, 60), 60]
    assert feed.pairs[61][1] is not None


def test_rgb_goes_out_on_arrival_while_thermal_is_missing():
    feed = Feed(missing_after_s=0.5, max_wait_s=10.0)
    feed.push(thermal(1000))
    for stamp_ms in (1000, 1250, 1499):
        feed.push(rgb(stamp_ms))
    assert feed.pairs == [(1000, 1000)]
    assert feed.push(rgb(1532)) == [(1250, None), (1499, None), (1532, None)]


def test_silence_of_exactly_missing_after_counts():
    feed = Feed(missing_after_s=0.5)
    feed.push(thermal(1000))
    for stamp_ms in (1000, 1250, 1490):
        feed.push(rgb(stamp_ms))
    assert feed.poll(1499.9) == []
    assert feed.pairer.next_deadline_ns == 1500 * MS
    assert feed.poll(1500) == [(1490, None)]


def test_thermal_goes_out_alone_only_when_rgb_is_missing():
    feed = Feed(missing_after_s=0.5, max_wait_s=0.15)
    arrivals = [(1000, rgb(1000))] + [(1000 + k * 100, thermal(1000 + k * 100)) for k in range(8)]
    feed.run(arrivals)
    # 1100..1300 waited 150 ms before RGB had been silent for 500 ms; 1400 was still waiting then.
    assert feed.pairs == [(1000, 1000), (None, 1400), (None, 1500), (None, 1600), (None, 1700)]
    assert feed.pairer.dropped == {DropReason.NO_PARTNER: 3}


def test_rgb_coming_back_is_fused_again():
    feed = Feed(missing_after_s=0.1)
    arrivals = [(1000 + k * 33, thermal(1000 + k * 33)) for k in range(20)]
    arrivals += [(1000 + k * 33, rgb(1000 + k * 33)) for k in (0, 1, 2, 15, 16, 17, 18, 19)]
    feed.run(arrivals)
    assert feed.pairs[:3] == [(1000 + k * 33, 1000 + k * 33) for k in range(3)]
    assert (None, 1000 + 14 * 33) in feed.pairs
    assert feed.pairs[-4:] == [(1000 + k * 33, 1000 + k * 33) for k in range(16, 20)]


def test_thermal_older_than_the_last_result_does_not_go_out_after_it():
    # Thermal comes 250 ms late; RGB stops. What is older than the last RGB result is not repeated.
    feed = Feed(missing_after_s=0.2, max_wait_s=0.05)
    arrivals = [(1000 + k * 33, rgb(1000 + k * 33)) for k in range(10)]
    arrivals += [(1250 + k * 33, thermal(999 + k * 33)) for k in range(20)]
    feed.run(arrivals)
    references = [t if r is None else r for r, t in feed.pairs]
    assert references == sorted(references)
    assert feed.pairs[-1] == (None, 999 + 19 * 33)
    assert (None, 999 + 9 * 33) not in feed.pairs


@pytest.mark.parametrize('policy', ['nearest', 'latest'])
def test_thermal_slower_than_missing_after_is_not_silent_when_rgb_stops(policy: str):
    feed = Feed(policy=policy, missing_after_s=0.5, max_wait_s=0.15)
    feed.run([(1000, rgb(1000)), (1001, thermal(1001))])
    feed.run([(2000 + k * 1000, thermal(2000 + k * 1000)) for k in range(5)])
    assert [t for r, t in feed.pairs if r is None][-4:] == [3000, 4000, 5000, 6000]


def test_pause_of_both_cameras_makes_neither_missing():
    feed = Feed(missing_after_s=0.5)
    for start_ms in (1000, 5000):
        feed.push(rgb(start_ms))
        feed.push(thermal(start_ms))
    assert feed.pairs == [(1000, 1000), (5000, 5000)]


def test_camera_that_never_came_is_missing_after_the_start_of_the_other():
    feed = Feed(missing_after_s=0.5, max_wait_s=0.15)
    feed.run([(1000 + k * 100, thermal(1000 + k * 100)) for k in range(6)])
    assert feed.pairs == [(None, 1400), (None, 1500)]


def test_flush_gives_thermal_alone_when_rgb_never_came():
    feed = Feed()
    feed.push(thermal(1000))
    assert feed.flush() == [(None, 1000)]


def test_cameras_two_seconds_apart_give_rgb_results_at_max_wait():
    feed = Feed(max_wait_s=0.15)
    arrivals = [(1000 + k * 33, rgb(1000 + k * 33)) for k in range(60)]
    arrivals += [(1000 + k * 33, thermal(3000 + k * 33)) for k in range(60)]
    feed.run(arrivals)
    feed.flush()
    assert feed.pairs == [(1000 + k * 33, None) for k in range(60)]


def test_frozen_rgb_stamps_make_rgb_missing():
    feed = Feed(missing_after_s=0.5)
    arrivals = [(1000 + k * 33, rgb(1000)) for k in range(60)]
    arrivals += [(1000 + k * 33, thermal(1000 + k * 33)) for k in range(60)]
    feed.run(arrivals)
    assert feed.pairs[-1] == (None, 1000 + 59 * 33)
    assert feed.pairer.dropped[DropReason.DUPLICATE_STAMP] == 59


def test_all_stamps_zero_are_not_paired_over_and_over():
    feed = Feed()
    for at_ms in range(1000, 2000, 33):
        feed.push(rgb(0), at_ms=at_ms)
        feed.push(thermal(0), at_ms=at_ms)
    assert feed.pairs == [(0, 0)]


@pytest.mark.parametrize('seed', range(20))
def test_disturbed_streams_lose_nothing_uncounted_and_keep_the_order(seed: int):
    rng = np.random.default_rng(seed)
    feed = Feed(max_skew_s=float(rng.uniform(0, 0.05)), queue_size=int(rng.integers(1, 12)))
    arrivals = []
    for make, period in ((rgb, 33.3), (thermal, float(rng.choice([16.7, 33.3, 111.1])))):
        for index in range(int(3000 / period)):
            if rng.random() < 0.1:
                continue
            stamp_ms = 1000 + index * period + rng.normal(0, 4)
            arrivals.append((stamp_ms + rng.exponential(20), make(stamp_ms)))
    feed.run(arrivals)  # checks the books at every step
    feed.flush()
    assert feed.pairer.num_waiting == 0
    references = [t if r is None else r for r, t in feed.pairs]
    assert references == sorted(references)
