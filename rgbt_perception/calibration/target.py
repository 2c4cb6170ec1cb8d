# SPDX-License-Identifier: Apache-2.0
"""Pictures of calibration boards, to print or to cut."""

from __future__ import annotations

import math
from pathlib import Path
import struct
import zlib

import cv2
import numpy as np

from rgbt_perception.calibration.pattern import BoardPattern
from rgbt_perception.errors import ConfigError
from rgbt_perception.types import ByteArray

MM_PER_INCH = 25.4
MAX_PIXELS = 400_000_000
# Radius of a circle over the distance to its nearest neighbour.
RADIUS_SHARE = 0.3
_PNG_HEAD = 8 + 25  # signature and IHDR, after which pHYs may stand


def board_size_m(pattern: BoardPattern) -> tuple[float, float]:
    """Return width and height of the drawn board with a margin of one square, metres."""
    columns, rows = pattern.columns, pattern.rows
    if pattern.kind == 'chessboard':
        columns, rows = columns + 1, rows + 1
    elif pattern.kind == 'asymmetric_circles':
        columns = 2 * columns
    width, height = columns, rows
    if pattern.has_circles:
        width, height = columns - 1, rows - 1
    return (width + 2) * pattern.square_m, (height + 2) * pattern.square_m


def first_point_m(pattern: BoardPattern) -> tuple[float, float]:
    """Return x and y of the first point, from the top-left corner of the drawn board, metres."""
    squares = 1.0 if pattern.has_circles else 2.0
    return squares * pattern.square_m, squares * pattern.square_m


def draw_target(pattern: BoardPattern, *, pixels_per_m: float) -> ByteArray:
    """Draw a board, black on white, with a margin of one square.

    Args:
        pattern: The board.
        pixels_per_m: Resolution.

    Returns:
        Picture, shape (h, w), uint8; edges are anti-aliased.

    Raises:
        ConfigError: If the picture would be empty or larger than ``MAX_PIXELS``.
    """
    width_m, height_m = board_size_m(pattern)
    width, height = round(width_m * pixels_per_m), round(height_m * pixels_per_m)
    if not 0 < width * height <= MAX_PIXELS or pattern.square_m * pixels_per_m < 8:
        raise ConfigError(
            f'the picture of the board would have {width}x{height} pixels, expected squares of '
            f'at least 8 pixels and at most {MAX_PIXELS} pixels in all; choose another resolution'
        )
    if pattern.kind == 'charuco':
        margin = round(pattern.square_m * pixels_per_m)
        inner = (width - 2 * margin, height - 2 * margin)
        board = pattern.charuco_board().generateImage(inner, marginSize=0, borderBits=1)
        return np.asarray(
            cv2.copyMakeBorder(
                board, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=255
            ),
            np.uint8,
        )
    return _sample(pattern, (height, width), pixels_per_m)


def _sample(pattern: BoardPattern, size_hw: tuple[int, int], pixels_per_m: float) -> ByteArray:
    """Draw circles or squares with the share of black in every pixel."""
    picture = np.full(size_hw, 255, np.uint8)
    pixel = 1.0 / pixels_per_m
    if pattern.has_circles:
        x0, y0 = first_point_m(pattern)
        shift = 6  # 1/64 px
        for x, y, _ in pattern.points():
            centre = ((x0 + x) * pixels_per_m - 0.5, (y0 + y) * pixels_per_m - 0.5)
            cv2.circle(
                picture,
                (round(centre[0] * 2**shift), round(centre[1] * 2**shift)),
                round(circle_radius_m(pattern) * pixels_per_m * 2**shift),
                0,
                cv2.FILLED,
                cv2.LINE_AA,
                shift,
            )
        return picture
    y, x = np.indices(size_hw, sparse=True)
    column = np.floor((x + 0.5) * pixel / pattern.square_m).astype(int) - 1
    row = np.floor((y + 0.5) * pixel / pattern.square_m).astype(int) - 1
    is_inside = (row >= 0) & (row <= pattern.rows) & (column >= 0) & (column <= pattern.columns)
    picture[is_inside & ((row + column) % 2 == 0)] = 0
    return picture


def circle_radius_m(pattern: BoardPattern) -> float:
    """Return the radius of the circles of a board, metres."""
    # Neighbours of the shifted rows lie on the diagonal.
    nearest = math.sqrt(2.0) if pattern.kind == 'asymmetric_circles' else 1.0
    return RADIUS_SHARE * nearest * pattern.square_m


