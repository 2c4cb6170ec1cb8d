# SPDX-License-Identifier: Apache-2.0
"""What glass, air and shake do to light on its way to an RGB sensor.

All functions take and return linear RGB, shape (h, w, 3), float32, and leave their input alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray

_REFERENCE_WIDTH = 320.0  # sizes below are in pixels of an image this wide
_HALO_SHARES = (0.02, 0.09)  # sigma of the halos around a lamp, of the image's width
_STREAK_SHARE = 0.08  # length of the star's rays
_LARGEST_EXCESS = 20.0
_MOST_STREAKS, _MOST_DROPS = 900, 14


def vignette(height: int, width: int, share: float) -> FloatArray:
    """Return the share of light that reaches each pixel, shape (h, w).

    1 in the middle, 1 - ``share`` in the corners; falls with the square of the distance.
    """
    x = (np.arange(width, dtype=np.float32) - 0.5 * (width - 1)) / np.float32(0.5 * width)
    y = (np.arange(height, dtype=np.float32) - 0.5 * (height - 1)) / np.float32(0.5 * height)
    corner = x[-1] ** 2 + y[-1] ** 2
    squared = (x * x)[None, :] + (y * y)[:, None]
    return np.asarray(1.0 - np.float32(share) * squared / max(corner, 1e-6), np.float32)


def blur_motion(image: FloatArray, length_px: float, direction_rad: float) -> FloatArray:
    """Blur along a line; what is constant stays constant.

    Args:
        image: Linear RGB.
        length_px: Length of the line; up to 1 changes nothing.
        direction_rad: From the x axis towards the y axis (down).
    """
    if length_px <= 1.0:
        return image
    return np.asarray(cv2.filter2D(image, -1, motion_kernel(length_px, direction_rad)), np.float32)


def motion_kernel(length_px: float, direction_rad: float) -> FloatArray:
    """Return the kernel of ``blur_motion``: a line through the middle, sum 1."""
    half = 0.5 * (length_px - 1.0)
    radius = math.ceil(half)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    # Points along the line, each shared among its four pixels.
    along = np.linspace(-half, half, 4 * radius + 1)
    x = radius + along * math.cos(direction_rad)
    y = radius + along * math.sin(direction_rad)
    column = np.clip(np.floor(x), 0, max(2 * radius - 1, 0)).astype(np.int64)
    row = np.clip(np.floor(y), 0, max(2 * radius - 1, 0)).astype(np.int64)
    right, down = x - column, y - row
    np.add.at(kernel, (row, column), (1 - right) * (1 - down))
    np.add.at(kernel, (row, column + 1), right * (1 - down))
    np.add.at(kernel, (row + 1, column), (1 - right) * down)
    np.add.at(kernel, (row + 1, column + 1), right * down)
    return np.asarray(kernel / kernel.sum(), np.float32)


def add_glare(image: FloatArray, share: float) -> FloatArray:
    """Spread a share of what exceeds radiance 1 into wide halos and a star with four rays."""
    height, width = image.shape[:2]
    excess = np.maximum(image - np.float32(1.0), np.float32(0.0))
    if not excess.any():
        return image
    np.minimum(excess, np.float32(_LARGEST_EXCESS), out=excess)
    step = 4 if min(height, width) >= 64 else 1
    small = cv2.resize(excess, (width // step, height // step), interpolation=cv2.INTER_AREA)
    narrow, wide = (
        cv2.GaussianBlur(small, (0, 0), max(part * width / step, 0.5)) for part in _HALO_SHARES
    )
    length = 2 * round(_STREAK_SHARE * width / step) + 1
    across = cv2.GaussianBlur(small, (length, 1), length / 4.0)
    up = cv2.GaussianBlur(small, (1, length), length / 4.0)
    # A halo loses its height to its area; the factors make lamps about equally dazzling.
    spread = 6.0 * narrow + 10.0 * wide + 0.6 * (across + up)
    return np.asarray(image + np.float32(share) * cv2.resize(spread, (width, height)), np.float32)


def add_streaks(image: FloatArray, rng: np.random.Generator, *, rain: float) -> FloatArray:
    """Let drops fall through the view: thin streaks, a little brighter than what is around.

    Args:
        image: Linear RGB.
        rng: Draws wind and streaks.
        rain: 0..1; their number is proportional.
    """
    height, width = image.shape[:2]
    scale = width / _REFERENCE_WIDTH
    count = rng.poisson(_MOST_STREAKS * rain)
    slant = rng.normal(0.0, 0.15)
    x, y = rng.uniform(0.0, width, count), rng.uniform(-0.1 * height, height, count)
    length = scale * rng.uniform(3.0, 16.0, count)
    # Sixteenths of a pixel, for smooth thin lines.
    ends = np.stack([x, y, x + (slant + rng.normal(0.0, 0.03, count)) * length, y + length], 1)
    lines = np.rint(ends * 16.0).astype(np.int32).reshape(-1, 1, 2, 2)
    layer = np.zeros((height, width), np.uint8)
    for group, strength in zip(np.array_split(lines, 3), (60, 110, 180), strict=True):
        faint = np.zeros_like(layer)
        cv2.polylines(
            faint, list(group.reshape(-1, 2, 1, 2)), False, strength, 1, cv2.LINE_AA, shift=4
        )
        layer = np.maximum(layer, faint)
    cover = layer.astype(np.float32) * np.float32(0.45 / 255.0)
    # A drop shows the light of the whole scene before it, at least the picture's mean.
    bright = np.maximum(image.reshape(-1, 3).mean(axis=0) * np.float32(1.3), np.float32(2e-3))
    return np.asarray(image + cover[..., None] * (bright - image), np.float32)


def add_drops(image: FloatArray, rng: np.random.Generator, *, rain: float) -> FloatArray:
    """Put drops on the front glass: round spots where the picture is blurred.

    Args:
        image: Linear RGB.
        rng: Draws the drops.
        rain: 0..1; their number is proportional.
    """
    height, width = image.shape[:2]
    scale = width / _REFERENCE_WIDTH
    count = rng.poisson(_MOST_DROPS * rain)
    if count == 0:
        return image
    mask = np.zeros((height, width), np.float32)
    for _ in range(count):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (max(round(scale * rng.uniform(3.0, 11.0)), 1),) * 2
        axes = (axes[0], max(round(axes[1] * rng.uniform(0.9, 1.4)), 1))
        cv2.ellipse(mask, centre, axes, 0.0, 0.0, 360.0, float(rng.uniform(0.5, 1.0)), -1)
    mask = cv2.GaussianBlur(mask, (0, 0), max(1.2 * scale, 0.5))
    smeared = cv2.GaussianBlur(image, (0, 0), max(5.0 * scale, 0.5))
    return np.asarray(image + mask[..., None] * (smeared - image), np.float32)
