# SPDX-License-Identifier: Apache-2.0
"""One camera from views of a board."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.calibration.detection import BoardView
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.errors import CalibrationError

Matrix = NDArray[np.float64]

DISTORTIONS = ('plumb_bob', 'equidistant', 'none')
MIN_VIEWS = 5
# A plane seen straight on does not tell its distance from the focal length: the normals of the
# boards must differ by this much, degrees.
MIN_TILT_SPREAD_DEG = 12.0


def estimate_camera(
    views: Sequence[BoardView],
    points: Matrix,
    size_hw: tuple[int, int],
    *,
    distortion: str,
    name: str,
) -> CameraModel:
    """Estimate focal lengths, principal point and distortion.

    Args:
        views: Views of the board in this camera.
        points: All points of the board, shape (n, 3), m.
        size_hw: Height and width of the images, px.
        distortion: One of ``DISTORTIONS``; plumb_bob fits k1, k2, p1, p2.
        name: 'rgb' or 'thermal', for error messages.

    Raises:
        CalibrationError: If the views do not determine a camera.
    """
    if len(views) < MIN_VIEWS:
        raise CalibrationError(
            f'the {name} camera sees the board in {len(views)} images, expected at least '
            f'{MIN_VIEWS} to estimate its intrinsics; record more, or give them with '
            f'--{name}-info'
        )
    objects = [points[view.ids] for view in views]
    pixels = [view.pixels for view in views]
    fit = _fit_equidistant if distortion == 'equidistant' else _fit_pinhole
    try:
        camera, rotations = fit(objects, pixels, size_hw, distortion)
    except cv2.error as error:
        problem = ' '.join(str(error).split())
        raise CalibrationError(
            f'the intrinsics of the {name} camera cannot be estimated from {len(views)} views '
            f'({problem}); tilt the board by 20 to 40 degrees in different directions, or give '
            f'them with --{name}-info'
        ) from error
    _check_tilts(rotations, name)
    return camera


def solve_pose(camera: CameraModel, points: Matrix, pixels: Matrix) -> tuple[Matrix, Matrix]:
    """Return rotation (3, 3) and translation (3,) of the board in the optical frame.

    Args:
        camera: The camera.
        points: Shape (n, 3), board frame, m.
        pixels: Shape (n, 2), px.
    """
    rays = camera.rays(pixels)[:, :2]
    solved = cv2.solvePnP(
        points, np.ascontiguousarray(rays), np.eye(3), None, flags=cv2.SOLVEPNP_IPPE
    )
    refined = cv2.solvePnPRefineLM(
        points, np.ascontiguousarray(rays), np.eye(3), None, solved[1], solved[2]
    )
    rotation, translation = refined
    return np.asarray(cv2.Rodrigues(rotation)[0]), np.asarray(translation, np.float64).ravel()


def _fit_pinhole(
    objects: list[Matrix], pixels: list[Matrix], size_hw: tuple[int, int], distortion: str
) -> tuple[CameraModel, list[Matrix]]:
    flags = cv2.CALIB_FIX_K3
    if distortion == 'none':
        flags |= cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2
    _, intrinsics, coefficients, rotations, _ = cv2.calibrateCamera(
        [np.asarray(item, np.float32) for item in objects],
        [np.asarray(item, np.float32) for item in pixels],
        (size_hw[1], size_hw[0]),
        None,
        None,
        flags=flags,
    )
    values = np.asarray(coefficients, np.float64).ravel()[:5]
    camera = CameraModel(
        intrinsics=np.asarray(intrinsics, np.float64),
        distortion_model=distortion,
        distortion=() if distortion == 'none' else tuple(float(value) for value in values),
        size_hw=size_hw,
    )
    return camera, [cv2.Rodrigues(rotation)[0] for rotation in rotations]


def _fit_equidistant(
    objects: list[Matrix], pixels: list[Matrix], size_hw: tuple[int, int], distortion: str
) -> tuple[CameraModel, list[Matrix]]:
    flags = getattr(cv2, 'CALIB_RECOMPUTE_EXTRINSIC', None)
    if flags is None:  # OpenCV 4 has its own flags for fisheye lenses
        flags = cv2.fisheye.CALIB_RECOMPUTE_EXTRINSIC | cv2.fisheye.CALIB_FIX_SKEW
    else:
        flags |= cv2.CALIB_FIX_SKEW
    intrinsics, coefficients = np.eye(3), np.zeros((4, 1))
    _, intrinsics, coefficients, rotations, _ = cv2.fisheye.calibrate(
        [item.reshape(-1, 1, 3) for item in objects],
        [item.reshape(-1, 1, 2) for item in pixels],
        (size_hw[1], size_hw[0]),
        intrinsics,
        coefficients,
        flags=flags,
    )
    intrinsics = np.array(intrinsics, np.float64)
    intrinsics[0, 1] = 0.0
    camera = CameraModel(
        intrinsics=intrinsics,
        distortion_model=distortion,
        distortion=tuple(float(value) for value in np.asarray(coefficients).ravel()),
        size_hw=size_hw,
    )
    return camera, [cv2.Rodrigues(np.asarray(rotation))[0] for rotation in rotations]


def _check_tilts(rotations: Sequence[Matrix], name: str) -> None:
    """Refuse views that are all tilted alike.

    Raises:
        CalibrationError: If the normals of the boards span less than ``MIN_TILT_SPREAD_DEG``.
    """
    normals = np.array([rotation[:, 2] for rotation in rotations])
    cosines = np.clip(normals @ normals.T, -1.0, 1.0)
    spread_deg = float(np.degrees(np.arccos(cosines.min())))
    if spread_deg < MIN_TILT_SPREAD_DEG:
        raise CalibrationError(
            f'the boards seen by the {name} camera are tilted alike, within {spread_deg:.0f} '
            f'degrees, expected at least {MIN_TILT_SPREAD_DEG:.0f}: focal length and distance '
            f'cannot be told apart; tilt the board, or give the intrinsics with --{name}-info'
        )
