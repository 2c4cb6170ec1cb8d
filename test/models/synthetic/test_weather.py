# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import math

from made_scenes import plain_environment, plane_and_wall, small_camera
import numpy as np
import pytest

from rgbt_models.synthetic import render_view
from rgbt_models.synthetic.environment import direction_to
from rgbt_models.synthetic.surface import gather_surface
from rgbt_models.synthetic.weather import halo, mix_plumes, Plume, sample_plumes, unit_depth
from rgbt_models.synthetic.world import radiance_of, temperature_of

WALL = (20, 3)  # row and column of the wall, 12 m ahead, in the view of the small camera
SKY = (0, 50)
ORIGIN = np.array([0.0, 0.0, 1.5], np.float32)


def view(**changes):
    return render_view(plane_and_wall(plain_environment(**changes)).at(), small_camera())


def plume(**changes):
    values = {
        'centre': np.array([6.0, 2.0, 1.5], np.float32),
        'radii_m': np.array([1.0, 2.0, 1.5], np.float32),
        'extinction_per_m': 0.8,
        'albedo': 0.7,
    }
    return Plume(**{**values, **changes})


def wall_range():
    x, y, z = 1.0, (29.5 - WALL[1]) / 50.0, (19.5 - WALL[0]) / 50.0
    return 12.0 * math.sqrt(x * x + y * y + z * z)


def looking(direction, range_m=math.inf):
    """The surface behind one ray."""
    snapshot = plane_and_wall().at()
    triangle = np.array([0 if math.isfinite(range_m) else -1], np.int32)
    ray = np.array(direction, np.float32) / np.float32(np.linalg.norm(direction))
    return gather_surface(
        snapshot,
        (triangle, np.array([range_m], np.float32)),
        ray[:, None],
        origin=ORIGIN,
        sees_light=False,
        sees_heat=False,
    )


def test_fog_attenuates_by_exp_of_minus_extinction_times_distance():
    clear, fog = radiance_of(view()), radiance_of(view(haze_per_m=0.07))
    passed = math.exp(-0.07 * wall_range())
    veil = 0.8 * np.array([0.7, 0.8, 0.9])
    np.testing.assert_allclose(fog[WALL], clear[WALL] * passed + veil * (1 - passed), rtol=1e-4)


def test_haze_leaves_the_sky_and_fog_hides_it():
    clear = radiance_of(view())[SKY]
    np.testing.assert_allclose(radiance_of(view(haze_per_m=0.008))[SKY], clear, rtol=1e-6)
    fog = radiance_of(view(haze_per_m=0.12))[SKY]
    np.testing.assert_allclose(fog, 0.8 * clear, rtol=1e-3)


def test_fog_fades_heat_by_its_own_extinction_only():
    clear, fog = temperature_of(view()), temperature_of(view(haze_per_m=0.1))
    np.testing.assert_array_equal(clear, fog)
    thin = temperature_of(view(thermal_haze_per_m=0.02))
    expected = 11.0 + 7.0 * math.exp(-0.02 * wall_range())
    assert thin[WALL] == pytest.approx(expected, abs=1e-3)


def test_smoke_leaves_heat_unchanged_and_hides_light():
    smoke = (plume(extinction_per_m=50.0, radii_m=np.full(3, 3.0, np.float32)),)
    clear, veiled = view(), view(plumes=smoke)
    np.testing.assert_array_equal(temperature_of(clear), temperature_of(veiled))
    expected = 0.7 * 1.3 * np.array([0.5, 0.4, 0.3])
    np.testing.assert_allclose(radiance_of(veiled)[20, 15], expected, rtol=1e-3)
    # Far to the right of a small plume nothing changes.
    veiled = view(plumes=(plume(centre=np.array([6.0, 3.0, 1.5], np.float32)),))
    np.testing.assert_allclose(radiance_of(veiled)[30, 59], radiance_of(clear)[30, 59], rtol=1e-2)


def test_hot_smoke_is_seen_by_the_thermal_camera_at_air_plus_its_heat():
    fire = plume(thermal_per_m=50.0, heat_k=80.0, radii_m=np.full(3, 3.0, np.float32))
    assert temperature_of(view(plumes=(fire,)))[20, 15] == pytest.approx(91.0, abs=0.1)


@pytest.mark.parametrize(
    ('direction', 'range_m'),
    [
        ((1, 0.3, 0.0), math.inf),
        ((1, 0.3, 0.1), 6.0),
        ((1, 0.2, -0.05), 7.0),
        ((1, -1, 0.2), 30.0),
    ],
)
def test_depth_of_a_plume_is_the_integral_of_its_density(direction, range_m):
    cloud = plume()
    found = unit_depth(cloud, looking(direction, range_m))[0]
    ray = np.array(direction) / np.linalg.norm(direction)
    steps = np.linspace(0.0, min(range_m, 100.0), 200_001)
    points = (ORIGIN + steps[:, None] * ray - cloud.centre) / cloud.radii_m
    density = np.exp(-np.square(points).sum(axis=1))
    assert found == pytest.approx(density.mean() * steps[-1], abs=2e-3)


def test_halo_is_the_integral_of_inverse_squares():
    lamp, haze = np.array([10.0, 3.0, 4.0], np.float32), 0.05
    steps = np.linspace(0.0, 300.0, 600_001)
    along = steps[:, None] * np.array([1.0, 0.0, 0.0])
    inverse = (1.0 / np.square(ORIGIN + along - lamp).sum(axis=1)).mean() * 300.0
    away = np.linalg.norm(lamp - ORIGIN)
    found = halo(looking((1, 0, 0)), lamp, haze)[0]
    assert found == pytest.approx(0.3 * haze * math.exp(-haze * away) * inverse, rel=1e-3)


def test_mixing_fades_both_sets_and_keeps_what_they_share():
    one, two, both = plume(), plume(heat_k=3.0), plume(albedo=0.1)
    shared, leaving, coming = mix_plumes((one, both), (both, two), 0.25)
    assert shared is both
    assert leaving.extinction_per_m == pytest.approx(0.75 * 0.8)
    assert coming.extinction_per_m == pytest.approx(0.25 * 0.8)
    assert coming.heat_k == 3.0


def test_drawn_smoke_lies_ahead_on_the_ground_and_sometimes_burns():
    drawn = [sample_plumes(np.random.default_rng(seed), reach_m=30.0) for seed in range(60)]
    for plumes in drawn:
        assert 3 <= len(plumes) <= 7
        assert all(3.0 < one.centre[0] <= 30.0 for one in plumes)
        assert all(one.centre[2] <= 3.5 for one in plumes)
    burning = sum(any(one.heat_k > 0 for one in plumes) for plumes in drawn)
    assert 8 <= burning <= 32
    assert replace(drawn[0][0]).faded(0.5).extinction_per_m == pytest.approx(
        0.5 * drawn[0][0].extinction_per_m
    )


def test_smoke_is_lit_by_the_sun():
    smoke = (plume(extinction_per_m=50.0, radii_m=np.full(3, 3.0, np.float32)),)
    dull = radiance_of(view(plumes=smoke))[20, 15]
    sunny = radiance_of(
        view(plumes=smoke, sun_strength=1.0, sun_direction=direction_to(0.0, 0.8))
    )[20, 15]
    expected = 0.7 * 0.35 * np.array([2.0, 1.94, 1.8])
    np.testing.assert_allclose(sunny - dull, expected, rtol=1e-3)
