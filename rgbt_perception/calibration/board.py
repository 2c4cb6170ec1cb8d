# SPDX-License-Identifier: Apache-2.0
"""Calibration from a board that both cameras see: camera models, pose, homography at a depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.calibration.detection import detect_board, match_orders
from rgbt_perception.calibration.image_pairs import grey_rgb, grey_thermal, ImagePair
from rgbt_perception.calibration.intrinsics import estimate_camera
from rgbt_perception.calibration.pattern import BoardPattern, MIN_POINTS
from rgbt_perception.calibration.stereo import (
    BoardPair,
    MIN_PAIRS,
    pair_error_px,
    Rejected,
    see_pair,
    solve_robustly,
)
from rgbt_perception.calibration_file import Calibration
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.errors import CalibrationError

Matrix = NDArray[np.float64]

_GRID = 21
_MAX_ROUNDS = 5


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BoardCalibration:
    """What a board tells about a pair of cameras.

    Attributes:
        rgb: RGB camera.
        thermal: Thermal camera.
        rotation: (3, 3), X_rgb = R X_thermal + t.
        translation: (3,), m.
        homography: (3, 3), thermal px -> RGB px on the plane at ``depth_m``, best fit where the
            lenses bend it.
        homography_error_px: RMS error of that fit, RGB px: 0 without distortion.
        depth_m: Depth of that plane in the RGB camera, m.
        pairs: The pairs used.
        errors_px: Reprojection error of each, RMS over both cameras, px.
        rejected: The pairs not used.
    """

    rgb: CameraModel
    thermal: CameraModel
    rotation: Matrix
    translation: Matrix
    homography: Matrix
    homography_error_px: float
    depth_m: float
    pairs: tuple[BoardPair, ...]
    errors_px: Matrix
    rejected: tuple[Rejected, ...]

    @property
    def error_px(self) -> float:
        """Reprojection error over all points of the pairs used, RMS, px."""
        counts = np.array([len(pair.common_ids) for pair in self.pairs])
        return float(np.sqrt(np.sum(counts * self.errors_px**2) / counts.sum()))

    def to_calibration(self) -> Calibration:
        """Return what is written to the file."""
        return Calibration(
            method='board',
            num_images=len(self.pairs),
            reprojection_error_px=self.error_px,
            rgb=self.rgb,
            thermal=self.thermal,
            rotation_thermal_to_rgb=self.rotation,
            translation_thermal_to_rgb=self.translation,
            homography_thermal_to_rgb=self.homography,
            rgb_size_hw=self.rgb.size_hw,
            thermal_size_hw=self.thermal.size_hw,
            depth_m=self.depth_m,
        )


def detect_boards(
    pairs: Sequence[ImagePair], pattern: BoardPattern
) -> tuple[list[BoardPair], list[Rejected]]:
    """Find the board in all pairs.

    Returns:
        The pairs in which both cameras see at least ``MIN_POINTS`` common points, and the others
        with a reason.
    """
    found: list[BoardPair] = []
    rejected: list[Rejected] = []
    for pair in pairs:
        rgb = detect_board(grey_rgb(pair), pattern)
        thermal = detect_board(grey_thermal(pair.thermal), pattern)
        if rgb is None or thermal is None:
            missing = {(True, True): 'neither camera sees', (True, False): 'rgb does not see'}
            text = missing.get((rgb is None, thermal is None), 'thermal does not see')
            rejected.append(Rejected(name=pair.name, reason=f'{text} the board'))
            continue
        if rgb.has_ids:
            thermal = match_orders(rgb, thermal, pattern)
        else:
            rgb = match_orders(thermal, rgb, pattern)
        both = BoardPair(name=pair.name, rgb=rgb, thermal=thermal)
        if len(both.common_ids) < MIN_POINTS:
            reason = f'{len(both.common_ids)} common points, expected at least {MIN_POINTS}'
            rejected.append(Rejected(name=pair.name, reason=reason))
            continue
        found.append(both)
    return found, rejected


def calibrate_board(
    pairs: Sequence[ImagePair],
    pattern: BoardPattern,
    *,
    rgb: CameraModel | None = None,
    thermal: CameraModel | None = None,
    distortion: str = 'plumb_bob',
    depth_m: float | None = None,
) -> BoardCalibration:
    """Calibrate from pairs of images of a board.

    A pair whose reprojection error is above 2.5 times the median (at least 1, at most 5 px) is
    left out: such a pair shows two instants, or a board that was taken for another.

    Args:
        pairs: Images of the board, at different places and tilts.
        pattern: The board.
        rgb: Known RGB camera; None = estimated.
        thermal: Known thermal camera; None = estimated.
        distortion: Distortion model of estimated cameras.
        depth_m: Depth at which the homography shall hold; None = median depth of the boards.

    Raises:
        CalibrationError: If too few pairs show the board, they do not determine the cameras, or
            more than 30 % of them contradict the others.
    """
    found, rejected = detect_boards(pairs, pattern)
    _check_count(len(found), len(pairs), rejected)
    known = {'rgb': rgb, 'thermal': thermal}
    sizes = {'rgb': pairs[0].rgb_hw, 'thermal': pairs[0].thermal_hw}
    trusted = found
    for _ in range(_MAX_ROUNDS):  # a wrong view also spoils the cameras estimated from it
        cameras = {
            name: _camera(known[name], trusted, pattern, sizes[name], distortion, name)
            for name in ('rgb', 'thermal')
        }
        seen = [see_pair(pair, cameras, pattern) for pair in found]
        used, outliers, (rotation, translation) = solve_robustly(cameras, seen)
        before, trusted = trusted, [item.pair for item in used]
        if len(before) == len(trusted) or not (rgb is None or thermal is None):
            break
    errors = np.array([pair_error_px(cameras, item, (rotation, translation)) for item in used])
    depth_m = depth_m or float(np.median([item.depth_m for item in used]))
    homography, homography_error_px = plane_homography(
        cameras['rgb'], cameras['thermal'], rotation, translation, depth_m=depth_m
    )
    return BoardCalibration(
        rgb=cameras['rgb'],
        thermal=cameras['thermal'],
        rotation=rotation,
        translation=translation,
        homography=homography,
        homography_error_px=homography_error_px,
        depth_m=depth_m,
        pairs=tuple(item.pair for item in used),
        errors_px=errors,
        rejected=(*rejected, *outliers),
    )


def plane_homography(
    rgb: CameraModel,
    thermal: CameraModel,
    rotation: Matrix,
    translation: Matrix,
    *,
    depth_m: float,
) -> tuple[Matrix, float]:
    """Return the homography of a plane parallel to the RGB image, and its RMS error in RGB px.

    Without distortion it is exact: K_rgb (R + t n' / d) K_thermal^-1 with the plane n' X = d in
    the thermal frame. With distortion it is the best fit over the part that both cameras see.

    Raises:
        CalibrationError: If the cameras have no common view at that depth.
    """
    height, width = rgb.size_hw
    x, y = np.meshgrid(np.linspace(0, width - 1, _GRID), np.linspace(0, height - 1, _GRID))
    targets = np.column_stack([x.ravel(), y.ravel()])
    points = rgb.rays(targets) * depth_m
    sources = thermal.project((points - translation) @ rotation)
    thermal_h, thermal_w = thermal.size_hw
    inside = np.asarray(np.isfinite(sources).all(axis=1), np.bool_)
    inside &= (sources >= -0.5).all(axis=1)
    inside &= (sources <= [thermal_w - 0.5, thermal_h - 0.5]).all(axis=1)
    least = 4 * MIN_POINTS
    if inside.sum() < least:
        raise CalibrationError(
            f'at a depth of {depth_m:g} m the thermal camera sees {100 * inside.mean():.0f} % of '
            f'the RGB image, expected at least {100 * least / _GRID**2:.0f} %; check '
            f'the camera models and --depth-m'
        )
    homography, _ = cv2.findHomography(sources[inside], targets[inside], 0)
    mapped = cv2.perspectiveTransform(sources[inside][None], homography)[0]
    error = np.sqrt(np.mean(np.sum((mapped - targets[inside]) ** 2, axis=1)))
    return np.asarray(homography, np.float64), float(error)


def _camera(
    known: CameraModel | None,
    found: Sequence[BoardPair],
    pattern: BoardPattern,
    size_hw: tuple[int, int],
    distortion: str,
    name: str,
) -> CameraModel:
    if known is not None:
        return known.scaled_to(size_hw)
    views = [getattr(pair, name) for pair in found]
    return estimate_camera(views, pattern.points(), size_hw, distortion=distortion, name=name)


def _check_count(num_found: int, num_pairs: int, rejected: Sequence[Rejected]) -> None:
    if num_found >= MIN_PAIRS:
        return
    reasons = '; '.join(f'{item.name}: {item.reason}' for item in rejected[:5])
    raise CalibrationError(
        f'{num_found} of {num_pairs} pairs show the board to both cameras, expected at least '
        f'{MIN_PAIRS} ({reasons}); check --pattern, --rows and --columns, and heat the board'
    )
