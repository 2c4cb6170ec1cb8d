# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache
import math

import numpy as np
import pytest

from rgbt_models.label_sets import DETECTION_CLASSES
from rgbt_models.synthetic import default_rig, render_view
from rgbt_models.synthetic.layouts import Area, Layout, LayoutKind, Use
from rgbt_models.synthetic.materials import FIRST_OBJECT_LABEL, Label
from rgbt_models.synthetic.placer import Footprint, Placer
from rgbt_models.synthetic.scene import sample_scene

scene_of = cache(sample_scene)  # several tests look at the same places

KINDS = tuple(LayoutKind)
VEHICLES = (Label.CAR, Label.TRUCK)
ON_WHEELS = (*VEHICLES, Label.BICYCLE, Label.MOTORBIKE)
# Boxes per 100 pairs that training needs, by class.
LEAST = {
    'person': 150, 'rider': 25, 'bicycle': 30, 'motorbike': 25, 'car': 150, 'truck': 30,
    'animal': 25,
}  # fmt: skip


def open_ground(**fields):
    ground = Area(use=Use.DRIVE, x=0.0, y=0.0, length_m=100.0, width_m=100.0, z=0.05)
    return Layout(kind=LayoutKind.YARD, areas=(ground,), **fields)


def anywhere(rng, near, far):
    return rng.uniform(near, far), rng.uniform(-5.0, 5.0)


def label_of(scene, actor):
    """Return the class of an actor: the label of most of its objects' triangles."""
    _, materials = actor.triangles_at(0.0)
    labels = scene.materials.label[materials]
    return Label(int(np.bincount(labels[labels >= FIRST_OBJECT_LABEL]).argmax()))


def outline(actor):
    """Return the rectangle under an actor in its own frame: low and high corner, metres."""
    mesh, _ = actor.shape.triangles(0.0)
    corners = mesh.reshape(-1, 3)[:, :2]
    return corners.min(axis=0), corners.max(axis=0)


def to_frame(actor, points):
    x, y, _ = actor.course.position_at(0.0)
    cos, sin, _ = actor.course.heading
    shifted = np.asarray(points, np.float64) - (x, y)
    return np.stack(
        [cos * shifted[:, 0] + sin * shifted[:, 1], cos * shifted[:, 1] - sin * shifted[:, 0]], 1
    )


def sampled_inside(actor, other):
    """Tell whether points spread over one actor's outline lie under the other one."""
    low, high = outline(actor)
    share = np.linspace(0.03, 0.97, 12)
    x, y = np.meshgrid(low[0] + share * (high - low)[0], low[1] + share * (high - low)[1])
    cos, sin, _ = actor.course.heading
    at_x, at_y, _ = actor.course.position_at(0.0)
    world = np.stack(
        [at_x + cos * x.ravel() - sin * y.ravel(), at_y + sin * x.ravel() + cos * y.ravel()], 1
    )
    low, high = outline(other)
    inside = to_frame(other, world)
    return bool(((inside > low + 0.03) & (inside < high - 0.03)).all(axis=1).any())


def test_circles_and_rectangles_never_overlap():
    placer = Placer(anywhere, open_ground())
    assert placer.try_take(10.0, 0.0, 0.0, Footprint(length_m=4.0, width_m=2.0))
    # The rectangle is x 8..12, y -1..1.
    assert not placer.is_free(10.0, 1.2, 0.3)
    assert placer.is_free(10.0, 1.4, 0.3)
    assert placer.is_free(12.3, 1.3, 0.4)  # beside the corner, nearer along both axes
    assert not placer.try_take(13.0, 0.0, math.pi / 2, Footprint(length_m=4.0, width_m=2.2))
    assert placer.try_take(13.2, 0.0, math.pi / 2, Footprint(length_m=4.0, width_m=2.2))


def test_buildings_are_taken_ground():
    wall = Area(use=Use.BUILT, x=10.0, y=0.0, length_m=6.0, width_m=1.0, yaw_rad=math.pi / 2)
    placer = Placer(anywhere, open_ground(built=(wall,)))
    assert not placer.is_free(10.6, 2.0, 0.2)
    assert placer.is_free(10.8, 2.0, 0.2)


