# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial

from made_actors import build, extent, mean_offset_k
import numpy as np
import pytest

from rgbt_models.synthetic import population
from rgbt_models.synthetic.cars import CarKind
from rgbt_models.synthetic.materials import Label

DRAWS = 200
# Least and greatest length, width (with mirrors), height in metres.
SIZES = {
    'car': (population.add_car, Label.CAR, (3.2, 7.2), (1.7, 2.7), (1.1, 3.1)),
    'van': (
        partial(population.add_car, kind=CarKind.VAN), Label.CAR, (3.9, 7.2), (1.9, 2.7),
        (1.6, 3.1),
    ),
    'truck': (population.add_truck, Label.TRUCK, (5.3, 12.6), (2.2, 3.1), (2.0, 4.2)),
    'bus': (population.add_bus, Label.TRUCK, (6.9, 12.8), (2.4, 3.1), (2.7, 4.1)),
    'bicycle': (
        partial(population.add_bicycle, has_rider=False), Label.BICYCLE, (1.0, 2.6),
        (0.25, 1.4), (0.2, 1.5),
    ),
    'motorbike': (
        partial(population.add_motorbike, has_rider=False), Label.MOTORBIKE, (1.5, 2.7),
        (0.5, 1.2), (0.8, 1.6),
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', SIZES)
def test_vehicles_have_the_size_of_their_kind(name):
    add, label, *ranges = SIZES[name]
    boxes = [extent((b := build(add, seed)).actors[0], b, label) for seed in range(DRAWS)]
    sizes = np.array([high - low for low, high in boxes])
    for axis, (least, greatest) in enumerate(ranges):
        assert least < sizes[:, axis].min()
        assert sizes[:, axis].max() < greatest
        assert np.std(sizes[:, axis]) > 0.03
    middles = np.array([0.5 * (low + high) for low, high in boxes])
    if name in ('car', 'van', 'truck', 'bus'):
        assert np.abs(middles[:, 0]).max() < 0.3  # the frame's origin is the middle
        assert np.abs(middles[:, 1]).max() < 1e-3


@pytest.mark.parametrize('kind', CarKind)
def test_kinds_of_cars_differ_in_height(kind):
    heights = []
    for seed in range(60):
        builder = build(population.add_car, seed, kind=kind)
        heights.append(extent(builder.actors[0], builder, Label.CAR)[1, 2])
    least, greatest = {
        CarKind.SPORTS: (1.0, 1.4), CarKind.SALOON: (1.25, 1.75), CarKind.VAN: (1.75, 2.8),
        CarKind.PICKUP: (1.55, 2.1),
    }.get(kind, (1.3, 2.1))  # fmt: skip
    assert least < np.median(heights) < greatest


@pytest.mark.parametrize(
    ('add', 'label'),
    [
        (population.add_car, Label.CAR),
        (population.add_truck, Label.TRUCK),
        (population.add_bus, Label.TRUCK),
    ],
)
def test_running_engines_are_warmer_than_parked_ones(add, label):
    def hottest(is_running):
        builders = [build(add, seed, is_running=is_running) for seed in range(60)]
        return np.median([max(row.offset_k for row in b.materials) for b in builders])

    def mean(is_running):
        builders = [build(add, seed, is_running=is_running) for seed in range(60)]
        return np.mean([mean_offset_k(b.actors[0], b, label, 15.0) for b in builders])

    assert hottest(is_running=True) > hottest(is_running=False) + 10.0
    assert mean(is_running=True) > mean(is_running=False) + 0.5


def test_engines_stand_out_less_in_summer():
    def hottest(ambient_c):
        builders = [
            build(population.add_car, seed, is_running=True, ambient_c=ambient_c)
            for seed in range(60)
        ]
        return np.mean([max(row.offset_k for row in b.materials) for b in builders])

    assert hottest(-10.0) > hottest(35.0) + 5.0


def test_ridden_motorbikes_are_hot_and_most_parked_ones_cold():
    def hottest(has_rider):
        builders = [
            build(population.add_motorbike, seed, has_rider=has_rider) for seed in range(80)
        ]
        return [max(row.offset_k for row in b.materials) for b in builders]

    assert min(hottest(has_rider=True)) > 10.0
    assert np.median(hottest(has_rider=False)) < 8.0


def test_some_parked_cars_are_hot_all_over_in_the_sun_and_some_are_not():
    soak = []
    for seed in range(100):
        builder = build(population.add_car, seed, is_running=False)
        body = [row.soak for row in builder.materials if row.is_glossy and row.solar == 0.8]
        soak.append(max(body))
    assert 0.1 < np.mean(np.array(soak) == 0.0) < 0.35  # 22 % are meant
    assert np.percentile(soak, 80) > 0.5


def test_sides_of_parked_cars_are_as_warm_as_air_and_road_and_the_sun_heats_most_of_them():
    bodies = []
    for seed in range(100):
        builder = build(population.add_car, seed, is_running=False)
        rows = [row for row in builder.materials if row.is_glossy and row.solar == 0.8]
        bodies.append(min(rows, key=lambda row: row.offset_k))
    offset_k = np.array([row.offset_k for row in bodies])
    assert (np.abs(offset_k) < 2.5).all()
    assert np.median(offset_k) > 0.0
    assert {row.ground_share for row in bodies} == {0.4}
    hot = np.mean([row.soak > 0.4 for row in bodies])
    assert 0.5 < hot < 0.85


def test_white_paint_takes_half_of_the_heat_that_black_paint_takes():
    soak = {}
    for seed in range(300):
        builder = build(population.add_car, seed, is_running=False)
        row = next(row for row in builder.materials if row.is_glossy and row.solar == 0.8)
        if row.soak > 0.0:
            soak.setdefault(sum(row.albedo) > 1.2, []).append(row.soak)
    assert 0.5 < np.mean(soak[True]) / np.mean(soak[False]) < 0.85


def test_running_vehicles_carry_one_beam_ahead_and_parked_ones_none():
    for add in (population.add_car, population.add_truck, population.add_bus):
        parked, running = (build(add, 1, is_running=flag) for flag in (False, True))
        assert len(parked.beams().frames) == 0
        beams = running.beams()
        assert beams.frames.tolist() == [running.actors[0].frame]
        assert beams.directions[0, 0] > 0.99
        assert beams.directions[0, 2] < 0.0
        label = Label(running.instance_class_ids[0] + Label.PERSON)
        front = extent(running.actors[0], running, label)[1, 0]
        assert beams.positions[0, 0] > front - 0.2
        assert 0.4 < beams.positions[0, 2] < 1.4
    assert len(build(population.add_motorbike, 1).beams().frames) == 1
    assert len(build(population.add_motorbike, 1, has_rider=False).beams().frames) == 0


def test_lamps_of_parked_cars_stay_dark():
    for seed in range(20):
        builder = build(population.add_car, seed, is_running=False)
        assert all(row.light_threshold > 1.0 for row in builder.materials if row.emission > 0.0)


def test_motorbikes_are_lit_together_with_their_beam_and_only_when_ridden():
    ridden, parked = (
        build(population.add_motorbike, 1, has_rider=flag, is_running=True)
        for flag in (True, False)
    )
    from_level = [
        [row.light_threshold for row in b.materials if row.lamp_k > 0.0] for b in (ridden, parked)
    ]
    assert from_level[0] == pytest.approx([ridden.beams().thresholds[0]] * 2)
    assert from_level[1] == [2.0, 2.0]  # never


def test_moving_cars_run():
    for seed in range(30):
        builder = build(population.add_car, seed, speed_m_s=8.0)
        assert len(builder.beams().frames) == 1


def test_vehicles_alone_stay_where_they_are():
    for add in (population.add_bicycle, population.add_motorbike):
        builder = build(add, 3, speed_m_s=5.0, has_rider=False)
        assert builder.actors[0].course.speed_m_s == 0.0


def test_patch_of_road_under_a_car_is_not_part_of_it():
    builder = build(population.add_car, 3)
    low, high = extent(builder.actors[0], builder, Label.ROAD)
    assert high[2] < 0.01
    assert low[2] > -0.01
    assert {row.instance for row in builder.materials if row.label == Label.ROAD} == {-1}
