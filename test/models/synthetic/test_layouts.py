# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from rgbt_models.synthetic.builder import SceneBuilder
from rgbt_models.synthetic.layouts import (
    Area,
    build_layout,
    Lane,
    Layout,
    LayoutKind,
    sample_layout_kind,
    Use,
)
from rgbt_models.synthetic.layouts.buildings import add_building, BuildingKind, Plot
from rgbt_models.synthetic.layouts.ground import add_stripes, dashes, PAINT_M, zebra
from rgbt_models.synthetic.layouts.layout import sample_count
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.meshes import face_normals
from rgbt_models.synthetic.raycast import RayCaster

KINDS = tuple(LayoutKind)
GROUND_LABELS = {Label.ROAD, Label.SIDEWALK, Label.VEGETATION}


def built(kind, seed):
    builder = SceneBuilder()
    return build_layout(np.random.default_rng(seed), builder, kind), builder


def look_down(builder):
    """Return a function: (x, y) -> height and label of what lies there, seen from 0.5 m."""
    triangles, materials = builder.fixed.joined()
    caster = RayCaster(np.ascontiguousarray(triangles, np.float32))
    down = np.array([[0.0, 0.0, -1.0]], np.float32)

    def look(x, y):
        triangle, distance = caster.cast(np.array([x, y, 0.5], np.float32), down)
        return 0.5 - float(distance[0]), builder.materials[materials[triangle[0]]].label

    return look


def test_area_knows_its_inside_when_turned():
    # 6 long, 2 wide, turned by 90 degrees about (10, 4): x 9..11, y 1..7.
    area = Area(use=Use.WALK, x=10.0, y=4.0, length_m=6.0, width_m=2.0, yaw_rad=math.pi / 2)
    assert area.contains(10.5, 6.5)
    assert not area.contains(12.0, 4.0)
    assert not area.contains(10.5, 6.5, margin_m=0.6)
    np.testing.assert_allclose(area.point(1.0, 0.5), (9.5, 5.0))


def test_highest_area_under_a_point_counts():
    road = Area(use=Use.DRIVE, x=0.0, y=0.0, length_m=40.0, width_m=40.0)
    kerb = Area(use=Use.WALK, x=0.0, y=8.0, length_m=40.0, width_m=4.0, z=0.12)
    layout = Layout(kind=LayoutKind.STREET, areas=(kerb, road))
    assert layout.area_at(3.0, 7.0).use is Use.WALK
    assert layout.ground_z(3.0, 7.0) == 0.12
    assert layout.ground_z(3.0, 5.0) == 0.0
    assert layout.area_at(30.0, 0.0) is None


def test_nearest_point_of_a_lane_is_its_foot():
    lane = Lane(x=0.0, y=2.0, yaw_rad=0.0)
    assert lane.nearest(7.0, -1.0) == pytest.approx((7.0, 2.0))
    assert lane.distance_m(7.0, -1.0) == pytest.approx(3.0)


def test_broken_line_has_dashes_of_its_length_and_gaps():
    # 4 + 2 m steps from 0: dashes 0..4, 6..10, and 12..16 would end beyond 15.
    rows = dashes((0.0, 1.0), (15.0, 1.0), dash_m=4.0, gap_m=2.0, width_m=0.2)
    assert rows == [(2.0, 1.0, 0.0, 4.0, 0.2), (8.0, 1.0, 0.0, 4.0, 0.2)]
    assert dashes((0.0, 0.0), (0.0, 9.0), dash_m=1.0, gap_m=0.0, width_m=0.2) == [
        (0.0, 4.5, math.pi / 2, 9.0, 0.2)
    ]


def test_zebra_bars_lie_across_the_way_of_people():
    area = Area(use=Use.CROSS, x=5.0, y=0.0, length_m=4.0, width_m=3.0, yaw_rad=math.pi / 2)
    rows = zebra(area)
    # People walk along y; four bars of 0.5 m in y, 3 m long in x.
    np.testing.assert_allclose([row[1] for row in rows], [-1.5, -0.5, 0.5, 1.5])
    assert {row[3:] for row in rows} == {(0.5, 3.0)}
    np.testing.assert_allclose([row[0] for row in rows], 5.0)


def test_paint_is_4_mm_above_the_ground_and_as_large_as_asked():
    builder = SceneBuilder()
    add_stripes(builder, [(3.0, 1.0, math.pi / 2, 2.0, 0.5)], 0, z=0.1)
    mesh, _ = builder.fixed.joined()
    assert PAINT_M == 0.004
    np.testing.assert_allclose(mesh.reshape(-1, 3).min(axis=0), [2.75, 0.0, 0.104], atol=1e-6)
    np.testing.assert_allclose(mesh.reshape(-1, 3).max(axis=0), [3.25, 2.0, 0.104], atol=1e-6)
    assert (np.abs(face_normals(mesh)[:, 2]) > 0.99).all()


