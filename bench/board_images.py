# SPDX-License-Identifier: Apache-2.0
"""Images of calibration boards, rendered with known cameras, for measurements and tests."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rgbt_models.synthetic import Camera, default_rig, Rig
from rgbt_perception.calibration.image_pairs import ImagePair
from rgbt_perception.calibration.target import board_size_m, draw_target, first_point_m
from rgbt_perception.camera_model import CameraModel

SUPERSAMPLING = 3
RGB_DISTORTION = (-0.08, 0.02, 0.0006, -0.0004, 0.0)
THERMAL_DISTORTION = (-0.22, 0.06, -0.0008, 0.0005, 0.0)
BOARD_C, HOT_C, AIR_C = 21.0, 34.0, 16.0


def camera_model(camera: Camera, distortion: Sequence[float] = ()) -> CameraModel:
    """A camera of the synthetic rig, with a lens."""
    return CameraModel(
        intrinsics=camera.intrinsics,
        distortion_model='plumb_bob' if distortion else 'none',
        distortion=tuple(distortion),
        size_hw=(camera.height, camera.width),
    )


def rig_pose(rig: Rig):
    """R and t of X_rgb = R X_thermal + t."""
    rotation = rig.rgb.rotation.T @ rig.thermal.rotation
    return rotation, rig.rgb.rotation.T @ (rig.thermal.position - rig.rgb.position)


def true_homography(rig: Rig, depth_m: float):
    """The plane z = depth_m of the RGB camera: K_rgb (R + t n'R / (d - n't)) K_thermal^-1."""
    rotation, translation = rig_pose(rig)
    normal = np.array([0.0, 0.0, 1.0])
    plane = np.outer(translation, rotation.T @ normal) / (depth_m - normal @ translation)
    inverse = np.linalg.inv(rig.thermal.intrinsics)
    homography = rig.rgb.intrinsics @ (rotation + plane) @ inverse
    return homography / homography[2, 2]


def board_poses(rng: np.random.Generator, count: int, *, depth_m=(0.9, 2.4), tilt_deg=35.0):
    """Rotations and translations of boards in the RGB camera, all over its view."""
    poses = []
    for index in range(count):
        depth = depth_m[0] + (depth_m[1] - depth_m[0]) * (index + 0.5) / count
        x, y = rng.uniform(-0.28, 0.28) * depth, rng.uniform(-0.2, 0.2) * depth
        limit = np.radians(tilt_deg)
        angles = np.array([*rng.uniform(-limit, limit, 2), rng.uniform(-0.3, 0.3)])
        poses.append((cv2.Rodrigues(angles)[0], np.array([x, y, depth])))
    return poses


def render_board(model: CameraModel, pattern, rotation, translation):
    """Share of black, 0..1, and the mask of the board, (h, w) float32; 0 beside the board.

    ``rotation`` and ``translation`` bring points of the board, from its middle, to the camera.
    """
    pixels_per_m = 60.0 / pattern.square_m
    texture = 1.0 - draw_target(pattern, pixels_per_m=pixels_per_m).astype(np.float32) / 255
    dense = model.scaled_to(tuple(SUPERSAMPLING * side for side in model.size_hw))
    height, width = dense.size_hw
    # Rays on a coarse grid: a lens bends slowly.
    step = 8
    x, y = np.meshgrid(np.arange(0, width + step, step), np.arange(0, height + step, step))
    rays = dense.rays(np.column_stack([x.ravel(), y.ravel()]))
    rays = cv2.resize(
        rays.reshape(*x.shape, 3), None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR
    )
    # cv2.resize keeps edges, not centres, in place: cut what lies before the first sample.
    start = (step - 1) / 2.0
    shift = np.array([[1.0, 0.0, -start], [0.0, 1.0, -start]])
    rays = cv2.warpAffine(rays, shift, (width, height), borderMode=cv2.BORDER_REPLICATE)
    normal = rotation[:, 2]
    points = rays * ((normal @ translation) / (rays @ normal))[..., None]
    on_board = (points - translation) @ rotation[:, :2]
    size = np.array(board_size_m(pattern))
    u = ((on_board[..., 0] + size[0] / 2) * pixels_per_m - 0.5).astype(np.float32)
    v = ((on_board[..., 1] + size[1] / 2) * pixels_per_m - 0.5).astype(np.float32)
    black = cv2.remap(texture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    board = cv2.remap(np.ones_like(texture), u, v, cv2.INTER_LINEAR)
    target = (model.size_hw[1], model.size_hw[0])
    return tuple(cv2.resize(item, target, interpolation=cv2.INTER_AREA) for item in (black, board))


def true_pixels(model: CameraModel, pattern, rotation, translation):
    """Where the points of the board are, (n, 2) px."""
    offset = np.array([*first_point_m(pattern), 0.0]) - np.array([*board_size_m(pattern), 0.0]) / 2
    return model.project((pattern.points() + offset) @ rotation.T + translation)


def render_pair_of_board(
    cameras: tuple[CameraModel, CameraModel],
    pose_thermal_to_rgb,
    pattern,
    board_pose,
    *,
    seed: int,
    is_hot: bool = True,
) -> ImagePair:
    """Black on white in RGB; in 16-bit thermal the black parts are hot, or cold."""
    rng = np.random.default_rng(seed)
    rgb, thermal = cameras
    rotation, translation = board_pose
    black, board = render_board(rgb, pattern, rotation, translation)
    clutter = cv2.resize(rng.uniform(0.2, 0.7, (12, 16)).astype(np.float32), rgb.size_hw[::-1])
    grey = np.where(board > 0.5, 0.85 - 0.75 * black, clutter)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.6)
    colour = grey[..., None] * np.array([1.0, 0.97, 0.9], np.float32)
    colour = colour + rng.normal(0, 0.012, colour.shape)
    pose_r, pose_t = pose_thermal_to_rgb
    in_thermal = pose_r.T @ rotation, pose_r.T @ (translation - pose_t)
    black, board = render_board(thermal, pattern, *in_thermal)
    contrast = (HOT_C - BOARD_C) * (1.0 if is_hot else -0.6)
    temperature = AIR_C + board * (BOARD_C - AIR_C) + black * contrast
    temperature = cv2.GaussianBlur(temperature, (0, 0), 0.8) + rng.normal(0, 0.06, black.shape)
    return ImagePair(
        name=f'{seed:04d}',
        rgb=np.clip(colour * 255, 0, 255).astype(np.uint8),
        thermal=np.clip((temperature + 273.15) * 100, 0, 65535).astype(np.uint16),
    )


def board_pairs(pattern, count, *, seed=0, lenses=False, is_hot=True, rig=None):
    """Pairs of a board before the rig of the sample data, with the two camera models."""
    rig = rig or default_rig()
    rgb = camera_model(rig.rgb, RGB_DISTORTION if lenses else ())
    thermal = camera_model(rig.thermal, THERMAL_DISTORTION if lenses else ())
    poses = board_poses(np.random.default_rng(seed), count)
    pairs = [
        render_pair_of_board(
            (rgb, thermal), rig_pose(rig), pattern, pose, seed=100 * seed + index, is_hot=is_hot
        )
        for index, pose in enumerate(poses)
    ]
    return pairs, rgb, thermal
