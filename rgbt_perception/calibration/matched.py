# SPDX-License-Identifier: Apache-2.0
"""Calibration without a board: one homography through the points that a trained matcher finds.

Every pair is shown to the matcher with its thermal image displaced by a few per cent, each pair by
another, known amount. That spreads the points over the grid of tokens, and a matcher that says the
same whatever it sees (an untrained one matches equal positions) contradicts itself from pair to
pair and is refused, instead of confirming where it started. Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.errors import MatchingError
from rgbt_models.match_geometry import (
    estimate_registration,
    HomographyEstimate,
    MODELS,
    PointMatches,
)
from rgbt_perception.calibration.alignment import (
    build_level,
    Level,
    score_homography,
)
from rgbt_perception.calibration.image_pairs import grey_rgb, grey_thermal, ImagePair
from rgbt_perception.calibration.scene import (
    FINE_WIDTH,
    homography_distance_px,
    MAX_SPREAD_SHARE,
    MIN_SCORE,
    resizing_homography,
)
from rgbt_perception.calibration_file import Calibration
from rgbt_perception.errors import CalibrationError, ConfigError
from rgbt_perception.geometry import map_points
from rgbt_perception.types import ByteArray, FloatArray, Image

Matrix = NDArray[np.float64]

MIN_PAIRS = 4
MIN_MATCHES = 40
MIN_INLIER_SHARE = 0.25
ROUNDS = 2  # the second sees the pairs as the first aligned them
MAX_DISPLACEMENT = 0.06  # of each side of the RGB image
_STEPS = (0.7548776662466927, 0.5698402909980532)  # spread two coordinates evenly
_REMEDY = 'record more well-lit scenes, train the matcher longer, or leave --matcher out'


class PointMatcher(Protocol):
    """What finds the points; ``rgbt_models.matcher.Matcher`` is one."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of both images that ``match`` takes, px."""
        ...

    @property
    def error_px(self) -> float:
        """Distance up to which a match counts as right, px of those images."""
        ...

    def stretch(self, thermal: Image) -> FloatArray:
        """Normalise a whole thermal image, (h, w)."""
        ...

    def match(self, rgb: ByteArray, thermal: FloatArray) -> PointMatches:
        """Match RGB (h, w, 3) uint8 with stretched thermal (h, w), where NaN = not seen."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MatchedCalibration:
    """A homography found from matched points, and how far to trust it.

    Attributes:
        homography: (3, 3), thermal px -> RGB px, centre units.
        rgb_hw: Size of the RGB images, px.
        thermal_hw: Size of the thermal images, px.
        model: What was fitted: one of ``MODELS``.
        num_pairs: Pairs used.
        num_matches: Points of all pairs.
        num_inliers: Those that fit the homography.
        limit_px: Distance up to which a point fits, RGB px.
        median_error_px: Median distance of those that fit, RGB px.
        score: Correlation of edge orientations, -1..1, after; the matcher has no part in it.
        score_before: The same for ``start``.
        start: (3, 3), what it is compared with: the initial homography, or plain resizing.
        spread_px: RMS distance between the answers of two halves of the pairs, RGB px.
        overlap: Share of the RGB image that the thermal image covers, 0..1.
    """

    homography: Matrix
    rgb_hw: tuple[int, int]
    thermal_hw: tuple[int, int]
    model: str
    num_pairs: int
    num_matches: int
    num_inliers: int
    limit_px: float
    median_error_px: float
    score: float
    score_before: float
    start: Matrix
    spread_px: float
    overlap: float

    def to_calibration(self) -> Calibration:
        """Return what is written to the file."""
        return Calibration(
            method='matcher',
            num_images=self.num_pairs,
            homography_thermal_to_rgb=self.homography,
            rgb_size_hw=self.rgb_hw,
            thermal_size_hw=self.thermal_hw,
        )


def calibrate_matched(
    pairs: Sequence[ImagePair],
    matcher: PointMatcher,
    *,
    model: str = 'similarity',
    initial: Matrix | None = None,
) -> MatchedCalibration:
    """Find the homography that most matched points of all pairs agree on.

    The answer belongs to the depths at which the matched points lie.

    Args:
        pairs: At least ``MIN_PAIRS`` pairs of scenes that differ.
        matcher: Finds the points of one pair.
        model: What is fitted: 'translation', 'similarity', 'affine' or 'homography'.
        initial: Rough homography, thermal px -> RGB px; None = plain resizing.

    Raises:
        CalibrationError: If there are too few pairs or points, or the points do not agree.
        ConfigError: If the model is unknown.
    """
    _check(pairs, model)
    rgb_hw, thermal_hw = pairs[0].rgb_hw, pairs[0].thermal_hw
    start = resizing_homography(thermal_hw, rgb_hw) if initial is None else initial
    grid_over_rgb = (matcher.size_hw[0] / rgb_hw[0], matcher.size_hw[1] / rgb_hw[1])
    limit_px = matcher.error_px / min(grid_over_rgb)
    fit = partial(_fit, model=model, limit_px=limit_px, start=start)
    found = start
    for _ in range(ROUNDS):
        matches = match_pairs(pairs, matcher, found)
        estimate = fit(matches)
        found = estimate.homography_thermal_to_rgb
    halves = [
        fit(matches[first::2], min_matches=MIN_MATCHES // 2).homography_thermal_to_rgb
        for first in (0, 1)
    ]
    level = _level(pairs)
    calibration = MatchedCalibration(
        homography=found,
        rgb_hw=rgb_hw,
        thermal_hw=thermal_hw,
        model=model,
        num_pairs=len(pairs),
        num_matches=len(estimate.is_inlier),
        num_inliers=int(estimate.is_inlier.sum()),
        limit_px=limit_px,
        median_error_px=estimate.median_error_px,
        score=score_homography(level, found),
        score_before=score_homography(level, start),
        start=start,
        spread_px=homography_distance_px(halves[0], halves[1], rgb_hw),
        overlap=level.overlap(level.to_level(found)),
    )
    _refuse_doubtful(calibration)
    return calibration


def match_pairs(
    pairs: Sequence[ImagePair], matcher: PointMatcher, homography: Matrix
) -> list[PointMatches]:
    """Match all pairs as a homography aligns them, each with a displacement of its own."""
    return [
        match_pair(pair, matcher, homography, displacement_xy=displacement(index, pair.rgb_hw))
        for index, pair in enumerate(pairs)
    ]


def displacement(index: int, rgb_hw: tuple[int, int]) -> tuple[float, float]:
    """Return by how much a pair's thermal image is displaced before matching, RGB px (x, y)."""
    x, y = ((0.5 + (index + 1) * step) % 1.0 * 2.0 - 1.0 for step in _STEPS)
    return MAX_DISPLACEMENT * rgb_hw[1] * x, MAX_DISPLACEMENT * rgb_hw[0] * y


