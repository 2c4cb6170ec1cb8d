# SPDX-License-Identifier: Apache-2.0
"""Objects as they would be without the others and without the image's edges.

Every visible instance is cast alone: the rays that the camera has anyway tell its unoccluded area
inside the image, a coarse grid of rays tells how much of it lies outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.lens import distort, undistort
from rgbt_models.synthetic.raycast import RayCaster

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import DoubleArray, FloatArray
    from rgbt_models.synthetic.labels import ObjectTruth
    from rgbt_models.synthetic.rig import Camera
    from rgbt_models.synthetic.scene import Snapshot

_NEAREST_M = 0.1  # of vertices; the part of an object behind the camera is left out
_GRID = 48  # rays per direction for the part outside the image
_BEYOND = 1.5  # nothing is looked for farther from the axis than this times the corners


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AmodalTruth:
    """The whole of each object of one image. Arrays follow the image's ``ObjectTruth``."""

    boxes_xyxy: FloatArray  # (n, 4) float32, px edges; may reach beyond the image
    occlusion: FloatArray  # (n,) 0..1, share of its area inside the image that others hide
    truncation: FloatArray  # (n,) 0..1, share of its area that lies outside the image
    unoccluded_area_px: FloatArray  # (n,) inside the image, without the others


def measure_amodal(snapshot: Snapshot, camera: Camera, objects: ObjectTruth) -> AmodalTruth:
    """Look at each object alone.

    Args:
        snapshot: The scene at an instant.
        camera: The camera of the image.
        objects: Its visible objects.
    """
    count = len(objects.boxes_xyxy)
    boxes, areas = np.zeros((count, 4), np.float32), np.zeros(count, np.float32)
    truncation = np.zeros(count, np.float32)
    if count:
        lone = _LoneView(snapshot, camera)
        for index, instance in enumerate(objects.instance_ids.tolist()):
            triangles = lone.triangles_of(instance)
            points = lone.normalised(triangles)
            box = lone.box(points)
            boxes[index, :2] = np.minimum(box[:2], objects.boxes_xyxy[index, :2])
            boxes[index, 2:] = np.maximum(box[2:], objects.boxes_xyxy[index, 2:])
            caster = RayCaster(triangles)
            areas[index] = lone.area_inside(caster, boxes[index])
            truncation[index] = lone.share_outside(caster, points, boxes[index])
    # The labels may come from a denser grid of rays: never less whole than visible.
    areas = np.maximum(areas, objects.visible_area_px)
    return AmodalTruth(
        boxes_xyxy=boxes,
        occlusion=(1.0 - objects.visible_area_px / np.maximum(areas, 1.0)).astype(np.float32),
        truncation=truncation,
        unoccluded_area_px=areas,
    )


class _LoneView:
    """One camera at one instant, for objects cast alone."""

    def __init__(self, snapshot: Snapshot, camera: Camera) -> None:
        self._camera = camera
        self._triangles = snapshot.caster.triangles
        self._instances = snapshot.scene.materials.instance.take(snapshot.triangle_materials)
        rotation = snapshot.ego.rotation
        self._world_from_optical = rotation @ camera.rotation
        self._origin = snapshot.ego.position + rotation @ camera.position
        rays = camera.rays() @ rotation.T.astype(np.float32)
        self._rays = rays.reshape(camera.height, camera.width, 3)
        corners = _corners(camera)
        inside = undistort(corners, camera.intrinsics, camera.distortion)
        self._reach = _BEYOND * float(np.linalg.norm(inside, axis=1).max())

    def triangles_of(self, instance: int) -> FloatArray:
        """Return the triangles (k, 3, 3) of an instance, world frame."""
        return np.asarray(self._triangles[self._instances == instance])

    def normalised(self, triangles: FloatArray) -> DoubleArray:
        """Return the vertices before the camera, (n, 2) at depth 1, pulled in if far outside."""
        vertices = triangles.reshape(-1, 3) - self._origin
        optical = vertices @ self._world_from_optical
        optical = optical[optical[:, 2] > _NEAREST_M]
        points = optical[:, :2] / optical[:, 2:]
        radius = np.linalg.norm(points, axis=1)
        points *= (self._reach / np.maximum(radius, self._reach))[:, None]
        return np.asarray(points)

    def box(self, points: DoubleArray) -> DoubleArray:
        """Return the box (4,) around points, in pixel edges; empty and inverted if none."""
        if not len(points):
            return np.array([np.inf, np.inf, -np.inf, -np.inf])
        pixels = self._pixels(points) + 0.5
        return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])

    def area_inside(self, caster: RayCaster, box: FloatArray) -> float:
        """Return how many pixels of the image see the object when it is alone."""
        camera = self._camera
        left, top = np.maximum(np.floor(box[:2]).astype(int), 0)
        right = min(int(np.ceil(box[2])), camera.width)
        bottom = min(int(np.ceil(box[3])), camera.height)
        rays = np.ascontiguousarray(self._rays[top:bottom, left:right].reshape(-1, 3))
        if not len(rays):
            return 0.0
        triangle, _ = caster.cast(self._origin.astype(np.float32), rays)
        return float(np.count_nonzero(triangle >= 0))

    def share_outside(self, caster: RayCaster, points: DoubleArray, box: FloatArray) -> float:
        """Return the share of the lone object that the image's edges cut off."""
        camera = self._camera
        is_whole = (box[:2] >= 0).all() and box[2] <= camera.width and box[3] <= camera.height
        if is_whole or not len(points):
            return 0.0
        low, high = points.min(axis=0), points.max(axis=0)
        steps = (np.arange(_GRID) + 0.5) / _GRID
        x, y = np.meshgrid(*(low[axis] + steps * (high - low)[axis] for axis in range(2)))
        grid = np.column_stack([x.ravel(), y.ravel()])
        optical = np.column_stack([grid, np.ones(len(grid))])
        rays = optical @ self._world_from_optical.T
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        triangle, _ = caster.cast(self._origin.astype(np.float32), rays.astype(np.float32))
        seen = self._pixels(grid[triangle >= 0]) + 0.5
        is_inside = (seen >= 0).all(axis=1) & (seen < (camera.width, camera.height)).all(axis=1)
        return 1.0 - float(is_inside.mean()) if len(seen) else 0.0

    def _pixels(self, points: DoubleArray) -> DoubleArray:
        camera = self._camera
        matrix = camera.intrinsics
        moved = distort(points, camera.distortion)
        return np.asarray(moved @ matrix[:2, :2].T + matrix[:2, 2])


def _corners(camera: Camera) -> DoubleArray:
    right, bottom = camera.width - 0.5, camera.height - 0.5
    return np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])
