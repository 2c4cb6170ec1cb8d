# SPDX-License-Identifier: Apache-2.0
"""From a pair of frames to the network's input, by the numbers of the card."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from rgbt_models.card import ModelCard
from rgbt_models.normalise import standardise
from rgbt_perception.geometry import letterbox_transform, Matrix, resize
from rgbt_perception.types import Batch, FloatArray, Frame, LetterboxTransform, Mode, Pair


def build_batch(
    pair: Pair,
    mode: Mode,
    thermal: FloatArray | None,
    card: ModelCard,
    input_hw: tuple[int, int],
) -> Batch:
    """Build the network input of one pair.

    RGB is letterboxed and standardised; thermal, already normalised and registered onto the
    reference grid, is letterboxed, standardised and replicated. A modality
    the mode does not use is zeros, also where its frame is there. Without an RGB frame the
    thermal image is its own reference grid; a blind RGB frame remains the reference.

    Args:
        pair: The frames; those the mode uses must be there.
        mode: Which cameras the network looks at; not NONE.
        thermal: Normalised thermal image on the reference grid, shape (h, w), float32; None when
            the mode does not use it.
        card: Means and deviations.
        input_hw: Height and width of the network input, px.

    Returns:
        The batch of one; the padding of the letterbox is 0 (the mean).
    """
    source_hw = pair.reference.size_hw
    transform = letterbox_transform(source_hw, input_hw)
    rgb, heat = (np.zeros((1, 3, *input_hw), np.float32) for _ in range(2))
    if mode is not Mode.THERMAL_ONLY and pair.rgb is not None:
        _prepare_rgb(pair.rgb, card, transform, rgb[0])
    if mode is not Mode.RGB_ONLY and thermal is not None:
        _prepare_thermal(thermal, card, transform, heat[0])
    return Batch(
        rgb=rgb,
        thermal=heat,
        available=find_available(mode),
        letterbox=transform,
        source_hw=source_hw,
    )


def find_available(mode: Mode) -> FloatArray:
    """Return which modalities a mode uses, shape (1, 2), float32 in {0, 1}, RGB first."""
    return np.asarray([[mode is not Mode.THERMAL_ONLY, mode is not Mode.RGB_ONLY]], np.float32)


def _prepare_rgb(
    frame: Frame,
    card: ModelCard,
    transform: LetterboxTransform,
    out: FloatArray,
) -> None:
    """Write the network input of an RGB frame into ``out``, shape (3, h, w), zeros before."""
    content = resize(frame.pixels, content_size(frame.size_hw, transform))
    tables = _standardised_levels(card.rgb_mean, card.rgb_std)
    window = find_window((content.shape[0], content.shape[1]), frame.size_hw, transform)
    # 256 grey levels have 256 results: looking them up is exact and takes a tenth of the time.
    for channel, plane, table in zip(out, cv2.split(content), tables, strict=True):
        if window is not None:
            cv2.LUT(plane, table, dst=channel[window])
        else:
            _warp(np.asarray(cv2.LUT(plane, table), np.float32), frame.size_hw, transform, channel)


def _prepare_thermal(
    image: FloatArray, card: ModelCard, transform: LetterboxTransform, out: FloatArray
) -> None:
    """Write the network input of a thermal image into ``out``, shape (3, h, w), zeros before."""
    source_hw = (image.shape[0], image.shape[1])
    content = resize(image, content_size(source_hw, transform))
    standardised = standardise(content[..., None], (card.thermal_mean,), (card.thermal_std,))
    window = find_window((content.shape[0], content.shape[1]), source_hw, transform)
    if window is not None:
        out[0][window] = standardised[0]
    else:
        _warp(standardised[0], source_hw, transform, out[0])
    out[1:] = out[0]


@lru_cache(maxsize=8)
def _standardised_levels(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[FloatArray, ...]:
    """Return what each of the 256 levels of a channel becomes: one table per channel."""
    levels = np.arange(256, dtype=np.float32) / np.float32(255.0)
    image = np.repeat(levels[None, :, None], len(mean), axis=2)  # (1, 256, c)
    return tuple(table[0] for table in standardise(image, mean, std))


def content_size(source_hw: tuple[int, int], transform: LetterboxTransform) -> tuple[int, int]:
    """Return the height and width that an image is resized to, whole px."""
    height, width = (max(1, round(side * transform.scale)) for side in source_hw)
    return height, width


def find_window(
    content_hw: tuple[int, int], source_hw: tuple[int, int], transform: LetterboxTransform
) -> tuple[slice, slice] | None:
    """Return the rows and columns that the content covers; None when they are not whole."""
    # A millionth of a pixel is floating-point noise, not a fraction to resample for.
    top, left = round(transform.pad_y, 6), round(transform.pad_x, 6)
    is_whole = top.is_integer() and left.is_integer()
    if not is_whole or _stretch_xy(content_hw, source_hw, transform) != (1.0, 1.0):
        return None
    height, width = content_hw
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def _warp(
    plane: FloatArray, source_hw: tuple[int, int], transform: LetterboxTransform, out: FloatArray
) -> None:
    """Move a plane by fractions of a pixel to where the transform says, zeros around it.

    One more resampling, so that boxes map back exactly whatever the size of the source.
    """
    matrix = warp_matrix((plane.shape[0], plane.shape[1]), source_hw, transform)
    cv2.warpAffine(plane, matrix, (out.shape[1], out.shape[0]), dst=out)


def warp_matrix(
    content_hw: tuple[int, int], source_hw: tuple[int, int], transform: LetterboxTransform
) -> Matrix:
    """Return where the resized content goes, shape (2, 3), px of OpenCV; it mixes no axes."""
    stretch_x, stretch_y = _stretch_xy(content_hw, source_hw, transform)
    top, left = round(transform.pad_y, 6), round(transform.pad_x, 6)
    # Edge units to OpenCV's centre units: the constant term takes half a pixel on either side.
    return np.array(
        [
            [stretch_x, 0.0, left + (stretch_x - 1.0) / 2.0],
            [0.0, stretch_y, top + (stretch_y - 1.0) / 2.0],
        ]
    )


def _stretch_xy(
    content_hw: tuple[int, int], source_hw: tuple[int, int], transform: LetterboxTransform
) -> tuple[float, float]:
    """Return by how much the content, of whole pixels, misses the exact size."""
    return (
        round(source_hw[1] * transform.scale / content_hw[1], 9),
        round(source_hw[0] * transform.scale / content_hw[0], 9),
    )
