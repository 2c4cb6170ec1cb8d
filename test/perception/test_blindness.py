# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from fakes import rgb_frame, thermal_frame
import numpy as np
import pytest

from rgbt_perception.blindness import (
    find_rgb_problem,
    find_thermal_problem,
    INVALID,
    is_byte_swapped,
    take_sample,
    UNSHARP,
)
from rgbt_perception.config import FallbackConfig, ThermalConfig

CONFIG = FallbackConfig()
HW = (96, 128)


def rgb_problem(pixels: np.ndarray, **config: Any) -> str:
    return find_rgb_problem(pixels, take_sample(pixels), FallbackConfig(**config))


def thermal_problem(pixels: np.ndarray, **thermal: Any) -> str:
    sample = take_sample(pixels)
    return find_thermal_problem(pixels, sample, CONFIG, ThermalConfig(**thermal))


def scene(dtype: Any, *, low: float, high: float, noise: float = 0.0) -> np.ndarray:
    """Smooth ramp along both axes with noise."""
    y, x = np.mgrid[: HW[0], : HW[1]] / (HW[0] + HW[1])
    values = low + (high - low) * (x + y)
    values += np.random.default_rng(2).normal(0.0, noise, HW)
    return values.astype(dtype) if dtype == np.float32 else np.rint(values).astype(dtype)


def test_sample_keeps_at_least_120_rows_and_columns_and_is_a_copy():
    pixels = np.zeros((480, 640, 3), np.uint8)
    sample = take_sample(pixels)
    assert sample.shape == (120, 128, 3)
    assert sample.flags.c_contiguous
    assert not np.shares_memory(sample, pixels)
    assert take_sample(np.zeros((239, 7), np.uint16)).shape == (239, 7)


# RGB


def test_good_images_have_no_problem():
    assert rgb_problem(rgb_frame(size_hw=HW).pixels) == ''
    assert thermal_problem(thermal_frame(size_hw=HW).pixels) == ''


@pytest.mark.parametrize(
    ('top', 'problem'),
    [(12, 'rgb is dark (p99.5 = 12 of 255): uncover the lens or add light'), (13, '')],
)
def test_rgb_is_dark_up_to_the_dark_level_inclusive(top: int, problem: str):
    ramp = np.minimum(scene(np.uint8, low=0.0, high=top * 1.5), top)
    pixels = np.repeat(ramp[..., None], 3, axis=2)
    assert rgb_problem(pixels) == problem


def test_few_bright_pixels_do_not_make_a_dark_image_seeing():
    pixels = np.full((200, 300, 3), 2, np.uint8)
    pixels[0, 0] = 255
    assert rgb_problem(pixels) == 'rgb is dark (p99.5 = 2 of 255): uncover the lens or add light'


@pytest.mark.parametrize(('share', 'is_blind'), [(0.6, False), (0.61, True)])
def test_rgb_is_saturated_above_the_share(share: float, is_blind: bool):
    pixels = np.random.default_rng(0).integers(0, 200, (100, 100, 3), np.uint8)
    order = np.random.default_rng(1).permutation(10_000)
    pixels.reshape(-1, 3)[order[: round(share * 10_000)]] = 251  # a JPEG's white
    problem = rgb_problem(pixels)
    expected = 'rgb is saturated (61 % of the pixels at 250 or more): check its exposure'
    assert problem == (expected if is_blind else '')


def test_strong_red_is_not_saturated():
    pixels = np.random.default_rng(0).integers(0, 200, (*HW, 3), np.uint8)
    pixels[..., 0] = 255
    assert rgb_problem(pixels) == ''


@pytest.mark.parametrize('colour', [(128, 128, 128), (200, 30, 90)])
def test_one_colour_has_no_contrast(colour: tuple[int, int, int]):
    pixels = np.full((*HW, 3), colour, np.uint8)
    assert (
        rgb_problem(pixels)
        == f'rgb has no contrast (standard deviation 0.00 grey levels): {UNSHARP}'
    )


def test_covered_lens_shows_only_noise():
    noise = np.random.default_rng(1).normal(60.0, 2.0, (*HW, 1))
    pixels = np.repeat(np.rint(noise).astype(np.uint8), 3, axis=2)
    assert rgb_problem(pixels).startswith('rgb has no structure, only noise (standard deviation 2')
    assert rgb_problem(pixels).endswith('grey levels): is the lens covered?')


def test_faint_structure_below_noise_is_seen():
    pixels = np.repeat(scene(np.uint8, low=50.0, high=62.0, noise=1.0)[..., None], 3, axis=2)
    assert rgb_problem(pixels) == ''


@pytest.mark.parametrize(('num_dead', 'share'), [(43, None), (48, 50), (96 - 8, 92)])
def test_nearly_half_of_the_rows_dead_is_blind(num_dead: int, share: int | None):
    pixels = rgb_frame(size_hw=HW).pixels
    pixels[HW[0] - num_dead :] = 128  # a JPEG decoder's grey
    expected = f'rgb has {share} % dead rows (one value from end to end): check the camera and its'
    assert rgb_problem(pixels)[: len(expected)] == ('' if share is None else expected)


def test_dead_columns_are_told_from_rows():
    pixels = thermal_frame(size_hw=HW).pixels
    pixels[:, :64] = 0
    assert thermal_problem(pixels) == (
        'thermal has 50 % dead columns (one value from end to end): check the camera and its link'
    )


