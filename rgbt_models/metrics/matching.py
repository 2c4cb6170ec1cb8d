# SPDX-License-Identifier: Apache-2.0
"""Metrics of matched points: precision, and the area under the curve of corner errors.

Corner error: mean distance of the four image corners under the estimated and the true homography,
as HPatches and LoFTR report it; AUC of its cumulative curve up to 3, 5 and 10 px.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rgbt_models.errors import MatchingError
from rgbt_models.match_geometry import estimate_homography, MAX_ERROR_PX, warp

CORNER_THRESHOLDS_PX = (3.0, 5.0, 10.0)
PRECISION_THRESHOLD_PX = 8.0  # half a token


def matching_precision(
    rgb_xy: NDArray[np.floating],
    thermal_xy: NDArray[np.floating],
    homography_thermal_to_rgb: NDArray[np.floating],
    *,
    threshold_px: float = PRECISION_THRESHOLD_PX,
) -> float | None:
    """Return the share of matches that are right, None without any.

    Args:
        rgb_xy: (n, 2) px.
        thermal_xy: (n, 2) px.
        homography_thermal_to_rgb: (3, 3), the truth.
        threshold_px: Largest distance in the RGB image of a right match, inclusive.
    """
    if not len(rgb_xy):
        return None
    errors = np.linalg.norm(warp(thermal_xy, homography_thermal_to_rgb) - rgb_xy, axis=1)
    return float((errors <= threshold_px).mean())


def corner_error(
    estimated: NDArray[np.floating], true: NDArray[np.floating], thermal_hw: tuple[int, int]
) -> float:
    """Return the mean distance of the corners of the thermal image in the RGB image, px.

    Args:
        estimated: (3, 3), thermal pixel -> RGB pixel.
        true: (3, 3).
        thermal_hw: Height and width of the thermal image, px.
    """
    h, w = thermal_hw
    corners = np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], np.float64)
    return float(np.linalg.norm(warp(corners, estimated) - warp(corners, true), axis=1).mean())


def error_auc(
    errors: Sequence[float], thresholds: Sequence[float] = CORNER_THRESHOLDS_PX
) -> dict[float, float]:
    """Return the area under the cumulative curve of errors up to each threshold, in 0..1.

    The curve joins the points (error, share of errors up to it) by straight lines from (0, 0), as
    SuperGlue and LoFTR compute it.

    Args:
        errors: One per pair; infinity for a pair without a result. At least one.
        thresholds: Same unit.
    """
    ordered = np.concatenate([[0.0], np.sort(np.asarray(errors, np.float64))])
    share = np.arange(len(ordered)) / (len(ordered) - 1)
    areas = {}
    for threshold in thresholds:
        count = int(np.searchsorted(ordered, threshold))
        x = np.append(ordered[:count], threshold)
        y = np.append(share[:count], share[count - 1])
        areas[threshold] = float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2.0).sum() / threshold)
    return areas


class MatchingScorer:
    """Collects matches of pairs with known homographies."""

    def __init__(
        self, *, max_error_px: float = MAX_ERROR_PX, precision_px: Sequence[float] = ()
    ) -> None:
        """Start without pairs.

        Args:
            max_error_px: Largest distance of an inlier of the estimated homographies.
            precision_px: Further distances, beside half a token, up to which a match is right.
        """
        self._max_error_px = max_error_px
        self._precisions: dict[float, list[float]] = {
            px: [] for px in (PRECISION_THRESHOLD_PX, *precision_px)
        }
        self._errors: list[float] = []
        self._num_matches = 0

    def add(
        self,
        rgb_xy: NDArray[np.floating],
        thermal_xy: NDArray[np.floating],
        homography_thermal_to_rgb: NDArray[np.floating],
        thermal_hw: tuple[int, int],
    ) -> None:
        """Add one pair; without enough matches its corner error is infinite."""
        for px, precisions in self._precisions.items():
            precision = matching_precision(
                rgb_xy, thermal_xy, homography_thermal_to_rgb, threshold_px=px
            )
            precisions.append(0.0 if precision is None else precision)
        self._num_matches += len(rgb_xy)
        try:
            found = estimate_homography(rgb_xy, thermal_xy, max_error_px=self._max_error_px)
        except MatchingError:
            self._errors.append(float('inf'))
            return
        self._errors.append(
            corner_error(found.homography_thermal_to_rgb, homography_thermal_to_rgb, thermal_hw)
        )

    def compute(self) -> dict[str, float | None]:
        """Return precision, matches per pair, share of pairs registered, and the three AUC.

        ``precision`` is at half a token, ``precision@16px`` and so on at the further distances;
        a pair without a match counts as 0 in all of them.
        """
        num_pairs = len(self._errors)
        areas = error_auc(self._errors) if num_pairs else {}
        return {
            **{
                _precision_name(px): float(np.mean(values)) if num_pairs else None
                for px, values in self._precisions.items()
            },
            'matches_per_pair': self._num_matches / num_pairs if num_pairs else None,
            'registered': float(np.isfinite(self._errors).mean()) if num_pairs else None,
            **{f'AUC@{px:g}px': areas.get(px) for px in CORNER_THRESHOLDS_PX},
        }


def _precision_name(px: float) -> str:
    return 'precision' if px == PRECISION_THRESHOLD_PX else f'precision@{px:g}px'
