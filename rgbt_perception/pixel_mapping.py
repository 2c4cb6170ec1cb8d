# SPDX-License-Identifier: Apache-2.0
"""Where a pixel of one camera lies in the image of the other, by resizing, homography or surface.

All points are in centre units (the centre of the top-left pixel is (0, 0)) and not clipped. NaN
stands for nowhere: behind the other camera, or beyond what its lens formula describes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import RegistrationConfig
from rgbt_perception.errors import ShapeError
from rgbt_perception.geometry import map_points
from rgbt_perception.types import FloatArray

Matrix = NDArray[np.float64]
_POINTS_PER_EDGE = 9


class PixelMapping(Protocol):
    """Both ways between the pixels of the two cameras, for one pair of image sizes."""

    def to_thermal(self, rgb_xy: NDArray[Any]) -> Matrix:
        """Map RGB pixels, shape (n, 2), to thermal pixels, shape (n, 2), float64."""

    def to_rgb(self, thermal_xy: NDArray[Any]) -> Matrix:
        """Map thermal pixels, shape (n, 2), to RGB pixels, shape (n, 2), float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeMapping:
    """Both images show the same view, only the number of pixels differs (edge units scale)."""

    rgb_hw: tuple[int, int]
    thermal_hw: tuple[int, int]

    def to_thermal(self, rgb_xy: NDArray[Any]) -> Matrix:
        """Map RGB pixels to thermal pixels."""
        return np.asarray((np.asarray(rgb_xy, np.float64) + 0.5) / self._scale_xy - 0.5)

    def to_rgb(self, thermal_xy: NDArray[Any]) -> Matrix:
        """Map thermal pixels to RGB pixels."""
        return np.asarray((np.asarray(thermal_xy, np.float64) + 0.5) * self._scale_xy - 0.5)

    @property
    def _scale_xy(self) -> Matrix:
        (rgb_h, rgb_w), (thermal_h, thermal_w) = self.rgb_hw, self.thermal_hw
        return np.array([rgb_w / thermal_w, rgb_h / thermal_h])


class HomographyMapping:
    """Maps by a homography; what lies beyond its horizon is nowhere."""

    def __init__(self, homography_thermal_to_rgb: Matrix, thermal_hw: tuple[int, int]) -> None:
        """Take over the matrix, shape (3, 3), and the size of the thermal image, px."""
        matrix = np.asarray(homography_thermal_to_rgb, np.float64)
        height, width = thermal_hw
        # Its sign is free: chosen so that the middle of the thermal image is on the near side.
        middle = matrix[2] @ [(width - 1) / 2, (height - 1) / 2, 1.0]
        self._to_rgb = matrix if middle >= 0 else -matrix
        self._to_thermal = np.asarray(np.linalg.inv(self._to_rgb), np.float64)

    @property
    def is_mirrored(self) -> bool:
        """Whether the thermal image appears as in a mirror."""
        return bool(np.linalg.det(self._to_rgb) < 0)

    def to_thermal(self, rgb_xy: NDArray[Any]) -> Matrix:
        """Map RGB pixels to thermal pixels."""
        return _map_near_side(self._to_thermal, rgb_xy)

    def to_rgb(self, thermal_xy: NDArray[Any]) -> Matrix:
        """Map thermal pixels to RGB pixels."""
        return _map_near_side(self._to_rgb, thermal_xy)


