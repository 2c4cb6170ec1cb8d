# SPDX-License-Identifier: Apache-2.0
"""Pictures that show whether a calibration is right: thermal edges over RGB, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.calibration.board import BoardCalibration
from rgbt_perception.calibration.image_pairs import grey_rgb, grey_thermal, ImagePair
from rgbt_perception.calibration.intrinsics import solve_pose
from rgbt_perception.calibration.pattern import BoardPattern
from rgbt_perception.calibration.stereo import BoardPair
from rgbt_perception.errors import CalibrationError
from rgbt_perception.types import ByteArray

Matrix = NDArray[np.float64]
Color = tuple[int, int, int]
_T = TypeVar('_T')

MAX_ROWS = 3
EDGE_COLOR: Color = (255, 120, 30)
OUTSIDE_COLOR: Color = (45, 55, 80)
DETECTED_COLOR: Color = (80, 230, 120)
REPROJECTED_COLOR: Color = (255, 60, 200)
_BRIGHTNESS = 0.75
_EDGE_GAIN = 6.0
_WHITE: Color = (245, 245, 245)
_DARK: Color = (18, 18, 22)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_alignment(pairs: Sequence[ImagePair], before: Matrix, after: Matrix) -> ByteArray:
    """Draw the thermal edges in orange over the grey RGB image; what thermal misses is blue.

    Args:
        pairs: At most ``MAX_ROWS`` are drawn, evenly chosen, one per row.
        before: (3, 3), thermal px -> RGB px: the left column.
        after: (3, 3): the right column.

    Returns:
        Picture, shape (rows * h, 2 * w, 3), uint8 RGB.
    """
    rows = []
    for pair in choose(pairs):
        panels = [draw_panel(pair, homography) for homography in (before, after)]
        for panel, name in zip(panels, ('before', 'after'), strict=True):
            _write(panel, f'{name}   {pair.name}')
        rows.append(np.concatenate(panels, axis=1))
    return np.concatenate(rows, axis=0)


def draw_board_alignment(
    pairs: Sequence[ImagePair],
    calibration: BoardCalibration,
    pattern: BoardPattern,
    before: Matrix,
) -> ByteArray:
    """Draw as ``draw_alignment``, with the points of the board on the right.

    Circles are points detected in RGB, crosses the points of the thermal image brought over by
    the calibration; a cross belongs into its circle at every depth, edges only at ``depth_m``.
    """
    by_name = {pair.name: pair for pair in pairs}
    used = choose([pair for pair in calibration.pairs if pair.name in by_name])
    picture = draw_alignment([by_name[pair.name] for pair in used], before, calibration.homography)
    height, width = calibration.rgb.size_hw
    for row, pair in enumerate(used):
        panel = picture[row * height : (row + 1) * height, width:]
        _draw_points(panel, pair, calibration, pattern)
    return picture


def write_picture(path: Path, picture: ByteArray) -> None:
    """Write a picture as PNG or JPEG, by the ending of its name.

    Raises:
        CalibrationError: If the name ends otherwise or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in ('.png', '.jpg', '.jpeg'):
        raise CalibrationError(
            f"the picture '{path.name}' ends in '{suffix}', expected .png or .jpg; rename it"
        )
    encoded = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    path.write_bytes(encoded.tobytes())


def draw_panel(pair: ImagePair, homography: Matrix) -> ByteArray:
    """Draw the thermal edges over one RGB image, shape (h, w, 3), uint8 RGB."""
    height, width = pair.rgb_hw
    thermal = grey_thermal(pair.thermal)
    size = (width, height)
    warped = cv2.warpPerspective(thermal, homography, size, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpPerspective(
        np.ones(thermal.shape, np.uint8), homography, size, flags=cv2.INTER_NEAREST
    )
    smooth = cv2.GaussianBlur(warped, (0, 0), max(1.0, width / 640))
    edges = np.hypot(
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125),
    )
    strength = np.clip(_EDGE_GAIN * edges * max(1.0, width / 640), 0.0, 1.0) * covered
    grey = np.repeat((grey_rgb(pair) * 255 * _BRIGHTNESS)[..., None], 3, axis=2)
    grey[covered == 0] = 0.5 * grey[covered == 0] + 0.5 * np.array(OUTSIDE_COLOR)
    share = strength[..., None]
    return np.asarray(grey * (1 - share) + np.array(EDGE_COLOR) * share, np.uint8)


def choose(items: Sequence[_T]) -> list[_T]:
    """Return at most ``MAX_ROWS`` of the items, evenly chosen."""
    count = min(MAX_ROWS, len(items))
    indices = (np.arange(count) + 0.5) * len(items) / max(count, 1)
    return [items[int(index)] for index in indices]


def _draw_points(
    panel: ByteArray, pair: BoardPair, calibration: BoardCalibration, pattern: BoardPattern
) -> None:
    """Draw detected and reprojected points into a panel, in place."""
    size = max(3, round(panel.shape[1] / 160))
    points = pattern.points()[pair.thermal.ids]
    rotation, translation = solve_pose(calibration.thermal, points, pair.thermal.pixels)
    in_rgb = (points @ rotation.T + translation) @ calibration.rotation.T + calibration.translation
    for x, y in pair.rgb.pixels:
        _marker(panel, x, y, DETECTED_COLOR, size, is_circle=True)
    for x, y in calibration.rgb.project(in_rgb):
        if np.isfinite([x, y]).all():
            _marker(panel, x, y, REPROJECTED_COLOR, size, is_circle=False)


def _marker(
    panel: ByteArray, x: float, y: float, color: Color, size: int, *, is_circle: bool
) -> None:
    centre = (round(x * 16), round(y * 16))
    if is_circle:
        cv2.circle(panel, centre, size * 16, color, 1, cv2.LINE_AA, 4)
        return
    for dx, dy in ((1, 1), (1, -1)):
        start = (centre[0] - dx * size * 11, centre[1] - dy * size * 11)
        end = (centre[0] + dx * size * 11, centre[1] + dy * size * 11)
        cv2.line(panel, start, end, color, 1, cv2.LINE_AA, 4)


def _write(panel: ByteArray, text: str) -> None:
    scale = max(0.4, panel.shape[0] / 1000)
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    cv2.rectangle(panel, (0, 0), (width + 8, height + baseline + 6), _DARK, cv2.FILLED)
    cv2.putText(panel, text, (4, height + 3), _FONT, scale, _WHITE, 1, cv2.LINE_AA)
