# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from rgbt_models.synthetic import clutter, vegetation
from rgbt_models.synthetic.builder import SceneBuilder
from rgbt_models.synthetic.layouts import Area, Layout, LayoutKind, Rates, Spot, Use
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.placer import Placer

FURNITURE = {'post': clutter.add_post, 'bench': clutter.add_bench, 'pile': clutter.add_pile}
THINGS = {**FURNITURE, 'tree': vegetation.add_tree, 'bush': vegetation.add_bush}
FOOT = np.array([12.0, -3.0, 0.12], np.float32)
BARE = Rates(trees=0.0, bushes=0.0, posts=0.0, benches=0.0, piles=0.0, lamps=0.0)


def built(add, seed):
    builder = SceneBuilder()
    add(np.random.default_rng(seed), builder, FOOT)
    return builder


def parts_of(builder):
    """Return the material and the corners (n, 3) of everything made of it."""
    triangles, indices = builder.fixed.joined()
    return [
        (row, triangles[indices == index].reshape(-1, 3))
        for index, row in enumerate(builder.materials)
        if (indices == index).any()
    ]


def anywhere(rng, near, far):
    return rng.uniform(near, far), rng.uniform(-20.0, 20.0)


def place(rates, **fields):
    lawn = Area(use=Use.GREEN, x=0.0, y=0.0, length_m=200.0, width_m=60.0)
    return Placer(anywhere, Layout(kind=LayoutKind.PATH, areas=(lawn,), rates=rates, **fields))


@pytest.mark.parametrize('name', THINGS)
def test_things_stand_where_they_are_put(name):
    for seed in range(60):
        corners = np.concatenate([corners for _, corners in parts_of(built(THINGS[name], seed))])
        low, high = corners.min(axis=0), corners.max(axis=0)
        assert -0.75 < low[2] - FOOT[2] < 0.45  # trunks and rounded ends reach into the ground
        assert 0.1 < high[2] - FOOT[2] < 14.0
        middle = 0.5 * (low + high) - FOOT
        assert np.hypot(middle[0], middle[1]) < 1.6


@pytest.mark.parametrize('name', FURNITURE)
def test_furniture_is_not_warmer_than_the_air_but_for_small_parts(name):
    for seed in range(300):
        for row, corners in parts_of(built(FURNITURE[name], seed)):
            assert row.offset_k <= 0.8
            if row.body_share > 0.0:
                assert np.ptp(corners[:, 2]) < 0.76
            if row.lamp_k > 0.0:  # the head of a lamp
                assert corners[:, 2].min() > FOOT[2] + 1.2


def test_one_post_in_thirty_has_a_part_as_warm_as_a_body():
    warm = [
        any(row.body_share for row in built(clutter.add_post, s).materials) for s in range(2000)
    ]
    assert 0.018 < np.mean(warm) < 0.045


def test_some_posts_are_hydrants_colder_than_the_air():
    cold = [
        min(row.offset_k for row in built(clutter.add_post, seed).materials) for seed in range(800)
    ]
    assert 0.01 < np.mean(np.array(cold) < -2.7) < 0.06


def test_labels_are_those_of_background():
    labels = {
        row.label
        for add in THINGS.values()
        for s in range(80)
        for row, _ in parts_of(built(add, s))
    }
    assert labels == {Label.POLE, Label.BUILDING, Label.VEGETATION}


def test_street_lamp_shines_from_the_end_of_its_arm():
    builder = SceneBuilder()
    clutter.add_street_lamp(np.random.default_rng(4), builder, 20.0, 6.0, -math.pi / 2)
    x, y, z = builder.lamps().positions[0]
    assert x == pytest.approx(20.0, abs=1e-4)
    assert 4.8 <= y < 5.9  # the arm points to smaller y
    corners = np.concatenate([corners for _, corners in parts_of(builder)])
    assert corners[:, 2].max() - 0.3 < z < corners[:, 2].max()


def test_traffic_light_shows_one_of_three_lamps_along_its_yaw():
    for seed in range(12):
        builder = SceneBuilder()
        spot = Spot(x=10.0, y=2.0, yaw_rad=math.pi)
        clutter.add_signal(np.random.default_rng(seed), builder, spot)
        lamps = parts_of(builder)[-3:]
        assert sum(row.emission > 0.0 for row, _ in lamps) == 1
        assert all(corners[:, 0].max() < 9.9 for _, corners in lamps)  # on the side it faces
        heights = [corners[:, 2].mean() for _, corners in lamps]
        assert heights == sorted(heights)  # green, yellow, red upwards


def test_density_multiplies_what_stands_about():
    def count(density):
        builder = SceneBuilder()
        rates = Rates(trees=0.0, bushes=0.0, posts=12.0, benches=0.0, piles=0.0, lamps=0.0)
        for seed in range(10):
            rng = np.random.default_rng(seed)
            clutter.add_clutter(rng, builder, place(rates), density=density)
        return len(parts_of(builder))

    assert count(0.0) == 0
    assert 2.2 < count(3.0) / count(1.0) < 3.8


def test_clutter_keeps_off_taken_ground():
    rates = Rates(trees=6.0, bushes=6.0, posts=20.0, benches=2.0, piles=2.0)
    builder, placer = SceneBuilder(), place(rates)
    placer.take(30.0, 0.0, 15.0)
    clutter.add_clutter(np.random.default_rng(1), builder, placer)
    posts = [corners for row, corners in parts_of(builder) if row.label == Label.POLE]
    assert len(posts) > 5
    for corners in posts:
        assert np.hypot(corners[:, 0] - 30.0, corners[:, 1]).max() > 14.0


def test_traffic_lights_and_lamps_stand_on_their_spots_where_these_are_free():
    lamps = tuple(Spot(x=x, y=5.0, yaw_rad=0.0) for x in (10.0, 20.0, 30.0))
    signals = (Spot(x=40.0, y=0.0, yaw_rad=0.0), Spot(x=50.0, y=0.0, yaw_rad=0.0))
    rates = Rates(trees=0.0, bushes=0.0, posts=0.0, benches=0.0, piles=0.0, lamps=40.0)
    placer = place(rates, lamp_spots=lamps, signal_spots=signals)
    placer.take(20.0, 5.0, 0.5)
    placer.take(50.0, 0.0, 0.5)
    builder = SceneBuilder()
    clutter.add_clutter(np.random.default_rng(2), builder, placer)
    assert sorted(np.round(builder.lamps().positions[:, 0]) // 10) == [1.0, 3.0]
    lit = [corners for row, corners in parts_of(builder) if row.light_threshold < 0.0]
    assert {round(float(corners[:, 0].mean()) / 10.0) for corners in lit} == {4}


def test_place_without_anything_stays_bare():
    builder = SceneBuilder()
    clutter.add_clutter(np.random.default_rng(0), builder, place(BARE))
    assert parts_of(builder) == []
