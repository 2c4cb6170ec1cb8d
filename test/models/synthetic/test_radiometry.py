# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from made_scenes import AMBIENT_C, plain_environment, plane_and_wall, small_camera
import numpy as np
import pytest

from rgbt_models.synthetic import render_view
from rgbt_models.synthetic.actors import Actor, Course, RigidBody
from rgbt_models.synthetic.environment import Condition, direction_to, sample_environment
from rgbt_models.synthetic.materials import BODY_C, Label, Material, MaterialTable, Pattern
from rgbt_models.synthetic.meshes import box
from rgbt_models.synthetic.radiometry import material_temperature
from rgbt_models.synthetic.world import temperature_of

WALL, ROAD = (20, 3), (38, 50)


def heat(scene):
    return temperature_of(render_view(scene.at(), small_camera(), radiance=False))


def temperatures(material, **changes):
    scene = plane_and_wall(plain_environment(**changes))
    table = MaterialTable.from_materials([material])
    return float(material_temperature(replace(scene, materials=table).at())[0])


def with_material(scene, index, **changes):
    table = scene.materials
    for name, value in changes.items():
        column = getattr(table, name).copy()
        column[index] = value
        table = replace(table, **{name: column})
    return replace(scene, materials=table)


def test_material_temperature_is_the_documented_sum():
    material = Material(
        label=Label.PERSON, albedo=(0.1, 0.1, 0.1), offset_k=1.5, body_share=0.4, ground_share=0.5,
        soak=0.2, lamp_k=4.0,
    )  # fmt: skip
    found = temperatures(
        material, ground_offset_k=3.0, solar_heating_k=10.0, lights=1.0, thermal_contrast=0.5
    )
    total = 1.5 + 0.4 * (BODY_C - AMBIENT_C) + 0.5 * 3.0 + 0.2 * 10.0 + 4.0
    assert found == pytest.approx(AMBIENT_C + 0.5 * total, abs=1e-4)


def test_wind_cools_coats_more_than_skin():
    def warmth(share, wind):
        material = Material(label=Label.PERSON, albedo=(0.1, 0.1, 0.1), body_share=share)
        return temperatures(material, wind=wind) - AMBIENT_C

    assert warmth(0.3, 1.0) / warmth(0.3, 0.0) == pytest.approx(1.0 - 0.4 * 0.7, abs=1e-4)
    assert warmth(1.0, 1.0) == pytest.approx(warmth(1.0, 0.0), abs=1e-4)


def test_wind_halves_what_the_sun_warms():
    material = Material(label=Label.CAR, albedo=(0.1, 0.1, 0.1), soak=1.0)
    assert temperatures(material, solar_heating_k=20.0, wind=1.0) == pytest.approx(AMBIENT_C + 10)


def test_sunlit_side_is_warmer_than_the_shaded_side_by_the_closed_form():
    sunny = plain_environment(sun_direction=direction_to(np.pi, 0.4), solar_heating_k=10.0)
    shaded = plain_environment(sun_direction=direction_to(0.0, 0.4), solar_heating_k=10.0)
    difference = heat(plane_and_wall(sunny))[WALL] - heat(plane_and_wall(shaded))[WALL]
    assert difference == pytest.approx(0.3 * 10.0 * 0.6 * np.cos(0.4), abs=1e-3)


def test_dark_sheet_metal_becomes_hotter_than_white():
    environment = plain_environment(sun_direction=direction_to(np.pi, 0.4), solar_heating_k=10.0)
    scene = with_material(plane_and_wall(environment), 1, is_glossy=1.0)
    black, white = (heat(with_albedo(scene, level))[WALL] for level in (0.0, 0.75))
    warm = 0.3 * 10.0 * 0.6 * np.cos(0.4)
    assert black == pytest.approx(AMBIENT_C + 7.0 + 1.8 * warm, abs=1e-3)
    assert white == pytest.approx(AMBIENT_C + 7.0 + 0.9 * warm, abs=1e-3)


