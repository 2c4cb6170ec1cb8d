# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache
import math

from made_scenes import plain_environment
import numpy as np
import pytest

from rgbt_models.synthetic import Condition, default_rig, Label, render_view
from rgbt_models.synthetic.builder import SceneBuilder
from rgbt_models.synthetic.layouts import LayoutKind
from rgbt_models.synthetic.people import Person
from rgbt_models.synthetic.scene import sample_ego, sample_scene, SceneError, WORLD_VERSION

KINDS = tuple(LayoutKind)

scene_of = cache(sample_scene)  # several tests look at the same places


def content_of(scene):
    snapshot = scene.at()
    return (
        scene.fixed_triangles, scene.fixed_materials, snapshot.normals, snapshot.frames,
        snapshot.triangle_materials, scene.instance_class_ids, scene.materials.albedo,
        scene.materials.offset_k, scene.lamps.positions, scene.beams.positions,
    )  # fmt: skip


def test_world_is_version_2():
    assert WORLD_VERSION == '2.0.0'


@pytest.mark.parametrize('kind', KINDS)
def test_same_seed_gives_the_same_bytes(kind):
    one, two = (content_of(sample_scene(6, layout=kind)) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        assert first.tobytes() == second.tobytes()


def test_layout_and_condition_asked_for_are_those_of_the_scene():
    for kind in KINDS:
        scene = sample_scene(2, layout=kind, condition=Condition.FOG)
        assert scene.layout.kind is kind
        assert scene.condition is Condition.FOG


def test_layout_and_condition_may_be_named():
    scene = sample_scene(2, layout='car_park', condition='fog')
    assert (scene.layout.kind, scene.condition) == (LayoutKind.CAR_PARK, Condition.FOG)


@pytest.mark.parametrize(
    ('wrong', 'sentence'),
    [
        (
            {'layout': 'forest'},
            "LayoutKind is 'forest', expected one of street, crossing, car_park, path, yard; ",
        ),
        ({'condition': 'snow'}, "Condition is 'snow', expected one of day, dusk, night, fog, "),
    ],
)
def test_what_there_is_not_is_refused(wrong, sentence):
    with pytest.raises(SceneError, match=sentence):
        sample_scene(2, **wrong)


def test_condition_drawn_is_kept():
    conditions = {scene_of(seed).condition for seed in range(24)}
    assert conditions <= set(Condition)
    assert len(conditions) >= 3


def test_an_environment_may_be_given_and_does_not_move_anything():
    given = plain_environment(ambient_c=3.0)
    scene, drawn = sample_scene(5, environment=given), sample_scene(5)
    assert scene.environment is given
    assert scene.condition is None
    assert sample_scene(5, environment=given, condition=Condition.FOG).condition is Condition.FOG
    np.testing.assert_array_equal(scene.fixed_triangles, drawn.fixed_triangles)


@pytest.mark.parametrize('seed', [5, 10, 13, 21, 26])
def test_condition_moves_nothing_and_changes_no_shape_but_that_of_clothes(seed):
    # By day 20 K warmer than by night, which changes what people wear.
    day = sample_scene(seed, condition=Condition.DAY)
    night = sample_scene(seed, condition=Condition.NIGHT)
    np.testing.assert_array_equal(day.fixed_triangles, night.fixed_triangles)
    np.testing.assert_array_equal(day.instance_class_ids, night.instance_class_ids)
    for one, two in zip(day.actors, night.actors, strict=True):
        np.testing.assert_array_equal(one.course.position, two.course.position)
        assert one.course.speed_m_s == two.course.speed_m_s
        if not isinstance(one.shape, Person):
            np.testing.assert_array_equal(one.triangles_at(0.5)[0], two.triangles_at(0.5)[0])


def test_all_labels_occur():
    camera = default_rig().rgb.scaled(0.25)
    seen = set()
    for seed in range(24):
        view = render_view(scene_of(seed).at(), camera, radiance=False, temperature=False)
        seen |= set(np.unique(view.label_map).tolist())
    assert seen == {int(label) for label in Label}


@pytest.mark.parametrize('kind', KINDS)
def test_everything_of_a_scene_is_finite_and_float32(kind):
    scene = sample_scene(8, layout=kind)
    snapshot = scene.at(1.5)
    assert scene.fixed_triangles.dtype == np.float32
    assert snapshot.normals.dtype == np.float32
    assert np.isfinite(scene.fixed_triangles).all()
    assert np.isfinite(snapshot.frames).all()
    assert len(snapshot.triangle_materials) == len(snapshot.normals)


def test_scene_is_not_larger_than_training_can_render():
    counts = [len(scene_of(seed).at().normals) for seed in range(24)]
    assert np.mean(counts) < 40_000


def test_beam_moves_and_turns_with_its_frame():
    builder = SceneBuilder()
    frame = builder.new_frame()
    builder.add_beam(frame, (2.0, 0.5, 0.7), (2.0, 0.0, 0.0), (60.0, 57.0, 51.0), 0.5)
    beams = builder.beams()
    # Frame 1 stands at (10, 3) and faces +y: its forward is +y, its left is -x.
    frames = np.array([[0.0, 10.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    positions, directions = beams.placed(frames)
    np.testing.assert_allclose(positions, [[9.5, 5.0, 0.7]], atol=1e-6)
    np.testing.assert_allclose(directions, [[0.0, 1.0, 0.0]], atol=1e-6)


def test_beam_comes_on_above_its_threshold():
    builder = SceneBuilder()
    builder.add_beam(0, (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (8.0, 6.0, 4.0), 0.5)
    beams = builder.beams()
    assert (beams.lit_colours(0.5) == 0.0).all()
    np.testing.assert_allclose(beams.lit_colours(0.525), [[4.0, 3.0, 2.0]], rtol=1e-5)
    np.testing.assert_allclose(beams.lit_colours(1.0), [[8.0, 6.0, 4.0]])


def test_scene_without_beams_and_lamps_has_empty_arrays():
    builder = SceneBuilder()
    assert builder.beams().positions.shape == (0, 3)
    assert builder.beams().placed(np.zeros((4, 1), np.float32))[0].shape == (0, 3)
    assert builder.lamps().positions.shape == (0, 3)


def test_running_vehicles_carry_beams():
    scenes = [sample_scene(seed, layout=LayoutKind.CROSSING) for seed in range(6)]
    assert sum(len(scene.beams.frames) for scene in scenes) > 3
    for scene in scenes:
        known = {actor.frame for actor in scene.actors}
        assert set(scene.beams.frames.tolist()) <= known


def test_things_stand_where_the_camera_looks():
    angle = math.radians(40.0)
    for seed in range(8):
        scene = sample_scene(seed, view_angle_rad=angle)
        for actor in scene.actors:
            x, y, _ = (float(value) for value in actor.course.position)
            bearing = math.atan2(y, x) - scene.ego.yaw_rad
            limit = math.atan(1.06 * math.tan(angle / 2))
            aside = math.hypot(x, y) * math.sin(abs(bearing) - limit)
            assert aside < 6.0  # companions and rows reach a little further


def test_one_rig_in_seven_looks_down_from_above():
    poses = [sample_ego(np.random.default_rng(seed)) for seed in range(800)]
    above = [pose for pose in poses if pose.position[2] > 3.0 and pose.pitch_rad < -0.2]
    assert 0.10 < len(above) / len(poses) < 0.18
    heights = np.array([pose.position[2] for pose in poses])
    assert heights.min() >= 1.1
    assert heights.max() <= 8.0
    assert 0.75 < (heights < 2.4).mean() < 0.87
