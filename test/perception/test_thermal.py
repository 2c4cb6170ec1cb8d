# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import sys
from typing import Any

import cv2
from fakes import thermal_frame
import numpy as np
import pytest

from rgbt_perception.errors import FrameError
from rgbt_perception.thermal import decode_compressed_thermal, decode_thermal, swap_bytes

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
            'yuv422',
            {},
            (
                "thermal image has encoding 'yuv422', expected one of mono8, 8UC1, mono16, 16UC1, "
                '32FC1; the topics look swapped: remap rgb/image_raw and thermal/image_raw'
            ),
        ),
        ('bayer_rggb8', {}, "encoding 'bayer_rggb8', .*; the topics look swapped"),
        ('64FC1', {}, "encoding '64FC1', .*; publish grey levels, counts or temperatures"),
        ('mono16', {'step': 5}, r'thermal image \(mono16, 3x2\) has step 5, expected at least 6'),
        ('32FC1', {}, r'has 12 bytes of data, expected 24 \(step 12 x 2 rows\)'),
        ('mono16', {'height': 0, 'width': 0}, 'thermal image is 0x0, expected at least 1x1'),
        ('mono16', {'max_pixels': 5}, '3x2 = 6 pixels, expected at most 5'),
    ],
)
def test_bad_raw_image_is_named(encoding: str, changes: dict[str, Any], message: str):
    size = {'mono16': 2, '32FC1': 4}.get(encoding, 1)
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


GREY = cv2.resize(np.random.default_rng(3).integers(0, 255, (6, 8), np.uint8), (64, 48))
CODES = {'rgb8': None, 'bgr8': None, '8UC3': None, 'rgba8': 77, 'bgra8': 77, '8UC4': 77}


def as_colours(grey: np.ndarray, alpha: int | None = None) -> np.ndarray:
    parts = [grey] * 3 + ([] if alpha is None else [np.full_like(grey, alpha)])
    return np.stack(parts, axis=-1)


def decode_colours(pixels: np.ndarray, encoding: str) -> np.ndarray:
    height, width = pixels.shape[:2]
    return decode_thermal(
        pixels.tobytes(),
        encoding=encoding,
        height=height,
        width=width,
        step=pixels[0].nbytes,
        is_bigendian=False,
        max_pixels=5000,
    )


@pytest.mark.parametrize('encoding', CODES)
def test_equal_channels_are_grey_levels(encoding: str):
    pixels = decode_colours(as_colours(GREY, CODES[encoding]), encoding)
    np.testing.assert_array_equal(pixels, GREY)
    assert pixels.flags.c_contiguous


def test_small_coloured_drawing_on_grey_levels_is_accepted():
    pixels = as_colours(GREY)
    pixels[20:26, 30:36] = (255, 0, 0)  # 1.2 % of the image
    assert decode_colours(pixels, 'rgb8').shape == GREY.shape
    pixels[10:26, 20:36] = (255, 0, 0)  # 8 %
    with pytest.raises(FrameError, match=r'is coloured \(on 8 % of its pixels\)'):
        decode_colours(pixels, 'rgb8')


@pytest.mark.parametrize('name', ['INFERNO', 'JET', 'HOT', 'RAINBOW', 'VIRIDIS', 'TURBO'])
@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8'])
def test_palette_is_recognised_and_named(name: str, encoding: str):
    coloured = cv2.applyColorMap(GREY, getattr(cv2, f'COLORMAP_{name}'))
    pixels = coloured if encoding == 'bgr8' else np.ascontiguousarray(coloured[..., ::-1])
    with pytest.raises(
        FrameError,
        match=(
            f"thermal image with encoding '{encoding}' is coloured .*, expected grey levels; it "
            r'looks palette-coloured \(ironbow or rainbow\?\): switch the palette off and publish '
            'grey levels or counts'
        ),
    ):
        decode_colours(pixels, encoding)


