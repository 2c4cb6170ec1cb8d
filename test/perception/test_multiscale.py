# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_perception.metrics import ImageMatches
from rgbt_perception.multiscale import bootstrap_mean

GOOD = ImageMatches(scores=np.array([0.9]), is_right=np.array([True]), num_truth=1)
BAD = ImageMatches(scores=np.array([0.8]), is_right=np.array([False]), num_truth=1)
EMPTY = ImageMatches(scores=np.zeros(0), is_right=np.zeros(0, np.bool_), num_truth=0)


def test_mean_is_over_the_sizes():
    summary = bootstrap_mean([[GOOD, GOOD], [GOOD, BAD]], 50)
    assert summary['by_scale'] == [1.0, pytest.approx(51 / 101, abs=1e-4)]
    assert summary['mean'] == pytest.approx((1 + 51 / 101) / 2, abs=1e-4)


def test_interval_is_a_point_when_all_pairs_are_alike():
    summary = bootstrap_mean([[GOOD] * 6], 50)
    assert summary['interval'] == [1.0, 1.0]
    assert summary['standard_deviation'] == 0.0


def test_interval_holds_the_mean_of_mixed_pairs():
    summary = bootstrap_mean([[GOOD, BAD, GOOD, BAD, GOOD, BAD]], 200)
    low, high = summary['interval']
    assert low < summary['mean'] < high


def test_a_draw_without_boxes_is_not_counted():
    summary = bootstrap_mean([[GOOD, EMPTY]], 200)
    assert summary['interval'] == [1.0, 1.0]


def test_two_runs_give_the_same_interval():
    pairs = [[GOOD, BAD, GOOD, GOOD, BAD]]
    assert bootstrap_mean(pairs, 100) == bootstrap_mean(pairs, 100)
