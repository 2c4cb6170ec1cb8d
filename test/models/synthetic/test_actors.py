# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial
import math

from made_actors import build, extent
import numpy as np
import pytest

from rgbt_models.synthetic import population
from rgbt_models.synthetic.actors import Course
from rgbt_models.synthetic.cars import CarKind
from rgbt_models.synthetic.limbs import bend, LimbList
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.meshes import capsule, disc, loft, wheel_rim
from rgbt_models.synthetic.parts import PartList, tilted
from rgbt_models.synthetic.textures import sample_texture

ADDERS = {
    'person': population.add_person,
    'car': population.add_car,
    'van': partial(population.add_car, kind=CarKind.VAN),
    'truck': population.add_truck,
    'bus': population.add_bus,
    'bicycle': population.add_bicycle,
    'motorbike': population.add_motorbike,
    'animal': population.add_animal,
}
BACKGROUND = {Label.ROAD, Label.BUILDING}


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


@pytest.mark.parametrize('name', ADDERS)
def test_same_seed_gives_the_same_actor(name):
    one, two = (build(ADDERS[name], 7) for _ in range(2))
    assert one.materials == two.materials
    for first, second in zip(one.actors, two.actors, strict=True):
        assert first.triangles_at(0.8)[0].tobytes() == second.triangles_at(0.8)[0].tobytes()
        assert first.course.speed_m_s == second.course.speed_m_s


@pytest.mark.parametrize('name', ADDERS)
def test_two_seeds_give_two_silhouettes(name):
    def shape(seed):
        return np.concatenate(
            [actor.triangles_at(0.0)[0] for actor in build(ADDERS[name], seed).actors]
        )

    sizes = np.array([np.ptp(shape(seed).reshape(-1, 3), axis=0) for seed in range(40)])
    assert (np.std(sizes, axis=0) > 0.01).all()
    assert len(np.unique(np.round(sizes, 3), axis=0)) == 40


@pytest.mark.parametrize('name', ADDERS)
def test_materials_belong_to_the_objects_of_their_label(name):
    for seed in range(40):
        builder = build(ADDERS[name], seed)
        class_ids = builder.instance_class_ids
        assert len({actor.frame for actor in builder.actors}) == len(builder.actors)
        used = set()
        for actor in builder.actors:
            used |= set(actor.triangles_at(0.0)[1].tolist())
        for index in used:
            row = builder.materials[index]
            if row.instance < 0:
                assert row.label in BACKGROUND
            else:
                assert class_ids[row.instance] == row.label - Label.PERSON
        seen = {builder.materials[index].instance for index in used}
        assert seen - {-1} == set(range(len(class_ids)))


@pytest.mark.parametrize('name', ADDERS)
def test_actors_stand_on_the_ground(name):
    for seed in range(60):
        builder = build(ADDERS[name], seed, speed_m_s=1.3)
        lowest = [actor.triangles_at(1.7)[0][..., 2].min() for actor in builder.actors]
        assert abs(min(lowest)) < 0.03
        # Feet may be on pedals, everything else touches the ground.
        assert all(-0.03 < value < 0.5 for value in lowest)


@pytest.mark.parametrize('name', ADDERS)
def test_meshes_are_small_enough_to_render_fast(name):
    counts = [
        len(actor.triangles_at(0.0)[0])
        for seed in range(60)
        for actor in build(ADDERS[name], seed).actors
    ]
    assert max(counts) <= 2500
    assert np.median(counts) <= 900


def test_actor_turns_with_its_course():
    builder = build(population.add_car, 3)
    low, high = extent(builder.actors[0], builder, Label.CAR)
    course = Course(position=np.array([5.0, 2.0, 0.0], np.float32), yaw_rad=math.pi / 2)
    population.add_car(np.random.default_rng(3), builder, course)
    turned = extent(builder.actors[1], builder, Label.CAR)
    # Forward becomes left, left becomes back.
    assert turned[1][1] == pytest.approx(2.0 + high[0], abs=1e-3)
    assert turned[0][0] == pytest.approx(5.0 - high[1], abs=1e-3)
    assert turned[0][1] == pytest.approx(2.0 + low[0], abs=1e-3)


