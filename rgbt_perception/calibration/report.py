# SPDX-License-Identifier: Apache-2.0
"""What a calibration found, in words, and the settings that put it to use."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from rgbt_perception.calibration.board import BoardCalibration
from rgbt_perception.calibration.matched import MatchedCalibration
from rgbt_perception.calibration.scene import homography_distance_px, SceneCalibration
from rgbt_perception.camera_model import CameraModel


def summarise_board(calibration: BoardCalibration) -> list[str]:
    """Return one line per finding."""
    baseline_mm = 1e3 * calibration.translation
    angle_deg = _rotation_angle_deg(calibration.rotation)
    lines = [
        f'pairs used: {len(calibration.pairs)}, left out: {len(calibration.rejected)}',
        *(f'  {item.name}: {item.reason}' for item in calibration.rejected),
        _describe_camera('rgb', calibration.rgb),
        _describe_camera('thermal', calibration.thermal),
        (
            f'thermal camera in the RGB frame: x {baseline_mm[0]:.1f}, y {baseline_mm[1]:.1f}, '
            f'z {baseline_mm[2]:.1f} mm, turned by {angle_deg:.2f} degrees'
        ),
        (
            f'reprojection error: {calibration.error_px:.2f} px RMS, worst pair '
            f'{calibration.errors_px.max():.2f} px'
        ),
        f'homography holds at a depth of {calibration.depth_m:.2f} m',
    ]
    if calibration.homography_error_px > 0.5:
        lines.append(
            f'  lens distortion bends it by {calibration.homography_error_px:.1f} px RMS: use '
            f'registration.method extrinsics'
        )
    return lines


def summarise_scene(calibration: SceneCalibration) -> list[str]:
    """Return one line per finding."""
    moved_px = homography_distance_px(
        calibration.start, calibration.homography, calibration.rgb_hw
    )
    lines = [
        f'pairs used: {calibration.num_pairs}, model: {calibration.model}',
        (
            f'agreement of edges (1 = perfect): before {calibration.score_before:.3f}, after '
            f'{calibration.score:.3f}'
        ),
        f'moved by {moved_px:.1f} RGB px RMS from where it started',
        f'two halves of the pairs agree within {calibration.spread_px:.2f} px RMS',
        f'thermal covers {100 * calibration.overlap:.0f} % of the RGB image',
        'the homography holds at the depth where the scenes have most of their edges',
    ]
    if math.isfinite(calibration.peak_ratio):
        lines.insert(
            3, f'best alignment over the best elsewhere: {calibration.peak_ratio:.2f} times'
        )
    return lines


def summarise_matched(calibration: MatchedCalibration) -> list[str]:
    """Return one line per finding."""
    moved_px = homography_distance_px(
        calibration.start, calibration.homography, calibration.rgb_hw
    )
    share = calibration.num_inliers / calibration.num_matches
    return [
        f'pairs used: {calibration.num_pairs}, model: {calibration.model}',
        (
            f'matched points: {calibration.num_matches}, of which {100 * share:.0f} % fit within '
            f'{calibration.limit_px:.1f} px, median {calibration.median_error_px:.2f} px'
        ),
        (
            f'agreement of edges (1 = perfect): before {calibration.score_before:.3f}, after '
            f'{calibration.score:.3f}'
        ),
        f'moved by {moved_px:.1f} RGB px RMS from where it started',
        f'two halves of the pairs agree within {calibration.spread_px:.2f} px RMS',
        f'thermal covers {100 * calibration.overlap:.0f} % of the RGB image',
        'the homography holds at the depth where the matched points lie',
    ]


def error_rows(calibration: BoardCalibration) -> list[tuple[str, int, float]]:
    """Return name, number of points and reprojection error (px) of every pair used."""
    return [
        (pair.name, len(pair.common_ids), float(error))
        for pair, error in zip(calibration.pairs, calibration.errors_px, strict=True)
    ]


def parameter_lines(path: Path, *, method: str, depth_m: float | None = None) -> str:
    """Return the lines of a parameter file that put a calibration file to use.

    Args:
        path: The calibration file.
        method: 'homography' or 'extrinsics'.
        depth_m: With extrinsics, the depth of the plane, m.
    """
    quoted = str(path.resolve()).replace("'", "''")
    lines = [
        '/**/perception:',
        '  ros__parameters:',
        '    registration:',
        f"      method: '{method}'",
        "      source: 'file'",
        f"      calibration_file: '{quoted}'",
    ]
    if depth_m is not None:
        lines.append(f'      depth_m: {depth_m:.2f}  # the usual distance of what matters')
    return '\n'.join(lines)


def _describe_camera(name: str, camera: CameraModel) -> str:
    focal_x, focal_y = camera.intrinsics[0, 0], camera.intrinsics[1, 1]
    centre_x, centre_y = camera.intrinsics[:2, 2]
    coefficients = ', '.join(f'{value:.4g}' for value in camera.distortion)
    lens = f'{camera.distortion_model} [{coefficients}]' if coefficients else 'no distortion'
    return (
        f'{name} camera: focal length {focal_x:.1f} x {focal_y:.1f} px, centre '
        f'({centre_x:.1f}, {centre_y:.1f}), {lens}'
    )


def _rotation_angle_deg(rotation: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    cosine = (float(np.trace(rotation)) - 1.0) / 2.0
    return math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))
