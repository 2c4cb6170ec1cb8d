# SPDX-License-Identifier: Apache-2.0
"""The pose between two cameras from pairs of board views, some of which may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.calibration.detection import BoardView
from rgbt_perception.calibration.intrinsics import solve_pose
from rgbt_perception.calibration.pattern import BoardPattern
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.errors import CalibrationError

Matrix = NDArray[np.float64]
Pose = tuple[Matrix, Matrix]  # rotation (3, 3) and translation (3,)

MIN_PAIRS = 3
# A pair is an outlier when its error is above OUTLIER_RATIO times the median, where that limit is
# kept between the two bounds.
OUTLIER_RATIO, OUTLIER_PX, MAX_ERROR_PX = 2.5, 1.0, 5.0
MAX_OUTLIER_SHARE = 0.3
_MAX_ROUNDS = 10
_UNSEEN_PX = 1000.0  # error of a point that would lie behind the camera
_CRITERIA = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-9)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BoardPair:
    """The board in both images of a pair.

    Attributes:
        name: Name of the pair.
        rgb: Points in the RGB image.
        thermal: Points in the thermal image.
    """

    name: str
    rgb: BoardView
    thermal: BoardView

    @property
    def common_ids(self) -> NDArray[np.intp]:
        """Points that both images show."""
        return np.intersect1d(self.rgb.ids, self.thermal.ids)

    def common_pixels(self) -> tuple[Matrix, Matrix]:
        """Return the pixels of the common points, RGB and thermal, shape (n, 2) each."""
        ids = self.common_ids
        rgb = self.rgb.pixels[np.searchsorted(self.rgb.ids, ids)]
        return rgb, self.thermal.pixels[np.searchsorted(self.thermal.ids, ids)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A pair that was not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SeenPair:
    """A pair, undistorted and posed.

    Attributes:
        pair: The pair.
        points: Common points, board frame, (n, 3) m.
        points_in_rgb: The same where the RGB camera sees them, (n, 3) m.
        rgb_error: Squared reprojection error there, (n,) px^2.
        pose: Rotation and translation thermal -> RGB by this pair alone.
    """

    pair: BoardPair
    points: Matrix
    points_in_rgb: Matrix
    rgb_error: Matrix
    pose: Pose

    @property
    def depth_m(self) -> float:
        """Median depth of the board in the RGB camera, m."""
        return float(np.median(self.points_in_rgb[:, 2]))


def see_pair(pair: BoardPair, cameras: dict[str, CameraModel], pattern: BoardPattern) -> SeenPair:
    """Find where the board of a pair stands before each camera alone."""
    points = pattern.points()[pair.common_ids]
    rgb_pixels, thermal_pixels = pair.common_pixels()
    poses = {
        'rgb': solve_pose(cameras['rgb'], points, rgb_pixels),
        'thermal': solve_pose(cameras['thermal'], points, thermal_pixels),
    }
    in_rgb = points @ poses['rgb'][0].T + poses['rgb'][1]
    rotation = poses['rgb'][0] @ poses['thermal'][0].T
    return SeenPair(
        pair=pair,
        points=points,
        points_in_rgb=in_rgb,
        rgb_error=np.sum((cameras['rgb'].project(in_rgb) - rgb_pixels) ** 2, axis=1),
        pose=(rotation, poses['rgb'][1] - rotation @ poses['thermal'][1]),
    )


def solve_robustly(
    cameras: dict[str, CameraModel], seen: Sequence[SeenPair]
) -> tuple[list[SeenPair], list[Rejected], Pose]:
    """Find the pose that most pairs agree on, then the best one for those pairs.

    Starts from the pose of that single pair under which the median error of all pairs is
    smallest, so that a wrong pair cannot hide behind the harm it does.

    Returns:
        The pairs used, the others with a reason, and rotation and translation thermal -> RGB.

    Raises:
        CalibrationError: If fewer than ``MIN_PAIRS`` or less than 1 - ``MAX_OUTLIER_SHARE`` of the
            pairs agree.
    """
    tables = [[pair_error_px(cameras, item, start.pose) for item in seen] for start in seen]
    best = int(np.argmin(np.median(tables, axis=1)))
    pose, errors = seen[best].pose, np.array(tables[best])
    used: list[int] = []
    for _ in range(_MAX_ROUNDS):
        limit_px = float(np.clip(OUTLIER_RATIO * np.median(errors), OUTLIER_PX, MAX_ERROR_PX))
        chosen = [index for index, error in enumerate(errors) if error <= limit_px]
        if chosen == used:
            break
        used = chosen
        if len(used) < MIN_PAIRS:
            break
        pose = _solve_stereo(cameras, [seen[index] for index in used])
        errors = np.array([pair_error_px(cameras, item, pose) for item in seen])
    outliers = [
        Rejected(
            name=item.pair.name,
            reason=f'reprojection error {error:.2f} px, expected at most {limit_px:.2f}',
        )
        for index, (item, error) in enumerate(zip(seen, errors, strict=True))
        if index not in used
    ]
    if len(used) < MIN_PAIRS or len(outliers) > MAX_OUTLIER_SHARE * len(seen):
        raise CalibrationError(
            f'{len(outliers)} of {len(seen)} pairs contradict the others (first: '
            f'{outliers[0].name}, {outliers[0].reason}), expected at most '
            f'{100 * MAX_OUTLIER_SHARE:.0f} %; hold the board still, check that the images of a '
            f'pair belong together, and measure the board again'
        )
    return [seen[index] for index in used], outliers, pose


def _solve_stereo(cameras: dict[str, CameraModel], seen: Sequence[SeenPair]) -> Pose:
    """Return rotation and translation thermal -> RGB; lenses are undone first."""
    objects = [np.asarray(item.points, np.float32) for item in seen]
    straight: dict[str, list[NDArray[np.float32]]] = {'rgb': [], 'thermal': []}
    for item in seen:
        for name, pixels in zip(('rgb', 'thermal'), item.pair.common_pixels(), strict=True):
            rays = cameras[name].rays(pixels)
            virtual = (rays @ cameras[name].intrinsics.T)[:, :2]
            straight[name].append(np.asarray(virtual, np.float32))
    rgb, thermal = cameras['rgb'], cameras['thermal']
    solved = cv2.stereoCalibrate(
        objects,
        straight['thermal'],
        straight['rgb'],
        thermal.intrinsics.copy(),
        np.zeros(5),
        rgb.intrinsics.copy(),
        np.zeros(5),
        (rgb.size_hw[1], rgb.size_hw[0]),
        flags=cv2.CALIB_FIX_INTRINSIC,
        criteria=_CRITERIA,
    )
    return np.asarray(solved[5], np.float64), np.asarray(solved[6], np.float64).ravel()


def pair_error_px(cameras: dict[str, CameraModel], item: SeenPair, pose: Pose) -> float:
    """Return the RMS error of a pair over both cameras, px, with the board where RGB sees it.

    The thermal part therefore holds the error of the pose between the cameras.
    """
    rotation, translation = pose
    projected = cameras['thermal'].project((item.points_in_rgb - translation) @ rotation)
    thermal_error = np.sum((projected - item.pair.common_pixels()[1]) ** 2, axis=1)
    squared = np.concatenate([item.rgb_error, np.nan_to_num(thermal_error, nan=_UNSEEN_PX**2)])
    return float(np.sqrt(squared.mean()))
