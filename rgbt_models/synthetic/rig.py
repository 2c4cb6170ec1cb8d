# SPDX-License-Identifier: Apache-2.0
"""Cameras and the rig that carries them.

Frames: the *rig* is x forward, y left, z up; a camera's *optical* frame is x right, y down,
z forward. Pixels follow OpenCV and ROS: the centre of the top-left pixel is (0, 0), so an image
spans -0.5 .. width - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math

import cv2
import numpy as np

from rgbt_models.errors import RGBTError
from rgbt_models.synthetic.arrays import DoubleArray, FloatArray, rotation_from_angles
from rgbt_models.synthetic.lens import check_distortion, distort, undistort, undistorted_grid

# Columns are the optical axes (right, down, forward) in the rig frame.
_RIG_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

RGB_HEIGHT, RGB_WIDTH = 480, 640
THERMAL_HEIGHT, THERMAL_WIDTH = 512, 640
_ALIGNED_SHARE = 0.2
_LENS_SHARE = 1.0 / 3.0


class RigError(RGBTError, ValueError):
    """A camera or a rig cannot exist as described."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Camera:
    """A camera fixed on a rig: a pinhole, behind a lens if it has distortion."""

    intrinsics: DoubleArray  # (3, 3), px, centre of the top-left pixel is (0, 0)
    rotation: DoubleArray  # (3, 3), v_rig = rotation @ v_optical
    position: DoubleArray  # (3,), m, in the rig frame
    height: int
    width: int
    distortion: tuple[float, ...] = ()  # k1 k2 p1 p2 [k3 [k4 k5 k6]], () = none

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
        check_distortion(self.distortion)

    @property
    def hfov_rad(self) -> float:
        """Horizontal field of view between the outer edges of the image, radians."""
        row = self.intrinsics[1, 2]
        edges = np.array([[-0.5, row], [self.width - 0.5, row]])
        left, right = undistort(edges, self.intrinsics, self.distortion)[:, 0]
        return float(math.atan(right) - math.atan(left))

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
        return replace(self, intrinsics=transform @ self.intrinsics, height=height, width=width)

    def rays(self) -> FloatArray:
        """Return the viewing direction of every pixel centre, in the rig frame.

        Returns:
            Unit vectors, shape (h*w, 3), float32, rows of the image one after another.
        """
        if self.distortion:
            grid = undistorted_grid(
                self.intrinsics, self.distortion, height=self.height, width=self.width
            )
            matrix = self.rotation.astype(np.float32)
            rays = grid @ matrix[:, :2].T
            rays += matrix[:, 2]
        else:
            rays = self._pinhole_rays()
        length = np.sqrt(np.einsum('ij,ij->i', rays, rays))
        rays /= length[:, None]
        return np.asarray(rays, np.float32)

    def _pinhole_rays(self) -> FloatArray:
        inverse = np.linalg.inv(self.intrinsics)
        matrix = (self.rotation @ inverse).astype(np.float32)
        columns = np.arange(self.width, dtype=np.float32)
        rows = np.arange(self.height, dtype=np.float32)
        along = columns[:, None] * matrix[:, 0] + matrix[:, 2]  # (w, 3)
        down = rows[:, None] * matrix[:, 1]  # (h, 3)
        return np.asarray((along[None] + down[:, None]).reshape(-1, 3))

    def project(self, points: DoubleArray) -> DoubleArray:
        """Project points of the rig frame to pixels.

        Args:
            points: Shape (n, 3), metres. Points behind the camera, and those so far from the
                axis that the lens formula folds back, are not checked.

        Returns:
            xy, shape (n, 2), float64, pixel centres at integers.
        """
        optical = (points - self.position) @ self.rotation
        if self.distortion:
            ideal = distort(optical[:, :2] / optical[:, 2:], self.distortion)
            optical = np.column_stack([ideal, np.ones(len(ideal))])
        pixels = optical @ self.intrinsics.T
        return np.asarray(pixels[:, :2] / pixels[:, 2:])


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraTiming:
    """When a camera takes pictures and what its clock says.

    stamp = time of the exposure + offset_s + uniform(-jitter_s, jitter_s).
    """

    rate_hz: float = 30.0
    offset_s: float = 0.0  # the clock minus the rig's time
    jitter_s: float = 0.0  # a stamp is up to this much early or late

    def __post_init__(self) -> None:
        if not 0.0 < self.rate_hz < math.inf:
            raise RigError(
                f'camera rate_hz is {self.rate_hz}; expected a positive number; '
                f'pass pictures per second'
            )
        if not 0.0 <= self.jitter_s < math.inf:
            raise RigError(
                f'camera jitter_s is {self.jitter_s}; expected 0 or more; '
                f'pass the largest error of a stamp in seconds'
            )
        if not math.isfinite(self.offset_s):
            raise RigError(
                f'camera offset_s is {self.offset_s}; expected a finite number; '
                f'pass the clock minus the time of the rig in seconds'
            )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rig:
    """An RGB and a thermal camera on one body."""

    rgb: Camera
    thermal: Camera
    rgb_timing: CameraTiming = CameraTiming()
    thermal_timing: CameraTiming = CameraTiming()

    def scaled(self, factor: float) -> Rig:
        """Return the rig with both pixel grids scaled by ``factor``."""
        return replace(self, rgb=self.rgb.scaled(factor), thermal=self.thermal.scaled(factor))

    def without_lenses(self) -> Rig:
        """Return the rig with pinhole cameras, of which the homography says all."""
        return replace(
            self,
            rgb=replace(self.rgb, distortion=()),
            thermal=replace(self.thermal, distortion=()),
        )

    def homography_thermal_to_rgb(self, depth_m: float = math.inf) -> DoubleArray:
        """Return the homography of one depth; what is nearer or farther has a parallax.

        It is between the ideal images: distortion is left out, see ``warp_thermal_to_rgb``.

        Args:
            depth_m: Along the axis of the RGB camera; infinite = exact for far points.

        Returns:
            K_rgb (R + t n^T / d) K_thermal^-1, shape (3, 3), float64, scaled so that the last
            entry is 1; source thermal pixel to destination RGB pixel, pixel centres at integers.
            The plane at that depth is n . X = d for the thermal camera.
        """
        rotation = self.rgb.rotation.T @ self.thermal.rotation
        translation = self.rgb.rotation.T @ (self.thermal.position - self.rgb.position)
        parallax = np.outer(translation, rotation[2]) / (depth_m - translation[2])
        homography = (
            self.rgb.intrinsics @ (rotation + parallax) @ np.linalg.inv(self.thermal.intrinsics)
        )
        return np.asarray(homography / homography[2, 2])

    def warp_thermal_to_rgb(self, image: FloatArray) -> FloatArray:
        """Bring a thermal image onto the RGB pixels, exact for far points.

        Args:
            image: Shape (h, w) of the thermal camera, float32.

        Returns:
            Shape (h, w) of the RGB camera, bilinear; the nearest value where thermal does not
            see. Distortion of both cameras is taken into account.
        """
        if not (self.rgb.distortion or self.thermal.distortion):
            warped = cv2.warpPerspective(
                image,
                self.homography_thermal_to_rgb(),
                (self.rgb.width, self.rgb.height),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            return np.asarray(warped, np.float32)
        directions = self.rgb.rays().astype(np.float64)
        xy = self.thermal.project(self.thermal.position + directions)
        maps = xy.astype(np.float32).reshape(self.rgb.height, self.rgb.width, 2)
        warped = cv2.remap(image, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(warped, np.float32)


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
    """Draw a rig for training.

    RGB is 34..72 degrees wide. One rig in five is aligned: one view for both cameras, as data sets
    have it that were registered. Otherwise thermal is 2..7 degrees wider, rotated by at most one
    degree about each axis, 0..8 cm away in any direction across the view (one rig in ten 8..30
    cm), and a third of all rigs have lenses that move the corners by -6..+2 % of their distance
    from the middle.
    """
    hfov_rad = math.radians(rng.uniform(34.0, 72.0))
    kind = rng.random()
    baseline_m = rng.uniform(0.08, 0.3) if kind < 0.1 else rng.uniform(0.0, 0.08)
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
    has_lens = rng.random() < _LENS_SHARE / (1.0 - _ALIGNED_SHARE)
    lenses = (_sample_distortion(rng, rgb), _sample_distortion(rng, thermal))
    if kind >= 1.0 - _ALIGNED_SHARE:
        return Rig(rgb=rgb, thermal=rgb)
    if has_lens:
        rgb, thermal = (
            replace(rgb, distortion=lenses[0]),
            replace(thermal, distortion=lenses[1]),
        )
    return Rig(rgb=rgb, thermal=thermal)


def _sample_distortion(rng: np.random.Generator, camera: Camera) -> tuple[float, ...]:
    """Draw a plumb_bob distortion by how far it moves the corners, whatever the focal length."""
    corner = 0.5 * math.hypot(camera.width, camera.height) / float(camera.intrinsics[0, 0])
    k1 = rng.uniform(-0.06, 0.02) / corner**2
    k2 = rng.uniform(-0.01, 0.01) / corner**4
    return k1, k2, rng.uniform(-5e-4, 5e-4), rng.uniform(-5e-4, 5e-4), 0.0
