# SPDX-License-Identifier: Apache-2.0
"""Cameras with their lenses: pixels to rays and points to pixels, by the models of ROS.

Pixels are in centre units (OpenCV, ROS): the centre of the top-left pixel is (0, 0). The optical
frame is x right, y down, z forward. The lens formulas are OpenCV's.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.errors import ConfigError, ShapeError

Matrix = NDArray[np.float64]

# Accepted numbers of coefficients, by model.
NUM_COEFFICIENTS = {
    'none': (0,),
    'plumb_bob': (4, 5),  # k1 k2 p1 p2 [k3]
    'rational_polynomial': (8, 12, 14),  # k1 k2 p1 p2 k3 k4 k5 k6 [thin prism [tilt]]
    'equidistant': (4,),  # k1 k2 k3 k4 of the angle
}
SAME_MODEL = {'': 'none', 'fisheye': 'equidistant'}  # other names that drivers write
# A ray is believed when it projects back this close to its pixel.
MAX_ROUND_TRIP_PX = 0.05
_LIMIT_SAMPLES = 4000
_PORTION = 4096
_MAX_TANGENT = 20.0  # 87 degrees off the axis
_ITERATIONS = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-9)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CameraModel:
    """What ``sensor_msgs/CameraInfo`` says about a camera, for one image size.

    Attributes:
        intrinsics: (3, 3) float64, px, without skew.
        distortion_model: 'none', 'plumb_bob', 'rational_polynomial' or 'equidistant'.
        distortion: Coefficients in the order of ROS and OpenCV.
        size_hw: Height and width of the image these numbers belong to, px.
    """

    intrinsics: Matrix
    distortion_model: str
    distortion: tuple[float, ...]
    size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        """Check that this can be a camera.

        Raises:
            ConfigError: If the intrinsics, the distortion or the size cannot be used.
        """
        _check_intrinsics(self.intrinsics)
        _check_distortion(self.distortion_model, self.distortion)
        if len(self.size_hw) != 2 or min(self.size_hw) < 1:
            raise ConfigError(
                f'the size of a camera is {self.size_hw}, expected height and width of at least '
                f'1 px; correct the camera model'
            )

    def rays(self, pixels_xy: NDArray[Any]) -> Matrix:
        """Return where pixels look.

        Args:
            pixels_xy: Shape (n, 2), px, centre units.

        Returns:
            Points at depth 1 in the optical frame, shape (n, 3), float64, z = 1; NaN where no ray
            of less than 90 degrees from the axis meets the pixel.

        Raises:
            ShapeError: If the shape is wrong.
        """
        pixels = _points(pixels_xy, 2, 'pixels_xy')
        if not len(pixels):
            return np.zeros((0, 3))
        if self.distortion_model == 'none':
            focal = np.array([self.intrinsics[0, 0], self.intrinsics[1, 1]])
            return np.column_stack(
                [(pixels - self.intrinsics[:2, 2]) / focal, np.ones(len(pixels))]
            )
        known = np.asarray(np.isfinite(pixels).all(axis=1))
        undistort = _undistort_fisheye if self.distortion_model == 'equidistant' else _undistort
        xy = undistort(np.where(known[:, None], pixels, 0.0), self.intrinsics, self.distortion)
        rays = np.column_stack([xy, np.ones(len(xy))])
        error = np.abs(self.project(rays) - pixels).max(axis=1)
        rays[~(error <= MAX_ROUND_TRIP_PX)] = np.nan
        return rays

    def project(self, points_xyz: NDArray[Any]) -> Matrix:
        """Return where points appear, also outside the image.

        Args:
            points_xyz: Shape (n, 3), optical frame, any unit of length.

        Returns:
            Pixels, shape (n, 2), float64, centre units; NaN behind the camera and where the lens
            formula folds back, so far from the axis that it is no longer valid.

        Raises:
            ShapeError: If the shape is wrong.
        """
        points = _points(points_xyz, 3, 'points_xyz')
        with np.errstate(invalid='ignore', divide='ignore'):
            xy = points[:, :2] / points[:, 2:]
            visible = (points[:, 2] > 0) & (np.hypot(xy[:, 0], xy[:, 1]) <= self.max_tangent)
        pixels = np.full((len(points), 2), np.nan)
        if visible.any():
            seen = xy[visible]
            # OpenCV works out derivatives too; in small portions they stay in the cache.
            portions = range(0, len(seen), _PORTION)
            pixels[visible] = np.concatenate(
                [self._project_visible(seen[start : start + _PORTION]) for start in portions]
            )
        return pixels

    @property
    def max_tangent(self) -> float:
        """Tangent of the angle from the axis up to which the lens formula is valid."""
        if self.distortion_model == 'none':
            return math.inf
        tangent = np.linspace(0.0, _MAX_TANGENT, _LIMIT_SAMPLES)
        if self.distortion_model == 'equidistant':
            theta = np.arctan(tangent)
            image_radius = theta * np.polyval([*self.distortion[::-1], 1.0], theta**2)
        else:
            image_radius = tangent * _radial_factor(tangent**2, self.distortion)
        falls = np.flatnonzero(~(np.diff(image_radius) > 0))
        if len(falls):
            return float(tangent[falls[0]])
        # Never folds within 87 degrees; beyond them only the equidistant formula still means it.
        return math.inf if self.distortion_model == 'equidistant' else _MAX_TANGENT

    def scaled_to(self, size_hw: tuple[int, int]) -> CameraModel:
        """Return the same camera with its image resized (edge units scale about 0).

        Args:
            size_hw: New height and width, px; the ratio may change.
        """
        if size_hw == self.size_hw:
            return self
        scale_y, scale_x = size_hw[0] / self.size_hw[0], size_hw[1] / self.size_hw[1]
        to_new = np.array(
            [
                [scale_x, 0.0, (scale_x - 1.0) / 2.0],
                [0.0, scale_y, (scale_y - 1.0) / 2.0],
                [0.0, 0.0, 1.0],
            ]
        )
        return CameraModel(
            intrinsics=to_new @ self.intrinsics,
            distortion_model=self.distortion_model,
            distortion=self.distortion,
            size_hw=size_hw,
        )

    def is_same(self, other: CameraModel | None) -> bool:
        """Tell whether another model holds the same numbers."""
        return (
            other is not None
            and self.size_hw == other.size_hw
            and self.distortion_model == other.distortion_model
            and self.distortion == other.distortion
            and np.array_equal(self.intrinsics, other.intrinsics)
        )

    def _project_visible(self, xy: Matrix) -> Matrix:
        focal = np.array([self.intrinsics[0, 0], self.intrinsics[1, 1]])
        if self.distortion_model == 'none':
            return np.asarray(xy * focal + self.intrinsics[:2, 2])
        zero, coefficients = np.zeros(3), np.array(self.distortion)
        points = np.column_stack([xy, np.ones(len(xy))]).reshape(-1, 1, 3)
        if self.distortion_model == 'equidistant':
            pixels, _ = cv2.fisheye.projectPoints(
                points, zero, zero, self.intrinsics, coefficients
            )
        else:
            pixels, _ = cv2.projectPoints(points, zero, zero, self.intrinsics, coefficients)
        return np.asarray(pixels, np.float64).reshape(-1, 2)


def camera_model_from_info(message: Any, *, name: str = 'camera') -> CameraModel:
    """Read a ``sensor_msgs/CameraInfo`` for the images it comes with (``image_raw``).

    K is that of the full sensor (REP-104); region of interest and binning are applied here, in
    edge units: a binned pixel lies where the pixels it gathers lie.

    Args:
        message: sensor_msgs/CameraInfo of rclpy or of a bag.
        name: Whose it is, for error messages: 'rgb' or 'thermal'.

    Raises:
        ConfigError: If it is not calibrated, or cannot be used.
    """
    intrinsics = np.array([float(value) for value in message.k], np.float64).reshape(3, 3)
    if not intrinsics.any():
        raise ConfigError(
            f'K of the {name} camera_info is all zero, expected the intrinsics: the camera is not '
            f'calibrated; calibrate it, or take both camera models from a file with '
            f'registration.source file'
        )
    roi = message.roi
    full_hw = (int(message.height), int(message.width))
    roi_hw = (int(roi.height) or full_hw[0], int(roi.width) or full_hw[1])
    bin_x, bin_y = max(int(message.binning_x), 1), max(int(message.binning_y), 1)
    binned_hw = roi_hw[0] // bin_y, roi_hw[1] // bin_x
    intrinsics[0, 2] -= int(roi.x_offset)
    intrinsics[1, 2] -= int(roi.y_offset)
    model = SAME_MODEL.get(message.distortion_model, message.distortion_model)
    coefficients = tuple(float(value) for value in message.d)
    try:
        unbinned = CameraModel(
            intrinsics=intrinsics,
            distortion_model=model if any(coefficients) else 'none',
            distortion=_trimmed(model, coefficients) if any(coefficients) else (),
            size_hw=(binned_hw[0] * bin_y, binned_hw[1] * bin_x),  # a rest is left out
        )
        return unbinned.scaled_to(binned_hw)
    except ConfigError as error:
        raise ConfigError(f'the {name} camera_info cannot be used: {error}') from error


def _trimmed(model: str, coefficients: tuple[float, ...]) -> tuple[float, ...]:
    """Drop the zeros that some drivers append."""
    counts = NUM_COEFFICIENTS.get(model, ())
    fitting = [n for n in counts if n <= len(coefficients) and not any(coefficients[n:])]
    return coefficients[: max(fitting)] if fitting else coefficients


def _check_intrinsics(intrinsics: Matrix) -> None:
    matrix = np.asarray(intrinsics)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise ConfigError(
            f'intrinsics are {matrix.tolist()}, expected a finite 3x3 matrix; calibrate again'
        )
    focal_x, focal_y = float(matrix[0, 0]), float(matrix[1, 1])
    if min(focal_x, focal_y) <= 0:
        raise ConfigError(
            f'the focal lengths are {focal_x:g} and {focal_y:g} px, expected both above 0; '
            f'calibrate the camera'
        )
    rest = matrix[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]]
    if not np.allclose(rest, [0, 0, 0, 0, 1], atol=1e-9):
        raise ConfigError(
            f'intrinsics are {matrix.tolist()}, expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; '
            f'calibrate without skew'
        )


def _check_distortion(model: str, coefficients: tuple[float, ...]) -> None:
    if model not in NUM_COEFFICIENTS:
        raise ConfigError(
            f"distortion_model is '{model}', expected one of {', '.join(NUM_COEFFICIENTS)}; "
            f'calibrate with one of them'
        )
    counts = NUM_COEFFICIENTS[model]
    if len(coefficients) not in counts or not np.isfinite(coefficients).all():
        expected = ' or '.join(str(count) for count in counts)
        raise ConfigError(
            f'{model} distortion is {list(coefficients)}, expected {expected} finite numbers; '
            f'calibrate again'
        )


def _points(values: NDArray[Any], size: int, name: str) -> Matrix:
    points = np.asarray(values, np.float64)
    if points.ndim != 2 or points.shape[1] != size:
        raise ShapeError(name, expected=f'(n, {size})', actual=points.shape)
    return points


def _radial_factor(radius_squared: Matrix, coefficients: tuple[float, ...]) -> Matrix:
    k = np.zeros(6)
    k[:2] = coefficients[:2]
    k[2 : 2 + max(min(len(coefficients), 8) - 4, 0)] = coefficients[4:8]
    numerator = np.polyval([k[2], k[1], k[0], 1.0], radius_squared)
    return np.asarray(numerator / np.polyval([k[5], k[4], k[3], 1.0], radius_squared))


def _undistort(pixels: Matrix, intrinsics: Matrix, distortion: tuple[float, ...]) -> Matrix:
    points, coefficients = pixels.reshape(-1, 1, 2), np.array(distortion)
    # The number of iterations can be set under this name in OpenCV 4, with a keyword in 5.
    iterate = getattr(cv2, 'undistortPointsIter', None)
    if iterate is not None:
        xy = iterate(points, intrinsics, coefficients, np.eye(3), np.eye(3), _ITERATIONS)
    else:
        xy = cv2.undistortPoints(points, intrinsics, coefficients, criteria=_ITERATIONS)
    return np.asarray(xy, np.float64).reshape(-1, 2)


def _undistort_fisheye(
    pixels: Matrix, intrinsics: Matrix, distortion: tuple[float, ...]
) -> Matrix:
    xy = cv2.fisheye.undistortPoints(pixels.reshape(-1, 1, 2), intrinsics, np.array(distortion))
    return np.asarray(xy, np.float64).reshape(-1, 2)
