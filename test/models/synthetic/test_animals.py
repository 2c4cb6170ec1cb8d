# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial

from made_actors import build, extent, mean_offset_k
import numpy as np
import pytest

from rgbt_models.synthetic import population
from rgbt_models.synthetic.animals import AnimalKind, Posture
from rgbt_models.synthetic.materials import Label

DRAWS = 200
# Height of the back, metres.
BACKS = {
    AnimalKind.DOG: (0.12, 0.85), AnimalKind.CAT: (0.12, 0.36), AnimalKind.FOX: (0.15, 0.5),
    AnimalKind.BOAR: (0.3, 0.95), AnimalKind.SHEEP: (0.3, 0.95), AnimalKind.DEER: (0.4, 1.25),
    AnimalKind.COW: (0.6, 1.8), AnimalKind.HORSE: (0.65, 1.95),
}  # fmt: skip


@pytest.mark.parametrize('kind', AnimalKind)
def test_animals_have_the_size_of_their_kind(kind):
    least, greatest = BACKS[kind]
    for seed in range(DRAWS // 4):
        builder = build(population.add_animal, seed, kind=kind)
        shape = builder.actors[0].shape
        size = np.ptp(extent(builder.actors[0], builder, Label.ANIMAL), axis=0)
        assert least < shape.height_m < greatest
        assert 1.0 < size[0] / shape.height_m < 4.6
        assert 0.15 < size[1] / shape.height_m < 1.6
        assert 0.4 < size[2] / shape.height_m < 2.5


def test_all_kinds_and_postures_occur():
    builders = [build(population.add_animal, seed) for seed in range(DRAWS)]
    assert {b.actors[0].shape.posture for b in builders} == set(Posture)
    heights = [b.actors[0].shape.height_m for b in builders]
    assert min(heights) < 0.35
    assert max(heights) > 1.2


def test_gait_moves_the_feet_and_repeats_after_a_stride():
    add = partial(population.add_animal, has_own_speed=False, kind=AnimalKind.DEER)
    shape = build(add, 2, speed_m_s=1.0).actors[0].shape
    assert shape.posture == Posture.WALK
    start, part, full = (shape.triangles(shape.stride_m * share)[0] for share in (0.0, 0.3, 1.0))
    np.testing.assert_allclose(full, start, atol=1e-4)
    assert np.abs(part - start).max() > 0.1


def test_faster_than_its_legs_walk_it_runs():
    for speed, kind, posture in (
        (2.5, AnimalKind.DOG, Posture.RUN),
        (2.5, AnimalKind.HORSE, Posture.WALK),
        (7.0, AnimalKind.HORSE, Posture.RUN),
    ):
        add = partial(population.add_animal, has_own_speed=False, kind=kind)
        builder = build(add, 1, speed_m_s=speed)
        assert builder.actors[0].shape.posture == posture
        assert builder.actors[0].course.speed_m_s == speed


def test_resting_animals_stay():
    for seed in range(60):
        builder = build(population.add_animal, seed, speed_m_s=3.0)
        moves = builder.actors[0].shape.posture in (Posture.WALK, Posture.RUN)
        assert (builder.actors[0].course.speed_m_s > 0.0) == moves


def test_animals_are_warm_under_their_fur_and_warmest_in_the_face():
    for seed in range(60):
        builder = build(population.add_animal, seed, ambient_c=10.0)
        coat, rows = builder.actors[0].shape.coat, builder.materials
        assert 0.05 <= rows[coat.back].body_share <= 0.7
        assert rows[coat.face].body_share > rows[coat.back].body_share
        assert mean_offset_k(builder.actors[0], builder, Label.ANIMAL, 10.0) > 1.0
