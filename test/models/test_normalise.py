# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.errors import CardError
from rgbt_models.normalise import standardise, ThermalNormaliser, WindowNormaliser

FULL = ThermalNormaliser(low_percentile=0.0, high_percentile=100.0, min_value=-0.1, max_value=1.3)


def ramp(height=30, width=60, low=20.0, high=40.0):
    return np.linspace(low, high, height * width, dtype=np.float32).reshape(height, width)


def test_the_percentiles_of_every_third_pixel_become_zero_and_one():
    normaliser = ThermalNormaliser(low_percentile=10.0, high_percentile=90.0)
    image = np.random.default_rng(0).uniform(5.0, 9.0, (31, 47))
    low, high = np.percentile(image[::3, ::3].astype(np.float32), [10.0, 90.0])
    expected = np.clip((image - low) / (high - low), -0.1, 1.3)
    np.testing.assert_allclose(normaliser(image), expected, atol=1e-5)


def test_values_between_the_ends_are_literals():
    image = np.array([[10.0, 11.0, 12.5, 20.0]], np.float32)  # columns 0 and 3 are looked at
    np.testing.assert_allclose(FULL(image), [[0.0, 0.1, 0.25, 1.0]], atol=1e-6)


def test_tails_are_clipped_at_both_ends():
    image = np.array([[10.0, 0.0, 100.0, 20.0]], np.float32)
    np.testing.assert_allclose(FULL(image), [[0.0, -0.1, 1.3, 1.0]], atol=1e-6)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_unit_and_type_do_not_matter(dtype):
    grey = np.random.default_rng(1).integers(0, 120, (32, 40))
    expected = ThermalNormaliser()(grey)
    np.testing.assert_allclose(
        ThermalNormaliser()((grey * 2 + 5).astype(dtype)), expected, atol=1e-5
    )
    assert ThermalNormaliser()(grey.astype(dtype)).dtype == np.float32


def test_sixteen_bit_counts_and_celsius_give_the_same_image():
    temperature_c = ramp()
    counts = np.rint((temperature_c + 273.15) * 100).astype(np.uint16)
    difference = ThermalNormaliser()(counts) - ThermalNormaliser()(temperature_c)
    assert np.abs(difference).max() < 1e-3  # half a count of 2000


@pytest.mark.parametrize('value', [0, 7, 65535])
def test_a_flat_image_becomes_zero(value):
    stretched = ThermalNormaliser()(np.full((12, 20), value, np.uint16))
    np.testing.assert_array_equal(stretched, np.zeros((12, 20), np.float32))


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_broken_pixels_become_zero_and_leave_the_others_alone(bad):
    image = ramp()
    expected = ThermalNormaliser()(image)
    image[4, 7] = image[5, 8] = bad  # off the grid of the percentiles
    stretched = ThermalNormaliser()(image)
    assert stretched[4, 7] == stretched[5, 8] == 0.0
    others = np.isfinite(image)
    np.testing.assert_array_equal(stretched[others], expected[others])


def test_broken_pixels_do_not_count_towards_the_percentiles():
    image = ramp()
    image[::3, ::6] = np.nan
    stretched = ThermalNormaliser()(image)
    assert np.isfinite(stretched).all()
    assert stretched[-1, -1] > 0.9
    assert stretched[0, 1] < 0.05


def test_an_image_of_nan_becomes_zero():
    assert not ThermalNormaliser()(np.full((9, 9), np.nan, np.float32)).any()


def test_an_empty_image_stays_empty():
    assert ThermalNormaliser()(np.zeros((0, 0), np.uint16)).shape == (0, 0)


def test_the_input_is_left_alone():
    image = ramp()
    copy = image.copy()
    ThermalNormaliser()(image)
    np.testing.assert_array_equal(image, copy)


@pytest.mark.parametrize(('low', 'high'), [(50.0, 50.0), (60.0, 40.0), (-1.0, 99.0), (1.0, 101.0)])
def test_percentiles_out_of_order_are_refused(low, high):
    with pytest.raises(CardError, match=f'percentiles {low} and {high}; expected 0 <= low < high'):
        ThermalNormaliser(low_percentile=low, high_percentile=high)


def test_clip_values_out_of_order_are_refused():
    with pytest.raises(CardError, match=r'clips to 1.0\.\.1.0; expected min_value < max_value'):
        ThermalNormaliser(min_value=1.0, max_value=1.0)


def test_standardise_works_channel_by_channel_and_puts_channels_first():
    image = np.zeros((2, 3, 3), np.float32)
    image[1, 2] = (0.5, 0.7, 0.9)
    out = standardise(image, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (out.shape, out.dtype, out.flags.c_contiguous) == ((3, 2, 3), np.float32, True)
    np.testing.assert_allclose(out[:, 1, 2], [1.0, 1.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(out[:, 0, 0], [-0.25, -0.4, -0.5], atol=1e-6)


def test_a_small_hot_object_in_a_flat_scene_is_shown():
    # 4 of 3072 pixels, one of them looked at: both percentiles are those of the background.
    image = np.full((48, 64), 29_315, np.uint16)
    image[9:11, 12:14] = 31_315
    expected = np.zeros((48, 64), np.float32)
    expected[9:11, 12:14] = 1.0
    np.testing.assert_array_equal(ThermalNormaliser()(image), expected)


def test_a_small_hot_object_between_the_looked_at_pixels_and_nan_is_shown():
    image = np.full((48, 64), 20.0, np.float32)
    image[10, 13], image[20, 20] = 40.0, np.nan
    stretched = ThermalNormaliser()(image)
    assert stretched[10, 13] == 1.0
    assert np.count_nonzero(stretched) == 1


def test_a_window_gives_a_temperature_the_same_level_in_every_scene():
    window = WindowNormaliser(low_c=10.0, high_c=50.0, rule=ThermalNormaliser())
    image = np.array([[10.0, 20.0, 50.0, np.nan], [58.0, 500.0, -20.0, np.inf]], np.float32)
    expected = [[0.0, 0.25, 1.0, 0.0], [1.2, 1.3, -0.1, 0.0]]
    np.testing.assert_allclose(window(image), expected, atol=1e-6)
    np.testing.assert_array_equal(window(image[:1]), window(image)[:1])


@pytest.mark.parametrize(('low', 'high'), [(20.0, 20.0), (30.0, 20.0), (float('nan'), 20.0)])
def test_an_empty_window_is_refused(low, high):
    with pytest.raises(CardError, match=f'window is {low}..{high} C; expected finite low < high'):
        WindowNormaliser(low_c=low, high_c=high, rule=ThermalNormaliser())
