# SPDX-License-Identifier: Apache-2.0
"""Thermal images that arrive with colour channels: grey levels, a palette, or the wrong camera.

Many drivers send grey levels as three equal channels, which is as good as one. A palette (ironbow,
rainbow) cannot be undone reliably, and a colour image on the thermal topic is another camera's.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.errors import FrameError
from rgbt_perception.types import ByteArray

SAMPLES_PER_SIDE = 120
# JPEG leaves grey slightly coloured; anything drawn in colour may cover a small part.
MAX_GREY_SPREAD = 8
MAX_COLOURED = 0.02
# A palette has one colour for each of 256 levels ...
MAX_PALETTE_COLOURS = 256
# ... and natural images have more colours, unless they have few pixels or next to no colour.
SAMPLES_PER_COLOUR = 8
MIN_PALETTE_SPREAD = 20.0
# Through JPEG there are more colours, but still close to one line through the colour space.
MIN_STRONG_SPREAD = 60.0
MAX_LINE_DISTANCE = 0.15
NUM_BINS = 64

REMAP = 'remap rgb/image_raw and thermal/image_raw'


def extract_grey(pixels: ByteArray, what: str) -> ByteArray:
    """Return the grey levels of an image with colour channels.

    Args:
        pixels: uint8 (h, w, 3 or more), any channel order, alpha last; looked at in a sample.
        what: The image, for error messages.

    Returns:
        One channel, shape (h, w), contiguous.

    Raises:
        FrameError: If the image has colours: a palette, or that of another camera.
    """
    colours = pixels[..., :3]
    sample = _sample(colours)
    coloured = float(np.mean(_spread(sample) > MAX_GREY_SPREAD))
    if coloured <= MAX_COLOURED:
        return np.ascontiguousarray(colours[..., 1])
    found = f'{what} is coloured (on {100 * coloured:.0f} % of its pixels), expected grey levels'
    if is_palette(sample):
        raise FrameError(
            f'{found}; it looks palette-coloured (ironbow or rainbow?): switch the palette off '
            f'and publish grey levels or counts'
        )
    raise FrameError(
        f'{found}; the topics look swapped: {REMAP}; or switch the palette of the thermal camera '
        f'off'
    )


def is_palette(sample: ByteArray) -> bool:
    """Say whether colours are those of a palette: on one line through the colour space.

    Args:
        sample: uint8 (n, 3), red, green, blue or reverse.

    Returns:
        True for few colours, or for strong colours that luminance or hue alone nearly tells.

    Source: ours; true for none of 239 natural colour images, for 70 of 70 thermal images in each
    of ten palettes (fewer in the nearly grey "bone"), and for 54 to 70 of them as JPEG of quality
    80, where fine texture hides the palette.
    """
    spread = float(_spread(sample).mean())
    num_colours = len(np.unique(sample.astype(np.int32) @ np.array([65_536, 256, 1])))
    if num_colours <= min(MAX_PALETTE_COLOURS, len(sample) // SAMPLES_PER_COLOUR):
        return spread >= MIN_PALETTE_SPREAD
    if spread < MIN_STRONG_SPREAD:
        return False
    hsv = cv2.cvtColor(sample[:, None], cv2.COLOR_RGB2HSV)[:, 0]
    luminance = sample.astype(np.int64) @ np.array([2, 5, 1]) // 8
    distance = min(
        _distance_within(sample, luminance * NUM_BINS // 256),
        _distance_within(sample, hsv[:, 0].astype(np.int64) * NUM_BINS // 180),
    )
    return distance <= MAX_LINE_DISTANCE * spread


def _distance_within(sample: ByteArray, bins: NDArray[np.int64]) -> float:
    """Return the mean distance (sum over the channels) of colours from the mean of their bin."""
    counts = np.maximum(np.bincount(bins, minlength=NUM_BINS), 1)
    distance = np.zeros(len(sample))
    for channel in sample.T.astype(np.float64):
        means = np.bincount(bins, channel, NUM_BINS) / counts
        distance += np.abs(channel - means[bins])
    return float(distance.mean())


def _spread(sample: ByteArray) -> NDArray[np.int16]:
    """Return the largest minus the smallest channel of each colour."""
    values = sample.astype(np.int16)
    return np.asarray(values.max(axis=1) - values.min(axis=1))


def _sample(colours: ByteArray) -> ByteArray:
    stride_y, stride_x = (max(1, side // SAMPLES_PER_SIDE) for side in colours.shape[:2])
    return np.ascontiguousarray(colours[::stride_y, ::stride_x]).reshape(-1, 3)
