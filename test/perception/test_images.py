# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from array import array
import struct
from typing import Any
import zlib

import cv2
import numpy as np
import pytest

from rgbt_perception.errors import FrameError
from rgbt_perception.images import decode_compressed_rgb, decode_rgb

MAX = 1000
# 2 rows, 3 columns, every channel different: a swapped axis or channel cannot pass.
RGB = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def decode(pixels: np.ndarray, encoding: str, **changes: Any) -> np.ndarray:
    data = changes.pop('data', pixels.tobytes())
    fields = {
        'encoding': encoding,
        'height': pixels.shape[0],
        'width': pixels.shape[1],
        'step': pixels[0].nbytes,
        'is_bigendian': False,
        'max_pixels': MAX,
        **changes,
    }
    return decode_rgb(data, **fields)


def test_rgb8_is_returned_as_it_is():
    np.testing.assert_array_equal(decode(RGB, 'rgb8'), RGB)


def test_rgb8_is_a_read_only_view_of_the_message():
    data = array('B', RGB.tobytes())
    pixels = decode_rgb(
        data, encoding='rgb8', height=2, width=3, step=9, is_bigendian=False, max_pixels=MAX
    )
    data[0] = 200
    assert pixels[0, 0, 0] == 200
    assert not pixels.flags.writeable


def test_bgr8_is_swapped():
    np.testing.assert_array_equal(decode(np.ascontiguousarray(RGB[..., ::-1]), 'bgr8'), RGB)


def test_alpha_is_dropped():
    alpha = np.full((2, 3, 1), 77, np.uint8)
    np.testing.assert_array_equal(decode(np.concatenate([RGB, alpha], 2), 'rgba8'), RGB)
    bgra = np.concatenate([RGB[..., ::-1], alpha], 2)
    np.testing.assert_array_equal(decode(bgra, 'bgra8'), RGB)


def test_mono8_is_replicated():
    grey = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    np.testing.assert_array_equal(decode(grey, 'mono8'), np.repeat(grey[..., None], 3, 2))


def test_opencv_type_names_mean_blue_first():
    bgr = np.ascontiguousarray(RGB[..., ::-1])
    np.testing.assert_array_equal(decode(bgr, '8UC3'), RGB)
    bgra = np.concatenate([bgr, np.zeros((2, 3, 1), np.uint8)], 2)
    np.testing.assert_array_equal(decode(bgra, '8UC4'), RGB)
    np.testing.assert_array_equal(decode(RGB[..., 0], '8UC1')[..., 2], RGB[..., 0])


@pytest.mark.parametrize(
    ('encoding', 'pattern'),
    [
        ('bayer_rggb8', ((0, 1), (1, 2))),
        ('bayer_bggr8', ((2, 1), (1, 0))),
        ('bayer_gbrg8', ((1, 2), (0, 1))),
        ('bayer_grbg8', ((1, 0), (2, 1))),
    ],
)
def test_bayer_pattern_is_read_from_its_first_row(encoding: str, pattern: Any):
    colour = np.array([200, 90, 30], np.uint8)
    mosaic = np.tile(colour[np.array(pattern)], (4, 5))
    pixels = decode(mosaic, encoding)
    assert pixels.shape == (8, 10, 3)
    np.testing.assert_array_equal(pixels[2:-2, 2:-2], np.broadcast_to(colour, (4, 6, 3)))


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('yuv422', 'UYVY'), ('uyvy', 'UYVY'), ('yuv422_yuy2', 'YUYV'), ('yuyv', 'YUYV')],
)
def test_yuv_is_read_in_its_own_order(encoding: str, order: str):
    # Y 81, U 90, V 240 is red in BT.601.
    values = {'Y': 81, 'U': 90, 'V': 240}
    row = np.array([values[letter] for letter in order * 2], np.uint8)
    pixels = decode(np.stack([row, row]).reshape(2, 4, 2), encoding)
    assert pixels.shape == (2, 4, 3)
    np.testing.assert_allclose(pixels, np.broadcast_to([255, 0, 0], (2, 4, 3)), atol=2)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'mono8', 'bayer_rggb8'])
def test_one_pixel_is_an_image(encoding: str):
    channels = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4}.get(encoding, 1)
    pixels = np.full((1, 1, channels)[: 2 if channels == 1 else 3], 7, np.uint8)
    assert decode(pixels, encoding).shape == (1, 1, 3)


@pytest.mark.parametrize('encoding', ['rgb8', 'bayer_rggb8', 'yuv422'])
def test_size_is_checked_before_the_data_is_looked_at(encoding: str):
    with pytest.raises(FrameError, match='16384x16384 = 268435456 pixels, expected at most 1000'):
        decode(RGB, encoding, height=16_384, width=16_384, step=16_384 * 3)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8'])
