# SPDX-License-Identifier: Apache-2.0
"""From matched points to the homography that registers a thermal image to an RGB image.

``estimate_homography`` fits by RANSAC, as matching is scored; ``estimate_registration`` fits the
model that suits the rig, homographies by MAGSAC++, which weighs points instead of counting them.
"""

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
MAX_CANDIDATES = 500  # shifts that are tried for a translation
SEED = 0
MODELS = ('translation', 'similarity', 'affine', 'homography')  # simplest first

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PointMatches:
    """Points that show the same thing. Arrays share length n (may be 0).

    Attributes:
        rgb_xy: (n, 2) float64, px, centre of the top-left pixel is (0, 0).
        thermal_xy: (n, 2) float64, px of the thermal image.
    """

    rgb_xy: FloatArray
    thermal_xy: FloatArray


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
    source, target = _checked(thermal_xy, rgb_xy)
    cv2.setRNGSeed(SEED)
    found, mask = cv2.findHomography(
        source,
        target,
        cv2.RANSAC,
        ransacReprojThreshold=max_error_px,
        maxIters=MAX_ITERATIONS,
        confidence=CONFIDENCE,
    )
    return _describe(found, mask, source, target)


def estimate_registration(
    rgb_xy: NDArray[np.floating],
    thermal_xy: NDArray[np.floating],
    *,
    model: str,
    max_error_px: float,
    start: NDArray[np.floating] | None = None,
) -> HomographyEstimate:
    """Fit one of ``MODELS`` to matched points; the same points give the same result.

    Args:
        rgb_xy: (n, 2) px, centre of the top-left pixel is (0, 0).
        thermal_xy: (n, 2) px of the thermal image.
        model: 'translation' moves ``start``; 'similarity' and 'affine' by RANSAC with a least
            squares fit to the inliers; 'homography' by MAGSAC++.
        max_error_px: Largest distance of an inlier in the RGB image.
        start: (3, 3), thermal pixel -> RGB pixel, None = identity; for 'translation' only.

    Raises:
        MatchingError: If the model is unknown, there are fewer than 4 points, or fewer than 8 fit.
    """
    if model not in MODELS:
        raise MatchingError(f"model is '{model}'; expected one of {', '.join(MODELS)}; choose one")
    source, target = _checked(thermal_xy, rgb_xy)
    cv2.setRNGSeed(SEED)
    if model == 'translation':
        base = np.eye(3) if start is None else np.asarray(start, np.float64)
        return _describe(*_fit_translation(source, target, base, max_error_px), source, target)
    options = {
        'ransacReprojThreshold': max_error_px,
        'maxIters': MAX_ITERATIONS,
        'confidence': CONFIDENCE,
    }
    if model == 'homography':
        found, mask = cv2.findHomography(source, target, method=cv2.USAC_MAGSAC, **options)
        return _describe(found, mask, source, target)
    fit = cv2.estimateAffinePartial2D if model == 'similarity' else cv2.estimateAffine2D
    found, mask = fit(source, target, method=cv2.RANSAC, **options)
    matrix = None if found is None else np.vstack([found, [0.0, 0.0, 1.0]])
    return _describe(matrix, mask, source, target)


def warp(points_xy: NDArray[np.floating], homography: NDArray[np.floating]) -> FloatArray:
    """Map points (n, 2) px by a homography (3, 3): (n, 2) float64."""
    points = np.asarray(points_xy, np.float64)
    mapped = np.column_stack([points, np.ones(len(points))]) @ np.asarray(homography).T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)


def _checked(
    thermal_xy: NDArray[np.floating], rgb_xy: NDArray[np.floating]
) -> tuple[FloatArray, FloatArray]:
    """Return thermal and RGB points as float64 (n, 2)."""
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
    return source, target


def _describe(
    found: NDArray[np.floating] | None,
    mask: NDArray[np.generic] | None,
    source: FloatArray,
    target: FloatArray,
) -> HomographyEstimate:
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


def _fit_translation(
    source: FloatArray, target: FloatArray, base: FloatArray, max_error_px: float
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return ``base`` shifted in RGB pixels, and the points that fit: around the densest shift."""
    shifts = target - warp(source, base)
    candidates = shifts[:: max(1, len(shifts) // MAX_CANDIDATES)]
    distances = np.linalg.norm(shifts[:, None] - candidates, axis=2)  # (n, candidates)
    best = int((distances <= max_error_px).sum(axis=0).argmax())
    shift = shifts[distances[:, best] <= max_error_px].mean(axis=0)
    fits = np.linalg.norm(shifts - shift, axis=1) <= max_error_px
    if fits.any():
        shift = shifts[fits].mean(axis=0)
    moved = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]], [0.0, 0.0, 1.0]]) @ base
    return moved / moved[2, 2], fits
