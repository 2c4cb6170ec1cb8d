# SPDX-License-Identifier: Apache-2.0
"""Finding the points of a board in an RGB or a thermal image, hot on cold or cold on hot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.calibration.pattern import BoardPattern, MIN_POINTS
from rgbt_perception.types import ByteArray, FloatArray

Matrix = NDArray[np.float64]

# Small boards in small thermal images are found in an enlarged image.
ENLARGE_BELOW_PX = 900
_MAX_FIT_SHARE = 0.12  # of the distance between points: farther from a homography is no board
_REFINE = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 50, 1e-3)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BoardView:
    """Points of a board in one image.

    Attributes:
        ids: (n,) int, index into ``BoardPattern.points``, ascending.
        pixels: (n, 2) float64, px, centre units.
        has_ids: True when the ids are read from markers; else the board may be turned.
    """

    ids: NDArray[np.intp]
    pixels: Matrix
    has_ids: bool


def detect_board(image: FloatArray, pattern: BoardPattern) -> BoardView | None:
    """Find a board in a grey image; both polarities are tried.

    A ChArUco board whose markers cannot be read is taken for a plain chessboard.

    Args:
        image: Shape (h, w), float32 in 0..1.
        pattern: The board.

    Returns:
        The points, or None when the board is not seen, or seen so badly that its points do not
        lie on a plane.
    """
    detectors = (_detect_markers, _detect_grid) if pattern.kind == 'charuco' else (_detect_grid,)
    for detect in detectors:
        for grey, scale in _variants(image):
            view = detect(grey, pattern)
            if view is None:
                continue
            # Centre units of the enlarged image back to those of the image.
            pixels = (view.pixels + 0.5) / scale - 0.5
            found = BoardView(ids=view.ids, pixels=pixels, has_ids=view.has_ids)
            if _lies_on_plane(found, pattern):
                return found
    return None


def match_orders(first: BoardView, second: BoardView, pattern: BoardPattern) -> BoardView:
    """Turn the ids of ``second`` so that it looks the way ``first`` does.

    A board without ids looks the same turned by half. The cameras stand side by side and upright,
    so the right turn is the one in which points of the same id lie in the same direction from the
    middle. Views with ids from markers are returned as they are.
    """
    if second.has_ids or len(second.ids) != pattern.num_points:
        return second
    best, best_sum = second, -np.inf
    for order in pattern.orders():
        turned = np.empty_like(second.pixels)
        turned[order] = second.pixels
        candidate = BoardView(ids=second.ids, pixels=turned, has_ids=False)
        common = candidate.pixels[first.ids]
        total = float(np.sum((first.pixels - first.pixels.mean(0)) * (common - common.mean(0))))
        if total > best_sum:
            best, best_sum = candidate, total
    return best


def _variants(image: FloatArray) -> Iterator[tuple[ByteArray, int]]:
    """Yield the image in both polarities, as it is and enlarged when it is small."""
    grey = (np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)
    scales = (1, 2) if max(grey.shape) < ENLARGE_BELOW_PX else (1,)
    for scale in scales:
        scaled = grey
        if scale > 1:
            scaled = np.asarray(
                cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8
            )
        yield scaled, scale
        yield np.asarray(255 - scaled, np.uint8), scale


def _detect_grid(grey: ByteArray, pattern: BoardPattern) -> BoardView | None:
    pixels = _find_circles(grey, pattern) if pattern.has_circles else _find_corners(grey, pattern)
    if pixels is None:
        return None
    pixels = _right_handed(pixels.reshape(*pattern.grid_hw, 2)).reshape(-1, 2)
    return BoardView(ids=np.arange(pattern.num_points), pixels=pixels, has_ids=False)


def _detect_markers(grey: ByteArray, pattern: BoardPattern) -> BoardView | None:
    detector = cv2.aruco.CharucoDetector(pattern.charuco_board())
    corners, ids, _, _ = detector.detectBoard(grey)
    if ids is None or len(ids) < MIN_POINTS:
        return None
    order = np.argsort(ids.ravel())
    pixels = _refine_markers(grey, np.asarray(corners, np.float32))[order]
    return BoardView(ids=ids.ravel()[order].astype(np.intp), pixels=pixels, has_ids=True)


def _find_corners(grey: ByteArray, pattern: BoardPattern) -> Matrix | None:
    size = (pattern.grid_hw[1], pattern.grid_hw[0])
    is_found, corners = cv2.findChessboardCornersSB(
        grey, size, flags=cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
    )
    if is_found:
        return np.asarray(corners, np.float64).reshape(-1, 2)
    is_found, corners = cv2.findChessboardCorners(
        grey, size, flags=cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE
    )
    if not is_found:
        return None
    return _refine_corners(grey, np.asarray(corners, np.float32))


def _refine_markers(grey: ByteArray, corners: FloatArray) -> Matrix:
    """Refine the corners of a board with markers: twice as large, clear of the markers."""
    twice = cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    enlarged = (corners + np.float32(0.5)) * np.float32(2.0) - np.float32(0.5)
    # The white around a marker is an eighth of a square wide.
    refined = _refine_corners(np.asarray(twice, np.uint8), enlarged, window_share=0.12)
    return np.asarray((refined + 0.5) / 2.0 - 0.5)


def _refine_corners(grey: ByteArray, corners: FloatArray, *, window_share: float = 0.2) -> Matrix:
    """Move each corner to the saddle point near it.

    Args:
        grey: The image.
        corners: Any shape of n points, px.
        window_share: Half of the window's side over the distance between corners.

    Returns:
        Shape (n, 2), px.
    """
    half = int(np.clip(window_share * _spacing(corners.reshape(-1, 2)), 2, 11))
    refined = cv2.cornerSubPix(
        grey, corners.reshape(-1, 1, 2).copy(), (half, half), (-1, -1), _REFINE
    )
    return np.asarray(refined, np.float64).reshape(-1, 2)


def _find_circles(grey: ByteArray, pattern: BoardPattern) -> Matrix | None:
    rows, columns = pattern.grid_hw
    is_asymmetric = pattern.kind == 'asymmetric_circles'
    base = cv2.CALIB_CB_ASYMMETRIC_GRID if is_asymmetric else cv2.CALIB_CB_SYMMETRIC_GRID
    detector = _blob_detector(grey, pattern)
    for flags in (base, base | cv2.CALIB_CB_CLUSTERING):
        is_found, centres = cv2.findCirclesGrid(
            grey, (columns, rows), flags=flags, blobDetector=detector
        )
        if is_found:
            return _refine_circles(grey, np.asarray(centres, np.float64).reshape(-1, 2))
    return None


def _blob_detector(grey: ByteArray, pattern: BoardPattern) -> cv2.SimpleBlobDetector:
    """Return a detector of dark blobs, from tiny to as large as the board fills the image."""
    parameters = cv2.SimpleBlobDetector_Params()
    largest = min(grey.shape[0] / pattern.grid_hw[0], grey.shape[1] / pattern.grid_hw[1])
    parameters.filterByArea = True
    parameters.minArea, parameters.maxArea = 12.0, float(max(largest, 8.0) ** 2)
    parameters.filterByColor, parameters.blobColor = True, 0
    parameters.filterByCircularity, parameters.minCircularity = True, 0.6
    parameters.filterByInertia, parameters.minInertiaRatio = True, 0.15
    parameters.filterByConvexity, parameters.minConvexity = True, 0.8
    parameters.minDistBetweenBlobs = 4.0
    parameters.minThreshold, parameters.maxThreshold = 15.0, 240.0
    parameters.thresholdStep, parameters.minRepeatability = 15.0, 2
    return cv2.SimpleBlobDetector_create(parameters)


def _refine_circles(grey: ByteArray, centres: Matrix) -> Matrix:
    """Move each centre to the centroid of the dark pixels around it."""
    half = int(max(2, _spacing(centres) * 0.48))
    refined = centres.copy()
    height, width = grey.shape
    for index, (x, y) in enumerate(centres):
        x0, x1 = max(round(x) - half, 0), min(round(x) + half + 1, width)
        y0, y1 = max(round(y) - half, 0), min(round(y) + half + 1, height)
        window = 255.0 - grey[y0:y1, x0:x1].astype(np.float64)
        low, high = np.percentile(window, (30.0, 97.0))
        weight = np.clip((window - low - 0.25 * (high - low)) / max(high - low, 1.0), 0.0, 0.6)
        columns, rows = np.meshgrid(np.arange(x0, x1), np.arange(y0, y1))
        # Only around the first guess: the corner of the window may hold a neighbour.
        weight[np.hypot(columns - x, rows - y) > half] = 0.0
        if weight.sum() > 0:
            refined[index] = [(weight * columns).sum(), (weight * rows).sum()] / weight.sum()
    moved = np.abs(refined - centres).max()
    return refined if moved < half / 2 else centres


def _spacing(points: NDArray[Any]) -> float:
    """Return the median distance of a point to its nearest neighbour, px."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    return float(np.median(distance.min(axis=1)))


def _right_handed(grid: Matrix) -> Matrix:
    """Reverse the rows of a grid (rows, columns, 2) that is listed as if seen in a mirror."""
    along, down = grid[:, -1] - grid[:, 0], grid[-1] - grid[0]
    along_mean, down_mean = along.mean(axis=0), down.mean(axis=0)
    turn = along_mean[0] * down_mean[1] - along_mean[1] * down_mean[0]
    return grid if turn > 0 else grid[:, ::-1]


def _lies_on_plane(view: BoardView, pattern: BoardPattern) -> bool:
    """Tell whether a homography maps the board to the pixels, but for lens distortion."""
    plane = pattern.points()[view.ids, :2]
    if np.linalg.matrix_rank(plane - plane.mean(axis=0), tol=1e-6 * pattern.square_m) < 2:
        return False  # points on one line
    homography, _ = cv2.findHomography(plane, view.pixels)
    if homography is None:
        return False
    mapped = cv2.perspectiveTransform(plane[None], homography)[0]
    error = np.sqrt(np.mean(np.sum((mapped - view.pixels) ** 2, axis=1)))
    return bool(error < _MAX_FIT_SHARE * _spacing(view.pixels))
