# SPDX-License-Identifier: Apache-2.0
"""Cameras and the rig that carries them.

Frames: the *rig* is x forward, y left, z up; a camera's *optical* frame is x right, y down,
z forward. Pixels follow OpenCV and ROS: the centre of the top-left pixel is (0, 0), so an image
spans -0.5 .. width - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np

from rgbt_models.errors import RGBTError
from rgbt_models.synthetic.arrays import DoubleArray, FloatArray, rotation_from_angles

# Columns are the optical axes (right, down, forward) in the rig frame.
_RIG_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

RGB_HEIGHT, RGB_WIDTH = 480, 640
THERMAL_HEIGHT, THERMAL_WIDTH = 512, 640


class RigError(RGBTError, ValueError):
    """A camera or a rig cannot exist as described."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Camera:
    """A pinhole camera without distortion, fixed on a rig."""

    intrinsics: DoubleArray  # (3, 3), px, centre of the top-left pixel is (0, 0)
    rotation: DoubleArray  # (3, 3), v_rig = rotation @ v_optical
    position: DoubleArray  # (3,), m, in the rig frame
    height: int
    width: int

    def __post_init__(self) -> None:
        for name, expected in (('intrinsics', (3, 3)), ('rotation', (3, 3)), ('position', (3,))):
            actual = np.shape(getattr(self, name))
            if actual != expected:
                raise RigError(
                    f'camera {name} has shape {actual}; expected {expected}; '
                    f'pass one matrix or vector per camera'
                )
        if self.height < 1 or self.width < 1:
            raise RigError(
                f'camera image is {self.height}x{self.width} (h x w); expected at least 1x1; '
                f'use a larger image or a larger scale factor'
            )

    @property
    def hfov_rad(self) -> float:
        """Horizontal field of view between the outer edges of the image, radians."""
        focal, centre = self.intrinsics[0, 0], self.intrinsics[0, 2]
        left, right = -0.5 - centre, self.width - 0.5 - centre
        return float(math.atan(right / focal) - math.atan(left / focal))

    @property
    def forward(self) -> DoubleArray:
        """Optical axis in the rig frame, shape (3,), unit length."""
        return self.rotation[:, 2]

    def scaled(self, factor: float) -> Camera:
        """Return the same camera with a smaller or larger pixel grid.

        Height and width are rounded; the intrinsics follow the rounded size exactly, so the
        field of view stays the same to within that rounding.

        Raises:
            RigError: If nothing is left of the image.
        """
        height, width = round(self.height * factor), round(self.width * factor)
        if height < 1 or width < 1:
            raise RigError(
                f'scale factor {factor} leaves {height}x{width} (h x w) pixels; '
                f'expected at least 1x1; use a larger factor'
            )
        scale_x, scale_y = width / self.width, height / self.height
        # Edge coordinates scale; pixel-centre coordinates are edges minus one half.
        transform = np.array(
            [
                [scale_x, 0.0, 0.5 * scale_x - 0.5],
                [0.0, scale_y, 0.5 * scale_y - 0.5],
                [0.0, 0.0, 1.0],
            ]
        )
        return Camera(
            intrinsics=transform @ self.intrinsics,
            rotation=self.rotation,
            position=self.position,
            height=height,
            width=width,
        )

    def rays(self) -> FloatArray:
        """Return the viewing direction of every pixel centre, in the rig frame.

        Returns:
            Unit vectors, shape (h*w, 3), float32, rows of the image one after another.
        """
        inverse = np.linalg.inv(self.intrinsics)
        matrix = (self.rotation @ inverse).astype(np.float32)
        columns = np.arange(self.width, dtype=np.float32)
        rows = np.arange(self.height, dtype=np.float32)
        along = columns[:, None] * matrix[:, 0] + matrix[:, 2]  # (w, 3)
        down = rows[:, None] * matrix[:, 1]  # (h, 3)
        rays = (along[None] + down[:, None]).reshape(-1, 3)
        length = np.sqrt(np.einsum('ij,ij->i', rays, rays))
        rays /= length[:, None]
        return np.asarray(rays, np.float32)

    def project(self, points: DoubleArray) -> DoubleArray:
        """Project points of the rig frame to pixels.

        Args:
            points: Shape (n, 3), metres. Points behind the camera are not checked.

        Returns:
            xy, shape (n, 2), float64, pixel centres at integers.
        """
        optical = (points - self.position) @ self.rotation
        pixels = optical @ self.intrinsics.T
        return np.asarray(pixels[:, :2] / pixels[:, 2:])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rig:
    """An RGB and a thermal camera on one body."""

    rgb: Camera
    thermal: Camera

    def scaled(self, factor: float) -> Rig:
        """Return the rig with both pixel grids scaled by ``factor``."""
        return Rig(rgb=self.rgb.scaled(factor), thermal=self.thermal.scaled(factor))

    def homography_thermal_to_rgb(self) -> DoubleArray:
        """Return the homography at infinity, exact for far points (no parallax).

        Returns:
            K_rgb R K_thermal^-1, shape (3, 3), float64, scaled so that the last entry is 1;
            source thermal pixel to destination RGB pixel, pixel centres at integers.
        """
        rotation = self.rgb.rotation.T @ self.thermal.rotation
        homography = self.rgb.intrinsics @ rotation @ np.linalg.inv(self.thermal.intrinsics)
        return np.asarray(homography / homography[2, 2])


