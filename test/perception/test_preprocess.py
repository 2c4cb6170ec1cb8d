# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

from fakes import build_card, build_pair, rgb_frame, thermal_frame
import numpy as np
import pytest

from rgbt_models.card import ModelCard
from rgbt_perception.geometry import letterbox_boxes, resize
from rgbt_perception.preprocess import build_batch
from rgbt_perception.types import Batch, Frame, Mode, Pair


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return build_card(tmp_path)


def with_pixels(frame: Frame, pixels: np.ndarray) -> Frame:
    return dataclasses.replace(frame, pixels=pixels)


def batch_of(pair: Pair, mode: Mode, card: ModelCard, input_hw: tuple[int, int]) -> Batch:
    thermal = None if pair.thermal is None else card.thermal_normaliser(pair.thermal.pixels)
    if thermal is not None:
        thermal = resize(thermal, pair.reference.size_hw)
    return build_batch(pair, mode, thermal, card, input_hw)


def test_shapes_and_availability_of_each_mode(card: ModelCard):
    for mode, available in (
        (Mode.FUSED, [1, 1]),
        (Mode.RGB_ONLY, [1, 0]),
        (Mode.THERMAL_ONLY, [0, 1]),
    ):
        batch = batch_of(build_pair(), mode, card, (64, 96))
        assert batch.rgb.shape == batch.thermal.shape == (1, 3, 64, 96)
        assert batch.rgb.dtype == batch.thermal.dtype == batch.available.dtype == np.float32
        np.testing.assert_array_equal(batch.available, [available])
        assert batch.rgb.any() == bool(available[0])
        assert batch.thermal.any() == bool(available[1])
        assert batch.source_hw == (48, 64)


def test_rgb_is_standardised_by_channel_in_rgb_order(card: ModelCard):
    frame = rgb_frame(size_hw=(64, 80))
    frame.pixels[:] = (255, 0, 51)
    batch = batch_of(Pair(rgb=frame, thermal=None), Mode.RGB_ONLY, card, (64, 80))
    # Unit values 1, 0 and 0.2 with means 0.4, 0.5, 0.6 and deviations 0.2, 0.25, 0.3.
    for channel, value in enumerate((3.0, -2.0, -4 / 3)):
        np.testing.assert_allclose(batch.rgb[0, channel], value, rtol=1e-5)


def test_thermal_is_stretched_standardised_and_replicated(card: ModelCard):
    ramp = np.linspace(29_000, 30_000, 80).astype(np.uint16)
    frame = with_pixels(thermal_frame(), np.tile(ramp, (64, 1)))
    pair = Pair(rgb=None, thermal=frame)
    batch = batch_of(pair, Mode.THERMAL_ONLY, card, (64, 80))
    wanted = (card.thermal_normaliser(frame.pixels) - 0.4) / 0.25
    for channel in range(3):
        np.testing.assert_allclose(batch.thermal[0, channel], wanted, rtol=1e-5, atol=1e-5)


def test_padding_is_zero_and_content_lies_where_the_letterbox_says(card: ModelCard):
    frame = rgb_frame(size_hw=(32, 80), value=0)
    batch = batch_of(Pair(rgb=frame, thermal=None), Mode.RGB_ONLY, card, (64, 80))
    assert (batch.letterbox.scale, batch.letterbox.pad_x, batch.letterbox.pad_y) == (1, 0, 16)
    assert not batch.rgb[0, :, :16].any()
    assert not batch.rgb[0, :, 48:].any()
    assert (batch.rgb[0, :, 16:48] != 0).all()


@pytest.mark.parametrize('source_hw', [(48, 64), (101, 67), (33, 250), (480, 640), (7, 5)])
def test_bright_block_lands_where_its_box_is_mapped(card: ModelCard, source_hw: tuple[int, int]):
    height, width = source_hw
    box = np.array([[width // 5, height // 3, width * 4 // 5, height * 2 // 3]], np.float32)
    frame = rgb_frame(size_hw=source_hw, value=102)  # the mean of R, 0 after standardisation
    x0, y0, x1, y1 = box[0].astype(int)
    frame.pixels[y0:y1, x0:x1] = 255
    batch = batch_of(Pair(rgb=frame, thermal=None), Mode.RGB_ONLY, card, (128, 160))
    share = batch.rgb[0, 0] / 3.0  # (1 - 0.4) / 0.2
    mapped = letterbox_boxes(box, batch.letterbox)[0]
    mass = share.sum()
    centre_x = (share.sum(0) * (np.arange(160) + 0.5)).sum() / mass
    centre_y = (share.sum(1) * (np.arange(128) + 0.5)).sum() / mass
    area = (mapped[2] - mapped[0]) * (mapped[3] - mapped[1])
    assert centre_x == pytest.approx((mapped[0] + mapped[2]) / 2, abs=0.1)
    assert centre_y == pytest.approx((mapped[1] + mapped[3]) / 2, abs=0.1)
    assert mass == pytest.approx(area, rel=0.02)


def test_invalid_temperatures_become_finite_input(card: ModelCard):
    pixels = np.random.default_rng(0).random((48, 64)).astype(np.float32)
    pixels[:20] = np.nan
    pixels[20, 0] = np.inf
    pair = Pair(rgb=rgb_frame(), thermal=with_pixels(thermal_frame(), pixels))
    batch = batch_of(pair, Mode.FUSED, card, (64, 80))
    assert np.isfinite(batch.thermal).all()
