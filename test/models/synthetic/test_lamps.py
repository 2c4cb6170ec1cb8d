# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import math

from made_scenes import plain_environment, plane_and_wall, small_camera
import numpy as np
import pytest

from rgbt_models.synthetic import render_view
from rgbt_models.synthetic.builder import Beams, Lamps
from rgbt_models.synthetic.weather import Plume
from rgbt_models.synthetic.world import radiance_of

DARK = {'sky_light': np.zeros(3, np.float32), 'sky_radiance': np.zeros(3, np.float32)}
ROAD = (27, 50)  # a spot of road in the view of the small camera


def road_point():
    x = 50.0 * 1.5 / (ROAD[0] - 19.5)
    return np.array([x, x * (29.5 - ROAD[1]) / 50.0, 0.0])


def lamps(position, intensity=(8.0, 4.0, 2.0), threshold=0.5):
    return Lamps(
        positions=np.array([position], np.float32),
        intensities=np.array([intensity], np.float32),
        thresholds=np.array([threshold], np.float32),
    )


def beams(positions, direction, colour=(60.0, 50.0, 40.0), frames=None):
    count = len(positions)
    return Beams(
        frames=np.zeros(count, np.int32) if frames is None else np.array(frames, np.int32),
        positions=np.array(positions, np.float32),
        directions=np.array([direction] * count, np.float32),
        colours=np.array([colour] * count, np.float32),
        thresholds=np.full(count, 0.5, np.float32),
    )


def seen(*, environment=None, **changes):
    base = plane_and_wall(plain_environment(**{'lights': 1.0, **DARK, **(environment or {})}))
    return radiance_of(render_view(replace(base, **changes).at(), small_camera()))


def test_street_lamp_lights_by_the_inverse_square_and_the_cosine():
    lamp = road_point() + np.array([0.0, 0.0, 5.0])
    found = seen(lamps=lamps(lamp))[ROAD]
    expected = 0.2 * 0.25 * np.array([8.0, 4.0, 2.0]) * 5.0 / 25.3**1.5
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_lamps_are_dark_until_their_threshold():
    lamp = lamps(road_point() + np.array([0.0, 0.0, 5.0]))
    assert not seen(lamps=lamp, environment={'lights': 0.5})[ROAD].any()
    assert seen(lamps=lamp, environment={'lights': 0.6})[ROAD].all()


def test_head_lamp_lights_the_road_on_its_axis_by_the_closed_form():
    place = road_point() + np.array([6.0, 0.0, 0.6])
    axis = (road_point() - place) / np.linalg.norm(road_point() - place)
    found = seen(beams=beams([place], axis))[ROAD]
    away = math.hypot(6.0, 0.6)
    # On the axis the cut-off, 0.02 above it, lets 1 / (1 + exp(-1.2)) pass.
    gain = 1.0 / (1.0 + math.exp(-1.2)) + 0.03
    expected = 0.2 * np.array([60.0, 50.0, 40.0]) * gain * (0.6 / away) / (away**2 + 2.0)
    np.testing.assert_allclose(found, expected, rtol=5e-3)


def test_head_lamp_leaves_dark_what_is_behind_it_and_most_of_what_is_above():
    away = [np.array([8.0, 5.0, 0.6])]
    ahead = seen(beams=beams(away, [1.0, 0.0, -0.02]))
    behind = seen(beams=beams(away, [-1.0, 0.0, -0.02]))
    wall_low, wall_high = (21, 9), (15, 9)  # z = 1.1 is above the axis, 2.6 far above
    assert ahead[23, 9][0] > 3.0 * ahead[wall_high][0]
    assert ahead[wall_low][0] > behind[wall_low][0]
    assert behind[wall_high][0] < 1e-9


def test_beams_move_with_their_frames():
    scene = plane_and_wall(plain_environment(lights=1.0, **DARK))
    scene = replace(scene, beams=beams([[1.0, 0.0, 0.6]], [1.0, 0.0, 0.0], frames=[1]))
    snapshot = scene.at()
    # The frame stands at (5, -2) and looks to the left.
    frames = np.array([[0.0, 5.0], [0.0, -2.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    positions, directions = scene.beams.placed(frames)
    np.testing.assert_allclose(positions, [[5.0, -1.0, 0.6]], atol=1e-6)
    np.testing.assert_allclose(directions, [[0.0, 1.0, 0.0]], atol=1e-6)
    here = radiance_of(render_view(replace(snapshot, frames=frames), small_camera()))
    assert here.any()


def test_only_the_nearest_eight_vehicles_light_anything():
    near = [[10.0, -3.0, 0.6]] * 8
    few = seen(beams=beams(near, [1.0, 0.0, -0.05]))
    more = seen(beams=beams([[60.0, 0.0, 0.6], *near], [1.0, 0.0, -0.05]))
    np.testing.assert_array_equal(few, more)
    assert few.any()


def test_fog_makes_halos_around_lamps_and_clear_air_does_not():
    lamp = lamps((10.0, -3.0, 3.0))  # before the sky
    assert not seen(lamps=lamp)[5, 45].any()
    fog = seen(lamps=lamp, environment={'haze_per_m': 0.05})
    beside = fog[12, 45:58, 0]  # the lamp is seen at row 12, column 44.5
    assert (np.diff(beside) < 0.0).all()


def test_own_head_lamps_veil_fog():
    off = seen(environment={'haze_per_m': 0.08})
    on = seen(environment={'haze_per_m': 0.08, 'ego_headlight': 1.0})
    assert on[25, 30][0] > off[25, 30][0] + 0.1
    assert on[25, 30][0] > on[2, 30][0]


def test_own_head_lamps_light_smoke():
    smoke = Plume(
        centre=np.array([8.0, 0.0, 1.0], np.float32),
        radii_m=np.full(3, 3.0, np.float32),
        extinction_per_m=50.0,
        albedo=0.8,
    )
    on = seen(environment={'plumes': (smoke,), 'ego_headlight': 1.0})[24, 29]
    # Straight ahead and below the cut-off: 60 / (8 + 144) of the beam.
    assert on[0] == pytest.approx(0.8 * 60.0 / 152.0, rel=0.02)
