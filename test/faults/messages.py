# SPDX-License-Identifier: Apache-2.0
"""Image messages made by hand; their headers are filled when they are sent."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from ros_rig import image_of
from sensor_msgs.msg import CompressedImage, Image

from rgbt_perception.types import Frame, Modality

RGB_HW, THERMAL_HW = (48, 64), (40, 56)
_rng = np.random.default_rng(7)


def rgb(pixels: np.ndarray[Any, Any] | None = None) -> Image:
    """RGB message of (h, w, 3) uint8 pixels; noise without any."""
    if pixels is None:
        pixels = _rng.integers(60, 200, (*RGB_HW, 3), np.uint8)
    return image_of(_frame(pixels, Modality.RGB))


def thermal(pixels: np.ndarray[Any, Any] | None = None) -> Image:
    """Thermal message of (h, w) uint8, uint16 or float32 pixels; noisy counts without any."""
    if pixels is None:
        pixels = _rng.integers(29_000, 30_000, THERMAL_HW, np.uint16)
    return image_of(_frame(pixels, Modality.THERMAL))


def flat(value: int, *, is_rgb: bool) -> Image:
    """Message of one value."""
    if is_rgb:
        return rgb(np.full((*RGB_HW, 3), value, np.uint8))
    return thermal(np.full(THERMAL_HW, value, np.uint16))


def celsius() -> np.ndarray[Any, Any]:
    """Temperature image, (h, w) float32, degrees C."""
    return _rng.uniform(10.0, 40.0, THERMAL_HW).astype(np.float32)


def changed(message: Any, **fields: Any) -> Any:
    """Set fields of a message and return it."""
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def encoded(pixels: np.ndarray[Any, Any], suffix: str, *, text: str | None = None) -> Any:
    """CompressedImage of some pixels; ``suffix`` is '.png' or '.jpg'."""
    data = cv2.imencode(suffix, pixels)[1].tobytes()
    return CompressedImage(format=text or suffix[1:], data=data)


def _frame(pixels: np.ndarray[Any, Any], modality: Modality) -> Frame:
    name = f'{modality.value}_optical_frame'
    return Frame(pixels=pixels, stamp_ns=0, frame_id=name, modality=modality)