def with_albedo(scene, level):
    albedo = scene.materials.albedo.copy()
    albedo[:, 1] = level
    return replace(scene, materials=replace(scene.materials, albedo=albedo))


def test_thermal_shadow_lies_where_the_sun_was():
    # The sun has gone on: now it shines from behind the camera, before it was behind the wall.
    now = plain_environment(
        sun_direction=direction_to(np.pi, 0.8), solar_heating_k=10.0, heat_lag_rad=np.pi
    )
    temperature = heat(plane_and_wall(now))
    assert temperature[27, 5] == pytest.approx(13.0 + 0.5 * 10.0 * 0.4, abs=1e-3)
    warm = 0.5 * 10.0 * (0.6 * np.sin(0.8) + 0.4)
    assert temperature[27, 50] == pytest.approx(13.0 + warm, abs=1e-3)


@pytest.mark.parametrize(('speed', 'is_cool'), [(0.0, True), (5.0, False)])
def test_what_moves_leaves_no_thermal_shadow(speed, is_cool):
    environment = plain_environment(sun_direction=direction_to(0.0, 1.0), solar_heating_k=10.0)
    scene = with_material(plane_and_wall(environment), 1, frame=1)
    roof = RigidBody(
        mesh=box((20.0, 20.0, 0.1), (0.0, 0.0, 0.0)), materials=np.full(12, 1, np.int32)
    )
    course = Course(position=np.array([12.0, 0.0, 8.0], np.float32), yaw_rad=0.0, speed_m_s=speed)
    scene = replace(scene, actors=(Actor(shape=roof, frame=1, course=course),))
    warm = 13.0 + 0.5 * 10.0 * (0.6 * np.sin(1.0) + 0.4)
    cool = 13.0 + 0.5 * 10.0 * 0.4
    # At 7 m, right of the wall; an upright sun's shadow of the roof reaches it.
    assert heat(scene)[30, 50] == pytest.approx(cool if is_cool else warm, abs=1e-3)


def test_sheet_metal_under_a_clear_night_sky_is_colder_than_the_air_and_roads_are_not():
    environment = plain_environment(sky_cooling_k=8.0, ground_offset_k=0.0)
    scene = with_material(plane_and_wall(environment), 0, is_glossy=1.0, ground_share=0.0)
    assert heat(scene)[ROAD] == pytest.approx(AMBIENT_C - 8.0, abs=1e-3)
    road = heat(plane_and_wall(environment))[ROAD]
    assert road == pytest.approx(AMBIENT_C - 8.0 * 0.5 * 0.2, abs=1e-3)
    # An upright wall loses a tenth of what a roof loses.
    assert heat(scene)[WALL] == pytest.approx(AMBIENT_C + 7.0 - 8.0 * 0.5 * 0.1, abs=1e-3)


def test_what_paint_takes_on_from_the_road_does_not_keep_its_upper_side_warm():
    environment = plain_environment(sky_cooling_k=8.0, ground_offset_k=5.0)
    scene = with_material(plane_and_wall(environment), 0, is_glossy=1.0, ground_share=0.4)
    assert heat(scene)[ROAD] == pytest.approx(AMBIENT_C + 0.4 * 5.0 - 8.0, abs=1e-3)


def test_paint_mirrors_the_cold_sky_where_it_faces_up_and_not_at_its_sides():
    scene = plane_and_wall(plain_environment(sky_reflection_k=6.0))
    camera = small_camera()
    down = -float(camera.rays()[ROAD[0] * 60 + ROAD[1], 2])
    road = heat(with_material(scene, 0, is_glossy=1.0))[ROAD]
    assert road == pytest.approx(AMBIENT_C + 2.0 - 6.0 * down, abs=1e-3)
    below_the_horizon = (23, 3)
    side = heat(with_material(scene, 1, is_glossy=1.0))[below_the_horizon]
    assert side == pytest.approx(AMBIENT_C + 7.0, abs=1e-3)