def test_padding_at_the_end_of_rows_is_skipped(encoding: str):
    padded = np.full((2, 13), 255, np.uint8)
    padded[:, :9] = RGB.reshape(2, 9)
    pixels = decode_rgb(
        padded.tobytes(),
        encoding=encoding,
        height=2,
        width=3,
        step=13,
        is_bigendian=False,
        max_pixels=MAX,
    )
    np.testing.assert_array_equal(pixels, RGB if encoding == 'rgb8' else RGB[..., ::-1])


def test_image_of_exactly_max_pixels_is_accepted():
    assert decode(RGB, 'rgb8', max_pixels=6).shape == (2, 3, 3)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'encoding': 'bayer_rggb16'},
            (
                "RGB image has encoding 'bayer_rggb16', expected one of rgb8, bgr8, rgba8, bgra8, "
                'mono8, .*; set the encoding in the camera driver'
            ),
        ),
        *(
            (
                {'encoding': encoding},
                (
                    f"RGB image has encoding '{encoding}', expected one of .*; the topics look "
                    f'swapped: remap rgb/image_raw and thermal/image_raw'
                ),
            )
            for encoding in ('mono16', '16UC1', '32FC1')
        ),
        (
            {'encoding': 'yuv422'},
            "RGB image with encoding 'yuv422' is 3 pixels wide, expected an even number",
        ),
        (
            {'step': 8},
            r'RGB image \(rgb8, 3x2\) has step 8, expected at least 9 bytes per row; correct step',
        ),
        (
            {'data': RGB.tobytes()[:-1]},
            r'has 17 bytes of data, expected 18 \(step 9 x 2 rows\); the message is truncated',
        ),
        ({'data': RGB.tobytes() + b'x'}, 'has 19 bytes of data, expected 18'),
        ({'height': 0}, 'RGB image is 3x0, expected at least 1x1; check the camera driver'),
        ({'width': 0}, 'RGB image is 0x2, expected at least 1x1'),
        (
            {'max_pixels': 5},
            'RGB image is 3x2 = 6 pixels, expected at most 5; raise input.max_pixels',
        ),
    ],
)
def test_bad_raw_image_is_named(changes: dict[str, Any], message: str):
    encoding = changes.pop('encoding', 'rgb8')
    with pytest.raises(FrameError, match=message):
        decode(RGB, encoding, **changes)


def encode(extension: str, pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(extension, pixels)[1])


SCENE = cv2.resize(np.random.default_rng(3).integers(0, 255, (4, 5, 3), np.uint8), (50, 40))


def test_png_is_decoded_in_rgb_order():
    pixels = decode_compressed_rgb(encode('.png', SCENE), format='png', max_pixels=2000)
    np.testing.assert_array_equal(pixels, SCENE[..., ::-1])


def test_jpeg_is_decoded_in_rgb_order():
    data = array('B', encode('.jpg', SCENE))
    pixels = decode_compressed_rgb(data, format='rgb8; jpeg compressed bgr8', max_pixels=2000)
    difference = np.abs(pixels.astype(int) - SCENE[..., ::-1])
    assert pixels.shape == (40, 50, 3)
    assert difference.mean() < 4


def test_grey_jpeg_is_replicated():
    pixels = decode_compressed_rgb(encode('.jpg', SCENE[..., 0]), format='jpeg', max_pixels=2000)
    assert pixels.shape == (40, 50, 3)
    assert (pixels[..., 0] == pixels[..., 2]).all()


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
def test_compressed_size_is_checked_before_decoding(extension: str, monkeypatch: Any):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    with pytest.raises(
        FrameError, match='RGB image is 50x40 = 2000 pixels, expected at most 1999'
    ):
        decode_compressed_rgb(encode(extension, SCENE), format='', max_pixels=1999)


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('kept', [0.02, 0.3, 0.6, 0.99])
def test_truncated_file_is_refused(extension: str, kept: float):
    encoded = encode(extension, SCENE)
    with pytest.raises(FrameError, match=r'\d+ bytes\) is (truncated|neither)'):
        decode_compressed_rgb(
            encoded[: max(12, int(len(encoded) * kept))], format='x', max_pixels=2000
        )


def test_jpeg_with_fill_bytes_between_segments_is_accepted():
    encoded = encode('.jpg', SCENE)
    filled = encoded[:2] + b'\xff\xff' + encoded[2:]
    assert decode_compressed_rgb(filled, format='', max_pixels=2000).shape == (40, 50, 3)