def test_dead_rows_may_have_different_values():
    pixels = thermal_frame(size_hw=HW).pixels
    pixels[::2] = np.arange(48, dtype=np.uint16)[:, None] + 29_000
    assert thermal_problem(pixels).startswith('thermal has 50 % dead rows')


def test_picture_of_stripes_is_not_dead():
    pixels = np.full(HW, 29_000, np.uint16)
    pixels[:, 64:] = 30_000
    assert thermal_problem(pixels) == ''
    assert thermal_problem(pixels.T.copy()) == ''


# Thermal


@pytest.mark.parametrize(
    ('dtype', 'low', 'high', 'is_blind'),
    [
        (np.uint8, 100, 101, True),
        (np.uint8, 100, 104, False),
        (np.uint16, 29_000, 29_001, True),
        (np.uint16, 29_000, 29_004, False),
        (np.float32, 20.0, 20.01, True),  # half of 0.01 K
        (np.float32, 20.0, 20.04, False),
    ],
)
def test_thermal_contrast_is_measured_in_its_own_quantisation(
    dtype: type, low: float, high: float, is_blind: bool
):
    pixels = np.full((40, 56), low, dtype)
    pixels[:, 28:] = high
    pixels[::2] = pixels[::2, ::-1]  # neither rows nor columns are of one value
    assert thermal_problem(pixels).startswith('thermal has no contrast') is is_blind
    assert bool(thermal_problem(pixels)) is is_blind


def test_constant_thermal_has_no_contrast():
    pixels = np.full(HW, 29_315, np.uint16)
    assert (
        thermal_problem(pixels)
        == f'thermal has no contrast (standard deviation 0 counts): {UNSHARP}'
    )


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_show_nothing(value: float):
    pixels = np.full(HW, value, np.float32)
    assert thermal_problem(pixels) == 'thermal has no finite pixel: check what the camera sends'
    good = scene(np.float32, low=10.0, high=30.0, noise=0.05)
    pixels[:10] = good[:10]
    assert thermal_problem(pixels) == f'thermal has 90 % pixels without a finite value: {INVALID}'


def test_sky_out_of_range_is_not_dead():
    pixels = scene(np.float32, low=10.0, high=30.0, noise=0.05)
    for value in (np.nan, -np.inf):
        pixels[:60] = value
        assert thermal_problem(pixels) == ''


@pytest.mark.parametrize(('dtype', 'top', 'bits'), [(np.uint8, 255, 8), (np.uint16, 65_535, 16)])
def test_thermal_at_the_top_of_its_range_is_saturated(dtype: Any, top: int, bits: int):
    pixels = np.full(HW, top, dtype)
    assert thermal_problem(pixels) == (
        f'thermal is saturated (100 % of the pixels at {top}, the top of {bits} bits, or above): '
        f'check its gain and range'
    )


def test_values_beyond_the_bits_in_use_name_the_setting():
    pixels = thermal_frame(size_hw=HW).pixels
    pixels[0, 0] = 29_999
    assert thermal_problem(pixels, signal_bits=14) == (
        'thermal is saturated (100 % of the pixels at 16383, the top of 14 bits, or above): '
        'values reach 29999: correct thermal.signal_bits'
    )


def test_covered_thermal_camera_shows_only_noise():
    pixels = np.rint(np.random.default_rng(1).normal(29_500, 5.0, HW)).astype(np.uint16)
    assert thermal_problem(pixels).startswith('thermal has no structure, only noise')
    kelvin = (pixels / 100.0).astype(np.float32)
    assert thermal_problem(kelvin).startswith('thermal has no structure, only noise')


# Byte order


@pytest.mark.parametrize(
    ('low', 'high', 'noise'),
    [(29_000, 29_900, 5.0), (29_000, 29_900, 60.0), (3_000, 14_000, 3.0), (7_000, 7_100, 2.0)],
)
def test_swapped_bytes_are_recognised_and_the_right_order_is_not(
    low: float, high: float, noise: float
):
    counts = scene(np.uint16, low=low, high=high, noise=noise)
    assert not is_byte_swapped(counts)
    assert is_byte_swapped(counts.byteswap())
    assert thermal_problem(counts) == ''
    assert thermal_problem(counts.byteswap()) == (
        'thermal has its bytes swapped: set thermal.is_byte_swapped to true'
    )
    assert thermal_problem(counts.byteswap(), is_byte_swapped=True) == (
        'thermal has its bytes swapped: set thermal.is_byte_swapped to false'
    )


@pytest.mark.parametrize('factor', [1, 16, 256, 257])
def test_8_bit_levels_in_16_bits_are_not_taken_for_swapped(factor: int):
    levels = scene(np.uint16, low=20, high=200, noise=1.0)
    assert not is_byte_swapped((levels * factor).astype(np.uint16))


def test_noise_and_tiny_images_are_not_taken_for_swapped():
    assert not is_byte_swapped(thermal_frame().pixels)
    assert not is_byte_swapped(np.array([[0x1234, 0x3412]], np.uint16))


@pytest.mark.parametrize('hw', [(1, 1), (1, 9), (9, 1)])
def test_images_one_pixel_wide_are_judged(hw: tuple[int, int]):
    assert rgb_problem(rgb_frame(size_hw=hw).pixels) in (
        '',
        f'rgb has no contrast (standard deviation 0.00 grey levels): {UNSHARP}',
    )
    for dtype in (np.uint8, np.uint16, np.float32):
        pixels = thermal_frame(size_hw=hw).pixels.astype(dtype)
        assert isinstance(thermal_problem(pixels), str)