def test_bodies_do_not_cool_towards_the_sky():
    scene = with_material(plane_and_wall(plain_environment(sky_cooling_k=8.0)), 1, body_share=1.0)
    expected = heat(with_material(plane_and_wall(), 1, body_share=1.0))
    np.testing.assert_allclose(heat(scene)[WALL], expected[WALL], atol=1e-4)


def test_wet_ground_mirrors_warm_things():
    scene = plane_and_wall(plain_environment(wetness=1.0, sky_depression_k=0.0))
    scene = with_material(scene, 1, offset_k=60.0)
    temperature = heat(scene)
    # Below the wall its image; at the same rows on the right nothing but sky.
    assert temperature[27:33, 3:20].max() > temperature[27:33, 45:].max() + 1.0
    dry = heat(
        with_material(plane_and_wall(plain_environment(sky_depression_k=0.0)), 1, offset_k=60.0)
    )
    np.testing.assert_allclose(dry[27:33, 3:20], 13.0, atol=1e-3)


def test_crossover_leaves_less_than_three_kelvin_between_person_and_street():
    coat = Material(label=Label.PERSON, albedo=(0.1, 0.1, 0.1), body_share=0.5)
    street = Material(label=Label.ROAD, albedo=(0.1, 0.1, 0.1), ground_share=1.0)
    contrasts = {}
    for condition in (Condition.CROSSOVER, Condition.NIGHT):
        found = []
        for seed in range(80):
            environment = sample_environment(np.random.default_rng(seed), condition)
            snapshot = replace(
                plane_and_wall(environment), materials=MaterialTable.from_materials([coat, street])
            ).at()
            person, ground = material_temperature(snapshot)
            found.append(abs(float(person - ground)))
        contrasts[condition] = np.array(found)
    assert np.median(contrasts[Condition.CROSSOVER]) < 1.0
    assert np.quantile(contrasts[Condition.CROSSOVER], 0.95) < 3.0
    assert np.median(contrasts[Condition.NIGHT]) > 5.0


def sky_heat(**changes):
    """Rows above the horizon, right of the wall, from the top to just above the horizon."""
    return heat(plane_and_wall(plain_environment(**changes)))[:19, 40:]


@pytest.mark.parametrize('depression_k', [0.0, 3.0, 40.0])
def test_no_cloud_is_warmer_than_three_kelvin_below_the_air(depression_k):
    sky = sky_heat(sky_depression_k=depression_k, cloud_cover=0.6, cloud_k=8.0)
    assert sky.max() <= AMBIENT_C - 3.0 + 1e-4


def test_clear_sky_has_the_temperature_of_its_elevation():
    up = small_camera().rays().reshape(40, 60, 3)[:19, 40:, 2]
    expected = AMBIENT_C - 40.0 * np.minimum(2.0 * up + 0.25, 1.0)
    np.testing.assert_allclose(sky_heat(sky_depression_k=40.0), expected, atol=1e-3)


def test_clouds_differ_less_in_temperature_towards_the_horizon():
    difference = sky_heat(sky_depression_k=40.0, cloud_k=2.0) - sky_heat(sky_depression_k=40.0)
    assert np.abs(difference[0]).max() > 4.0 * np.abs(difference[-1]).max() > 0.0


def test_clouds_warm_the_sky():
    clear, cloudy = (
        heat(plane_and_wall(plain_environment(cloud_cover=cover)))[5, 40:].mean()
        for cover in (0.0, 1.0)
    )
    assert AMBIENT_C > cloudy > clear + 1.0


def test_panes_of_a_few_houses_let_heat_out():
    scene = plane_and_wall()
    # The two facades have the same windows, for their seeds differ by a multiple of 4, 5 and 7.
    leaky, tight = (
        heat(with_material(scene, 1, pattern=Pattern.FACADE, pattern_seed=seed))
        for seed in (0, 140)
    )
    difference = leaky - tight
    is_pane = difference != 0.0
    assert 0.01 < is_pane.mean() < 0.3
    assert difference[is_pane].min() > 14.0 - 6.0  # windows differ from each other by up to 6 K
    assert difference[is_pane].max() < 14.0 + 6.0