def test_jpeg_without_image_data_is_refused():
    comment = b'\xff\xfe\x00\x04hi'
    with pytest.raises(FrameError, match=r'\(JPEG, 10 bytes\) is truncated or damaged'):
        decode_compressed_rgb(b'\xff\xd8' + comment + b'\0\0', format='', max_pixels=2000)


def test_jpeg_followed_by_padding_is_accepted():
    encoded = encode('.jpg', SCENE) + b'\0' * 7
    assert decode_compressed_rgb(encoded, format='', max_pixels=2000).shape == (40, 50, 3)


def test_altered_png_is_refused():
    encoded = bytearray(encode('.png', SCENE))
    encoded[len(encoded) // 2] ^= 0xFF
    with pytest.raises(FrameError, match=r'\(PNG, \d+ bytes\) is truncated or damaged'):
        decode_compressed_rgb(bytes(encoded), format='png', max_pixels=2000)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))


def test_png_whose_content_is_no_image_is_refused():
    encoded = (
        b'\x89PNG\r\n\x1a\n'
        + png_chunk(b'IHDR', struct.pack('>IIBBBBB', 5, 4, 8, 2, 0, 0, 0))
        + png_chunk(b'IDAT', b'garbage')
        + png_chunk(b'IEND', b'')
    )
    with pytest.raises(FrameError, match=r'\(png, 5x4\) cannot be decoded'):
        decode_compressed_rgb(encoded, format='png', max_pixels=2000)


def test_png_bomb_is_refused_by_its_header():
    encoded = (
        b'\x89PNG\r\n\x1a\n'
        + png_chunk(b'IHDR', struct.pack('>IIBBBBB', 100_000, 100_000, 8, 2, 0, 0, 0))
        + png_chunk(b'IDAT', zlib.compress(b'\0' * 1000))
        + png_chunk(b'IEND', b'')
    )
    with pytest.raises(FrameError, match='100000x100000 = 10000000000 pixels, expected at most'):
        decode_compressed_rgb(encoded, format='png', max_pixels=33_554_432)


def test_16_bit_png_is_no_rgb_image():
    encoded = encode('.png', np.zeros((4, 5), np.uint16))
    with pytest.raises(
        FrameError, match=r'has 16 bits per channel, expected 8; .* the topics are swapped: remap'
    ):
        decode_compressed_rgb(encoded, format='16UC1; png', max_pixels=2000)


@pytest.mark.parametrize(('width', 'height'), [(0, 0), (0, 5), (5, 0)])
def test_png_of_no_pixels_is_refused(width: int, height: int):
    encoded = (
        b'\x89PNG\r\n\x1a\n'
        + png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
        + png_chunk(b'IEND', b'')
    )
    with pytest.raises(FrameError, match=f'RGB image is {width}x{height}, expected at least 1x1'):
        decode_compressed_rgb(encoded, format='png', max_pixels=2000)


def test_jpeg_whose_header_claims_a_huge_image_is_refused(monkeypatch: Any):
    encoded = bytearray(encode('.jpg', SCENE))
    position = encoded.index(b'\xff\xc0') + 5
    encoded[position : position + 4] = struct.pack('>HH', 65_500, 65_500)
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    with pytest.raises(FrameError, match='65500x65500 = 4290250000 pixels, expected at most'):
        decode_compressed_rgb(bytes(encoded), format='jpeg', max_pixels=33_554_432)


def test_one_pixel_files_are_images():
    for extension in ('.png', '.jpg'):
        encoded = encode(extension, np.full((1, 1, 3), 9, np.uint8))
        assert decode_compressed_rgb(encoded, format='', max_pixels=1).shape == (1, 1, 3)


@pytest.mark.parametrize(
    'data', [b'', b'\xff\xd8\xff', b'GIF89a....', b'\xff\xd8\xff\xe0\x00\x00']
)
def test_garbage_is_refused(data: bytes):
    with pytest.raises(FrameError, match=r'(neither JPEG nor PNG|truncated or damaged)'):
        decode_compressed_rgb(data, format='jpeg', max_pixels=2000)


def test_exif_orientation_is_ignored():
    # A camera's pixel grid is what its calibration is about; a rotated decode would break it.
    tiff = b'II*\0\x08\0\0\0' + struct.pack('<HHHIHHI', 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b'Exif\0\0' + tiff
    segment = b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif
    jpeg = encode('.jpg', SCENE)
    pixels = decode_compressed_rgb(jpeg[:2] + segment + jpeg[2:], format='', max_pixels=2000)
    assert pixels.shape == (40, 50, 3)