def match_pair(
    pair: ImagePair,
    matcher: PointMatcher,
    homography: Matrix,
    *,
    displacement_xy: tuple[float, float],
) -> PointMatches:
    """Match one pair as a homography aligns it, displaced.

    Args:
        pair: The images.
        matcher: Finds the points.
        homography: (3, 3), thermal px -> RGB px, by which the thermal image is brought over.
        displacement_xy: Added to that, RGB px.

    Returns:
        Points in pixels of the pair's own images; those outside either are left out.
    """
    height, width = matcher.size_hw
    rgb_to_grid = resizing_homography(pair.rgb_hw, matcher.size_hw)
    shift = np.eye(3)
    shift[:2, 2] = displacement_xy
    thermal_to_grid = rgb_to_grid @ shift @ homography
    rgb = cv2.resize(pair.rgb, (width, height), interpolation=cv2.INTER_AREA)
    thermal = _warp_with_nan(matcher.stretch(pair.thermal), thermal_to_grid, matcher.size_hw)
    found = matcher.match(np.asarray(rgb, np.uint8), thermal)
    rgb_xy = map_points(np.linalg.inv(rgb_to_grid), found.rgb_xy)
    thermal_xy = map_points(np.linalg.inv(thermal_to_grid), found.thermal_xy)
    inside = _is_inside(rgb_xy, pair.rgb_hw) & _is_inside(thermal_xy, pair.thermal_hw)
    return PointMatches(rgb_xy=rgb_xy[inside], thermal_xy=thermal_xy[inside])


