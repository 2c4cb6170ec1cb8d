# SPDX-License-Identifier: Apache-2.0
"""What an RGB and a thermal image of one scene have in common: where edges run, not their sign.

A gradient at angle a is written as the vector (cos 2a, sin 2a): opposite gradients, hot on cold
and cold on hot, become equal. Lengths are divided by those nearby, so that a weak edge of a grey
wall counts like a strong one of the sky line.

Source: ours; doubling the angle is the classical structure tensor representation.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.types import FloatArray

BLUR_PX = 1.0
NEIGHBOURHOOD_PX = 8.0
# Gradients of this size are noise, of 0..1 per pixel.
NOISE_LEVEL = 0.004
# Features within this distance of the border of an image depend on what lies beyond it, px.
BORDER_PX = 4


def orientation_features(image: FloatArray, *, smooth_px: float) -> FloatArray:
    """Describe the edges of an image by their doubled angle.

    Args:
        image: Shape (h, w), float32 in 0..1.
        smooth_px: Standard deviation of the final blur, px: a larger one is matched from farther.

    Returns:
        Features, shape (h, w, 2), float32, length at most 1; 0 where there is no edge.
    """
    blurred = cv2.GaussianBlur(image, (0, 0), BLUR_PX)
    gx = cv2.Sobel(blurred, cv2.CV_32F, 1, 0, scale=1.0 / 8.0)
    gy = cv2.Sobel(blurred, cv2.CV_32F, 0, 1, scale=1.0 / 8.0)
    length = np.sqrt(gx * gx + gy * gy) + np.float32(1e-6)
    energy = cv2.GaussianBlur(length * length, (0, 0), NEIGHBOURHOOD_PX * BLUR_PX)
    nearby = np.sqrt(energy) + np.float32(NOISE_LEVEL)
    relative = length / nearby
    # length * (cos 2a, sin 2a), saturated at 1.
    weight = relative / (length * length * np.sqrt(1.0 + relative * relative))
    features = np.stack([(gx * gx - gy * gy) * weight, 2.0 * gx * gy * weight], axis=-1)
    return np.asarray(cv2.GaussianBlur(features, (0, 0), smooth_px), np.float32)


def inner_mask(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a mask (1 = inside) by ``BORDER_PX``; beyond the image is outside."""
    kernel = np.ones((2 * BORDER_PX + 1, 2 * BORDER_PX + 1), np.uint8)
    return np.asarray(
        cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0), np.uint8
    )
