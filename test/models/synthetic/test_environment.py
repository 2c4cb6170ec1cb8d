# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from dataclasses import fields
import math

from made_scenes import plain_environment
import numpy as np
import pytest

from rgbt_models.synthetic import interpolate
from rgbt_models.synthetic.environment import (
    Condition,
    CONDITION_RATES,
    direction_to,
    Environment,
    sample_condition,
    sample_day,
    sample_environment,
    sample_night,
)


def drawn(condition, count=60):
    return [
        sample_environment(np.random.default_rng([seed, 5]), condition) for seed in range(count)
    ]


def test_ends_of_an_interpolation_are_the_environments_themselves():
    day = sample_day(np.random.default_rng(1))
    night = sample_night(np.random.default_rng(2))
    assert interpolate(day, night, 0.0) is day
    assert interpolate(day, night, 1.0) is night


def test_every_quantity_of_an_interpolation_lies_between_the_ends():
    one = sample_environment(np.random.default_rng(1), Condition.SMOKE)
    two = sample_environment(np.random.default_rng(2), Condition.RAIN)
    value = interpolate(one, two, 0.3)
    for item in fields(Environment):
        if item.name in {'plumes', 'sun_direction'}:
            continue
        ends = np.sort([getattr(one, item.name), getattr(two, item.name)], axis=0)
        found = np.asarray(getattr(value, item.name))
        assert (found >= np.minimum(ends[0], 1e-4) - 1e-6).all(), item.name
        assert (found <= np.maximum(ends[1], 1e-4) + 1e-6).all(), item.name


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


def test_smoke_thins_out_on_the_way_to_clear_air_and_keeps_its_place():
    smoke = sample_environment(np.random.default_rng(1), Condition.SMOKE)
    thin = interpolate(smoke, plain_environment(), 0.75)
    assert len(thin.plumes) == len(smoke.plumes) >= 3
    for plume, whole in zip(thin.plumes, smoke.plumes, strict=True):
        assert plume.extinction_per_m == pytest.approx(0.25 * whole.extinction_per_m)
        np.testing.assert_array_equal(plume.centre, whole.centre)
    assert interpolate(smoke, smoke, 0.5).plumes == smoke.plumes


def test_directions_point_left_and_up():
    np.testing.assert_allclose(direction_to(math.pi / 2, 0.0), [0.0, 1.0, 0.0], atol=1e-7)
    expected = [0.0, 0.5**0.5, 0.5**0.5]
    np.testing.assert_allclose(direction_to(math.pi / 2, math.pi / 4), expected, atol=1e-7)


def test_warmth_comes_from_where_the_sun_was_and_is_the_sun_unless_told():
    sun = direction_to(0.0, 0.5)
    assert plain_environment(sun_direction=sun).heat_sun_direction is sun
    late = plain_environment(sun_direction=sun, heat_lag_rad=0.3, heat_rise_rad=0.2)
    # Seen from above the sun goes clockwise: an hour ago it was further to the left.
    np.testing.assert_allclose(late.heat_sun_direction, direction_to(0.3, 0.7), atol=1e-6)
    deep = plain_environment(sun_direction=direction_to(0.0, 0.1), heat_rise_rad=-0.5)
    assert deep.heat_sun_direction[2] == pytest.approx(math.sin(0.03), abs=1e-6)


def test_conditions_are_drawn_at_their_rates():
    assert sum(CONDITION_RATES.values()) == pytest.approx(1.0)
    rng = np.random.default_rng(3)
    counts = Counter(sample_condition(rng) for _ in range(3000))
    for condition, rate in CONDITION_RATES.items():
        # Four standard deviations of a binomial.
        assert counts[condition] / 3000 == pytest.approx(rate, abs=4 * (rate / 3000) ** 0.5)


@pytest.mark.parametrize('condition', list(Condition))
def test_same_seed_gives_the_same_environment_with_plausible_values(condition):
    for seed in range(30):
        one, two = (sample_environment(np.random.default_rng(seed), condition) for _ in range(2))
        for item in fields(Environment):
            if item.name != 'plumes':
                first, second = getattr(one, item.name), getattr(two, item.name)
                np.testing.assert_array_equal(first, second)
                assert np.isfinite(first).all()
        assert np.linalg.norm(one.sun_direction) == pytest.approx(1.0, abs=1e-5)
        assert one.sun_direction[2] > 0.0
        assert 0.0 <= one.lights <= 1.0
        assert 0.0 <= one.sun_strength <= 1.2
        assert one.sky_light.dtype == one.sky_radiance.dtype == np.float32
        assert (one.sky_light > 0.0).all()
        assert -10.0 < one.ambient_c < 37.0


def test_day_has_no_lamps_and_night_no_sun():
    assert all(one.lights == 0.0 and not one.is_night for one in drawn(Condition.DAY))
    assert all(one.lights == 1.0 and one.sun_strength == 0.0 for one in drawn(Condition.NIGHT))
    assert sum(one.sun_strength > 0.3 for one in drawn(Condition.DAY)) > 20


def test_haze_of_nine_days_in_ten_is_not_seen_within_300_m():
    haze = np.array([one.haze_per_m for one in drawn(Condition.DAY, count=300)])
    assert (haze <= 0.006).all()
    clear = np.mean(haze <= 0.0012)
    # Three standard deviations of a binomial.
    assert clear == pytest.approx(0.9, abs=3 * (0.09 / 300) ** 0.5)


def test_at_dusk_lamps_come_on_and_the_light_lies_between_day_and_night():
    dusk = drawn(Condition.DUSK)
    assert min(one.lights for one in dusk) < 0.2
    assert max(one.lights for one in dusk) > 0.8
    levels = [
        np.median([one.sky_light.mean() for one in drawn(condition)])
        for condition in (Condition.NIGHT, Condition.DUSK, Condition.DAY)
    ]
    assert levels[0] < levels[1] < levels[2]


def test_fog_hides_light_and_hardly_heat():
    for one in drawn(Condition.FOG):
        assert 0.02 <= one.haze_per_m <= 0.12
        assert one.thermal_haze_per_m <= 0.2 * one.haze_per_m
        assert one.sun_strength == 0.0


def test_rain_wets_the_ground_and_sometimes_has_just_stopped():
    rain = drawn(Condition.RAIN)
    assert all(one.wetness >= 0.6 and one.thermal_contrast < 0.9 for one in rain)
    assert sum(one.rain == 0.0 for one in rain) >= 3
    assert all(one.wetness == 0.0 for one in drawn(Condition.DAY))


def test_crossover_leaves_a_body_within_three_kelvin_of_the_air():
    for one in drawn(Condition.CROSSOVER):
        # A coat shows less than half of the body's warmth.
        assert abs(one.thermal_contrast * 0.5 * (33.5 - one.ambient_c)) < 1.6
        assert abs(one.thermal_contrast * (33.5 - one.ambient_c)) < 3.2