def write_target(path: Path, pattern: BoardPattern, *, dpi: int) -> tuple[float, float]:
    """Write a board as PNG that knows its size on paper, or as SVG.

    Args:
        path: Ends in .png or .svg; an SVG of a ChArUco board embeds no picture but squares.
        pattern: The board.
        dpi: Pixels per inch of a PNG.

    Returns:
        Width and height on paper, metres.

    Raises:
        ConfigError: If the name ends otherwise, or the resolution does not fit.
    """
    suffix = path.suffix.lower()
    if suffix == '.svg':
        path.write_text(_svg(pattern), encoding='utf-8')
    elif suffix == '.png':
        picture = draw_target(pattern, pixels_per_m=dpi / MM_PER_INCH * 1e3)
        path.write_bytes(_png_with_size(picture, dpi))
    else:
        raise ConfigError(
            f"the picture '{path.name}' ends in '{suffix}', expected .png or .svg; rename it"
        )
    return board_size_m(pattern)


def _svg(pattern: BoardPattern) -> str:
    """Return black shapes in millimetres; ChArUco markers are drawn cell by cell."""
    width, height = (1e3 * side for side in board_size_m(pattern))
    if pattern.has_circles:
        x0, y0 = first_point_m(pattern)
        radius = 1e3 * circle_radius_m(pattern)
        shapes = [
            f'<circle cx="{1e3 * (x0 + x):.4f}" cy="{1e3 * (y0 + y):.4f}" r="{radius:.4f}"/>'
            for x, y, _ in pattern.points()
        ]
    else:
        shapes = [
            f'<rect x="{x:.4f}" y="{y:.4f}" width="{w:.4f}" height="{h:.4f}"/>'
            for x, y, w, h in _rectangles(pattern)
        ]
    rendering = '' if pattern.has_circles else ' shape-rendering="crispEdges"'
    head = (
        '<!-- SPDX-License-Identifier: Apache-2.0 -->\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.4f}mm" height="{height:.4f}mm" '
        f'viewBox="0 0 {width:.4f} {height:.4f}">\n'
        f'<rect width="{width:.4f}" height="{height:.4f}" fill="white"/>\n'
        f'<g fill="black"{rendering}>\n'
    )
    return head + '\n'.join(shapes) + '\n</g>\n</svg>\n'


def _rectangles(pattern: BoardPattern) -> list[tuple[float, float, float, float]]:
    """Return the black rectangles of a board with squares: x, y, width, height in mm.

    Horizontal runs of black cells, found in a small picture whose pixels are the cells.
    """
    if pattern.kind == 'chessboard':
        cells = draw_target(pattern, pixels_per_m=8.0 / pattern.square_m)
    else:
        # Cells per square such that squares, markers and bits all end on cells would need a
        # common divisor; a fine grid is exact to 1/240 of a square.
        cells = draw_target(pattern, pixels_per_m=240.0 / pattern.square_m)
    cell_mm = 1e3 * board_size_m(pattern)[0] / cells.shape[1]
    found: list[tuple[float, float, float, float]] = []
    open_runs: dict[tuple[int, int], int] = {}  # (start, end) -> first row
    for row in range(len(cells) + 1):
        runs = _black_runs(cells[row]) if row < len(cells) else set()
        for start, end in sorted(open_runs.keys() - runs):
            first = open_runs.pop((start, end))
            found.append(
                (
                    start * cell_mm,
                    first * cell_mm,
                    (end - start) * cell_mm,
                    (row - first) * cell_mm,
                )
            )
        for run in runs - open_runs.keys():
            open_runs[run] = row
    return found


def _black_runs(row: ByteArray) -> set[tuple[int, int]]:
    is_black = np.concatenate([[0], (row < 128).astype(np.int8), [0]])
    change = np.diff(is_black)
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    return {(int(start), int(end)) for start, end in zip(starts, ends, strict=True)}


def _png_with_size(picture: ByteArray, dpi: int) -> bytes:
    """Encode a PNG with a pHYs chunk, so that a printer knows its size on paper."""
    encoded = bytes(cv2.imencode('.png', picture)[1])
    per_metre = round(dpi / MM_PER_INCH * 1e3)
    content = b'pHYs' + struct.pack('>IIB', per_metre, per_metre, 1)
    chunk = struct.pack('>I', 9) + content + struct.pack('>I', zlib.crc32(content))
    return encoded[:_PNG_HEAD] + chunk + encoded[_PNG_HEAD:]