def build_camera(
    *,
    height: int,
    width: int,
    hfov_rad: float,
    position: tuple[float, float, float] = (0.0, 0.0, 0.0),
    angles_rad: tuple[float, float, float] = (0.0, 0.0, 0.0),
    centre_shift_px: tuple[float, float] = (0.0, 0.0),
) -> Camera:
    """Build a camera with square pixels.

    Args:
        height: Rows.
        width: Columns.
        hfov_rad: Horizontal field of view if the principal point were in the middle, radians.
        position: In the rig frame (x forward, y left, z up), metres.
        angles_rad: Yaw (left), pitch (up) and roll of the camera on the rig.
        centre_shift_px: Principal point minus the image's middle, x and y.
    """
    focal = 0.5 * width / math.tan(0.5 * hfov_rad)
    centre_x = 0.5 * (width - 1) + centre_shift_px[0]
    centre_y = 0.5 * (height - 1) + centre_shift_px[1]
    return Camera(
        intrinsics=np.array([[focal, 0.0, centre_x], [0.0, focal, centre_y], [0.0, 0.0, 1.0]]),
        rotation=rotation_from_angles(*angles_rad) @ _RIG_FROM_OPTICAL,
        position=np.array(position, np.float64),
        height=height,
        width=width,
    )


def default_rig() -> Rig:
    """Return the rig of the sample data: 5 cm lateral baseline, a fraction of a degree apart."""
    rgb = build_camera(
        height=RGB_HEIGHT,
        width=RGB_WIDTH,
        hfov_rad=math.radians(56.0),
        position=(0.0, 0.025, 0.0),
        centre_shift_px=(3.2, -2.1),
    )
    thermal = build_camera(
        height=THERMAL_HEIGHT,
        width=THERMAL_WIDTH,
        hfov_rad=math.radians(61.0),
        position=(0.0, -0.025, -0.004),
        angles_rad=(math.radians(0.4), math.radians(-0.25), math.radians(0.3)),
        centre_shift_px=(-2.4, 1.7),
    )
    return Rig(rgb=rgb, thermal=thermal)


def random_rig(rng: np.random.Generator) -> Rig:
    """Draw a rig for training: RGB 34..72 degrees wide, thermal 2..7 degrees wider.

    The cameras are 0..8 cm apart in any direction across the view and rotated by at most one
    degree about each axis.
    """
    hfov_rad = math.radians(rng.uniform(34.0, 72.0))
    baseline_m = rng.uniform(0.0, 0.08)
    bearing = rng.uniform(0.0, 2.0 * math.pi)
    limit = math.radians(1.0)
    angles = (rng.uniform(-limit, limit), rng.uniform(-limit, limit), rng.uniform(-limit, limit))
    rgb = build_camera(
        height=RGB_HEIGHT,
        width=RGB_WIDTH,
        hfov_rad=hfov_rad,
        centre_shift_px=(rng.normal(0.0, 3.0), rng.normal(0.0, 3.0)),
    )
    thermal = build_camera(
        height=THERMAL_HEIGHT,
        width=THERMAL_WIDTH,
        hfov_rad=hfov_rad + math.radians(rng.uniform(2.0, 7.0)),
        position=(0.0, baseline_m * math.cos(bearing), baseline_m * math.sin(bearing)),
        angles_rad=angles,
        centre_shift_px=(rng.normal(0.0, 3.0), rng.normal(0.0, 3.0)),
    )
    return Rig(rgb=rgb, thermal=thermal)