def test_bent_limb_keeps_its_lengths_and_reaches_the_target():
    root, target = (0.1, 0.2, 1.0), (0.3, 0.2, 0.4)
    joint, end = bend(root, target, (0.4, 0.35), (1.0, 0.0, 0.0))
    np.testing.assert_allclose(end, target, atol=1e-6)
    assert math.dist(root, joint) == pytest.approx(0.4)
    assert math.dist(joint, end) == pytest.approx(0.35)
    assert joint[0] > 0.3  # the joint points where it was asked to
    assert joint[1] == pytest.approx(0.2)


def test_limb_out_of_reach_is_stretched_towards_the_target():
    joint, end = bend((0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (0.4, 0.4), (1.0, 0.0, 0.0))
    np.testing.assert_allclose(end, (0.0, 0.0, 1.0 - 0.999 * 0.8), atol=1e-6)
    assert joint[2] == pytest.approx(0.6, abs=0.02)


def test_capsule_reaches_one_radius_beyond_both_ends():
    mesh = capsule((0.0, 0.0, 0.5), (0.0, 0.0, 1.5), 0.2)
    np.testing.assert_allclose(mesh[..., 2].min(), 0.3, atol=1e-6)
    np.testing.assert_allclose(mesh[..., 2].max(), 1.7, atol=1e-6)
    np.testing.assert_allclose(np.abs(mesh[..., :2]).max(), 0.2, atol=0.01)


def test_limbs_keep_their_materials_and_shapes():
    limbs, parts = LimbList(), PartList()
    limbs.add((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.1, 0.3), 4, flatness=0.5, cap=0.0)
    limbs.add_fine((5.0, 0.0, 0.0), (5.0, 0.0, 1.0), (0.2, 0.2), 9)
    limbs.move_to(parts)
    triangles, materials = parts.joined()
    plain = triangles[materials == 4].reshape(-1, 3)
    assert (len(triangles[materials == 4]), len(triangles[materials == 9])) == (28, 72)
    assert plain[:, 0].max() == pytest.approx(0.3 * 0.5, rel=0.05)  # front to back
    assert plain[:, 1].max() == pytest.approx(0.3, rel=0.05)  # across
    assert (plain[:, 2].min(), plain[:, 2].max()) == (0.0, 1.0)


def test_loft_spans_neighbouring_sections():
    sections = np.zeros((3, 2, 3), np.float32)
    sections[:, :, 0] = np.array([0.0, 2.0, 5.0])[:, None]
    sections[:, 1, 2] = 1.0
    mesh = loft(sections)
    assert mesh.shape == (2, 1, 2, 3, 3)
    one, two = mesh[..., 1, :] - mesh[..., 0, :], mesh[..., 2, :] - mesh[..., 0, :]
    area = 0.5 * np.linalg.norm(np.cross(one, two), axis=-1).sum(axis=(1, 2))
    np.testing.assert_allclose(area, [2.0, 3.0])


def test_wheel_rim_and_disc_have_their_radius_and_plane():
    tyre = wheel_rim(0.4, (1.0, 0.5, 0.4), tube=0.1).reshape(-1, 3)
    assert np.hypot(tyre[:, 0] - 1.0, tyre[:, 2] - 0.4).max() == pytest.approx(0.4, abs=1e-5)
    assert np.abs(tyre[:, 1] - 0.5).max() == pytest.approx(0.04, rel=0.06)
    flat = disc(0.3, (0.0, 2.0, 1.0), axis='y').reshape(-1, 3)
    assert (flat[:, 1] == 2.0).all()
    assert flat[:, 2].max() == pytest.approx(1.3, abs=1e-5)


def test_tilted_mesh_leans_to_the_right_and_stands():
    mast = np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.1, 0.0, 1.0]]], np.float32)
    np.testing.assert_allclose(
        tilted(mast, math.radians(30.0))[0, 1], [0.0, -0.5, math.sqrt(0.75)], atol=1e-6
    )


def test_texture_is_periodic_without_a_seam():
    # One period is 256 texels: 25.6 m at 10 texels per metre.
    u = np.linspace(0.0, 3.0, 400, dtype=np.float32)
    v = np.full_like(u, 1.7)
    here, there = sample_texture(2, u, v, 10.0), sample_texture(2, u + 25.6, v, 10.0)
    assert np.abs(here - there).mean() < 0.02
    across = sample_texture(2, np.array([-0.012, 0.012], np.float32), v[:2], 10.0)
    assert abs(across[0] - across[1]) < 0.6