def _map_near_side(matrix: Matrix, xy: NDArray[Any]) -> Matrix:
    points = np.asarray(xy, np.float64)
    mapped = map_points(matrix, points)
    mapped[~(points @ matrix[2, :2] + matrix[2, 2] > 0)] = np.nan
    return mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What the scene is taken for: the ground as far as ``depth_m``, and a wall there.

    Attributes:
        depth_m: Distance of the wall along the optical axis of the RGB camera, m.
        height_m: Height of the RGB camera above the ground, m; infinite = no ground.
        pitch_rad: How far the RGB camera looks down.
    """

    depth_m: float
    height_m: float = math.inf
    pitch_rad: float = 0.0

    @classmethod
    def of(cls, config: RegistrationConfig) -> Surface:
        """Return the surface of the settings."""
        if config.surface == 'plane':
            return cls(depth_m=config.depth_m)
        return cls(
            depth_m=config.depth_m,
            height_m=config.camera_height_m,
            pitch_rad=math.radians(config.camera_pitch_deg),
        )

    def meet(self, origin: Matrix, directions: Matrix) -> Matrix:
        """Return where rays meet the surface first.

        Args:
            origin: Where all rays start, shape (3,), m, in the RGB optical frame.
            directions: Shape (n, 3), RGB optical frame, any length.

        Returns:
            Points, shape (n, 3), m, in the RGB optical frame; NaN where a ray meets nothing.
        """
        with np.errstate(divide='ignore', invalid='ignore'):
            distance = (self.depth_m - origin[2]) / directions[:, 2]
            distance[~((distance > 0) & np.isfinite(distance))] = np.nan
            if math.isfinite(self.height_m):
                down = np.array([0.0, math.cos(self.pitch_rad), math.sin(self.pitch_rad)])
                to_ground = (self.height_m - down @ origin) / (directions @ down)
                is_ground = (to_ground > 0) & np.isfinite(to_ground) & ~(distance < to_ground)
                distance = np.where(is_ground, to_ground, distance)
            points: Matrix = origin + directions * distance[:, None]
        return points


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SurfaceMapping:
    """Maps along the rays of two cameras that look at one surface.

    Attributes:
        rgb: RGB camera, for the size of its images.
        thermal: Thermal camera, for the size of its images.
        rotation: (3, 3), X_rgb = rotation @ X_thermal + translation.
        translation: (3,), m.
        surface: What both look at.
    """

    rgb: CameraModel
    thermal: CameraModel
    rotation: Matrix
    translation: Matrix
    surface: Surface

    def to_thermal(self, rgb_xy: NDArray[Any]) -> Matrix:
        """Map RGB pixels to thermal pixels."""
        points = self.surface.meet(np.zeros(3), self.rgb.rays(rgb_xy))
        return self.thermal.project((points - self.translation) @ self.rotation)

    def to_rgb(self, thermal_xy: NDArray[Any]) -> Matrix:
        """Map thermal pixels to RGB pixels."""
        directions = self.thermal.rays(thermal_xy) @ self.rotation.T
        return self.rgb.project(self.surface.meet(self.translation, directions))


def pixel_grid(size_hw: tuple[int, int]) -> Matrix:
    """Return the centres of all pixels, row by row, shape (h * w, 2), float64."""
    x, y = np.meshgrid(np.arange(size_hw[1], dtype=np.float64), np.arange(size_hw[0]))
    return np.column_stack([x.ravel(), y.ravel()])


def inside(xy: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which points lie in an image, its outer edges included; NaN does not."""
    height, width = size_hw
    x, y = xy[..., 0], xy[..., 1]
    return np.asarray((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5))


def map_outlines(map_xy: Callable[[NDArray[Any]], Matrix], boxes_xyxy: NDArray[Any]) -> FloatArray:
    """Map the outlines of boxes and enclose what each becomes.

    Args:
        map_xy: A way of a ``PixelMapping``.
        boxes_xyxy: Boxes, shape (n, 4), px, edge units.

    Returns:
        Boxes, shape (n, 4), float32, px of the other camera, edge units; not clipped; parts of an
        outline that are nowhere are left out, NaN where nothing is left.

    Raises:
        ShapeError: If the shape is wrong.
    """
    boxes = np.asarray(boxes_xyxy, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError('boxes_xyxy', expected='(n, 4)', actual=boxes.shape)
    along, ends = (
        np.tile(np.linspace(0, 1, _POINTS_PER_EDGE), 2),
        np.repeat([0, 1], _POINTS_PER_EDGE),
    )
    share_x, share_y = np.concatenate([along, ends]), np.concatenate([ends, along])
    x = boxes[:, [0]] + (boxes[:, [2]] - boxes[:, [0]]) * share_x  # (n, p)
    y = boxes[:, [1]] + (boxes[:, [3]] - boxes[:, [1]]) * share_y
    outlines = np.stack([x, y], axis=-1).reshape(-1, 2)
    mapped = (map_xy(outlines - 0.5) + 0.5).reshape(-1, 4 * _POINTS_PER_EDGE, 2)
    is_known = np.isfinite(mapped)
    low = np.where(is_known, mapped, np.inf).min(axis=1)
    high = np.where(is_known, mapped, -np.inf).max(axis=1)
    enclosing = np.concatenate([low, high], axis=1)
    return np.where(np.isfinite(enclosing), enclosing, np.nan).astype(np.float32)
