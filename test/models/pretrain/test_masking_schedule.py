# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.masking_schedule import MaskingSchedule, ScheduleState

MEANS = (0.6, 0.1, 0.3)  # of the mixture, not sorted


def run(schedule, epochs, *, means=MEANS, gap=0.0):
    states = [ScheduleState()]
    for _ in range(epochs):
        states.append(schedule.advance(states[-1], means, gap))
    return states


def test_first_epoch_moves_by_the_sum_of_means_over_the_epochs_left():
    state = MaskingSchedule().advance(ScheduleState(), MEANS, 0.0)
    assert state.sampling_means == pytest.approx((1.0 / 49,))  # epoch 1: 50 - 1 left


def test_a_mean_that_passes_its_component_freezes_there_and_the_next_opens():
    before = ScheduleState(epoch=9, sampling_means=(0.11,))
    state = MaskingSchedule().advance(before, MEANS, 0.0)
    # Frozen at 0.1, the next starts at 0 and moves by (1.0 - 0.1 - 0.0) / (50 - 10).
    assert state.sampling_means == pytest.approx((0.1, 0.9 / 40))


def test_components_open_one_two_three_in_the_first_half():
    states = run(MaskingSchedule(), 49)
    counts = [len(state.sampling_means) for state in states]
    assert counts == sorted(counts)
    assert set(counts) == {1, 2, 3}
    assert states[49].sampling_means == pytest.approx((0.1, 0.3, 0.6), abs=1e-6)


def test_second_half_moves_the_last_mean_below_the_largest_first():
    before = ScheduleState(epoch=59, sampling_means=(0.1, 0.3, 0.6))
    state = MaskingSchedule().advance(before, MEANS, 0.0)
    # (3 * 0.6 - 1.0) / (101 - 60), given to the second mean.
    assert state.sampling_means == pytest.approx((0.1, 0.3 + 0.8 / 41, 0.6))


def test_what_would_pass_the_largest_mean_goes_to_the_next_one():
    before = ScheduleState(epoch=67, sampling_means=(0.11, 0.595, 0.6))
    state = MaskingSchedule().advance(before, MEANS, 0.0)
    # (3 * 0.6 - 1.305) / (101 - 68) = 0.015: 0.005 to the second mean, the rest to the first.
    assert state.sampling_means == pytest.approx((0.12, 0.6, 0.6))


def test_of_components_that_never_opened_nothing_is_counted():
    before = ScheduleState(epoch=49, sampling_means=(0.1, 0.2))
    state = MaskingSchedule().advance(before, MEANS, 0.0)
    # The last mean jumps to the largest; (2 * 0.6 - 0.7) / (101 - 50) goes to the other.
    assert state.sampling_means == pytest.approx((0.1 + 0.5 / 51, 0.6))


def test_a_bias_comes_back_from_its_bound():
    state = ScheduleState(keep_bias=9.0, mean_bias=0.1)
    state = MaskingSchedule().advance(state, MEANS, -0.2)
    assert (state.keep_bias, state.mean_bias) == pytest.approx((7.0, 0.08))


@pytest.mark.parametrize('num_epochs', [1, 2, 3, 4, 7, 20, 100, 333])
def test_every_length_ends_at_the_largest_mean_and_stays_there(num_epochs):
    states = run(MaskingSchedule(num_epochs=num_epochs), num_epochs + 30)
    for state in states:
        assert all(0.0 <= mean <= 0.6 for mean in state.sampling_means)
    assert set(states[num_epochs].sampling_means) == {0.6}
    assert states[-1].sampling_means == states[num_epochs].sampling_means
    assert states[-1].epoch == num_epochs + 30


def test_before_the_last_epoch_not_all_means_are_there():
    states = run(MaskingSchedule(), 100)
    assert min(states[98].sampling_means) < 0.59


def test_the_end_holds_where_the_mixture_moves():
    schedule = MaskingSchedule(num_epochs=10)
    state = ScheduleState()
    for epoch in range(10):
        state = schedule.advance(state, (0.1, 0.3, 0.9 - 0.05 * epoch), 0.0)
        assert all(0.0 <= mean <= 0.9 for mean in state.sampling_means)
    assert set(state.sampling_means) == {0.9 - 0.05 * 9}


@pytest.mark.parametrize(('gap', 'keep', 'mean'), [(0.02, 0.2, 0.002), (-0.3, -3.0, -0.03)])
def test_the_gap_moves_both_biases(gap, keep, mean):
    state = MaskingSchedule().advance(ScheduleState(), MEANS, gap)
    assert (state.keep_bias, state.mean_bias) == pytest.approx((keep, mean))


@pytest.mark.parametrize('sign', [1.0, -1.0])
def test_both_biases_have_both_bounds(sign):
    states = run(MaskingSchedule(max_keep_bias=9, max_mean_bias=0.1), 40, gap=sign * 0.5)
    assert states[-1].keep_bias == sign * 9
    assert states[-1].mean_bias == sign * 0.1
    assert all(abs(state.keep_bias) <= 9 and abs(state.mean_bias) <= 0.1 for state in states)


def test_a_gap_that_is_not_a_number_changes_no_bias():
    state = MaskingSchedule().advance(ScheduleState(keep_bias=2.0), MEANS, math.nan)
    assert state.keep_bias == 2.0


def test_errors_say_what_was_found():
    with pytest.raises(PretrainError, match='has 0 epochs; expected 1 or more'):
        MaskingSchedule(num_epochs=0)
    with pytest.raises(PretrainError, match='bounds of the imbalance are -1 and'):
        MaskingSchedule(max_keep_bias=-1)
