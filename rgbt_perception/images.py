# SPDX-License-Identifier: Apache-2.0
"""Decoding of images from plain values: buffer, encoding, sizes. No ROS types.

The fields are those of ``sensor_msgs/Image`` and ``sensor_msgs/CompressedImage``, so the ROS edge
and the bag reader share this code. ``thermal.py`` does the same for thermal images.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
import struct
from typing import Any, TYPE_CHECKING
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.errors import FrameError
from rgbt_perception.false_colour import REMAP
from rgbt_perception.types import ByteArray

if TYPE_CHECKING:
    from collections.abc import Callable

Buffer = Any  # bytes, bytearray, memoryview, array.array or ndarray of bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoding:
    """How 8-bit pixels lie in a message.

    Attributes:
        channels: Bytes per pixel.
        code: OpenCV's conversion to R, G, B; None = they are.
    """

    channels: int
    code: int | None


_BGR = _Encoding(channels=3, code=cv2.COLOR_BGR2RGB)
_BGRA = _Encoding(channels=4, code=cv2.COLOR_BGRA2RGB)
_GREY = _Encoding(channels=1, code=cv2.COLOR_GRAY2RGB)
_UYVY = _Encoding(channels=2, code=cv2.COLOR_YUV2RGB_UYVY)
_YUYV = _Encoding(channels=2, code=cv2.COLOR_YUV2RGB_YUY2)
# OpenCV names a Bayer pattern by its second row and column, ROS by its first.
RGB_ENCODINGS = {
    'rgb8': _Encoding(channels=3, code=None),
    'bgr8': _BGR,
    'rgba8': _Encoding(channels=4, code=cv2.COLOR_RGBA2RGB),
    'bgra8': _BGRA,
    'mono8': _GREY,
    '8UC1': _GREY,
    '8UC3': _BGR,
    '8UC4': _BGRA,
    'bayer_rggb8': _Encoding(channels=1, code=cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': _Encoding(channels=1, code=cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': _Encoding(channels=1, code=cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': _Encoding(channels=1, code=cv2.COLOR_BayerGB2RGB),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
}
# What only thermal cameras send.
THERMAL_ONLY_ENCODINGS = frozenset({'mono16', '16UC1', '32FC1'})

PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
JPEG_MAGIC = b'\xff\xd8\xff'
# Start-of-frame markers of JPEG: C0..CF without DHT (C4), JPG (C8) and DAC (CC).
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOS_MARKER = 0xDA
_END_OF_IMAGE = b'\xff\xd9'


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedHeader:
    """What the header of a compressed image says, read before anything is decoded.

    Attributes:
        kind: 'jpeg' or 'png'.
        height: Height, px.
        width: Width, px.
        channels: Colour channels stored in the file.
        bits: Bits per channel.
    """

    kind: str
    height: int
    width: int
    channels: int
    bits: int


def decode_rgb(  # noqa: PLR0913 - the fields of sensor_msgs/Image
    data: Buffer,
    *,
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool,  # noqa: ARG001 - same call as decode_thermal; bytes have no byte order
    max_pixels: int,
) -> ByteArray:
    """Decode a raw RGB image; rgb8 is returned as a view of ``data``, without a copy.

    Args:
        data: The bytes of the image, ``step * height`` long.
        encoding: One of ``RGB_ENCODINGS``. Alpha is dropped, grey replicated, a Bayer pattern
            interpolated; 8UC3 and 8UC4 are blue first, as OpenCV programs send them; yuv422 is
            UYVY, as ROS defines it.
        height: Rows.
        width: Columns.
        step: Bytes per row; may be more than needed (padding at the end of the row).
        is_bigendian: Not used: all encodings are 8-bit.
        max_pixels: Largest accepted height times width.

    Returns:
        Image, shape (h, w, 3), uint8, R, G, B order. Read-only when it is a view.

    Raises:
        FrameError: If a field does not fit the others or is not supported.
    """
    layout = RGB_ENCODINGS.get(encoding)
    if layout is None:
        remedy = 'set the encoding in the camera driver or convert it upstream'
        if encoding in THERMAL_ONLY_ENCODINGS:
            remedy = f'the topics look swapped: {REMAP}'
        raise FrameError(
            f"RGB image has encoding '{encoding}', expected one of {', '.join(RGB_ENCODINGS)}; "
            f'{remedy}'
        )
    check_size('RGB', height, width, max_pixels)
    if layout.channels == 2 and width % 2:
        raise FrameError(
            f"RGB image with encoding '{encoding}' is {width} pixels wide, expected an even "
            f'number: two pixels share their colour; correct the camera driver'
        )
    pixels = view_pixels(
        data,
        shape=(height, width, layout.channels)[: 2 if layout.channels == 1 else 3],
        dtype=np.dtype(np.uint8),
        step=step,
        what=f'RGB image ({encoding}, {width}x{height})',
    )
    if layout.code is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, layout.code), np.uint8)


def decode_compressed_rgb(data: Buffer, *, format: str, max_pixels: int) -> ByteArray:  # noqa: A002 - name of the message field
    """Decode a JPEG or PNG image.

    The kind is taken from the data; the dimensions are checked before decoding, so that a small
    file cannot ask for a huge image. EXIF orientation is ignored: the camera's pixel grid counts.

    Args:
        data: The bytes of the file.
        format: Format text of the message, for error messages.
        max_pixels: Largest accepted height times width.

    Returns:
        Image, shape (h, w, 3), uint8, R, G, B order; grey is replicated.

    Raises:
        FrameError: If it is neither JPEG nor PNG, too large, truncated or damaged.
    """
    encoded = as_bytes(data)
    header = read_compressed_header(encoded, what='RGB', format_text=format)
    check_size('RGB', header.height, header.width, max_pixels)
    if header.bits != 8:
        raise FrameError(
            f'compressed RGB image has {header.bits} bits per channel, expected 8; '
            f'publish 8-bit RGB; if this is the thermal camera, the topics are swapped: {REMAP}'
        )
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = decode_checked(encoded, flags, header, what='RGB')
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def check_size(what: str, height: int, width: int, max_pixels: int) -> None:
    """Refuse empty and over-large images.

    Raises:
        FrameError: If a side is not positive or there are more than ``max_pixels`` pixels.
    """
    if height <= 0 or width <= 0:
        raise FrameError(
            f'{what} image is {width}x{height}, expected at least 1x1; check the camera driver'
        )
    if height * width > max_pixels:
        raise FrameError(
            f'{what} image is {width}x{height} = {height * width} pixels, expected at most '
            f'{max_pixels}; raise input.max_pixels if this is right'
        )


def view_pixels(
    data: Buffer, *, shape: tuple[int, ...], dtype: np.dtype[Any], step: int, what: str
) -> NDArray[Any]:
    """View a buffer as an image without copying; rows may be padded.

    Args:
        data: The bytes of the image.
        shape: Height, width and, for more than one, channels.
        dtype: Type of one value, with byte order.
        step: Bytes per row.
        what: The image, for error messages.

    Returns:
        Read-only view of the given shape.

    Raises:
        FrameError: If ``step`` is too small or the data has another length than
            ``step * height``.
    """
    buffer = memoryview(data).cast('B')
    row_bytes = dtype.itemsize * math.prod(shape[1:])
    if step < row_bytes:
        raise FrameError(
            f'{what} has step {step}, expected at least {row_bytes} bytes per row; '
            f'correct step in the camera driver'
        )
    if len(buffer) != step * shape[0]:
        raise FrameError(
            f'{what} has {len(buffer)} bytes of data, expected {step * shape[0]} '
            f'(step {step} x {shape[0]} rows); the message is truncated or step is wrong: check '
            f'the camera driver'
        )
    strides = (step, dtype.itemsize * math.prod(shape[2:]), dtype.itemsize)[: len(shape)]
    pixels: NDArray[Any] = np.ndarray(shape, dtype, buffer=buffer, strides=strides)
    pixels.flags.writeable = False
    return pixels


def as_bytes(data: Buffer) -> bytes:
    """Return a buffer as bytes; bytes are returned as they are."""
    return data if isinstance(data, bytes) else bytes(memoryview(data).cast('B'))


def read_compressed_header(encoded: bytes, *, what: str, format_text: str) -> CompressedHeader:
    """Read the header of a JPEG or PNG file and check that the file is complete.

    Raises:
        FrameError: If it is neither, truncated, or a PNG chunk fails its checksum.
    """
    read: Callable[[bytes], CompressedHeader | None]
    if encoded.startswith(JPEG_MAGIC):
        kind, read = 'JPEG', _read_jpeg
    elif encoded.startswith(PNG_MAGIC):
        kind, read = 'PNG', _read_png
    else:
        raise FrameError(
            f"compressed {what} image (format '{format_text}', {len(encoded)} bytes) is neither "
            f'JPEG nor PNG; publish one of these two'
        )
    try:
        header = read(encoded)
    except (struct.error, IndexError):
        header = None
    if header is None:
        raise FrameError(
            f'compressed {what} image ({kind}, {len(encoded)} bytes) is truncated or damaged, '
            f'expected a complete file; check the transport'
        )
    return header


def decode_checked(
    encoded: bytes, flags: int, header: CompressedHeader, *, what: str
) -> NDArray[Any]:
    """Decode with OpenCV and check that the image is the one its header announced.

    Raises:
        FrameError: If OpenCV cannot decode it.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise FrameError(
            f'compressed {what} image ({header.kind}, {header.width}x{header.height}) cannot be '
            f'decoded, expected a valid file; check the transport and the encoder'
        )
    return np.asarray(pixels)