def test_place_returns_ground_of_the_use_asked_for_or_nothing():
    placer = Placer(anywhere, open_ground())
    rng = np.random.default_rng(0)
    assert placer.place(rng, near_m=4.0, far_m=9.0, radius_m=0.3, uses={Use.WALK}) is None
    spot = placer.place(rng, near_m=4.0, far_m=9.0, radius_m=0.3, uses={Use.DRIVE})
    assert spot.dtype == np.float32
    assert 4.0 <= spot[0] <= 9.0
    assert spot[2] == np.float32(0.05)


@pytest.mark.parametrize('kind', KINDS)
def test_no_vehicle_overlaps_a_vehicle(kind):
    for seed in range(12):
        scene = scene_of(seed, layout=kind)
        cars = [actor for actor in scene.actors if label_of(scene, actor) in VEHICLES]
        for index, one in enumerate(cars):
            for two in cars[:index]:
                assert not sampled_inside(one, two), seed
                assert not sampled_inside(two, one), seed


@pytest.mark.parametrize('kind', KINDS)
def test_nobody_stands_in_a_vehicle_or_a_building(kind):
    for seed in range(12):
        scene = scene_of(seed, layout=kind)
        labels = [label_of(scene, actor) for actor in scene.actors]
        vehicles = [a for a, label in zip(scene.actors, labels, strict=True) if label in VEHICLES]
        for actor, label in zip(scene.actors, labels, strict=True):
            if label not in (Label.PERSON, Label.ANIMAL):
                continue
            x, y, _ = (float(value) for value in actor.course.position_at(0.0))
            assert not any(area.contains(x, y) for area in scene.layout.built), seed
            for vehicle in vehicles:
                low, high = outline(vehicle)
                inside = to_frame(vehicle, [(x, y)])[0]
                assert not ((inside > low) & (inside < high)).all(), seed


@pytest.mark.parametrize('kind', KINDS)
def test_everybody_has_ground_underfoot(kind):
    for seed in range(12):
        scene = scene_of(seed, layout=kind)
        for actor in scene.actors:
            x, y, z = (float(value) for value in actor.course.position_at(0.0))
            label = label_of(scene, actor)
            assert scene.layout.area_at(x, y) is not None
            if label is Label.RIDER:
                continue  # sits on a saddle whose wheels are tested
            assert z == pytest.approx(scene.layout.ground_z(x, y), abs=0.17)
            if label in ON_WHEELS:
                mesh, _ = actor.triangles_at(0.0)
                assert mesh[..., 2].min() == pytest.approx(z, abs=0.04), (seed, label)


def test_a_car_is_beside_the_rig_in_some_scenes_and_in_none_on_top_of_it():
    nearest = []
    for seed in range(40):
        scene = scene_of(seed)
        places = [
            actor.course.position_at(0.0)
            for actor in scene.actors
            if label_of(scene, actor) in VEHICLES
        ]
        nearest.append(min((math.hypot(x, y) for x, y, _ in places), default=math.inf))
    assert min(nearest) > 4.0
    assert 0.15 < np.mean(np.array(nearest) < 8.0) < 0.6


def test_vehicles_on_a_street_drive_along_it():
    along = []
    for seed in range(20):
        scene = scene_of(seed, layout=LayoutKind.STREET)
        along += [
            abs(math.sin(actor.course.yaw_rad))
            for actor in scene.actors
            if label_of(scene, actor) in VEHICLES
        ]
    assert len(along) > 40
    assert np.mean(np.array(along) < 0.2) > 0.75


def test_clear_way_is_free_of_everybody():
    for kind in KINDS:
        scene = sample_scene(3, layout=kind, keep_way_clear=True)
        for actor in scene.actors:
            x, y, _ = (float(value) for value in actor.course.position_at(0.0))
            assert not (0.0 < x < scene.layout.clear_m and abs(y) < 1.2)


def test_every_class_has_boxes_enough():
    camera = default_rig().rgb.scaled(0.5)
    counts = np.zeros(len(DETECTION_CLASSES))
    num_pairs = 40
    for seed in range(num_pairs):
        scene = sample_scene(seed, view_angle_rad=camera.hfov_rad)
        view = render_view(scene.at(), camera, radiance=False, temperature=False)
        counts += np.bincount(view.objects.class_ids[~view.objects.ignore], minlength=len(counts))
    per_100 = dict(zip(DETECTION_CLASSES, counts * 100 / num_pairs, strict=True))
    for name, least in LEAST.items():
        assert per_100[name] >= least, per_100
