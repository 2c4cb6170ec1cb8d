# SPDX-License-Identifier: Apache-2.0
"""Decoding of thermal images from plain values, keeping all 16 bits; no ROS types."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from rgbt_perception.errors import FrameError
from rgbt_perception.false_colour import extract_grey, REMAP
from rgbt_perception.images import (
    as_bytes,
    Buffer,
    check_size,
    decode_checked,
    read_compressed_header,
    view_pixels,
)
from rgbt_perception.types import Frame, Image

THERMAL_TYPES = {'mono8': 'u1', '8UC1': 'u1', 'mono16': 'u2', '16UC1': 'u2', '32FC1': 'f4'}
# Accepted when the channels are equal: grey levels as a colour image. The order does not matter.
COLOUR_CHANNELS = {'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'rgba8': 4, 'bgra8': 4, '8UC4': 4}
# What only RGB cameras send.
RGB_ONLY_PREFIXES = ('bayer_', 'yuv', 'uyvy', 'nv')


def decode_thermal(  # noqa: PLR0913 - the fields of sensor_msgs/Image
    data: Buffer,
    *,
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool,
    max_pixels: int,
) -> Image:
    """Decode a raw thermal image; in the machine's byte order it is a view, without a copy.

    Args:
        data: The bytes of the image, ``step * height`` long.
        encoding: mono8 or 8UC1 (tone-mapped), mono16 or 16UC1 (counts, 14-bit ones too), 32FC1
            (temperature, NaN allowed); or 8-bit colour with equal channels (tone-mapped).
        height: Rows.
        width: Columns.
        step: Bytes per row; may be more than needed.
        is_bigendian: Byte order of the data.
        max_pixels: Largest accepted height times width.

    Returns:
        Image, shape (h, w), uint8, uint16 or float32, native byte order. Read-only when a view.

    Raises:
        FrameError: If a field does not fit the others or is not supported, or the image is
            coloured.
    """
    channels = COLOUR_CHANNELS.get(encoding, 1)
    code = 'u1' if channels > 1 else THERMAL_TYPES.get(encoding)
    if code is None:
        remedy = 'publish grey levels, counts or temperatures'
        if encoding.startswith(RGB_ONLY_PREFIXES):
            remedy = f'the topics look swapped: {REMAP}'
        raise FrameError(
            f"thermal image has encoding '{encoding}', expected one of "
            f'{", ".join(THERMAL_TYPES)}; {remedy}'
        )
    check_size('thermal', height, width, max_pixels)
    dtype = np.dtype(('>' if is_bigendian else '<') + code)
    pixels = view_pixels(
        data,
        shape=(height, width, channels) if channels > 1 else (height, width),
        dtype=dtype,
        step=step,
        what=f'thermal image ({encoding}, {width}x{height})',
    )
    if channels > 1:
        return extract_grey(pixels, f"thermal image with encoding '{encoding}'")
    native = pixels if dtype.isnative else pixels.astype(dtype.newbyteorder('='))
    # An odd step or offset leaves values that OpenCV cannot read in place.
    return native if native.flags.aligned else native.copy()


def decode_compressed_thermal(data: Buffer, *, format: str, max_pixels: int) -> Image:  # noqa: A002 - name of the message field
    """Decode a thermal PNG (8 or 16 bit) or an 8-bit JPEG; colour channels must be equal.

    Args:
        data: The bytes of the file.
        format: Format text of the message, e.g. '16UC1; png compressed'.
        max_pixels: Largest accepted height times width.

    Returns:
        Image, shape (h, w), uint8 or uint16.

    Raises:
        FrameError: If it is not a complete image, too large, coloured, or 16-bit data that went
            through JPEG.
    """
    encoded = as_bytes(data)
    header = read_compressed_header(encoded, what='thermal', format_text=format)
    check_size('thermal', header.height, header.width, max_pixels)
    if header.kind == 'jpeg' and '16' in format.partition(';')[0]:
        raise FrameError(
            f"compressed thermal image has format '{format}', but JPEG holds 8 bits only; "
            f'publish 16-bit thermal images as PNG'
        )
    is_colour = header.channels > 1
    if header.bits not in ((8,) if is_colour else (8, 16)):
        raise FrameError(
            f'compressed thermal image has {header.channels} channels of {header.bits} bits, '
            f'expected one channel of 8 or 16 bits; publish grey levels or counts'
        )
    if is_colour:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = decode_checked(encoded, flags, header, what='thermal')
        return extract_grey(pixels, f'compressed thermal image ({header.kind})')
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    return decode_checked(encoded, flags, header, what='thermal')


def swap_bytes(frame: Frame) -> Frame:
    """Return a thermal frame with the other byte order; one that has no 16-bit counts as it is."""
    if frame.pixels.dtype != np.uint16:
        return frame
    return replace(frame, pixels=frame.pixels.byteswap())