def test_palette_is_recognised_through_jpeg():
    grey = cv2.GaussianBlur(cv2.resize(GREY, (320, 240)), (0, 0), 8)
    encoded = encode('.jpg', cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO))
    with pytest.raises(FrameError, match=r'compressed thermal image \(jpeg\) .* palette-coloured'):
        decode_compressed_thermal(encoded, format='', max_pixels=100_000)


def natural_colours() -> np.ndarray:
    """Colours that luminance does not tell: each channel has a pattern of its own."""
    rng = np.random.default_rng(4)
    planes = [cv2.resize(rng.integers(0, 255, (6, 8), np.uint8), (160, 120)) for _ in range(3)]
    return np.stack(planes, axis=-1)


def test_colour_image_on_the_thermal_topic_means_swapped_topics():
    message = (
        'is coloured .*, expected grey levels; the topics look swapped: remap rgb/image_raw and '
        'thermal/image_raw; or switch the palette of the thermal camera off'
    )
    with pytest.raises(FrameError, match=message):
        decode_thermal(
            natural_colours().tobytes(),
            encoding='rgb8',
            height=120,
            width=160,
            step=480,
            is_bigendian=False,
            max_pixels=20_000,
        )
    for extension in ('.png', '.jpg'):
        encoded = encode(extension, natural_colours())
        with pytest.raises(FrameError, match=f'compressed thermal image .*{message}'):
            decode_compressed_thermal(encoded, format='', max_pixels=20_000)


@pytest.mark.parametrize(('extension', 'tolerance'), [('.png', 0), ('.jpg', 16)])
def test_grey_levels_in_a_colour_file_are_accepted(extension: str, tolerance: int):
    pixels = decode_compressed_thermal(
        encode(extension, as_colours(GREY)), format='', max_pixels=5000
    )
    np.testing.assert_allclose(pixels.astype(int), GREY, atol=tolerance)
    assert pixels.shape == GREY.shape


def test_colour_of_16_bits_is_refused():
    encoded = encode('.png', np.zeros((16, 24, 3), np.uint16))
    with pytest.raises(FrameError, match='has 3 channels of 16 bits, expected one channel'):
        decode_compressed_thermal(encoded, format='', max_pixels=400)


def test_14_bit_counts_and_other_spellings_keep_their_values():
    counts = COUNTS & 0x3FFF
    np.testing.assert_array_equal(decode(counts.tobytes(), '16UC1', size=2), counts)
    grey = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    np.testing.assert_array_equal(decode(grey.tobytes(), '8UC1', size=1), grey)


@pytest.mark.parametrize('encoding', ['mono8', 'mono16', '32FC1', 'rgb8'])
def test_one_pixel_is_an_image(encoding: str):
    size = {'mono8': 1, 'mono16': 2, '32FC1': 4, 'rgb8': 3}[encoding]
    pixels = decode(b'\0' * size, encoding, size=size, height=1, width=1, step=size)
    assert pixels.shape == (1, 1)


def test_huge_image_is_refused_by_its_fields():
    with pytest.raises(FrameError, match='16384x16384 = 268435456 pixels, expected at most 100'):
        decode(b'', 'rgb8', size=3, height=16_384, width=16_384)


def test_bytes_of_counts_are_swapped_and_other_frames_stay():
    frame = thermal_frame()
    frame.pixels[0, 0] = 0x1234
    swapped = swap_bytes(frame)
    assert swapped.pixels[0, 0] == 0x3412
    assert frame.pixels[0, 0] == 0x1234
    assert swapped.stamp_ns == frame.stamp_ns
    tone_mapped = replace(frame, pixels=frame.pixels.astype(np.uint8))
    assert swap_bytes(tone_mapped) is tone_mapped


def test_oversized_and_truncated_files_are_refused():
    encoded = encode('.png', COUNTS)
    with pytest.raises(FrameError, match='3x2 = 6 pixels, expected at most 5'):
        decode_compressed_thermal(encoded, format='', max_pixels=5)
    with pytest.raises(FrameError, match=r'compressed thermal image .* is truncated or damaged'):
        decode_compressed_thermal(encoded[:-9], format='', max_pixels=6)
