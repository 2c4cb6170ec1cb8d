# SPDX-License-Identifier: Apache-2.0
"""From an image message to a frame, whoever read the message: ROS or a bag.

Only the fields of ``sensor_msgs/Image`` and ``sensor_msgs/CompressedImage`` are used, so messages
of rclpy and of rosbags both serve.
"""

from __future__ import annotations

from typing import Any

from rgbt_perception.images import decode_compressed_rgb, decode_rgb
from rgbt_perception.thermal import decode_compressed_thermal, decode_thermal
from rgbt_perception.types import Frame, Image, Modality, NS_PER_S


def frame_from_image(message: Any, *, modality: Modality, max_pixels: int) -> Frame:
    """Decode a raw image; where no conversion is needed the pixels are a view of the message.

    Args:
        message: sensor_msgs/Image; its buffer must not change while the frame lives.
        modality: Which camera it comes from.
        max_pixels: Largest accepted height times width.

    Raises:
        FrameError: If encoding, step, size or data are not usable.
    """
    decode = decode_rgb if modality is Modality.RGB else decode_thermal
    pixels = decode(
        message.data,
        encoding=message.encoding,
        height=message.height,
        width=message.width,
        step=message.step,
        is_bigendian=bool(message.is_bigendian),
        max_pixels=max_pixels,
    )
    return _frame(pixels, message.header, modality)


def frame_from_compressed(message: Any, *, modality: Modality, max_pixels: int) -> Frame:
    """Decode a JPEG or PNG image; a PNG keeps 16 bits.

    Args:
        message: sensor_msgs/CompressedImage.
        modality: Which camera it comes from.
        max_pixels: Largest accepted height times width, checked before decoding.

    Raises:
        FrameError: If format, size or data are not usable.
    """
    is_rgb = modality is Modality.RGB
    decode = decode_compressed_rgb if is_rgb else decode_compressed_thermal
    pixels = decode(message.data, format=message.format, max_pixels=max_pixels)
    return _frame(pixels, message.header, modality)


def stamp_of(header: Any) -> int:
    """Return the stamp of a std_msgs/Header, nanoseconds."""
    return int(header.stamp.sec) * NS_PER_S + int(header.stamp.nanosec)


def _frame(pixels: Image, header: Any, modality: Modality) -> Frame:
    return Frame(
        pixels=pixels,
        stamp_ns=stamp_of(header),
        frame_id=header.frame_id,
        modality=modality,
    )
