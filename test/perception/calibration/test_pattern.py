# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_perception.calibration.pattern import BoardPattern
from rgbt_perception.errors import ConfigError


def build(kind='circles', rows=3, columns=4, square_m=0.1, **more):
    return BoardPattern(kind=kind, rows=rows, columns=columns, square_m=square_m, **more)


def test_points_run_along_the_rows():
    points = build(rows=2, columns=3, square_m=0.5).points()
    expected = [[0, 0, 0], [0.5, 0, 0], [1.0, 0, 0], [0, 0.5, 0], [0.5, 0.5, 0], [1.0, 0.5, 0]]
    np.testing.assert_allclose(points, expected)


def test_every_second_row_of_asymmetric_circles_is_shifted():
    points = build('asymmetric_circles', rows=3, columns=2, square_m=0.02).points()
    expected = [[0, 0], [0.04, 0], [0.02, 0.02], [0.06, 0.02], [0, 0.04], [0.04, 0.04]]
    np.testing.assert_allclose(points[:, :2], expected)


def test_charuco_has_points_between_squares_only():
    pattern = build('charuco', rows=5, columns=7)
    assert pattern.grid_hw == (4, 6)
    assert pattern.num_points == 24
    assert pattern.marker_side_m == pytest.approx(0.075)


def test_orders_of_a_grid_are_two_of_a_square_grid_four():
    assert len(build(rows=3, columns=4).orders()) == 2
    assert len(build(rows=4, columns=4).orders()) == 4
    np.testing.assert_array_equal(build(rows=2, columns=3).orders()[1], [5, 4, 3, 2, 1, 0])


@pytest.mark.parametrize(('rows', 'count'), [(11, 1), (4, 2)])
def test_asymmetric_circles_look_the_same_upside_down_when_the_rows_are_even(rows, count):
    pattern = build('asymmetric_circles', rows=rows, columns=3)
    assert len(pattern.orders()) == count
    # The set of points after half a turn about its middle, against the set itself.
    points = pattern.points()[:, :2]
    turned = points.max(axis=0) + points.min(axis=0) - points
    gaps = np.linalg.norm(points[:, None] - turned[None], axis=-1).min(axis=1)
    assert bool(gaps.max() < 1e-9) == (count == 2)


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({'kind': 'dots'}, "pattern is 'dots', expected one of charuco"),
        ({'rows': 1}, 'the board has 1 rows and 4 columns, expected at least 2'),
        ({'square_m': 0.0}, 'square_m is 0.0, expected metres above 0'),
        ({'kind': 'charuco', 'marker_m': 0.1}, 'marker_m is 0.1, expected 0'),
        ({'kind': 'charuco', 'dictionary': '9X9'}, "dictionary is '9X9', expected one of"),
        (
            {'kind': 'charuco', 'rows': 20, 'columns': 20, 'dictionary': '4X4_50'},
            "dictionary '4X4_50' has 50 markers, expected at least 200",
        ),
    ],
)
def test_boards_that_cannot_be_are_refused(values, text):
    with pytest.raises(ConfigError, match=text):
        build(**values)
