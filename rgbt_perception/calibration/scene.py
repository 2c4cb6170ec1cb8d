# SPDX-License-Identifier: Apache-2.0
"""Calibration without a board: the homography that aligns the edges of many natural scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rgbt_models.match_geometry import MODELS
from rgbt_perception.calibration.alignment import (
    build_level,
    Level,
    refine,
    Refined,
    score_homography,
)
from rgbt_perception.calibration.image_pairs import grey_rgb, grey_thermal, ImagePair
from rgbt_perception.calibration.search import Candidate, search_similarities
from rgbt_perception.calibration_file import Calibration, load_calibration
from rgbt_perception.errors import CalibrationError, ConfigError
from rgbt_perception.geometry import map_points, scaled_homography

Matrix = NDArray[np.float64]

MIN_PAIRS = 8
SEARCH_PAIRS = 12
# Widths of the RGB grid from coarse to fine, px, and the blur of the features there.
SEARCH_WIDTH, COARSE_WIDTH, FINE_WIDTH = 80, 160, 320
# Below any of these the answer is not trusted.
MIN_SCORE = 0.12
MIN_PEAK_RATIO = 1.25
MAX_SPREAD_SHARE = 0.01  # of the RGB width
_REMEDY = 'record 20 or more pairs of well-lit scenes with edges, or calibrate with a board'


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SceneCalibration:
    """A homography found from natural scenes, and how far to trust it.

    Attributes:
        homography: (3, 3), thermal px -> RGB px, centre units.
        rgb_hw: Size of the RGB images, px.
        thermal_hw: Size of the thermal images, px.
        model: What was fitted: one of ``MODELS``.
        num_pairs: Pairs used.
        score: Correlation of edge orientations, -1..1, after.
        score_before: The same for ``start``.
        start: (3, 3), what it is compared with: the initial homography, or plain resizing.
        peak_ratio: Best score of the coarse search over the best elsewhere; NaN with an initial
            homography, which is not searched for.
        spread_px: RMS distance between the answers of two halves of the pairs, RGB px.
        overlap: Share of the RGB image that the thermal image covers, 0..1.
    """

    homography: Matrix
    rgb_hw: tuple[int, int]
    thermal_hw: tuple[int, int]
    model: str
    num_pairs: int
    score: float
    score_before: float
    start: Matrix
    peak_ratio: float
    spread_px: float
    overlap: float

    def to_calibration(self) -> Calibration:
        """Return what is written to the file."""
        return Calibration(
            method='scene',
            num_images=self.num_pairs,
            homography_thermal_to_rgb=self.homography,
            rgb_size_hw=self.rgb_hw,
            thermal_size_hw=self.thermal_hw,
        )


def calibrate_scene(
    pairs: Sequence[ImagePair], *, model: str = 'similarity', initial: Matrix | None = None
) -> SceneCalibration:
    """Find the homography that aligns the edges of all pairs best.

    The answer belongs to the depths at which the scenes have their edges.

    Args:
        pairs: At least ``MIN_PAIRS`` pairs, day preferred, of scenes that differ.
        model: What is fitted: 'translation', 'similarity', 'affine' or 'homography'. A
            translation keeps the scale of ``initial``, or that of plain resizing by width.
        initial: Rough homography, thermal px -> RGB px; None searches all shifts, scales 0.5 to 2
            and rolls of -8 to 8 degrees.

    Raises:
        CalibrationError: If there are too few pairs, or the images do not say where they fit.
        ConfigError: If the model is unknown.
    """
    if model not in MODELS:
        raise ConfigError(f"model is '{model}', expected one of {', '.join(MODELS)}; choose one")
    if len(pairs) < MIN_PAIRS:
        raise CalibrationError(
            f'{len(pairs)} pairs of images, expected at least {MIN_PAIRS} of different scenes; '
            f'record more'
        )
    rgb = [grey_rgb(pair) for pair in pairs]
    thermal = [grey_thermal(pair.thermal) for pair in pairs]
    coarse = build_level(rgb, thermal, width=COARSE_WIDTH, smooth_px=1.5)
    fine = build_level(rgb, thermal, width=FINE_WIDTH, smooth_px=1.0)
    start, found, peak_ratio = _start(rgb, thermal, model=model, initial=initial)
    if peak_ratio < MIN_PEAK_RATIO:  # False for NaN: nothing was searched for
        raise CalibrationError(
            f'the best alignment scores only {peak_ratio:.2f} times the best one elsewhere, '
            f'expected at least {MIN_PEAK_RATIO}: the score is flat; {_REMEDY}'
        )
    for step in ('similarity', model) if MODELS.index(model) > 1 else (model,):
        found = refine(coarse, found, model=step).homography
    final = refine(fine, found, model=model)
    spread_px = _measure_spread(fine, final, model=model, rgb_hw=pairs[0].rgb_hw)
    calibration = SceneCalibration(
        homography=final.homography,
        rgb_hw=pairs[0].rgb_hw,
        thermal_hw=pairs[0].thermal_hw,
        model=model,
        num_pairs=len(pairs),
        score=final.score,
        score_before=score_homography(fine, start),
        start=start,
        peak_ratio=peak_ratio,
        spread_px=spread_px,
        overlap=final.overlap,
    )
    _refuse_doubtful(calibration)
    return calibration


def load_initial(path: Path, *, rgb_hw: tuple[int, int], thermal_hw: tuple[int, int]) -> Matrix:
    """Load the homography of a calibration file, for images of the given sizes.

    Raises:
        CalibrationError: If the file holds no homography.
        ConfigError: If it cannot be read.
    """
    calibration = load_calibration(path)
    homography = calibration.homography_thermal_to_rgb
    old_rgb, old_thermal = calibration.rgb_size_hw, calibration.thermal_size_hw
    if homography is None or old_rgb is None or old_thermal is None:
        raise CalibrationError(
            f"calibration '{path}' has no homography_thermal_to_rgb, expected one to start from; "
            f'leave --initial out to search'
        )
    return scaled_homography(
        homography,
        source_scale_xy=(thermal_hw[1] / old_thermal[1], thermal_hw[0] / old_thermal[0]),
        destination_scale_xy=(rgb_hw[1] / old_rgb[1], rgb_hw[0] / old_rgb[0]),
    )


def resizing_homography(thermal_hw: tuple[int, int], rgb_hw: tuple[int, int]) -> Matrix:
    """Return plain resizing as a homography, what ``registration.method: identity`` does."""
    scale = (rgb_hw[1] / thermal_hw[1], rgb_hw[0] / thermal_hw[0])
    return scaled_homography(np.eye(3), destination_scale_xy=scale)


def homography_distance_px(first: Matrix, second: Matrix, rgb_hw: tuple[int, int]) -> float:
    """Return how far two homographies thermal -> RGB lie apart, RMS over the RGB image, px."""
    height, width = rgb_hw
    x, y = np.meshgrid(np.linspace(0, width - 1, 17), np.linspace(0, height - 1, 13))
    points = np.column_stack([x.ravel(), y.ravel()])
    moved = map_points(second @ np.linalg.inv(first), points)
    return float(np.sqrt(np.mean(np.sum((moved - points) ** 2, axis=1))))


def _start(
    rgb: list[NDArray[np.float32]],
    thermal: list[NDArray[np.float32]],
    *,
    model: str,
    initial: Matrix | None,
) -> tuple[Matrix, Matrix, float]:
    """Return what to compare with, where to refine from, and the peak ratio of the search."""
    if initial is not None:
        return initial, initial, float('nan')
    chosen = np.linspace(0, len(rgb) - 1, min(SEARCH_PAIRS, len(rgb))).round().astype(int)
    level = build_level(
        [rgb[index] for index in chosen],
        [thermal[index] for index in chosen],
        width=SEARCH_WIDTH,
        smooth_px=1.5,
    )
    if model == 'translation':
        candidates = search_similarities(level, scales=(1.0,), rolls_deg=(0.0,))
    else:
        candidates = search_similarities(level)
    climb = 'translation' if model == 'translation' else 'similarity'
    refined = [_climb(level, candidate, climb) for candidate in candidates]
    best = max(range(len(refined)), key=lambda index: _above_chance(refined[index]))
    rgb_hw, thermal_hw = rgb[0].shape, thermal[0].shape
    start = resizing_homography((thermal_hw[0], thermal_hw[1]), (rgb_hw[0], rgb_hw[1]))
    return start, refined[best].homography, candidates[best].peak_ratio


def _climb(level: Level, candidate: Candidate, model: str) -> Refined:
    return refine(level, candidate.homography, model=model, max_steps=10)


def _above_chance(refined: Refined) -> float:
    return float(refined.score * np.sqrt(refined.overlap))


def _measure_spread(level: Level, final: Refined, *, model: str, rgb_hw: tuple[int, int]) -> float:
    halves = [
        refine(level.subset(range(start, len(level.thermal), 2)), final.homography, model=model)
        for start in (0, 1)
    ]
    return homography_distance_px(halves[0].homography, halves[1].homography, rgb_hw)


def _refuse_doubtful(calibration: SceneCalibration) -> None:
    if calibration.score < MIN_SCORE:
        raise CalibrationError(
            f'the edges of RGB and thermal images agree with a score of {calibration.score:.2f} '
            f'at best, expected at least {MIN_SCORE}: the score is flat, no alignment stands '
            f'out; {_REMEDY}'
        )
    limit_px = MAX_SPREAD_SHARE * calibration.rgb_hw[1]
    if calibration.spread_px > limit_px:
        raise CalibrationError(
            f'two halves of the pairs give alignments {calibration.spread_px:.1f} px apart, '
            f'expected at most {limit_px:.1f}: scenes at too few or too different depths, or too '
            f'few edges; {_REMEDY}, or fit a simpler --model'
        )
