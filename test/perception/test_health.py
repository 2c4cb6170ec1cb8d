# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

from fakes import build_pair, rgb_frame, thermal_frame
import numpy as np
import pytest

from rgbt_perception.config import FallbackConfig
from rgbt_perception.health import assess
from rgbt_perception.types import Mode, Pair

CONFIG = FallbackConfig()


def thermal_of(pixels: np.ndarray) -> Pair:
    return Pair(rgb=rgb_frame(), thermal=dataclasses.replace(thermal_frame(), pixels=pixels))


def test_good_pair_is_fused_without_a_reason():
    assert assess(build_pair(), CONFIG) == (Mode.FUSED, '')


def test_missing_camera_is_named():
    assert assess(Pair(rgb=rgb_frame(), thermal=None), CONFIG) == (
        Mode.RGB_ONLY,
        'no thermal frame',
    )
    assert assess(Pair(rgb=None, thermal=thermal_frame()), CONFIG) == (
        Mode.THERMAL_ONLY,
        'no rgb frame',
    )


def test_dark_rgb_is_blind_up_to_the_dark_level_inclusive():
    rng = np.random.default_rng(0)
    for top, mode in ((12, Mode.THERMAL_ONLY), (13, Mode.FUSED)):
        rgb = rgb_frame()
        rgb.pixels[:] = rng.integers(0, top, rgb.pixels.shape, endpoint=True)
        rgb.pixels[::2] = top
        found, reason = assess(Pair(rgb=rgb, thermal=thermal_frame()), CONFIG)
        assert found is mode
        if mode is Mode.THERMAL_ONLY:
            assert reason == 'rgb is dark (p99.5 = 12 of 255)'


def test_few_bright_pixels_do_not_make_a_dark_image_seeing():
    rgb = rgb_frame(size_hw=(200, 300), value=2)
    rgb.pixels[0, 0] = 255
    assert assess(Pair(rgb=rgb, thermal=thermal_frame()), CONFIG)[0] is Mode.THERMAL_ONLY


def test_evenly_grey_rgb_has_no_contrast():
    mode, reason = assess(Pair(rgb=rgb_frame(value=128), thermal=thermal_frame()), CONFIG)
    assert mode is Mode.THERMAL_ONLY
    assert reason == 'rgb has no contrast (standard deviation 0.00 grey levels)'


def test_one_colour_has_no_contrast():
    rgb = rgb_frame()
    rgb.pixels[:] = (200, 30, 90)
    assert assess(Pair(rgb=rgb, thermal=thermal_frame()), CONFIG)[0] is Mode.THERMAL_ONLY


def test_constant_thermal_is_blind():
    mode, reason = assess(Pair(rgb=rgb_frame(), thermal=thermal_frame(value=29_315)), CONFIG)
    assert mode is Mode.RGB_ONLY
    assert reason == 'thermal has no contrast (standard deviation 0 counts)'


@pytest.mark.parametrize(
    ('dtype', 'low', 'high', 'mode'),
    [
        (np.uint8, 100, 101, Mode.RGB_ONLY),
        (np.uint8, 100, 104, Mode.FUSED),
        (np.uint16, 29_000, 29_001, Mode.RGB_ONLY),
        (np.uint16, 29_000, 29_004, Mode.FUSED),
        (np.float32, 20.0, 20.01, Mode.RGB_ONLY),  # half of 0.01 K
        (np.float32, 20.0, 20.04, Mode.FUSED),
    ],
)
def test_thermal_contrast_is_measured_in_its_own_quantisation(
    dtype: type, low: float, high: float, mode: Mode
):
    pixels = np.full((40, 56), low, dtype)
    pixels[:, ::2] = high
    assert assess(thermal_of(pixels), CONFIG)[0] is mode


def test_nan_does_not_count_as_contrast():
    pixels = np.full((40, 56), np.nan, np.float32)
    assert assess(thermal_of(pixels), CONFIG) == (Mode.RGB_ONLY, 'thermal has no finite pixel')
    pixels[10:20] = 21.0
    assert assess(thermal_of(pixels), CONFIG)[0] is Mode.RGB_ONLY
    pixels[10:15] = 25.0
    assert assess(thermal_of(pixels), CONFIG)[0] is Mode.FUSED


def test_no_usable_camera_gives_both_reasons():
    pair = Pair(rgb=rgb_frame(value=0), thermal=thermal_frame(value=0))
    assert assess(pair, CONFIG) == (
        Mode.NONE,
        'rgb is dark (p99.5 = 0 of 255); thermal has no contrast (standard deviation 0 counts)',
    )
    assert assess(Pair(rgb=rgb_frame(value=0), thermal=None), CONFIG)[0] is Mode.NONE


def test_one_pixel_images_are_judged():
    pair = Pair(rgb=rgb_frame(size_hw=(1, 1)), thermal=thermal_frame(size_hw=(1, 1)))
    assert assess(pair, CONFIG)[0] is Mode.NONE
