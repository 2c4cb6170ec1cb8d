# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from functools import partial

from made_actors import build, extent, mean_offset_k
import numpy as np
import pytest

from rgbt_models.synthetic import population
from rgbt_models.synthetic.carried import Carried
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.poses import Hand, pose_person, Stance

DRAWS = 200
add_person = partial(population.add_person, ambient_c=12.0)


def person(seed, **options):
    builder = build(add_person, seed, **options)
    return builder, builder.actors[0].shape


@pytest.fixture(scope='module')
def people():
    return [person(seed) for seed in range(DRAWS)]


def test_people_are_as_tall_as_they_are(people):
    for builder, shape in people:
        low, high = extent(builder.actors[0], builder, Label.PERSON)
        upright = shape.habit.stance in (Stance.STAND, Stance.WALK, Stance.RUN)
        if (
            upright
            and shape.load.kind != Carried.UMBRELLA
            and Hand.RAISED not in shape.habit.hands
        ):
            assert 0.9 < (high[2] - low[2]) / shape.height_m < 1.09
        elif shape.load.kind == Carried.NOTHING and not upright:
            assert 0.3 < (high[2] - low[2]) / shape.height_m < 0.95


def test_people_are_between_a_toddler_and_a_giant(people):
    heights = np.array([shape.height_m for _, shape in people])
    assert heights.min() >= 0.8
    assert heights.max() <= 2.02
    assert 0.08 < np.mean(heights < 1.4) < 0.3
    widths = [np.ptp(extent(b.actors[0], b, Label.PERSON)[:, 1]) for b, _ in people]
    assert min(widths) > 0.2
    assert max(widths) < 1.6


def test_every_stance_and_load_occurs():
    people = [person(seed) for seed in range(800)]
    assert {shape.habit.stance for _, shape in people} == set(Stance) - {Stance.RIDE}
    loads = {shape.load.kind for _, shape in people}
    assert loads >= set(Carried) - {Carried.PUSHED_BICYCLE}


