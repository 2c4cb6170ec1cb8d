# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from rgbt_models.synthetic.daylight import compute_daylight


def test_overhead_sun_is_white_and_a_low_sun_is_weak_and_red():
    high, low = compute_daylight(math.pi / 2, 0.0), compute_daylight(0.12, 0.0)
    np.testing.assert_allclose(high.sun_colour, [2.0, 1.94, 1.8], rtol=1e-6)
    assert high.sun_strength == pytest.approx(1.2)
    mass = 1.0 / math.sin(0.12) - 1.0
    assert low.sun_strength == pytest.approx(1.2 * math.exp(-0.1 * mass), rel=1e-6)
    assert low.sun_colour[2] / low.sun_colour[0] < 0.5 * 1.8 / 2.0
    assert high.lights == 0.0


def test_sky_light_falls_steadily_with_the_sun_and_is_nearly_gone_in_twilight():
    levels = [compute_daylight(e, 0.0).sky_light.mean() for e in (1.2, 0.5, 0.1, 0.0, -0.05, -0.1)]
    assert all(one > two for one, two in itertools.pairwise(levels))
    assert levels[-1] == pytest.approx(levels[3] * math.exp(-3.5), rel=1e-5)


def test_clouds_take_the_sun_its_glow_and_the_blue():
    clear, overcast = compute_daylight(0.05, 0.0), compute_daylight(0.05, 1.0)
    assert clear.sun_strength > 0.0
    assert overcast.sun_strength == 0.0
    assert clear.sky_glow[0] > clear.sky_glow[2] > 0.0
    assert not overcast.sky_glow.any()
    assert np.ptp(overcast.sky_radiance) < 1e-6
    noon = compute_daylight(1.0, 0.0).sky_radiance
    assert noon[2] > 1.5 * noon[0]


@pytest.mark.parametrize(('elevation', 'lights'), [(0.2, 0.0), (0.1, 0.0), (-0.07, 1.0), (-1, 1)])
def test_lights_come_on_while_the_sun_sets(elevation, lights):
    assert compute_daylight(elevation, 0.3).lights == pytest.approx(lights)
    assert 0.4 < compute_daylight(0.015, 0.0).lights < 0.6
