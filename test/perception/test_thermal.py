# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import pytest

from rgbt_perception.errors import FrameError
from rgbt_perception.thermal import decode_compressed_thermal, decode_thermal

COUNTS = np.array([[1, 256, 29_315], [65_535, 0, 513]], np.uint16)  # bytes of each differ
NATIVE_IS_BIG = sys.byteorder == 'big'


def decode(data: bytes, encoding: str, *, size: int, **changes: Any) -> np.ndarray:
    fields = {
        'height': 2,
        'width': 3,
        'step': 3 * size,
        'is_bigendian': False,
        'max_pixels': 100,
        **changes,
    }
    return decode_thermal(data, encoding=encoding, **fields)


def test_mono8_keeps_its_values():
    grey = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    np.testing.assert_array_equal(decode(grey.tobytes(), 'mono8', size=1), grey)


@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
@pytest.mark.parametrize('is_bigendian', [False, True])
def test_16_bit_counts_in_both_byte_orders(encoding: str, is_bigendian: bool):
    data = COUNTS.astype('>u2' if is_bigendian else '<u2').tobytes()
    pixels = decode(data, encoding, size=2, is_bigendian=is_bigendian)
    np.testing.assert_array_equal(pixels, COUNTS)
    assert pixels.dtype == np.uint16
    assert pixels.dtype.isnative


def test_native_counts_are_a_view():
    data = bytearray(COUNTS.tobytes())
    pixels = decode(data, 'mono16', size=2, is_bigendian=NATIVE_IS_BIG)
    data[0:2] = np.array([7], np.uint16).tobytes()
    assert pixels[0, 0] == 7


@pytest.mark.parametrize('is_bigendian', [False, True])
def test_temperatures_keep_nan(is_bigendian: bool):
    values = np.array([[20.5, np.nan, -3.25], [np.inf, 0.0, 100.0]], np.float32)
    data = values.astype('>f4' if is_bigendian else '<f4').tobytes()
    pixels = decode(data, '32FC1', size=4, is_bigendian=is_bigendian)
    np.testing.assert_array_equal(pixels, values)
    assert pixels.dtype == np.float32


def test_odd_step_gives_an_image_opencv_can_use():
    rows = b''.join(row.tobytes() + b'\xff' for row in COUNTS)
    pixels = decode(rows, 'mono16', size=2, step=7, is_bigendian=NATIVE_IS_BIG)
    np.testing.assert_array_equal(pixels, COUNTS)
    assert cv2.resize(pixels, (6, 4), interpolation=cv2.INTER_NEAREST)[0, 4] == 29_315


@pytest.mark.parametrize(
    ('encoding', 'changes', 'message'),
    [
        (
            'rgb8',
            {},
            (
                "thermal image has encoding 'rgb8', expected one of mono8, mono16, 16UC1, 32FC1; "
                r'publish grey levels, counts or temperatures \(a palette-coloured'
            ),
        ),
        ('mono16', {'step': 5}, r'thermal image \(mono16, 3x2\) has step 5, expected at least 6'),
        ('32FC1', {}, r'has 12 bytes of data, expected 24 \(step 12 x 2 rows\)'),
        ('mono16', {'height': 0, 'width': 0}, 'thermal image is 0x0, expected at least 1x1'),
        ('mono16', {'max_pixels': 5}, '3x2 = 6 pixels, expected at most 5'),
    ],
)
def test_bad_raw_image_is_named(encoding: str, changes: dict[str, Any], message: str):
    size = {'mono16': 2, '32FC1': 4, 'rgb8': 3}[encoding]
    with pytest.raises(FrameError, match=message):
        decode(COUNTS.tobytes(), encoding, size=size, **changes)


def encode(extension: str, pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(extension, pixels)[1])


def test_png_keeps_all_16_bits():
    pixels = decode_compressed_thermal(
        encode('.png', COUNTS), format='16UC1; png compressed', max_pixels=6
    )
    np.testing.assert_array_equal(pixels, COUNTS)
    assert pixels.dtype == np.uint16


def test_8_bit_png_and_jpeg_stay_8_bit():
    grey = np.full((16, 24), 99, np.uint8)
    for extension in ('.png', '.jpg'):
        pixels = decode_compressed_thermal(
            encode(extension, grey), format='mono8; x', max_pixels=400
        )
        np.testing.assert_array_equal(pixels, grey)


def test_jpeg_that_claims_16_bits_is_refused():
    encoded = encode('.jpg', np.zeros((16, 24), np.uint8))
    with pytest.raises(FrameError, match=r'JPEG holds 8 bits only; publish 16-bit .* as PNG'):
        decode_compressed_thermal(encoded, format='mono16; jpeg compressed', max_pixels=400)


@pytest.mark.parametrize('extension', ['.png', '.jpg'])
def test_coloured_image_is_refused(extension: str):
    encoded = encode(extension, np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(FrameError, match='has 3 channels of 8 bits, expected one channel'):
        decode_compressed_thermal(encoded, format='', max_pixels=400)


def test_oversized_and_truncated_files_are_refused():
    encoded = encode('.png', COUNTS)
    with pytest.raises(FrameError, match='3x2 = 6 pixels, expected at most 5'):
        decode_compressed_thermal(encoded, format='', max_pixels=5)
    with pytest.raises(FrameError, match=r'compressed thermal image .* is truncated or damaged'):
        decode_compressed_thermal(encoded[:-9], format='', max_pixels=6)
