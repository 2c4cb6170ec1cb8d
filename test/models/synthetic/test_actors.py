# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from rgbt_models.synthetic.actors import Course
from rgbt_models.synthetic.builder import SceneBuilder
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.people import sample_person
from rgbt_models.synthetic.population import add_bicycle, add_car
from rgbt_models.synthetic.scene import sample_scene
from rgbt_models.synthetic.textures import sample_texture


def test_course_starts_late_turns_left_and_ends():
    course = Course(
        position=np.array([2.0, 1.0, 0.1], np.float32),
        yaw_rad=math.pi / 2,
        speed_m_s=1.5,
        start_s=2.0,
        length_m=6.0,
    )
    np.testing.assert_allclose(course.position_at(1.0), [2.0, 1.0, 0.1], atol=1e-6)
    np.testing.assert_allclose(course.position_at(4.0), [2.0, 4.0, 0.1], atol=1e-6)
    np.testing.assert_allclose(course.position_at(60.0), [2.0, 7.0, 0.1], atol=1e-6)


@pytest.mark.parametrize('seed', range(8))
def test_people_stand_on_the_ground_and_are_as_tall_as_they_are(seed):
    rng, builder = np.random.default_rng(seed), SceneBuilder()
    person = sample_person(rng, builder.material, instance=0, frame=1, ambient_c=10.0)
    triangles, materials = person.triangles(0.0)
    low, high = triangles[..., 2].min(), triangles[..., 2].max()
    assert -0.06 < low < 0.2  # a swung leg lifts the feet
    assert high == pytest.approx(person.height_m, rel=0.08)
    assert len(triangles) == len(materials)
    assert triangles.dtype == np.float32


def test_walking_repeats_after_two_steps():
    rng, builder = np.random.default_rng(1), SceneBuilder()
    person = sample_person(rng, builder.material, instance=0, frame=1, ambient_c=10.0)
    stride = 2.0 * 0.42 * person.height_m
    start, half, full = (person.triangles(stride * share)[0] for share in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(full, start, atol=1e-5)
    assert np.abs(half - start).max() > 0.02


def test_rider_and_bicycle_move_together():
    rng, builder = np.random.default_rng(1), SceneBuilder()
    course = Course(position=np.zeros(3, np.float32), yaw_rad=0.3, speed_m_s=4.0)
    add_bicycle(rng, builder, course, ambient_c=10.0, has_rider=True)
    bicycle, rider = builder.actors
    assert builder.instance_class_ids == [2, 0]
    apart = rider.course.position_at(5.0) - bicycle.course.position_at(5.0)
    np.testing.assert_allclose(apart, rider.course.position - bicycle.course.position, atol=1e-5)


def test_cars_stand_on_their_wheels():
    builder = SceneBuilder()
    course = Course(position=np.array([5.0, -2.0, 0.0], np.float32), yaw_rad=0.0)
    add_car(np.random.default_rng(3), builder, course)
    triangles, _ = builder.actors[0].triangles_at(0.0)
    assert triangles[..., 2].min() == pytest.approx(0.0, abs=0.01)
    assert 1.3 < triangles[..., 2].max() < 2.7
    assert {row.label for row in builder.materials} == {Label.CAR, Label.ROAD}


def test_scene_moves_with_time_but_its_street_does_not():
    scene = sample_scene(4)
    count = len(scene.fixed_triangles)
    now, later = scene.at(0.0), scene.at(2.0)
    np.testing.assert_array_equal(now.normals[:count], later.normals[:count])
    assert (now.frames != later.frames).any()


def test_texture_is_periodic_without_a_seam():
    # One period is 256 texels: 25.6 m at 10 texels per metre.
    u = np.linspace(0.0, 3.0, 400, dtype=np.float32)
    v = np.full_like(u, 1.7)
    here, there = sample_texture(2, u, v, 10.0), sample_texture(2, u + 25.6, v, 10.0)
    assert np.abs(here - there).mean() < 0.02
    across = sample_texture(2, np.array([-0.012, 0.012], np.float32), v[:2], 10.0)
    assert abs(across[0] - across[1]) < 0.6
