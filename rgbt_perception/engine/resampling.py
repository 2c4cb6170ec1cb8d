# SPDX-License-Identifier: Apache-2.0
"""What the CPU's letterbox and its label map do to an image, as two small matrices.

Resampling is linear and works along each axis for itself, so it is ``rows @ image @ columns.T``.
The matrices are what the very functions of the CPU make of the identity: a device that multiplies
by them gives the CPU's numbers, whatever OpenCV interpolates and however the borders lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from rgbt_perception.geometry import letterbox_transform, Matrix, resize
from rgbt_perception.pixel_labels import find_content, SAMPLING_FLAGS, sampling_matrix
from rgbt_perception.preprocess import content_size, find_window, warp_matrix
from rgbt_perception.types import FloatArray, LetterboxTransform


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Resampling:
    """A resampling of planes: ``rows @ plane @ columns.T``.

    Attributes:
        rows: (h_out, h_in) float32, weights of the input's rows in each output row.
        columns: (w_out, w_in) float32, the same for columns.
    """

    rows: FloatArray
    columns: FloatArray


def letterbox_resampling(source_hw: tuple[int, int], input_hw: tuple[int, int]) -> Resampling:
    """Return how ``preprocess.build_batch`` brings an image onto the network's input.

    Args:
        source_hw: Height and width of the image, px.
        input_hw: Height and width of the network input, px.

    Returns:
        The resampling; weights of a row sum to 1 inside the image, to 0 in the padding, and to
        something between where the border lies inside a pixel.
    """
    transform = letterbox_transform(source_hw, input_hw)
    content_hw = content_size(source_hw, transform)
    window = find_window(content_hw, source_hw, transform)
    matrix = warp_matrix(content_hw, source_hw, transform)
    weights = []
    for axis in range(2):
        scaled = _scale(source_hw[axis], content_hw[axis])
        if window is None:
            weights.append(_warp(scaled, matrix, axis, input_hw[axis]))
        else:
            placed = np.zeros((input_hw[axis], source_hw[axis]), np.float32)
            placed[window[axis]] = scaled
            weights.append(placed)
    return Resampling(rows=weights[0], columns=weights[1])


def label_resampling(
    letterbox: LetterboxTransform, source_hw: tuple[int, int], cells_hw: tuple[int, int]
) -> Resampling:
    """Return how ``pixel_labels.label_pixels`` brings logits onto the reference image.

    Args:
        letterbox: How reference pixels became network pixels.
        source_hw: Height and width of the reference image, px.
        cells_hw: Height and width of a plane of logits.
    """
    content = find_content(letterbox, source_hw, cells_hw[0])
    matrix = sampling_matrix(letterbox, source_hw, cells_hw[0])
    options = {'flags': SAMPLING_FLAGS, 'borderMode': cv2.BORDER_REPLICATE}
    weights = []
    for axis in range(2):
        cells = np.eye(cells_hw[axis], dtype=np.float32)
        if content is None:
            weights.append(_warp(cells, matrix, axis, source_hw[axis], **options))
        else:
            inside = np.ascontiguousarray(cells[content[axis]])
            size = (cells_hw[axis], source_hw[axis])  # width before height
            weights.append(np.asarray(cv2.resize(inside, size), np.float32))
    return Resampling(rows=weights[0], columns=weights[1])


def _scale(size: int, new_size: int) -> FloatArray:
    """Return the weights of ``geometry.resize`` along one axis, shape (new_size, size)."""
    return resize(np.eye(size, dtype=np.float32), (new_size, size))


def _warp(weights: FloatArray, matrix: Matrix, axis: int, size: int, **options: Any) -> FloatArray:
    """Let an affine warp that mixes no axes follow on weights, along one axis.

    Args:
        weights: Shape (n, k), of what the warp begins with.
        matrix: Shape (2, 3), of ``cv2.warpAffine``.
        axis: 0 for rows, 1 for columns.
        size: Pixels after the warp.
        options: Of ``cv2.warpAffine``.

    Returns:
        Weights, shape (size, k).
    """
    along = np.eye(2, 3)
    along[1 - axis] = matrix[1 - axis]  # of x and y, where sizes are of height and width
    if axis == 1:
        weights = np.ascontiguousarray(weights.T)
    size_wh = (weights.shape[1], size) if axis == 0 else (size, weights.shape[0])
    warped = np.asarray(cv2.warpAffine(weights, along, size_wh, **options), np.float32)
    return warped if axis == 0 else np.ascontiguousarray(warped.T)
