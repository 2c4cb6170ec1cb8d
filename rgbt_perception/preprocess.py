# SPDX-License-Identifier: Apache-2.0
"""From a pair of frames to the network's input, by the numbers of the card."""

from __future__ import annotations

import cv2
import numpy as np

from rgbt_models.card import ModelCard
from rgbt_models.normalise import standardise
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.registration import resize
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
        rgb[0] = _prepare_rgb(pair.rgb, card, transform, input_hw)
    if mode is not Mode.RGB_ONLY and thermal is not None:
        heat[0] = _prepare_thermal(thermal, card, transform, input_hw)
    available = [mode is not Mode.THERMAL_ONLY, mode is not Mode.RGB_ONLY]
    return Batch(
        rgb=rgb,
        thermal=heat,
        available=np.asarray([available], np.float32),
        letterbox=transform,
        source_hw=source_hw,
    )


def _prepare_rgb(
    frame: Frame, card: ModelCard, transform: LetterboxTransform, input_hw: tuple[int, int]
) -> FloatArray:
    content = resize(frame.pixels, _content_hw(frame.size_hw, transform))
    unit = content.astype(np.float32) / np.float32(255.0)
    standardised = standardise(unit, card.rgb_mean, card.rgb_std)
    return _place(standardised, frame.size_hw, transform, input_hw)


def _prepare_thermal(
    image: FloatArray, card: ModelCard, transform: LetterboxTransform, input_hw: tuple[int, int]
) -> FloatArray:
    source_hw = (image.shape[0], image.shape[1])
    content = resize(image, _content_hw(source_hw, transform))
    standardised = standardise(content[..., None], (card.thermal_mean,), (card.thermal_std,))
    placed = _place(standardised, source_hw, transform, input_hw)
    return np.broadcast_to(placed, (3, *input_hw))


def _content_hw(source_hw: tuple[int, int], transform: LetterboxTransform) -> tuple[int, int]:
    height, width = (max(1, round(side * transform.scale)) for side in source_hw)
    return height, width


def _place(
    content: FloatArray,
    source_hw: tuple[int, int],
    transform: LetterboxTransform,
    input_hw: tuple[int, int],
) -> FloatArray:
    """Put channels-first content where the transform says, zeros around it.

    Whole pixels are copied. Otherwise one more resampling moves the content by the fraction, so
    that boxes map back exactly whatever the size of the source.
    """
    canvas = np.zeros((content.shape[0], *input_hw), np.float32)
    height, width = content.shape[1:]
    # A millionth of a pixel is floating-point noise, not a fraction to resample for.
    top, left = round(transform.pad_y, 6), round(transform.pad_x, 6)
    stretch_y = round(source_hw[0] * transform.scale / height, 9)
    stretch_x = round(source_hw[1] * transform.scale / width, 9)
    if top.is_integer() and left.is_integer() and stretch_y == stretch_x == 1.0:
        canvas[:, int(top) : int(top) + height, int(left) : int(left) + width] = content
        return canvas
    # Edge units to OpenCV's centre units: the constant term takes half a pixel on either side.
    matrix = np.array(
        [
            [stretch_x, 0.0, left + (stretch_x - 1.0) / 2.0],
            [0.0, stretch_y, top + (stretch_y - 1.0) / 2.0],
        ]
    )
    for channel, plane in zip(canvas, content, strict=True):
        cv2.warpAffine(plane, matrix, (input_hw[1], input_hw[0]), dst=channel)
    return canvas
