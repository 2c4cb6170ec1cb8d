# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_scenes import plain_environment
import numpy as np
import pytest

from rgbt_models.synthetic import interpolate
from rgbt_models.synthetic.environment import sample_day, sample_environment, sample_night


def test_ends_of_an_interpolation_are_the_environments():
    day = sample_day(np.random.default_rng(1))
    night = sample_night(np.random.default_rng(2))
    for fraction, expected in ((0.0, day), (1.0, night)):
        value = interpolate(day, night, fraction)
        assert value.ambient_c == pytest.approx(expected.ambient_c)
        assert value.lights == pytest.approx(expected.lights)
        np.testing.assert_allclose(value.sky_light, expected.sky_light, rtol=1e-5)
        np.testing.assert_allclose(value.sun_direction, expected.sun_direction, atol=1e-6)


def test_light_fades_by_ratios_and_temperature_by_differences():
    one = plain_environment(sky_light=np.full(3, 0.8, np.float32), ambient_c=20.0)
    two = plain_environment(sky_light=np.full(3, 0.008, np.float32), ambient_c=10.0)
    half = interpolate(one, two, 0.5)
    np.testing.assert_allclose(half.sky_light, 0.08, rtol=1e-5)
    assert half.ambient_c == 15.0


def test_sun_direction_stays_a_unit_vector():
    one = plain_environment(sun_direction=np.array([1.0, 0.0, 0.0], np.float32))
    two = plain_environment(sun_direction=np.array([0.0, 0.0, 1.0], np.float32))
    direction = interpolate(one, two, 0.5).sun_direction
    np.testing.assert_allclose(direction, [0.5**0.5, 0.0, 0.5**0.5], rtol=1e-6)
    assert direction.dtype == np.float32


def test_day_night_and_twilight_are_all_drawn():
    lights = [sample_environment(np.random.default_rng(seed)).lights for seed in range(100)]
    assert sum(light == 0.0 for light in lights) >= 25
    assert sum(light == 1.0 for light in lights) >= 25
    assert sum(0.0 < light < 1.0 for light in lights) >= 3
