# SPDX-License-Identifier: Apache-2.0
"""From matched points to the homography that registers a thermal image to an RGB image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.errors import MatchingError

MIN_POINTS = 4
MIN_INLIERS = 8
MAX_ERROR_PX = 8.0  # half a token: coarse matches are no better
CONFIDENCE = 0.9999
MAX_ITERATIONS = 5000
SEED = 0

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class HomographyEstimate:
    """A homography and the points it explains.

    Attributes:
        homography_thermal_to_rgb: (3, 3) float64, thermal pixel -> RGB pixel, last element 1.
        is_inlier: (n,) bool, True = the pair of points fits.
        median_error_px: Median distance of the inliers in the RGB image.
    """

    homography_thermal_to_rgb: FloatArray
    is_inlier: NDArray[np.bool_]
    median_error_px: float


def estimate_homography(
    rgb_xy: NDArray[np.floating],
    thermal_xy: NDArray[np.floating],
    *,
    max_error_px: float = MAX_ERROR_PX,
) -> HomographyEstimate:
    """Fit a homography to matched points by RANSAC; the same points give the same result.

    Args:
        rgb_xy: (n, 2) px, centre of the top-left pixel is (0, 0).
        thermal_xy: (n, 2) px of the thermal image.
        max_error_px: Largest distance of an inlier in the RGB image.

    Raises:
        MatchingError: If there are fewer than 4 points, or fewer than 8 fit one homography.
    """
    source = np.ascontiguousarray(thermal_xy, np.float64).reshape(-1, 2)
    target = np.ascontiguousarray(rgb_xy, np.float64).reshape(-1, 2)
    if len(source) != len(target):
        raise MatchingError(
            f'there are {len(target)} RGB points and {len(source)} thermal points; expected as '
            f'many of both; pass the points of the same matches'
        )
    if len(source) < MIN_POINTS:
        raise MatchingError(
            f'{len(source)} matched points, expected at least {MIN_POINTS}; use images with more '
            f'structure or a lower threshold'
        )
    cv2.setRNGSeed(SEED)
    found, mask = cv2.findHomography(
        source,
        target,
        cv2.RANSAC,
        ransacReprojThreshold=max_error_px,
        maxIters=MAX_ITERATIONS,
        confidence=CONFIDENCE,
    )
    is_inlier = np.zeros(len(source), np.bool_) if mask is None else mask.ravel().astype(bool)
    num_inliers = int(is_inlier.sum())
    if found is None or num_inliers < MIN_INLIERS:
        raise MatchingError(
            f'{num_inliers} of {len(source)} matched points fit one homography, expected at least '
            f'{MIN_INLIERS}; use images with more structure, or calibrate with a board'
        )
    homography = np.asarray(found, np.float64)
    errors = np.linalg.norm(warp(source[is_inlier], homography) - target[is_inlier], axis=1)
    return HomographyEstimate(
        homography_thermal_to_rgb=homography,
        is_inlier=is_inlier,
        median_error_px=float(np.median(errors)),
    )


def warp(points_xy: NDArray[np.floating], homography: NDArray[np.floating]) -> FloatArray:
    """Map points (n, 2) px by a homography (3, 3): (n, 2) float64."""
    points = np.asarray(points_xy, np.float64)
    mapped = np.column_stack([points, np.ones(len(points))]) @ np.asarray(homography).T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)
