# SPDX-License-Identifier: Apache-2.0
"""Refining one homography for many pairs at once, by the correlation of edge orientations.

The enhanced correlation coefficient of Evangelidis and Psarakis (2008), with all pixels and
features of all pairs as one long vector. Differs: features are computed again after every warp,
so that turning and stretching an image turns and stretches its edges; and the thermal image is
warped compositionally, so that the derivatives of the model are constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.calibration.gradients import inner_mask, orientation_features
from rgbt_perception.geometry import scaled_homography
from rgbt_perception.types import FloatArray

Matrix = NDArray[np.float64]

_NUM_PARAMETERS = {'translation': 2, 'similarity': 4, 'affine': 6, 'homography': 8}
# Generators of the group of homographies, the simplest models first.
_GENERATORS = np.array(
    [
        [[0, 0, 1], [0, 0, 0], [0, 0, 0]],  # right
        [[0, 0, 0], [0, 0, 1], [0, 0, 0]],  # down
        [[1, 0, 0], [0, 1, 0], [0, 0, 0]],  # larger
        [[0, -1, 0], [1, 0, 0], [0, 0, 0]],  # turned
        [[1, 0, 0], [0, -1, 0], [0, 0, 0]],  # wider
        [[0, 1, 0], [1, 0, 0], [0, 0, 0]],  # sheared
        [[0, 0, 0], [0, 0, 0], [1, 0, 0]],  # seen from the side
        [[0, 0, 0], [0, 0, 0], [0, 1, 0]],  # seen from above
    ],
    np.float64,
)
_MAX_STEP_PX = 4.0
_RIDGE = 1e-6
_NO_ENERGY = 1e-3  # features of so little length are none: the score of nothing is 0
# The RGB image is compared with a thermal image of about its own sharpness.
_THERMAL_OVER_RGB = 1.3


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Level:
    """All pairs at one resolution.

    Attributes:
        rgb_features: One (h, w, 2) float32 array per pair.
        thermal: One (h', w') float32 image per pair, 0..1.
        rgb_scale: Level pixels per RGB pixel.
        thermal_scale: Level pixels per thermal pixel.
        smooth_px: Blur of the features, level px.
    """

    rgb_features: tuple[FloatArray, ...]
    thermal: tuple[FloatArray, ...]
    rgb_scale: float
    thermal_scale: float
    smooth_px: float

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the RGB grid, level px."""
        height, width = self.rgb_features[0].shape[:2]
        return height, width

    def to_level(self, homography: Matrix) -> Matrix:
        """Turn a homography between full images into one between level images."""
        return scaled_homography(
            homography,
            source_scale_xy=(self.thermal_scale, self.thermal_scale),
            destination_scale_xy=(self.rgb_scale, self.rgb_scale),
        )

    def to_full(self, homography: Matrix) -> Matrix:
        """Turn a homography between level images into one between full images."""
        full = scaled_homography(
            homography,
            source_scale_xy=(1.0 / self.thermal_scale, 1.0 / self.thermal_scale),
            destination_scale_xy=(1.0 / self.rgb_scale, 1.0 / self.rgb_scale),
        )
        return np.asarray(full / full[2, 2])

    def warp(self, index: int, homography: Matrix) -> FloatArray:
        """Return the features of one thermal image, warped to the RGB grid, (h, w, 2)."""
        height, width = self.size_hw
        image = cv2.warpPerspective(
            self.thermal[index], homography, (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        return orientation_features(image, smooth_px=self.smooth_px)

    def mask(self, homography: Matrix) -> NDArray[np.bool_]:
        """Return which RGB pixels are compared, (h, w), True = thermal covers them and around."""
        return inner_mask(self._cover(homography)).astype(np.bool_)

    def overlap(self, homography: Matrix) -> float:
        """Return the share of the RGB image that the thermal image covers, 0..1."""
        return float(self._cover(homography).mean())

    def _cover(self, homography: Matrix) -> NDArray[np.uint8]:
        height, width = self.size_hw
        ones, size = np.ones(self.thermal[0].shape, np.uint8), (width, height)
        covered = cv2.warpPerspective(ones, homography, size, flags=cv2.INTER_NEAREST)
        return np.asarray(covered, np.uint8)

    def subset(self, indices: Sequence[int]) -> Level:
        """Return some of the pairs."""
        return Level(
            rgb_features=tuple(self.rgb_features[index] for index in indices),
            thermal=tuple(self.thermal[index] for index in indices),
            rgb_scale=self.rgb_scale,
            thermal_scale=self.thermal_scale,
            smooth_px=self.smooth_px,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Refined:
    """A homography and how well it aligns.

    Attributes:
        homography: (3, 3), full thermal px -> full RGB px, centre units, last entry 1.
        score: Correlation of the features, -1..1.
        overlap: Share of the RGB image that the thermal image covers, 0..1.
    """

    homography: Matrix
    score: float
    overlap: float


def build_level(
    rgb: Sequence[FloatArray], thermal: Sequence[FloatArray], *, width: int, smooth_px: float
) -> Level:
    """Shrink all pairs; an image is never enlarged.

    Args:
        rgb: Grey images, shape (h, w), float32 in 0..1, all of one size.
        thermal: Thermal images, shape (h', w'), float32 in 0..1, all of one size.
        width: Width of the RGB grid, level px.
        smooth_px: Blur of the features, level px.
    """
    rgb_scale = min(1.0, width / rgb[0].shape[1])
    thermal_scale = min(1.0, _THERMAL_OVER_RGB * width / thermal[0].shape[1])
    return Level(
        rgb_features=tuple(
            orientation_features(_shrink(image, rgb_scale), smooth_px=smooth_px) for image in rgb
        ),
        thermal=tuple(_shrink(image, thermal_scale) for image in thermal),
        rgb_scale=rgb_scale,
        thermal_scale=thermal_scale,
        smooth_px=smooth_px,
    )


def score_homography(level: Level, homography: Matrix) -> float:
    """Return the correlation of the features under a homography between full images, -1..1."""
    small = level.to_level(homography)
    mask = level.mask(small)
    sums = np.zeros(3)
    for index, fixed in enumerate(level.rgb_features):
        moving = level.warp(index, small)[mask]
        still = fixed[mask]
        sums += [np.vdot(moving, still), np.vdot(moving, moving), np.vdot(still, still)]
    return float(sums[0] / np.sqrt((sums[1] + _NO_ENERGY) * (sums[2] + _NO_ENERGY)))


def refine(
    level: Level, homography: Matrix, *, model: str, max_steps: int = 20, min_step_px: float = 0.02
) -> Refined:
    """Climb to the nearest maximum of the correlation.

    Args:
        level: The pairs.
        homography: Where to start, full thermal px -> full RGB px.
        model: What may change: one of ``rgbt_models.match_geometry.MODELS``.
        max_steps: Most steps.
        min_step_px: Steps smaller than this end the climb, full RGB px (RMS over the image).

    Returns:
        The best homography met.
    """
    generators = _GENERATORS[: _NUM_PARAMETERS[model]]
    to_unit, motion = _motion(level.size_hw, generators)
    current = level.to_level(homography)
    best, best_score = current, -1.0
    for _ in range(max_steps):
        parameters, score = _step(level, current, motion)
        if score <= best_score + 1e-5:
            break
        best, best_score = current, score
        moved = np.sqrt(np.mean(np.sum((motion @ parameters) ** 2, axis=-1)))
        parameters *= min(1.0, _MAX_STEP_PX / max(float(moved), 1e-12))
        unit = np.eye(3) + np.tensordot(parameters, generators, axes=1)
        forward = np.linalg.inv(to_unit) @ unit @ to_unit
        current = np.linalg.inv(forward) @ current
        if moved / level.rgb_scale < min_step_px:
            break
    full = level.to_full(best)
    return Refined(homography=full, score=best_score, overlap=level.overlap(best))


def _shrink(image: FloatArray, scale: float) -> FloatArray:
    if scale == 1.0:
        return image
    height, width = image.shape
    # scaled_homography takes one scale for both axes, so the grid may end inside the last pixel.
    size = (max(int(width * scale), 1), max(int(height * scale), 1))
    matrix = np.array(
        [[1 / scale, 0.0, 0.5 / scale - 0.5], [0.0, 1 / scale, 0.5 / scale - 0.5]], np.float64
    )
    blurred = cv2.GaussianBlur(image, (0, 0), 0.5 / scale * 0.8)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(blurred, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE),
        np.float32,
    )


def _motion(size_hw: tuple[int, int], generators: Matrix) -> tuple[Matrix, FloatArray]:
    """Return the matrix from pixels to -1..1 and each generator's motion, (h, w, 2, k), px."""
    height, width = size_hw
    half = width / 2.0
    to_unit = np.array(
        [
            [1.0 / half, 0.0, -(width - 1) / 2.0 / half],
            [0.0, 1.0 / half, -(height - 1) / 2.0 / half],
            [0.0, 0.0, 1.0],
        ]
    )
    y, x = np.mgrid[0:height, 0:width]
    points = np.stack([x, y, np.ones_like(x)], axis=-1) @ to_unit.T  # (h, w, 3)
    moved = np.einsum('kij,hwj->hwik', generators, points)
    motion = (moved[:, :, :2] - points[:, :, :2, None] * moved[:, :, 2:]) * half
    return to_unit, motion.astype(np.float32)


def _step(level: Level, homography: Matrix, motion: FloatArray) -> tuple[Matrix, float]:
    """Return the parameters of the best small step and the score before it."""
    mask = level.mask(homography)
    count = motion.shape[-1]
    normal, moving_part, still_part = np.zeros((count, count)), np.zeros(count), np.zeros(count)
    moving_sum = still_sum = _NO_ENERGY
    cross_sum = 0.0
    steps_x, steps_y = motion[:, :, 0][mask], motion[:, :, 1][mask]  # (n, k)
    for index, fixed in enumerate(level.rgb_features):
        features = level.warp(index, homography)
        slope_x = cv2.Scharr(features, cv2.CV_32F, 1, 0, scale=1.0 / 32.0)
        slope_y = cv2.Scharr(features, cv2.CV_32F, 0, 1, scale=1.0 / 32.0)
        for channel in range(2):
            moving, still = features[..., channel][mask], fixed[..., channel][mask]
            jacobian = slope_x[..., channel][mask][:, None] * steps_x
            jacobian += slope_y[..., channel][mask][:, None] * steps_y
            normal += jacobian.T @ jacobian
            moving_part += jacobian.T @ moving
            still_part += jacobian.T @ still
            moving_sum += float(moving @ moving)
            still_sum += float(still @ still)
            cross_sum += float(moving @ still)
    normal += _RIDGE * np.trace(normal) / count * np.eye(count) + 1e-12 * np.eye(count)
    inverse = np.linalg.inv(normal)
    gain = _gain(
        moving_sum - float(moving_part @ inverse @ moving_part),
        cross_sum - float(still_part @ inverse @ moving_part),
        fallback=np.sqrt(moving_sum / still_sum),
    )
    parameters = inverse @ (gain * still_part - moving_part)
    return parameters, cross_sum / float(np.sqrt(moving_sum * still_sum))


def _gain(numerator: float, denominator: float, *, fallback: float) -> float:
    """Return by how much the fixed features are scaled (lambda of the paper)."""
    return numerator / denominator if denominator > 0 else float(fallback)
