# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.match_geometry import warp
from rgbt_models.metrics import corner_error, error_auc, matching_precision, MatchingScorer

SHIFT = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, -4.0], [0.0, 0.0, 1.0]])


def test_precision_counts_the_limit_as_right():
    thermal = np.array([[0.0, 0.0], [10.0, 10.0]])
    rgb = warp(thermal, SHIFT) + np.array([[8.0, 0.0], [0.0, 8.1]])
    assert matching_precision(rgb, thermal, SHIFT) == 0.5


def test_precision_of_no_match_is_unknown():
    assert matching_precision(np.zeros((0, 2)), np.zeros((0, 2)), SHIFT) is None


def test_corner_error_of_a_shift_is_its_length():
    assert corner_error(SHIFT, np.eye(3), (48, 64)) == pytest.approx(5.0)


def test_corner_error_uses_width_for_x():
    # x doubled: corners at 0 and 99 move by 0 and 99 px, y by none.
    assert corner_error(np.diag([2.0, 1.0, 1.0]), np.eye(3), (10, 100)) == pytest.approx(49.5)


def test_auc_of_perfect_and_of_failed_pairs():
    assert error_auc([0.0, 0.0])[3.0] == pytest.approx(1.0)
    assert error_auc([float('inf')] * 4) == {3.0: 0.0, 5.0: 0.0, 10.0: 0.0}


def test_auc_is_the_area_under_straight_lines():
    # Errors 1 and 4 of two pairs, up to 5: (0,0)-(1,.5)-(4,1)-(5,1): .25 + 2.25 + 1 of 5.
    areas = error_auc([4.0, 1.0])
    assert areas[5.0] == pytest.approx(3.5 / 5)
    # Up to 3: (0,0)-(1,.5) and flat: .25 + 1 of 3.
    assert areas[3.0] == pytest.approx(1.25 / 3)


def test_scorer_registers_pairs_and_counts_those_it_cannot():
    thermal = np.random.default_rng(0).uniform((0, 0), (64, 48), (40, 2))
    scorer = MatchingScorer(max_error_px=1.0)
    scorer.add(warp(thermal, SHIFT), thermal, SHIFT, (48, 64))
    scorer.add(np.zeros((0, 2)), np.zeros((0, 2)), SHIFT, (48, 64))
    values = scorer.compute()
    assert values['precision'] == 0.5
    assert values['registered'] == 0.5
    assert values['matches_per_pair'] == 20
    assert values['AUC@3px'] == pytest.approx(0.5, abs=1e-3)
    assert set(values) >= {'AUC@5px', 'AUC@10px'}


def test_precision_is_also_told_at_further_distances():
    thermal = np.random.default_rng(0).uniform((0, 0), (64, 48), (10, 2))
    wrong = np.array([[12.0, 0.0]] * 6 + [[20.0, 0.0]] * 4)
    scorer = MatchingScorer(precision_px=(16.0, 32.0))
    scorer.add(warp(thermal, SHIFT) + wrong, thermal, SHIFT, (48, 64))
    values = scorer.compute()
    assert [values[name] for name in ('precision', 'precision@16px', 'precision@32px')] == [
        0.0,
        0.6,
        1.0,
    ]


def test_without_pairs_nothing_is_known():
    assert set(MatchingScorer().compute().values()) == {None}