def test_walking_repeats_after_a_stride_and_not_before():
    _, shape = person(1, speed_m_s=1.3, has_own_speed=False)
    stride = shape.habit.stride_m
    start, half, full = (shape.triangles(stride * share)[0] for share in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(full, start, atol=1e-4)
    assert np.abs(half - start).max() > 0.1


def test_foot_on_the_ground_moves_back_as_fast_as_the_body_moves_on():
    _, shape = person(1, speed_m_s=1.3, has_own_speed=False)
    habit = replace(shape.habit, phase=0.1)
    before, after = (pose_person(shape.figure, habit, walked) for walked in (0.0, 0.1))
    assert before.feet[0][2] == after.feet[0][2]  # the right one stands
    assert before.feet[0][0] - after.feet[0][0] == pytest.approx(0.1)
    assert after.feet[1][0] > before.feet[1][0]  # the left one swings forward


def test_arms_swing_against_the_legs():
    _, shape = person(1, speed_m_s=1.3, has_own_speed=False)
    habit = replace(shape.habit, phase=0.0, hands=(Hand.SWING, Hand.SWING), arm_gain=0.5)
    pose = pose_person(shape.figure, habit, 0.0)
    assert pose.feet[0][0] > pose.feet[1][0]
    assert pose.hands[0][0] < pose.hands[1][0]


def test_gait_follows_the_speed_of_the_course():
    for speed, stance in ((0.0, Stance.STAND), (1.2, Stance.WALK), (3.0, Stance.RUN)):
        builder, shape = person(3, speed_m_s=speed, has_own_speed=False)
        assert shape.habit.stance == stance
        assert builder.actors[0].course.speed_m_s == speed


def test_those_who_neither_walk_nor_run_stay(people):
    for builder, shape in people:
        moves = shape.habit.stance in (Stance.WALK, Stance.RUN)
        assert (builder.actors[0].course.speed_m_s > 0.0) == moves


def test_what_stands_on_the_ground_is_not_part_of_the_person():
    for kind, is_person in (
        (Carried.STROLLER, False), (Carried.SUITCASE, False), (Carried.BACKPACK, True),
        (Carried.UMBRELLA, True),
    ):  # fmt: skip
        builder = build(add_person, 2, carried=kind)
        row = builder.materials[builder.actors[0].shape.load.material]
        assert (row.label == Label.PERSON) == is_person
        assert (row.instance == 0) == is_person


def test_stroller_and_suitcase_stand_on_the_ground():
    for kind in (Carried.STROLLER, Carried.SUITCASE):
        for seed in range(20):
            builder = build(add_person, seed, carried=kind)
            if builder.actors[0].shape.load.kind == kind:
                low, _ = extent(builder.actors[0], builder, Label.BUILDING)
                assert -0.03 < low[2] < 0.06


def test_cold_clad_and_warm_people_both_occur(people):
    warmth = [mean_offset_k(b.actors[0], b, Label.PERSON, 12.0) for b, _ in people]
    assert np.percentile(warmth, 6) < 4.5  # coats nearly as cold as the air
    assert np.percentile(warmth, 80) > 7.5
    assert min(warmth) > 0.0


def test_thick_clothes_of_frost_show_six_tenths_of_what_thin_ones_show():
    def share(ambient_c):
        builders = [build(population.add_person, seed, ambient_c=ambient_c) for seed in range(40)]
        return np.array([b.materials[b.actors[0].shape.clothes.top].body_share for b in builders])

    np.testing.assert_allclose(share(-4.0), 0.6 * share(18.0), rtol=1e-6)
    np.testing.assert_allclose(share(7.0), 0.8 * share(30.0), rtol=1e-6)


def test_skin_is_warmer_than_clothes_and_gets_bare_in_summer():
    def bare(ambient_c):
        shapes = [
            build(population.add_person, seed, ambient_c=ambient_c).actors[0].shape
            for seed in range(100)
        ]
        return np.mean([shape.clothes.shin == shape.clothes.skin for shape in shapes])

    for seed in range(50):
        builder, shape = person(seed)
        rows, clothes = builder.materials, shape.clothes
        assert rows[clothes.skin].body_share > rows[clothes.top].body_share - 0.01
    assert bare(-5.0) < 0.15
    assert bare(30.0) > 0.3


def test_bodies_do_not_depend_on_the_air():
    for seed in range(30):
        _, cold = person(seed, ambient_c=-8.0)
        _, warm = person(seed, ambient_c=31.0)
        assert (cold.figure, cold.habit, cold.waist) == (warm.figure, warm.habit, warm.waist)


def test_most_people_wear_dark_trousers_and_every_second_a_dark_top(people):
    def dark(part):
        rows = [b.materials[getattr(shape.clothes, part)].albedo for b, shape in people]
        return np.mean([max(albedo) < 0.26 and np.mean(albedo) < 0.16 for albedo in rows])

    assert 0.7 < dark('trousers') < 0.9
    assert 0.5 < dark('top') < 0.75


def test_some_jackets_have_sleeves_of_another_colour(people):
    other = [
        shape.clothes.sleeve not in (shape.clothes.top, shape.clothes.skin) for _, shape in people
    ]
    assert 0.12 < np.mean(other) < 0.35


def test_rider_is_a_rider_on_a_bicycle_that_moves_along():
    builder = build(population.add_bicycle, 1, speed_m_s=4.0)
    bicycle, rider = builder.actors
    assert builder.instance_class_ids == [2, 1]
    assert bicycle.course is rider.course
    start, later = (rider.shape.triangles(way)[0] for way in (0.0, 0.8))
    assert np.abs(start - later).max() > 0.05  # pedals turn
    assert np.abs(start[:72] - later[:72]).max() == 0.0  # hips do not


@pytest.mark.parametrize('add', [population.add_bicycle, population.add_motorbike])
def test_riders_sit_on_the_saddle_with_their_hands_on_the_bars(add):
    for seed in range(60):
        builder = build(add, seed, speed_m_s=4.0)
        shape = builder.actors[1].shape
        low, high = extent(builder.actors[1], builder, Label.RIDER)
        assert low[2] > 0.02
        assert 0.3 < shape.mount.saddle[2] < high[2] - 0.3
        assert 0.9 < high[2] < 2.15
        points = shape.triangles(0.0)[0].reshape(-1, 3)
        for grip in shape.mount.grips:
            assert np.linalg.norm(points - grip, axis=1).min() < 0.12


def test_motorbike_riders_keep_still():
    shape = build(population.add_motorbike, 4, speed_m_s=8.0).actors[1].shape
    np.testing.assert_array_equal(shape.triangles(0.0)[0], shape.triangles(3.3)[0])


def test_pushed_bicycle_goes_with_a_person_of_its_size():
    builder = build(population.add_bicycle, 5, has_rider=False, is_pushed=True)
    assert builder.instance_class_ids == [2, 0]
    pusher, bicycle = builder.actors
    assert pusher.course.speed_m_s == bicycle.course.speed_m_s > 0.0
    np.testing.assert_allclose(pusher.course.position - bicycle.course.position, [0.0, 0.45, 0.0])
