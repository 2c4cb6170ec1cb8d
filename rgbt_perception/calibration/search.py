# SPDX-License-Identifier: Apache-2.0
"""Where to start: every shift, and a grid of scales and rolls, scored over all pairs at once.

The score of a shift is the correlation of the edge orientations where the images overlap, times
the square root of the overlap: that is how far it stands above chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.calibration.alignment import Level
from rgbt_perception.calibration.gradients import inner_mask, orientation_features
from rgbt_perception.types import FloatArray

Matrix = NDArray[np.float64]

# Thermal over RGB scale, beyond the one that makes both images equally wide.
SCALES = tuple(float(value) for value in np.geomspace(0.5, 2.0, 21))
ROLLS_DEG = (-8.0, -4.0, 0.0, 4.0, 8.0)
MIN_OVERLAP = 0.3  # of the smaller image
_CANVAS = 3.0  # of the RGB image: room for a thermal image of twice its width
_PEAK_RADIUS = 0.08  # of the RGB width


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Candidate:
    """A place to start from.

    Attributes:
        homography: (3, 3), full thermal px -> full RGB px.
        score: How far it stands above chance.
        peak_ratio: Its score over that of the best shift elsewhere, same scale and roll.
    """

    homography: Matrix
    score: float
    peak_ratio: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Fixed:
    """The transformed RGB features of all pairs on the canvas."""

    features: tuple[NDArray[np.complex64], ...]  # (ch, cw, 2) each
    energy: NDArray[np.complex64]
    mask: NDArray[np.complex64]
    area: float
    canvas_hw: tuple[int, int]


def search_similarities(
    level: Level,
    *,
    scales: Sequence[float] = SCALES,
    rolls_deg: Sequence[float] = ROLLS_DEG,
    num_best: int = 4,
) -> list[Candidate]:
    """Score a grid of similarities.

    Args:
        level: The pairs, at a low resolution.
        scales: Magnifications of the thermal image, 1 = both images equally wide.
        rolls_deg: Turns of the thermal image, clockwise, degrees.
        num_best: How many to return.

    Returns:
        The best, each of another scale or roll, best first.
    """
    fixed = _transform_fixed(level)
    equal = level.size_hw[1] / level.thermal[0].shape[1]
    found = [
        _best_shift(level, fixed, _similarity(level, fixed, scale * equal, math.radians(roll)))
        for scale in scales
        for roll in rolls_deg
    ]
    found.sort(key=lambda item: -item.score)
    return found[:num_best]


def _similarity(level: Level, fixed: _Fixed, scale: float, roll_rad: float) -> Matrix:
    """Return thermal level px -> canvas px, middle on middle."""
    cos, sin = scale * math.cos(roll_rad), scale * math.sin(roll_rad)
    linear = np.array([[cos, -sin], [sin, cos]])
    height, width = level.thermal[0].shape
    middle = np.array([(width - 1) / 2.0, (height - 1) / 2.0])
    canvas = np.array([(fixed.canvas_hw[1] - 1) / 2.0, (fixed.canvas_hw[0] - 1) / 2.0])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, canvas - linear @ middle
    return matrix


def _transform_fixed(level: Level) -> _Fixed:
    height, width = level.size_hw
    canvas_hw = (
        cv2.getOptimalDFTSize(int(_CANVAS * height)),
        cv2.getOptimalDFTSize(int(_CANVAS * width)),
    )
    mask = inner_mask(np.ones((height, width), np.uint8)).astype(np.float32)
    energy = np.zeros((height, width), np.float32)
    transformed = []
    for features in level.rgb_features:
        inside = features * mask[..., None]
        energy += np.sum(inside * inside, axis=-1)
        transformed.append(np.fft.rfft2(inside, canvas_hw, axes=(0, 1)).astype(np.complex64))
    return _Fixed(
        features=tuple(transformed),
        energy=np.fft.rfft2(energy, canvas_hw).astype(np.complex64),
        mask=np.fft.rfft2(mask, canvas_hw).astype(np.complex64),
        area=float(mask.sum()),
        canvas_hw=canvas_hw,
    )


def _best_shift(level: Level, fixed: _Fixed, matrix: Matrix) -> Candidate:
    scores = _score_shifts(level, fixed, matrix)
    row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
    peak = float(scores[row, column])
    radius = max(2, round(_PEAK_RADIUS * level.size_hw[1]))
    elsewhere = np.roll(scores, (radius - row, radius - column), axis=(0, 1))
    elsewhere[: 2 * radius + 1, : 2 * radius + 1] = 0.0
    second = float(elsewhere.max())
    # The RGB image moved by (column, row) on the canvas covers what it sees.
    shift = np.array([[1.0, 0.0, -float(column)], [0.0, 1.0, -float(row)], [0.0, 0.0, 1.0]])
    return Candidate(
        homography=level.to_full(shift @ matrix),
        score=peak,
        peak_ratio=peak / max(second, 1e-6),
    )


def _score_shifts(level: Level, fixed: _Fixed, matrix: Matrix) -> FloatArray:
    """Return the score of the RGB image at every (row, column) of the canvas, no wrap-around."""
    canvas_h, canvas_w = fixed.canvas_hw
    size = (canvas_w, canvas_h)
    ones = np.ones(level.thermal[0].shape, np.uint8)
    covered = cv2.warpPerspective(ones, matrix, size, flags=cv2.INTER_NEAREST)
    mask = inner_mask(np.asarray(covered, np.uint8)).astype(np.float32)
    energy = np.zeros((canvas_h, canvas_w), np.float32)
    product = np.zeros((canvas_h, canvas_w // 2 + 1), np.complex64)
    for image, still in zip(level.thermal, fixed.features, strict=True):
        warped = cv2.warpPerspective(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
        features = orientation_features(warped, smooth_px=level.smooth_px) * mask[..., None]
        energy += np.sum(features * features, axis=-1)
        product += np.sum(np.fft.rfft2(features, axes=(0, 1)) * np.conj(still), axis=-1)
    shape = fixed.canvas_hw
    mask_transform = np.fft.rfft2(mask)
    cross = np.fft.irfft2(product, shape)
    overlap = np.fft.irfft2(mask_transform * np.conj(fixed.mask), shape)
    still_energy = np.fft.irfft2(mask_transform * np.conj(fixed.energy), shape)
    moving_energy = np.fft.irfft2(np.fft.rfft2(energy) * np.conj(fixed.mask), shape)
    enough = MIN_OVERLAP * min(fixed.area, float(mask.sum()))
    floor = 1e-3 * float(still_energy.max() * moving_energy.max()) + 1e-12
    scores = cross / np.sqrt(np.maximum(still_energy * moving_energy, floor))
    scores *= np.sqrt(np.clip(overlap / fixed.area, 0.0, 1.0))
    height, width = level.size_hw
    scores[overlap < enough] = 0.0
    scores[canvas_h - height + 1 :], scores[:, canvas_w - width + 1 :] = 0.0, 0.0
    return np.maximum(scores, 0.0).astype(np.float32)