def _read_jpeg(encoded: bytes) -> CompressedHeader | None:
    header, position = None, 2
    while encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack_from('>H', encoded, position + 2)
        if marker in _SOF_MARKERS:
            bits, height, width, channels = struct.unpack_from('>BHHB', encoded, position + 4)
            header = CompressedHeader(
                kind='jpeg', height=height, width=width, channels=channels, bits=bits
            )
        position += 2 + length
        if marker == _SOS_MARKER:
            # Inside the scans 0xFF is followed by 0 or a restart marker, so this end is the end.
            return header if encoded.find(_END_OF_IMAGE, position) >= 0 else None
    return None


def _read_png(encoded: bytes) -> CompressedHeader | None:
    header, position = None, len(PNG_MAGIC)
    while True:
        length, name = struct.unpack_from('>I4s', encoded, position)
        end = position + 8 + length
        (checksum,) = struct.unpack_from('>I', encoded, end)
        if zlib.crc32(memoryview(encoded)[position + 4 : end]) != checksum:
            return None
        if name == b'IHDR':
            width, height, bits, colour = struct.unpack_from('>IIBB', encoded, position + 8)
            channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour, 0)
            header = CompressedHeader(
                kind='png', height=height, width=width, channels=channels, bits=bits
            )
        if name == b'IEND':
            return header
        position = end + 4
