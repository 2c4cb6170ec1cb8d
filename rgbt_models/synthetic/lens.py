# SPDX-License-Identifier: Apache-2.0
"""Lens distortion by the formulas of OpenCV and ROS, both ways.

Coefficients are k1 k2 p1 p2 [k3 [k4 k5 k6]] ('plumb_bob' up to k3, 'rational_polynomial' with
all eight). Points are normalised: x right, y down, at depth 1 in the optical frame.

The inverse over a whole image is smooth, so it is solved at Chebyshev nodes only and interpolated
by the polynomial through them: a few milliseconds instead of forty, to better than 1e-3 px.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rgbt_models.errors import RGBTError

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import DoubleArray, FloatArray, IntArray

NUM_COEFFICIENTS = (0, 4, 5, 8)
_NUM_NODES = 28  # per direction
_STOP = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-10)
_LARGEST_ERROR_PX = 1e-3


class LensError(RGBTError, ValueError):
    """A distortion cannot be that of a lens."""


def check_distortion(distortion: tuple[float, ...]) -> None:
    """Refuse what are no coefficients.

    Raises:
        LensError: If their number is none of 0, 4, 5, 8 or one is not finite.
    """
    if len(distortion) not in NUM_COEFFICIENTS:
        raise LensError(
            f'distortion has {len(distortion)} coefficients; expected {NUM_COEFFICIENTS}; '
            f'pass k1 k2 p1 p2 [k3 [k4 k5 k6]] or () for none'
        )
    if not np.isfinite(distortion).all():
        raise LensError(
            f'distortion is {distortion}; expected finite numbers; calibrate the camera again'
        )


def distort(points: DoubleArray, distortion: tuple[float, ...]) -> DoubleArray:
    """Return where a lens puts points of an ideal image.

    Far outside the field of view the formula folds back; that is not checked.

    Args:
        points: Normalised, shape (n, 2).
        distortion: Coefficients; () returns the points.
    """
    if not distortion:
        return points
    k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion, *(0.0,) * (8 - len(distortion)))
    x, y = points[:, 0], points[:, 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    xy = x * y
    return np.column_stack(
        [
            x * radial + 2 * p1 * xy + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * xy,
        ]
    )


def undistort(
    pixels: DoubleArray, intrinsics: DoubleArray, distortion: tuple[float, ...]
) -> DoubleArray:
    """Return the normalised points (n, 2) that a camera sees at pixels (n, 2).

    Raises:
        LensError: If no point is seen there: the formula folds back inside the image.
    """
    focal, centre = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    if not distortion:
        return np.asarray((pixels - centre) / focal)
    coefficients = np.array(distortion)
    source = np.ascontiguousarray(pixels, np.float64).reshape(-1, 1, 2)
    solved = cv2.undistortPoints(source, intrinsics, coefficients, criteria=_STOP)
    points = np.asarray(solved, np.float64).reshape(-1, 2)
    _check_round_trip(points, pixels, intrinsics, distortion)
    return points


def _check_round_trip(
    points: DoubleArray,
    pixels: DoubleArray,
    intrinsics: DoubleArray,
    distortion: tuple[float, ...],
) -> None:
    error_px = _round_trip_px(points, pixels, intrinsics, distortion)
    if not error_px <= _LARGEST_ERROR_PX:
        raise LensError(
            f'distortion {distortion} cannot be inverted inside the image '
            f'(off by {error_px:.3g} px); expected a formula that grows up to the corners; '
            f'use smaller coefficients or a narrower view'
        )


def _round_trip_px(
    points: DoubleArray,
    pixels: DoubleArray,
    intrinsics: DoubleArray,
    distortion: tuple[float, ...],
) -> float:
    again = distort(points, distortion) * intrinsics[[0, 1], [0, 1]] + intrinsics[:2, 2]
    return float(np.abs(again - pixels).max(initial=0.0))


def undistorted_grid(
    intrinsics: DoubleArray, distortion: tuple[float, ...], *, height: int, width: int
) -> FloatArray:
    """Return the normalised point that every pixel of an image sees; kept for the next call.

    Returns:
        Shape (h*w, 2), float32, rows of the image one after another; not writable.

    Raises:
        LensError: If the formula folds back inside the image.
    """
    flat = tuple(float(value) for value in intrinsics.ravel())
    return _cached_grid(flat, distortion, height, width)


@lru_cache(maxsize=8)
def _cached_grid(
    intrinsics: tuple[float, ...], distortion: tuple[float, ...], height: int, width: int
) -> FloatArray:
    matrix = np.array(intrinsics).reshape(3, 3)
    nodes = np.cos(np.pi * (np.arange(_NUM_NODES) + 0.5) / _NUM_NODES)  # -1..1
    half_x, half_y = max(0.5 * (width - 1), 0.5), max(0.5 * (height - 1), 0.5)
    x, y = np.meshgrid((nodes + 1.0) * half_x, (nodes + 1.0) * half_y)
    solved = undistort(np.column_stack([x.ravel(), y.ravel()]), matrix, distortion)
    values = solved.reshape(_NUM_NODES, _NUM_NODES, 2)  # (y, x, 2)
    to_coefficients = np.linalg.inv(np.polynomial.chebyshev.chebvander(nodes, _NUM_NODES - 1))
    across = _basis(np.arange(width) / half_x - 1.0) @ to_coefficients  # (w, nodes)
    down = _basis(np.arange(height) / half_y - 1.0) @ to_coefficients  # (h, nodes)
    grid = np.empty((height, width, 2), np.float32)
    for axis in range(2):
        grid[..., axis] = down @ values[..., axis] @ across.T
    flat = grid.reshape(-1, 2)
    probe = np.linspace(0, height * width - 1, 499).astype(np.int64)
    pixels = _pixels(probe, width)
    found = flat[probe].astype(np.float64)
    if _round_trip_px(found, pixels, matrix, distortion) > 0.5 * _LARGEST_ERROR_PX:
        # A lens too strong for the polynomial.
        every = _pixels(np.arange(height * width), width)
        flat = undistort(every, matrix, distortion).astype(np.float32)
    flat.flags.writeable = False
    return flat


def _pixels(index: IntArray, width: int) -> DoubleArray:
    return np.column_stack([index % width, index // width]).astype(np.float64)


def _basis(places: DoubleArray) -> DoubleArray:
    return np.asarray(np.polynomial.chebyshev.chebvander(places, _NUM_NODES - 1))
