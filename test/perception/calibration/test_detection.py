# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from bench.board_images import camera_model, render_board, true_pixels
from rgbt_models.synthetic import default_rig
from rgbt_perception.calibration.detection import BoardView, detect_board, match_orders
from rgbt_perception.calibration.pattern import BoardPattern

PATTERNS = {
    'charuco': BoardPattern(kind='charuco', rows=6, columns=8, square_m=0.08),
    'circles': BoardPattern(kind='circles', rows=5, columns=7, square_m=0.08),
    'asymmetric_circles': BoardPattern(
        kind='asymmetric_circles', rows=11, columns=4, square_m=0.05
    ),
    'chessboard': BoardPattern(kind='chessboard', rows=6, columns=8, square_m=0.07),
}
POSE = cv2.Rodrigues(np.array([0.35, -0.25, 0.1]))[0], np.array([0.05, -0.04, 1.4])
MODEL = camera_model(default_rig().rgb, (-0.1, 0.02, 0.0, 0.0, 0.0))


def picture(kind, *, is_dark_on_light, noise=0.01):
    black, board = render_board(MODEL, PATTERNS[kind], *POSE)
    grey = np.where(board > 0.5, 0.8 - 0.6 * black, 0.45)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.7)
    grey = grey + np.random.default_rng(0).normal(0, noise, grey.shape)
    return (grey if is_dark_on_light else 1.0 - grey).astype(np.float32)


@pytest.mark.parametrize('is_dark_on_light', [True, False], ids=['dark', 'light'])
@pytest.mark.parametrize('kind', PATTERNS)
def test_points_are_found_in_either_polarity(kind, is_dark_on_light):
    pattern = PATTERNS[kind]
    view = detect_board(picture(kind, is_dark_on_light=is_dark_on_light), pattern)
    expected = true_pixels(MODEL, pattern, *POSE)
    error = min(
        np.sqrt(np.mean(np.sum((view.pixels[order] - expected) ** 2, axis=1)))
        for order in pattern.orders()
    )
    assert error < 0.2
    assert view.has_ids == (kind == 'charuco')


def test_nothing_is_found_where_no_board_is():
    noise = np.random.default_rng(1).uniform(0, 1, (240, 320)).astype(np.float32)
    for pattern in PATTERNS.values():
        assert detect_board(cv2.GaussianBlur(noise, (0, 0), 2.0), pattern) is None


def test_board_with_another_number_of_circles_is_not_taken():
    image = picture('circles', is_dark_on_light=True)
    other = BoardPattern(kind='circles', rows=6, columns=9, square_m=0.08)
    assert detect_board(image, other) is None


@pytest.mark.parametrize('kind', ['circles', 'chessboard'])
def test_view_that_begins_at_the_other_end_is_turned(kind):
    pattern = PATTERNS[kind]
    pixels = true_pixels(MODEL, pattern, *POSE)
    ids = np.arange(pattern.num_points)
    first = BoardView(ids=ids, pixels=pixels, has_ids=False)
    moved = 1.2 * pixels[::-1] + [31.0, -12.0]
    second = BoardView(ids=ids, pixels=moved, has_ids=False)
    np.testing.assert_allclose(
        match_orders(first, second, pattern).pixels, 1.2 * pixels + [31.0, -12.0]
    )


def test_view_with_ids_decides_over_one_without():
    pattern = PATTERNS['charuco']
    pixels = true_pixels(MODEL, pattern, *POSE)
    marked = BoardView(ids=np.arange(3, 20), pixels=pixels[3:20], has_ids=True)
    plain = BoardView(ids=np.arange(pattern.num_points), pixels=pixels[::-1], has_ids=False)
    np.testing.assert_allclose(match_orders(marked, plain, pattern).pixels, pixels)
    assert match_orders(plain, marked, pattern) is marked
