# SPDX-License-Identifier: Apache-2.0
"""Run a published model on one pair of images the way its authors do.

Images are 8 bit, as in the release (nothing is said of 16-bit thermal images there: bring them
to 8 bit first), registered to each other and of equal size.

Differs: boxes are clipped to the image instead of the padded canvas; see ``mask_rcnn``.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as F

from rgbt_models.errors import EncoderError
from rgbt_models.published.mask_rcnn import Instances
from rgbt_models.published.models import PublishedDetector, PublishedSegmenter
from rgbt_models.published.sliding import segment_by_windows, STEP_PX, WINDOW_PX
from rgbt_models.published_card import PublishedCard

LONGEST_SIDE_PX = 2560  # of the image that segmentation slides over
ByteImage = NDArray[np.uint8]


def prepare_pair(
    rgb: ByteImage, thermal: ByteImage, card: PublishedCard, *, size_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Resize, pad and standardise one pair.

    Args:
        rgb: (h, w, 3) uint8, channels R, G, B.
        thermal: (h, w) uint8.
        card: Channel order, constants, padding.
        size_hw: Size of the content, px; a canvas of ``card.input_hw`` or larger is padded right
            and below where the content is smaller.

    Returns:
        Both images, (1, 3, height, width), standardised.

    Raises:
        EncoderError: If an image has the wrong type or shape.
    """
    if rgb.dtype != np.uint8 or thermal.dtype != np.uint8 or rgb.shape != (*thermal.shape, 3):
        raise EncoderError(
            f'images have shapes {rgb.shape} {rgb.dtype} and {thermal.shape} {thermal.dtype}; '
            f'expected (h, w, 3) and (h, w) of uint8; convert or register them first'
        )
    height, width = size_hw
    canvas_hw = (max(height, card.input_hw[0]), max(width, card.input_hw[1]))
    channels = rgb if card.channel_order == 'rgb' else rgb[..., ::-1]
    planes = np.dstack([channels, np.repeat(thermal[..., None], 3, axis=2)])
    canvas = np.full((*canvas_hw, 6), card.pad_level, np.uint8)
    # One plane at a time: OpenCV resizes at most four channels.
    for index in range(6):
        plane = np.ascontiguousarray(planes[..., index])
        canvas[:height, :width, index] = cv2.resize(
            plane, (width, height), interpolation=cv2.INTER_LINEAR
        )
    mean = np.asarray([*card.rgb_mean, *card.thermal_mean], np.float32)
    std = np.asarray([*card.rgb_std, *card.thermal_std], np.float32)
    standardised = (canvas.astype(np.float32) / np.float32(255.0) - mean) / std
    images = torch.from_numpy(np.ascontiguousarray(standardised.transpose(2, 0, 1)))[None]
    return images[:, :3], images[:, 3:]


def scaled_size(source_hw: tuple[int, int], *, longest: int, shortest: int) -> tuple[int, int]:
    """Return the size (height, width) that keeps the ratio within two limits, px.

    The scale is the larger of those for which no side exceeds ``longest`` and the shorter one
    does not exceed ``shortest``; sides are rounded half up, as released.
    """
    scale = min(longest / max(source_hw), shortest / min(source_hw))
    height, width = (int(side * scale + 0.5) for side in source_hw)
    return height, width


def detect_pair(
    model: PublishedDetector, card: PublishedCard, rgb: ByteImage, thermal: ByteImage
) -> Instances:
    """Detect in one pair.

    Args:
        model: In evaluation mode.
        card: Its card.
        rgb: (h, w, 3) uint8, channels R, G, B.
        thermal: (h, w) uint8.

    Returns:
        Detections, boxes in px of the images given.
    """
    source_hw = (thermal.shape[0], thermal.shape[1])
    side = max(card.input_hw)
    size_hw = scaled_size(source_hw, longest=side, shortest=side)
    images = prepare_pair(rgb, thermal, card, size_hw=size_hw)
    with torch.no_grad():
        (found,) = model(*images, clip_hw=size_hw)
    # Suppression ran in px of the network; only then are boxes scaled, each axis by its own ratio.
    scale = found.boxes_xyxy.new_tensor(
        [source_hw[1] / size_hw[1], source_hw[0] / size_hw[0]]
    ).repeat(2)
    return Instances(
        boxes_xyxy=found.boxes_xyxy * scale,
        scores=found.scores,
        class_ids=found.class_ids,
        mask_logits=found.mask_logits,
    )


def segment_pair(
    model: PublishedSegmenter, card: PublishedCard, rgb: ByteImage, thermal: ByteImage
) -> Tensor:
    """Segment one pair by sliding windows.

    Args:
        model: In evaluation mode.
        card: Its card.
        rgb: (h, w, 3) uint8, channels R, G, B.
        thermal: (h, w) uint8.

    Returns:
        Logits (k, h, w) at the size of the images; class k wins where its logit is largest.

    Raises:
        EncoderError: If the image is so long that its short side would fall below a window.
    """
    source_hw = (thermal.shape[0], thermal.shape[1])
    window = card.input_hw[0]
    size_hw = scaled_size(source_hw, longest=LONGEST_SIDE_PX, shortest=window)
    if min(size_hw) < window:
        raise EncoderError(
            f'images of {source_hw[0]} x {source_hw[1]} px would be resized to {size_hw[0]} x '
            f'{size_hw[1]}; expected no side above {LONGEST_SIDE_PX} when the short one is '
            f'{window}; cut the images'
        )
    images = prepare_pair(rgb, thermal, card, size_hw=size_hw)
    with torch.no_grad():
        step = round(window * STEP_PX / WINDOW_PX)
        logits = segment_by_windows(model, *images, window=window, step=step)
        return F.interpolate(logits, source_hw, mode='bilinear', align_corners=False)[0]
