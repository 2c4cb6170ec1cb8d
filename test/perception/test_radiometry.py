# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_perception.config import build_config, ThermalConfig
from rgbt_perception.errors import ConfigError
from rgbt_perception.radiometry import Radiometry

GREY = np.array([[0, 100, 255]], np.uint8)
COUNTS = np.array([[0, 2_932, 29_315]], np.uint16)
CELSIUS = np.array([[20.0, -273.15, 36.6]], np.float32)
KELVIN = np.array([[293.15, 0.0, 309.75]], np.float32)
NAN = np.nan


def read(pixels, reading, **values):
    return Radiometry(ThermalConfig(reading=reading, **values)).temperature_c(pixels)


@pytest.mark.parametrize(
    ('reading', 'pixels', 'celsius'),
    [
        ('tlinear_10mk', COUNTS, [[NAN, -243.83, 20.0]]),  # 0 is absolute zero: no measurement
        ('tlinear_100mk', COUNTS, [[NAN, 20.05, 2658.35]]),
        ('celsius', CELSIUS, [[20.0, NAN, 36.6]]),
        ('celsius', COUNTS, [[0.0, 2932.0, 29315.0]]),
        ('kelvin', KELVIN, [[20.0, NAN, 36.6]]),
        ('kelvin', np.array([[293]], np.uint16), [[19.85]]),
        ('auto', CELSIUS, [[20.0, NAN, 36.6]]),
        ('auto', KELVIN, [[20.0, NAN, 36.6]]),
    ],
)
def test_each_reading_gives_degrees_celsius(reading, pixels, celsius):
    found = read(pixels, reading)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, celsius, atol=1e-3)


@pytest.mark.parametrize('pixels', [GREY, COUNTS, CELSIUS])
def test_a_stated_linear_calibration_holds_for_every_type(pixels):
    found = read(pixels, 'linear', linear_gain=0.5, linear_offset_c=-10.0)
    assert found.dtype == np.float32
    expected = pixels.astype(np.float64) * 0.5 - 10.0
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ('reading', 'pixels', 'text'),
    [
        ('auto', GREY, 'not radiometric: grey levels'),
        ('auto', COUNTS, 'not radiometric: counts'),
        ('counts', CELSIUS, 'not radiometric: counts'),
        ('tlinear_10mk', GREY, 'not radiometric: grey levels'),
        ('tlinear_10mk', CELSIUS, 'not radiometric: counts'),
        ('celsius', GREY, 'not radiometric: grey levels'),
        ('kelvin', GREY, 'not radiometric: grey levels'),
    ],
)
def test_what_has_no_temperature_gives_none_and_says_so(reading, pixels, text):
    radiometry = Radiometry(ThermalConfig(reading=reading))
    assert radiometry.temperature_c(pixels) is None
    assert radiometry.describe(pixels) == text


@pytest.mark.parametrize(
    ('reading', 'pixels', 'text'),
    [
        ('auto', None, 'no thermal image yet'),
        ('auto', KELVIN, 'kelvin'),
        ('auto', CELSIUS, 'degrees Celsius'),
        ('tlinear_10mk', None, 'TLinear 0.01 K'),
        ('tlinear_100mk', COUNTS, 'TLinear 0.1 K'),
        ('linear', COUNTS, 'linear, 0.01 C per count, -273.15 C at 0'),
        ('counts', None, 'not radiometric: counts'),
    ],
)
def test_a_reading_describes_itself(reading, pixels, text):
    assert Radiometry(ThermalConfig(reading=reading)).describe(pixels) == text


def test_nan_and_infinity_stay_what_they_are():
    image = np.array([[NAN, np.inf, -np.inf, 21.0, 22.0]], np.float32)
    np.testing.assert_array_equal(read(image, 'auto'), image)


def test_an_image_of_nan_is_read_as_celsius():
    assert np.isnan(read(np.full((2, 2), NAN, np.float32), 'auto')).all()


def test_the_unit_goes_by_the_median_so_one_hot_object_is_not_kelvin():
    image = np.full((9, 9), 20.0, np.float32)
    image[:3] = 900.0
    assert read(image, 'auto')[8, 8] == 20.0


def test_counts_beyond_the_signal_bits_have_no_temperature():
    values = {'signal_bits': 14, 'linear_gain': 0.01, 'linear_offset_c': -40.0}
    found = read(np.array([[16_383, 16_384, 65_535]], np.uint16), 'linear', **values)
    np.testing.assert_allclose(found, [[123.83, NAN, NAN]], atol=1e-3)


def test_an_image_within_the_signal_bits_is_not_copied():
    radiometry = Radiometry(ThermalConfig(signal_bits=14))
    pixels = np.full((4, 4), 16_383, np.uint16)
    assert radiometry.mark_overflow(pixels) is pixels
    for dtype in (np.uint8, np.float32):
        other = np.full((4, 4), 200, dtype)
        assert Radiometry(ThermalConfig(signal_bits=8)).mark_overflow(other) is other


def test_the_image_is_left_alone_and_read_once():
    radiometry = Radiometry(ThermalConfig(reading='celsius'))
    pixels = CELSIUS.copy()
    first = radiometry.temperature_c(pixels)
    assert radiometry.temperature_c(pixels) is first
    np.testing.assert_array_equal(pixels, CELSIUS)
    radiometry.config = ThermalConfig(reading='counts')
    assert radiometry.temperature_c(pixels) is None


def test_ten_millikelvin_in_fourteen_bits_is_refused():
    with pytest.raises(ConfigError, match=r"signal_bits is 14 with reading 'tlinear_10mk', exp"):
        build_config({'thermal.reading': 'tlinear_10mk', 'thermal.signal_bits': 14})
    build_config({'thermal.reading': 'tlinear_100mk', 'thermal.signal_bits': 14})