def _check(pairs: Sequence[ImagePair], model: str) -> None:
    if model not in MODELS:
        raise ConfigError(f"model is '{model}', expected one of {', '.join(MODELS)}; choose one")
    if len(pairs) < MIN_PAIRS:
        raise CalibrationError(
            f'{len(pairs)} pairs of images, expected at least {MIN_PAIRS} of different scenes; '
            f'record more'
        )


def _level(pairs: Sequence[ImagePair]) -> Level:
    """Return the pairs as their edges are compared."""
    return build_level(
        [grey_rgb(pair) for pair in pairs],
        [grey_thermal(pair.thermal) for pair in pairs],
        width=FINE_WIDTH,
        smooth_px=1.0,
    )


def _warp_with_nan(image: FloatArray, homography: Matrix, size_hw: tuple[int, int]) -> FloatArray:
    """Warp an image (h, w); what it does not cover becomes NaN. Shrinking blurs first."""
    height, width = size_hw
    corners = np.array([[0, 0], [1, 0], [0, 1]]) * (np.array(image.shape[::-1]) - 1.0)
    moved = map_points(homography, corners)
    sides = np.linalg.norm(moved[1:] - moved[0], axis=1) / np.linalg.norm(corners[1:], axis=1)
    scale = float(sides.mean())
    if scale < 0.9:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.35 / scale), np.float32)
    warped = cv2.warpPerspective(
        image, homography, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    ones = np.ones(image.shape, np.uint8)
    covered = cv2.warpPerspective(ones, homography, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(np.where(covered > 0, warped, np.float32(np.nan)), np.float32)


def _is_inside(points_xy: Matrix, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    limit = np.array([size_hw[1], size_hw[0]]) - 0.5
    return np.asarray(((points_xy >= -0.5) & (points_xy < limit)).all(axis=1), np.bool_)


def _fit(
    matches: Sequence[PointMatches],
    *,
    model: str,
    limit_px: float,
    start: Matrix,
    min_matches: int = MIN_MATCHES,
) -> HomographyEstimate:
    """Fit the points of several pairs.

    Raises:
        CalibrationError: If there are too few, or too few agree.
    """
    rgb_xy = np.concatenate([item.rgb_xy for item in matches])
    thermal_xy = np.concatenate([item.thermal_xy for item in matches])
    if len(rgb_xy) < min_matches:
        raise CalibrationError(
            f'the matcher found {len(rgb_xy)} points in {len(matches)} pairs, expected at least '
            f'{min_matches}; {_REMEDY}'
        )
    try:
        estimate = estimate_registration(
            rgb_xy, thermal_xy, model=model, max_error_px=limit_px, start=start
        )
        share = float(estimate.is_inlier.mean())
    except MatchingError:
        share = 0.0
    if share < MIN_INLIER_SHARE:
        raise CalibrationError(
            f'{100 * share:.0f} % of the {len(rgb_xy)} points found in {len(matches)} pairs fit '
            f'one {model}, expected at least {100 * MIN_INLIER_SHARE:.0f} %: the matcher '
            f'contradicts itself; {_REMEDY}'
        )
    return estimate


def _refuse_doubtful(calibration: MatchedCalibration) -> None:
    limit_px = MAX_SPREAD_SHARE * calibration.rgb_hw[1]
    if calibration.spread_px > limit_px:
        raise CalibrationError(
            f'two halves of the pairs give alignments {calibration.spread_px:.1f} px apart, '
            f'expected at most {limit_px:.1f}: too few points, or scenes at too different '
            f'depths; {_REMEDY}, or fit a simpler --model'
        )
    if calibration.score < MIN_SCORE:
        raise CalibrationError(
            f'where the matched points fit, the edges of RGB and thermal images agree with a '
            f'score of {calibration.score:.2f}, expected at least {MIN_SCORE}; {_REMEDY}'
        )
