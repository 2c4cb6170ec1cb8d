# SPDX-License-Identifier: Apache-2.0
"""Messages whose fields do not fit their data, and files that are not what they say."""

from __future__ import annotations

import struct
from typing import Any, TYPE_CHECKING
import zlib

import cv2
import numpy as np

from faults.messages import changed, rgb, RGB_HW, thermal, THERMAL_HW
from faults.rig import NOTHING
from faults.table import live, sentence
from rgbt_perception.errors import FrameError
from rgbt_perception.images import decode_compressed_rgb
from rgbt_perception.thermal import decode_compressed_thermal

if TYPE_CHECKING:
    from pathlib import Path

    from faults.rig import FaultRig

FAMILY = 'Message'
MAX_PIXELS = 33_554_432

# What goes wrong, the camera, the fields of its message, and what the input status says.
BAD_FIELDS: list[tuple[str, str, dict[str, Any], str]] = [
    ('unknown encoding of RGB', 'rgb', {'encoding': 'xyz8'}, "encoding 'xyz8', expected one of"),
    ('unknown encoding of thermal', 'thermal', {'encoding': 'xyz8'}, "encoding 'xyz8'"),
    ('step of RGB smaller than a row', 'rgb', {'step': 100}, 'step 100, expected at least 192'),
    ('step of thermal smaller than a row', 'thermal', {'step': 56}, 'step 56, expected at least'),
    ('data of RGB too short', 'rgb', {'height': 49}, '9216 bytes of data, expected 9408'),
    ('data of RGB too long', 'rgb', {'height': 47}, '9216 bytes of data, expected 9024'),
    ('data of thermal too short', 'thermal', {'height': 41}, '4480 bytes of data, expected 4592'),
    ('data of thermal too long', 'thermal', {'height': 39}, '4480 bytes of data, expected 4368'),
    ('an image of 0x0', 'rgb', {'height': 0, 'width': 0}, '0x0, expected at least 1x1'),
    ('an image of 70000x70000', 'rgb', {'height': 70_000, 'width': 70_000}, 'expected at most'),
]


def _register_bad_fields(name: str, camera: str, fields: dict[str, Any], text: str) -> None:
    make = rgb if camera == 'rgb' else thermal

    @live(FAMILY, name, status=f'{camera} input', level='ERROR', text=f'frames dropped: .*{text}')
    def send_bad_fields(rig: FaultRig) -> None:
        # Alone and until it was counted, so that no good frame shares its report.
        rig.spin_until(lambda: False, 0.15)
        for _ in range(3):
            other = {'rgb': NOTHING, 'thermal': NOTHING}
            other[camera] = changed(make(), **fields)
            rig.step(**other, has_answer=False)


for row in BAD_FIELDS:
    _register_bad_fields(*row)


@live(
    FAMILY,
    'images of one pixel',
    mode='rgb_only',
    status='thermal input',
    level='WARN',
    text='thermal has no contrast',
)
def one_pixel(rig: FaultRig) -> None:
    rig.steps(3, thermal=lambda: thermal(np.full((1, 1), 29_500, np.uint16)))


@live(
    FAMILY,
    'the resolution changes in mid-stream',
    mode='fused',
    status='rgb input',
    level='OK',
    text='Hz, 90x20 uint8',
)
def resolution_changes(rig: FaultRig) -> None:
    def make_rgb() -> object:
        seed = rig.next_stamp_ns()
        return rgb(np.random.default_rng(seed).integers(60, 200, (20, 90, 3), np.uint8))

    def make_thermal() -> object:
        seed = rig.next_stamp_ns()
        return thermal(np.random.default_rng(seed).integers(29_000, 30_000, (64, 30), np.uint16))

    rig.steps(5, rgb=make_rgb, thermal=make_thermal)
    mask = rig.received['segmentation/mask'][-1]
    assert (mask.height, mask.width) == (20, 90)


@live(
    FAMILY,
    'frame ids are empty',
    mode='fused',
    status='rgb input',
    level='OK',
    text='Hz, 64x48 uint8',
)
def empty_frame_ids(rig: FaultRig) -> None:
    def without_id(message: Any) -> Any:
        message.header.frame_id = ''
        return message

    rig.steps(3, rgb=lambda: without_id(rgb()), thermal=lambda: without_id(thermal()))


def _refusal(decode: Any, data: bytes, text: str) -> str:
    try:
        decode(data, format=text, max_pixels=MAX_PIXELS)
    except FrameError as error:
        return str(error)
    return 'accepted'


def _png(height: int, width: int, *, bits: int = 8) -> bytes:
    """PNG whose header announces any size, with next to no data behind it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(name + body)
        return struct.pack('>I', len(body)) + name + body + struct.pack('>I', checksum)

    header = struct.pack('>IIBBBBB', width, height, bits, 0, 0, 0, 0)
    parts = (b'IHDR', header), (b'IDAT', zlib.compress(b'\0' * 100)), (b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in parts)


@sentence(FAMILY, 'a PNG bomb: a few bytes that announce 100000x100000', text='at most 33554432')
def png_bomb(_: Path) -> str:
    return _refusal(decode_compressed_thermal, _png(100_000, 100_000), 'png')


@sentence(FAMILY, 'a PNG of 16384x16384', text='at most 33554432')
def png_16k(_: Path) -> str:
    return _refusal(decode_compressed_rgb, _png(16_384, 16_384), 'png')


@sentence(FAMILY, 'a truncated JPEG', text='truncated or damaged')
def truncated_jpeg(_: Path) -> str:
    noise = np.random.default_rng(0).integers(0, 255, (*RGB_HW, 3), np.uint8)
    data = cv2.imencode('.jpg', noise)[1].tobytes()
    return _refusal(decode_compressed_rgb, data[: len(data) // 2], 'jpeg')


@sentence(FAMILY, 'a PNG with a flipped bit', text='truncated or damaged')
def damaged_png(_: Path) -> str:
    noise = np.random.default_rng(0).integers(0, 60_000, THERMAL_HW, np.uint16)
    data = bytearray(cv2.imencode('.png', noise)[1].tobytes())
    data[len(data) // 2] ^= 4
    return _refusal(decode_compressed_thermal, bytes(data), '16UC1; png compressed')


@sentence(FAMILY, '16-bit thermal squeezed through JPEG', text='JPEG holds 8 bits only')
def thermal_jpeg(_: Path) -> str:
    data = cv2.imencode('.jpg', np.zeros(THERMAL_HW, np.uint8))[1].tobytes()
    return _refusal(decode_compressed_thermal, data, '16UC1; jpeg compressed')


@sentence(FAMILY, 'bytes that are no image', text='neither JPEG nor PNG')
def no_image(_: Path) -> str:
    return _refusal(decode_compressed_rgb, b'not an image at all', 'jpeg')
