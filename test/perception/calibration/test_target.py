# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import struct

import cv2
import numpy as np
import pytest

from rgbt_perception.calibration.detection import detect_board
from rgbt_perception.calibration.pattern import BoardPattern, PATTERNS
from rgbt_perception.calibration.target import (
    board_size_m,
    draw_target,
    first_point_m,
    write_target,
)
from rgbt_perception.errors import ConfigError


def build(kind, **more):
    values = {'rows': 6, 'columns': 5, 'square_m': 0.02, **more}
    if kind == 'asymmetric_circles':
        values['rows'] = 7
    return BoardPattern(kind=kind, **values)


@pytest.mark.parametrize('kind', PATTERNS)
def test_points_of_the_drawing_are_where_the_pattern_says(kind):
    pattern = build(kind)
    view = detect_board(draw_target(pattern, pixels_per_m=2000).astype(np.float32) / 255, pattern)
    expected = (pattern.points()[:, :2] + first_point_m(pattern)) * 2000 - 0.5
    np.testing.assert_array_equal(view.ids, np.arange(pattern.num_points))
    # A detector without ids may begin at the other end.
    error = min(np.abs(view.pixels[order] - expected).max() for order in pattern.orders())
    assert error < 0.1


@pytest.mark.parametrize(
    ('kind', 'size_mm'),
    [
        ('charuco', (140, 160)),
        ('chessboard', (160, 180)),
        ('circles', (120, 140)),
        ('asymmetric_circles', (220, 160)),
    ],
)
def test_size_of_the_board_has_a_margin_of_one_square(kind, size_mm):
    np.testing.assert_allclose(board_size_m(build(kind)), np.array(size_mm) / 1000)


def test_png_knows_its_size_on_paper(tmp_path):
    path = tmp_path / 'board.png'
    assert write_target(path, build('circles'), dpi=254) == pytest.approx((0.12, 0.14))
    data = path.read_bytes()
    where = data.index(b'pHYs')
    assert struct.unpack_from('>IIB', data, where + 4) == (10000, 10000, 1)
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (1400, 1200)


def test_svg_has_the_circles_in_millimetres(tmp_path):
    path = tmp_path / 'board.svg'
    write_target(path, build('circles'), dpi=300)
    text = path.read_text('utf-8')
    assert 'width="120.0000mm" height="140.0000mm"' in text
    assert '<circle cx="20.0000" cy="20.0000" r="6.0000"/>' in text
    assert text.count('<circle') == 30


@pytest.mark.parametrize('kind', ['charuco', 'chessboard'])
def test_svg_rectangles_cover_what_the_png_has_black(tmp_path, kind):
    pattern = build(kind)
    write_target(tmp_path / 'board.svg', pattern, dpi=300)
    picture = draw_target(pattern, pixels_per_m=4000)
    drawn = np.full(picture.shape, 255, np.uint8)
    text = (tmp_path / 'board.svg').read_text('utf-8')
    numbers = r'x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"'
    for match in re.finditer(numbers, text):
        x, y, width, height = (round(4 * float(value)) for value in match.groups())
        drawn[y : y + height, x : x + width] = 0
    assert np.mean(drawn != picture) < 0.02


def test_unknown_ending_and_useless_resolution_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in '.pdf', expected .png or .svg"):
        write_target(tmp_path / 'board.pdf', build('circles'), dpi=300)
    with pytest.raises(ConfigError, match='expected squares of at least 8 pixels'):
        write_target(tmp_path / 'board.png', build('circles'), dpi=5)
