# SPDX-License-Identifier: Apache-2.0
"""Bringing thermal images onto the RGB pixel grid."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.config import RegistrationConfig


class Registration:
    """Maps thermal images to RGB pixels by the rule of the settings.

    'identity' means that both cameras see the same view and differ in resolution only.
    'homography' maps by ``homography_thermal_to_rgb`` (centre units); beyond the thermal image
    its border is repeated.
    """

    def __init__(self, config: RegistrationConfig) -> None:
        """Take over the settings; nothing is computed yet."""
        matrix = np.asarray(config.homography_thermal_to_rgb, np.float64).reshape(3, 3)
        self._homography: NDArray[np.float64] | None = (
            None if config.method == 'identity' else matrix
        )

    def register(self, thermal: NDArray[Any], rgb_hw: tuple[int, int]) -> NDArray[Any]:
        """Resample a thermal image on the RGB grid.

        Args:
            thermal: Image, shape (h, w), uint8, uint16 or float32, finite (interpolation would
                spread NaN: normalise first).
            rgb_hw: Height and width of the RGB image, px.

        Returns:
            Image, shape ``rgb_hw``, same dtype; the input itself when there is nothing to do.
        """
        if self._homography is None:
            return resize(thermal, rgb_hw)
        return np.asarray(
            cv2.warpPerspective(
                thermal,
                self._homography,
                (rgb_hw[1], rgb_hw[0]),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )


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
