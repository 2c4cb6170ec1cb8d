# SPDX-License-Identifier: Apache-2.0
"""Decoding of thermal images from plain values, keeping all 16 bits; no ROS types."""

from __future__ import annotations

import cv2
import numpy as np

from rgbt_perception.errors import FrameError
from rgbt_perception.images import (
    as_bytes,
    Buffer,
    check_size,
    decode_checked,
    read_compressed_header,
    view_pixels,
)
from rgbt_perception.types import Image

THERMAL_TYPES = {'mono8': 'u1', 'mono16': 'u2', '16UC1': 'u2', '32FC1': 'f4'}


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
        encoding: mono8 (tone-mapped), mono16 or 16UC1 (counts), 32FC1 (temperature, NaN allowed).
        height: Rows.
        width: Columns.
        step: Bytes per row; may be more than needed.
        is_bigendian: Byte order of the data.
        max_pixels: Largest accepted height times width.

    Returns:
        Image, shape (h, w), uint8, uint16 or float32, native byte order. Read-only when a view.

    Raises:
        FrameError: If a field does not fit the others or is not supported.
    """
    code = THERMAL_TYPES.get(encoding)
    if code is None:
        raise FrameError(
            f"thermal image has encoding '{encoding}', expected one of "
            f'{", ".join(THERMAL_TYPES)}; publish grey levels, counts or temperatures '
            f'(a palette-coloured image cannot be used)'
        )
    check_size('thermal', height, width, max_pixels)
    dtype = np.dtype(('>' if is_bigendian else '<') + code)
    pixels = view_pixels(
        data,
        shape=(height, width),
        dtype=dtype,
        step=step,
        what=f'thermal image ({encoding}, {width}x{height})',
    )
    native = pixels if dtype.isnative else pixels.astype(dtype.newbyteorder('='))
    # An odd step or offset leaves values that OpenCV cannot read in place.
    return native if native.flags.aligned else native.copy()


def decode_compressed_thermal(data: Buffer, *, format: str, max_pixels: int) -> Image:  # noqa: A002 - name of the message field
    """Decode a thermal PNG (8 or 16 bit) or an 8-bit grey JPEG.

    Args:
        data: The bytes of the file.
        format: Format text of the message, e.g. '16UC1; png compressed'.
        max_pixels: Largest accepted height times width.

    Returns:
        Image, shape (h, w), uint8 or uint16.

    Raises:
        FrameError: If it is not a complete one-channel image, too large, or 16-bit data that
            went through JPEG.
    """
    encoded = as_bytes(data)
    header = read_compressed_header(encoded, what='thermal', format_text=format)
    check_size('thermal', header.height, header.width, max_pixels)
    if header.kind == 'jpeg' and '16' in format.partition(';')[0]:
        raise FrameError(
            f"compressed thermal image has format '{format}', but JPEG holds 8 bits only; "
            f'publish 16-bit thermal images as PNG'
        )
    if header.channels != 1 or header.bits not in (8, 16):
        raise FrameError(
            f'compressed thermal image has {header.channels} channels of {header.bits} bits, '
            f'expected one channel of 8 or 16 bits; publish grey levels or counts, not a palette'
        )
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    return decode_checked(encoded, flags, header, what='thermal')