@pytest.mark.parametrize('kind', BuildingKind)
def test_building_stands_behind_its_front(kind):
    # Front at y = -8 facing +y, so the building lies at smaller y.
    builder = SceneBuilder()
    plot = Plot(x=20.0, y=-8.0, yaw_rad=math.pi, width_m=12.0, depth_m=9.0)
    area = add_building(np.random.default_rng(4), builder, plot, kind)
    assert (area.x, area.y) == pytest.approx((20.0, -12.5))
    mesh, materials = builder.fixed.joined()
    corners = mesh.reshape(-1, 3)
    assert corners[:, 1].min() == pytest.approx(-17.0, abs=0.6)
    assert corners[:, 1].max() < -8.0 + 4.5  # canopies stick out
    assert corners[:, 2].min() > -0.6
    assert corners[:, 2].max() > 2.5
    assert {builder.materials[index].label for index in materials} == {Label.BUILDING}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('seed', range(4))
def test_ground_is_where_the_layout_says(kind, seed):
    layout, builder = built(kind, seed)
    look = look_down(builder)
    rng = np.random.default_rng(seed)
    checked = 0
    while checked < 60:
        x, y = rng.uniform(-5.0, 60.0), rng.uniform(-25.0, 25.0)
        if any(area.contains(x, y, -4.5) for area in layout.built):
            continue
        height, label = look(x, y)
        if label not in GROUND_LABELS or height > 0.3:
            continue  # a hedge or a railing
        # A kerb 0.2 m aside may be another piece of ground already.
        assert height == pytest.approx(layout.ground_z(x, y), abs=0.02)
        checked += 1


@pytest.mark.parametrize('kind', KINDS)
def test_rig_stands_on_open_ground_and_its_way_is_clear(kind):
    for seed in range(25):
        layout, builder = built(kind, seed)
        assert layout.area_at(0.0, 0.0) is not None
        assert layout.clear_m >= 35.0
        triangles, _ = builder.fixed.joined()
        caster = RayCaster(np.ascontiguousarray(triangles, np.float32))
        ahead = np.array([[1.0, 0.0, 0.0]], np.float32)
        for y in (-0.9, 0.0, 0.9):
            _, distance = caster.cast(np.array([0.0, y, 0.6], np.float32), ahead)
            assert distance[0] > layout.clear_m, (seed, y)


@pytest.mark.parametrize('kind', KINDS)
def test_bays_lie_on_the_ground_of_the_place(kind):
    for seed in range(6):
        layout, _ = built(kind, seed)
        for bay in layout.bays:
            assert layout.area_at(bay.x, bay.y).use in (Use.DRIVE, Use.BAY)


def test_horizon_is_seldom_empty():
    empty = 0
    for seed in range(60):
        kind = sample_layout_kind(np.random.default_rng(seed))
        _, builder = built(kind, seed)
        triangles, _ = builder.fixed.joined()
        caster = RayCaster(np.ascontiguousarray(triangles, np.float32))
        bearing = np.linspace(-0.5, 0.5, 40)
        rays = np.stack([np.cos(bearing), np.sin(bearing), np.full(40, 0.008)], axis=1)
        triangle, _ = caster.cast(np.array([0.0, 0.0, 1.6], np.float32), rays.astype(np.float32))
        empty += (triangle < 0).mean() > 0.8
    assert empty <= 9


def test_kinds_are_drawn_at_their_rates():
    rng = np.random.default_rng(0)
    drawn = [sample_layout_kind(rng) for _ in range(2000)]
    rates = {kind: drawn.count(kind) / 2000 for kind in KINDS}
    expected = dict(zip(KINDS, (0.45, 0.2, 0.13, 0.12, 0.1), strict=True))
    for kind in KINDS:
        assert rates[kind] == pytest.approx(expected[kind], abs=0.035)


@pytest.mark.parametrize('mean', [0.1, 0.65, 2.4])
def test_counts_have_the_mean_asked_for_even_below_one(mean):
    rng = np.random.default_rng(3)
    drawn = np.array([sample_count(rng, mean) for _ in range(8000)])
    assert drawn.mean() == pytest.approx(mean, abs=0.05)
    assert drawn.min() == 0
    assert drawn.max() == math.ceil(2.0 * mean)


@pytest.mark.parametrize('kind', KINDS)
def test_same_seed_builds_the_same_place(kind):
    one, two = (built(kind, 9)[1].fixed.joined() for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    other = built(kind, 10)[1].fixed.joined()
    assert one[0].shape != other[0].shape or (one[0] != other[0]).any()
