# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from rgbt_models.synthetic import build_scenario, Condition
from rgbt_models.synthetic.sequence import sample_sequence
from rgbt_models.synthetic.sequence_light import sample_lights

CONDITIONS = [item.value for item in Condition]


def lights_of(*keys, seed=0):
    """Return the lights of keys: names of conditions, or (name, values)."""
    conditions = [
        {'share': index / len(keys), 'condition': key}
        if isinstance(key, str)
        else {'share': index / len(keys), 'condition': key[0], 'values': key[1]}
        for index, key in enumerate(keys)
    ]
    return list(sample_lights(build_scenario({'seed': seed, 'conditions': conditions})))


def azimuth_of(light):
    x, y, _ = light.sun_direction
    return math.degrees(math.atan2(y, x))


@pytest.mark.parametrize('seed', range(8))
def test_the_air_of_all_keys_lies_within_6_k(seed):
    # In an order that differs from seed to seed; no two keys may be 12 K apart.
    names = list(np.random.default_rng(seed).permutation(CONDITIONS))
    air = [light.ambient_c for light in lights_of(*map(str, names), seed=seed)]
    assert max(air) - min(air) <= 6.0 + 1e-9


@pytest.mark.parametrize('seed', range(4))
def test_the_air_drawn_after_a_given_one_is_within_6_k_of_it(seed):
    day, dusk, night = lights_of(('day', {'ambient_c': 35.0}), 'dusk', 'night', seed=seed)
    assert day.ambient_c == 35.0
    assert min(dusk.ambient_c, night.ambient_c) >= 29.0
    # Given ones may be anything, and what was before them does not matter.
    *_, cold, fog = lights_of('crossover', ('day', {'ambient_c': -20.0}), 'fog', seed=seed)
    assert (cold.ambient_c, fog.ambient_c) == (-20.0, pytest.approx(-14.0))


@pytest.mark.parametrize('seed', range(4))
def test_given_values_of_what_lasts_hold_until_other_ones_are_given(seed):
    given = {'ego_headlight': 0.0, 'cloud_k': 0.25, 'sky_depression_k': 11.0}
    keys = (('day', given), 'night', ('dusk', {'ego_headlight': 0.5}), 'rain')
    lights = lights_of(*keys, seed=seed)
    assert [light.ego_headlight for light in lights] == [0.0, 0.0, 0.5, 0.5]
    assert [light.cloud_k for light in lights] == [0.25] * 4
    assert [light.sky_depression_k for light in lights] == [11.0] * 4


def test_other_given_values_are_those_of_their_key():
    day, night = lights_of(('day', {'haze_per_m': 0.01, 'sun_strength': 0.9}), 'night')
    assert (day.haze_per_m, day.sun_strength) == (0.01, 0.9)
    assert (night.haze_per_m, night.sun_strength) == (0.0, 0.0)


@pytest.mark.parametrize('seed', range(4))
def test_the_sun_stays_on_its_side_of_the_sky(seed):
    lights = lights_of(*CONDITIONS, seed=seed)
    alone = [lights_of(name, seed=seed)[0] for name in CONDITIONS]
    assert [azimuth_of(x) for x in lights] == pytest.approx([azimuth_of(lights[0])] * 7, abs=1e-3)
    # Its height is that of each condition.
    heights = [float(light.sun_direction[2]) for light in lights]
    assert heights == [float(light.sun_direction[2]) for light in alone]
    assert [np.linalg.norm(light.sun_direction) for light in lights] == pytest.approx([1.0] * 7)


def test_a_given_sun_is_on_the_side_of_those_after_it():
    given = ('day', {'sun_direction': [-0.6, 0.0, 0.8]})
    found = [azimuth_of(light) for light in lights_of('night', given, 'dusk', 'fog')]
    assert np.abs(found[1:]) == pytest.approx([180.0] * 3)
    # Straight above it is on no side.
    above, dusk = lights_of(('day', {'sun_direction': [0.0, 0.0, 2.0]}), 'dusk')
    np.testing.assert_array_equal(above.sun_direction, [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(dusk.sun_direction, lights_of('dusk')[0].sun_direction)


def test_a_light_that_comes_twice_is_the_same_one():
    first, fog, like_fog, last = lights_of('day', 'fog', 'fog', 'day')
    for one, other in ((first, last), (fog, like_fog)):
        assert one.ambient_c == other.ambient_c
        assert one.haze_per_m == other.haze_per_m
        np.testing.assert_allclose(one.sun_direction, other.sun_direction, atol=1e-6)


def test_a_direction_to_the_sun_may_have_any_length():
    light = {'condition': 'day', 'values': {'sun_direction': [0.0, 3.0, 4.0]}}
    (environment,) = sample_sequence(build_scenario({'conditions': [light]})).lights
    np.testing.assert_allclose(environment.sun_direction, [0.0, 0.6, 0.8], rtol=1e-6)
    assert environment.sun_direction.dtype == np.float32
