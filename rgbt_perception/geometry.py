# SPDX-License-Identifier: Apache-2.0
"""Points, boxes and letterboxes, with every pixel convention in one place.

Two conventions meet here. Boxes are in *edge units*: pixel ``i`` covers ``[i, i + 1)``, so an
image of width w spans 0..w. Points of intrinsics and homographies are in *centre units* (OpenCV,
ROS): the centre of the first pixel is 0. The centre of pixel ``i`` is ``i`` in centre units and
``i + 0.5`` in edge units. x goes right, y goes down.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.errors import ShapeError
from rgbt_perception.types import FloatArray, LetterboxTransform

Matrix = NDArray[np.float64]


def letterbox_transform(
    source_hw: tuple[int, int], target_hw: tuple[int, int]
) -> LetterboxTransform:
    """Fit a source image into a target image, keeping its ratio and centring it.

    Args:
        source_hw: Height and width of the source, px.
        target_hw: Height and width of the target, px.

    Returns:
        The transform in edge units: ``target = source * scale + pad``. Pads may be fractional.
    """
    (source_h, source_w), (target_h, target_w) = source_hw, target_hw
    scale = min(target_h / source_h, target_w / source_w)
    return LetterboxTransform(
        scale=scale,
        pad_x=(target_w - source_w * scale) / 2,
        pad_y=(target_h - source_h * scale) / 2,
    )


def letterbox_boxes(boxes_xyxy: FloatArray, transform: LetterboxTransform) -> FloatArray:
    """Map boxes from source pixels to network pixels.

    Args:
        boxes_xyxy: Boxes, shape (n, 4), source px, edge units.
        transform: How source became network pixels.

    Returns:
        Boxes, shape (n, 4), float32, network px, edge units.
    """
    return (_boxes(boxes_xyxy) * transform.scale + _pads(transform)).astype(np.float32)


def unletterbox_boxes(boxes_xyxy: FloatArray, transform: LetterboxTransform) -> FloatArray:
    """Map boxes from network pixels back to source pixels.

    Args:
        boxes_xyxy: Boxes, shape (n, 4), network px, edge units.
        transform: How source became network pixels.

    Returns:
        Boxes, shape (n, 4), float32, source px, edge units; not clipped.
    """
    return ((_boxes(boxes_xyxy) - _pads(transform)) / transform.scale).astype(np.float32)


def map_points(homography: NDArray[Any], xy: NDArray[Any]) -> Matrix:
    """Map points through a homography.

    Args:
        homography: Shape (3, 3), source px -> destination px, centre units.
        xy: Points, shape (n, 2), source px, centre units.

    Returns:
        Points, shape (n, 2), float64, destination px, centre units. A point on the horizon of
        the homography becomes infinite or NaN.

    Raises:
        ShapeError: If a shape is wrong.
    """
    matrix, points = np.asarray(homography, np.float64), np.asarray(xy, np.float64)
    if matrix.shape != (3, 3):
        raise ShapeError('homography', expected='(3, 3)', actual=matrix.shape)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ShapeError('xy', expected='(n, 2)', actual=points.shape)
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    with np.errstate(divide='ignore', invalid='ignore'):
        mapped_xy: Matrix = mapped[:, :2] / mapped[:, 2:]
    return mapped_xy


def map_boxes(homography: NDArray[Any], boxes_xyxy: NDArray[Any]) -> FloatArray:
    """Map boxes through a homography and enclose each mapped quadrilateral.

    Args:
        homography: Shape (3, 3), source px -> destination px, centre units.
        boxes_xyxy: Boxes, shape (n, 4), source px, edge units.

    Returns:
        Enclosing boxes, shape (n, 4), float32, destination px, edge units; not clipped.
    """
    boxes = _boxes(boxes_xyxy)
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)  # (n * 4, 2)
    mapped = (map_points(homography, corners - 0.5) + 0.5).reshape(-1, 4, 2)
    return np.concatenate([mapped.min(axis=1), mapped.max(axis=1)], axis=1).astype(np.float32)


def scaled_homography(
    homography: NDArray[Any],
    *,
    source_scale_xy: tuple[float, float] = (1.0, 1.0),
    destination_scale_xy: tuple[float, float] = (1.0, 1.0),
) -> Matrix:
    """Adapt a homography to resized images.

    Args:
        homography: Shape (3, 3), source px -> destination px, centre units, for the old sizes.
        source_scale_xy: New width over old width and new height over old height of the source.
        destination_scale_xy: The same for the destination.

    Returns:
        Homography between the resized images, shape (3, 3), float64, centre units.
    """
    matrix = np.asarray(homography, np.float64)
    source, destination = _resize_matrix(source_scale_xy), _resize_matrix(destination_scale_xy)
    scaled: Matrix = destination @ matrix @ np.linalg.inv(source)
    return scaled


def resize(image: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """Resize an image in edge units: by area when it shrinks, linear when it grows.

    Args:
        image: Shape (h, w) or (h, w, c).
        size_hw: New height and width, px.

    Returns:
        Resized image, same dtype; the input itself when the size is already right.
    """
    height, width = size_hw
    if image.shape[:2] == size_hw:
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation))


def xyxy_to_cxcywh(boxes_xyxy: FloatArray) -> FloatArray:
    """Convert corner boxes to centre and size, both shape (n, 4), same units."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def cxcywh_to_xyxy(boxes_cxcywh: FloatArray) -> FloatArray:
    """Convert centre and size boxes to corners, both shape (n, 4), same units."""
    centre, half = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def clip_boxes(boxes_xyxy: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """Clip boxes in edge units to an image; a box outside gets zero width or height.

    Args:
        boxes_xyxy: Boxes, shape (n, 4), px, edge units.
        size_hw: Height and width of the image, px.

    Returns:
        New array, shape (n, 4); x in 0..width, y in 0..height, both ends included.
    """
    height, width = size_hw
    limits = np.asarray([width, height, width, height], boxes_xyxy.dtype)
    return np.clip(boxes_xyxy, 0, limits)


def _boxes(boxes_xyxy: NDArray[Any]) -> Matrix:
    boxes = np.asarray(boxes_xyxy, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError('boxes_xyxy', expected='(n, 4)', actual=boxes.shape)
    return boxes


def _pads(transform: LetterboxTransform) -> Matrix:
    return np.asarray([transform.pad_x, transform.pad_y] * 2, np.float64)


def _resize_matrix(scale_xy: tuple[float, float]) -> Matrix:
    # Edge units scale about 0, so centre units scale about -0.5.
    scale_x, scale_y = scale_xy
    return np.array(
        [
            [scale_x, 0.0, (scale_x - 1.0) / 2.0],
            [0.0, scale_y, (scale_y - 1.0) / 2.0],
            [0.0, 0.0, 1.0],
        ]
    )
