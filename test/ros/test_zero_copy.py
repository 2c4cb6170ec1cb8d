# SPDX-License-Identifier: Apache-2.0
"""Between the buffer of an image message and preprocessing no pixel is copied."""

from __future__ import annotations

from array import array
import tracemalloc

from fakes import FakeEngine
import numpy as np
import pytest
from sensor_msgs.msg import Image

from rgbt_models.card import load_card
from rgbt_perception import preprocess
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.frames import frame_from_image
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.ros.messages import build_image
from rgbt_perception.types import Modality, Mode, Pair

MAX_PIXELS = 1 << 22
STAMP_S = 1_700_000_000


def image_message(pixels, encoding, *, padding=0, is_bigendian=0):
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=is_bigendian)
    rows = pixels.reshape(height, -1).view(np.uint8)
    message.step = rows.shape[1] + padding
    message.data.frombytes(np.pad(rows, ((0, 0), (0, padding))).tobytes())
    message.header.stamp.sec = STAMP_S
    assert isinstance(message.data, array)
    return message


def shares_memory(pixels, message):
    return np.shares_memory(pixels, np.frombuffer(message.data, np.uint8))


def textured(shape, dtype, low, high):
    draw = np.random.default_rng(7)
    return draw.uniform(low, high, shape).astype(dtype)


def rgb_message(height=48, width=64, **how):
    return image_message(textured((height, width, 3), np.uint8, 0, 256), 'rgb8', **how)


def thermal_message(height=32, width=40):
    return image_message(textured((height, width), np.uint16, 29_000, 31_000), 'mono16')


@pytest.mark.parametrize('padding', [0, 8])
def test_rgb8_is_a_view_of_the_message(padding):
    message = rgb_message(padding=padding)
    frame = frame_from_image(message, modality=Modality.RGB, max_pixels=MAX_PIXELS)
    assert shares_memory(frame.pixels, message)


@pytest.mark.parametrize(
    ('encoding', 'dtype', 'high'),
    [
        ('mono8', np.uint8, 255),
        ('mono16', np.uint16, 60_000),
        ('16UC1', np.uint16, 60_000),
        ('32FC1', np.float32, 80),
    ],
)
def test_thermal_is_a_view_of_the_message(encoding, dtype, high):
    message = image_message(textured((4, 6), dtype, 1, high), encoding)
    frame = frame_from_image(message, modality=Modality.THERMAL, max_pixels=MAX_PIXELS)
    assert frame.pixels.dtype == dtype
    assert shares_memory(frame.pixels, message)


def test_a_view_cannot_be_written_through():
    frame = frame_from_image(rgb_message(), modality=Modality.RGB, max_pixels=MAX_PIXELS)
    with pytest.raises(ValueError, match='read-only'):
        frame.pixels[0, 0, 0] = 1


def test_other_channel_orders_are_copied_once_and_right():
    message = image_message(np.array([[[1, 2, 3]]], np.uint8), 'bgr8')
    frame = frame_from_image(message, modality=Modality.RGB, max_pixels=MAX_PIXELS)
    assert frame.pixels.tolist() == [[[3, 2, 1]]]
    assert not shares_memory(frame.pixels, message)


def test_the_pipeline_resizes_straight_from_the_message(monkeypatch):
    seen = []

    def resize(pixels, *arguments, **keywords):
        seen.append(pixels)
        return real_resize(pixels, *arguments, **keywords)

    real_resize = preprocess.resize
    monkeypatch.setattr(preprocess, 'resize', resize)
    rgb, thermal = rgb_message(), thermal_message()
    pair = Pair(
        rgb=frame_from_image(rgb, modality=Modality.RGB, max_pixels=MAX_PIXELS),
        thermal=frame_from_image(thermal, modality=Modality.THERMAL, max_pixels=MAX_PIXELS),
    )
    pipeline = Pipeline(card=load_card('tiny'), engine=FakeEngine(), config=PerceptionConfig())
    result = pipeline.run(pair)
    pipeline.close()
    assert result.mode is Mode.FUSED
    assert any(shares_memory(pixels, rgb) for pixels in seen)
    assert shares_memory(result.pair.rgb.pixels, rgb)
    assert shares_memory(result.pair.thermal.pixels, thermal)


def test_preprocessing_allocates_less_than_one_copy_of_a_large_image():
    message = rgb_message(height=1080, width=1920)
    frame = frame_from_image(message, modality=Modality.RGB, max_pixels=MAX_PIXELS)
    card, pair = load_card('tiny'), Pair(rgb=frame, thermal=None)
    tracemalloc.start()
    try:
        preprocess.build_batch(pair, Mode.RGB_ONLY, None, card, (96, 128))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 0.5 * frame.pixels.nbytes


def test_writing_a_message_copies_once():
    pixels = textured((480, 640, 3), np.uint8, 0, 256)
    header = rgb_message().header
    tracemalloc.start()
    try:
        message = build_image(pixels, 'rgb8', header)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bytes(message.data) == pixels.tobytes()
    assert peak_bytes < 1.5 * pixels.nbytes
