# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import math
import os

import numpy as np
import pytest

from bench.report import parse_size_hw
from bench.soak_figures import (
    fit_slope,
    growth,
    is_counted_right,
    latencies_in,
    ProcessSample,
    recoveries_s,
    RECOVERY_LIMIT_S,
    results_by_fault,
    ResultSample,
    sample_process,
)
from bench.soak_plan import Fault, FaultKind, Plan
from bench.transport import bounds_of, ratio_of, Tally

RIGHT = {
    'rgb_frames': '100',
    'thermal_frames': '98',
    'dropped_duplicate_stamp': '1',
    'dropped_late': '2',
    'dropped_no_partner': '3',
    'dropped_queue_full': '0',
    'dropped_stamp_jump': '4',
    'waiting_frames': '2',
    'results': '90',
    'pairs_superseded': '4',
    'pairs_failed': '1',
}


def plan(*faults):
    return Plan(seed=1, duration_s=100.0, warm_up_s=10.0, window_s=10.0, faults=faults)


def fault(begin_s, end_s, kind=FaultKind.BLACK):
    return Fault(kind=kind, cameras=('rgb',), begin_s=begin_s, end_s=end_s)


def result(time_s, mode='fused', latency_ms=1.0):
    return ResultSample(time_s=time_s, latency_ms=latency_ms, mode=mode)


def sample(time_s, descriptors):
    return ProcessSample(
        time_s=time_s, rss_bytes=0, private_bytes=0, num_descriptors=descriptors, num_threads=1
    )


def test_a_line_has_its_slope_per_hour():
    times = np.arange(0.0, 600.0)
    slope = fit_slope(times, 100.0 + times * (5.0 / 3600.0))
    assert slope.per_hour == pytest.approx(5.0, rel=1e-6)
    assert slope.low <= 5.0 + 1e-6
    assert slope.high >= 5.0 - 1e-6


def test_outliers_and_noise_do_not_move_the_slope():
    draw = np.random.default_rng(0)
    times = np.arange(0.0, 1200.0)
    values = 200.0 + times * (0.5 / 3600.0) + draw.normal(0.0, 0.05, len(times))
    values[300:304] += 500.0
    slope = fit_slope(times, values)
    assert slope.per_hour == pytest.approx(0.5, abs=0.15)
    assert slope.low < 0.5 < slope.high


def test_too_few_samples_have_no_slope():
    assert math.isnan(fit_slope([0.0, 1.0, 12.0], [1.0, 1.0, 1.0]).per_hour)


def test_windows_include_their_begin_and_not_their_end():
    results = [result(time_s, latency_ms=time_s) for time_s in (9.9, 10.0, 19.9, 20.0)]
    assert latencies_in(results, (10.0, 20.0)) == [10.0, 19.9]


def test_recovery_is_the_next_result_of_both_cameras():
    run = plan(fault(30.0, 32.0), fault(40.0, 42.0))
    results = [result(31.0), result(32.1, 'rgb_only'), result(32.4), result(41.0)]
    assert recoveries_s(run, results) == [pytest.approx(0.4), RECOVERY_LIMIT_S]
    rows = results_by_fault(run, results)
    assert [(row['kind'], row['results_meanwhile']) for row in rows] == [
        ('black', 1),
        ('black', 1),
    ]


def test_growth_is_between_the_medians_of_the_windows():
    times = [12.0, 13.0, 14.0, 50.0, 92.0, 93.0, 94.0]
    samples = [
        sample(time_s, descriptors)
        for time_s, descriptors in zip(times, [20, 21, 99, 500, 23, 23, 1], strict=True)
    ]
    assert growth(samples, plan(), 'num_descriptors') == 2.0


def test_a_process_can_be_looked_at():
    seen = sample_process(os.getpid(), 1.5)
    assert seen.time_s == 1.5
    assert seen.rss_bytes > seen.private_bytes > 1 << 20
    assert seen.num_descriptors >= 3
    assert seen.num_threads >= 1


def test_counts_that_account_for_every_frame_are_right():
    assert is_counted_right(RIGHT)  # 186 frames in 95 pairs


@pytest.mark.parametrize(
    'change', [{'results': '60'}, {'results': '200'}, {'dropped_late': '150'}]
)
def test_counts_that_lose_or_invent_frames_are_wrong(change):
    assert not is_counted_right(RIGHT | change)


def test_network_input_is_height_times_width():
    assert parse_size_hw('96x128') == (96, 128)
    with pytest.raises(argparse.ArgumentTypeError, match="'96' is not HEIGHTxWIDTH"):
        parse_size_hw('96')


def test_transport_bounds_compare_the_profiles():
    tallies = {
        ('default', 'reliable'): Tally(num_sent=4, latencies_ms=[10.0, 12.0, 14.0]),
        ('shipped', 'reliable'): Tally(num_sent=4, latencies_ms=[3.0, 3.0, 3.0, 3.0]),
        ('default', 'best_effort'): Tally(num_sent=4),
        ('shipped', 'best_effort'): Tally(num_sent=4, latencies_ms=[3.0, 3.0]),
    }
    assert ratio_of(tallies, 'reliable') == 0.25
    assert math.isnan(ratio_of(tallies, 'best_effort'))
    assert [bound.is_kept for bound in bounds_of(tallies)] == [True, True, False]
    assert tallies['default', 'best_effort'].describe()['latency_ms'] is None
