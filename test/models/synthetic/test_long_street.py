# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.synthetic.environment import Condition, sample_environment
from rgbt_models.synthetic.long_street import sample_long_street
from rgbt_models.synthetic.raycast import RayCaster

DAY = sample_environment(np.random.default_rng(1), Condition.DAY)


def crossing_people(scene):
    """Return everybody who crosses: they alone stop after some way."""
    return [actor for actor in scene.actors if np.isfinite(actor.course.length_m)]


def is_inside(person, car, time_s):
    """Return whether an edge of a person's mesh goes through a side of the car."""
    mesh, sides = person.triangles_at(time_s)[0], car.triangles_at(time_s)[0]
    low, high = sides.min(axis=(0, 1)), sides.max(axis=(0, 1))
    if (mesh.max(axis=(0, 1)) < low).any() or (mesh.min(axis=(0, 1)) > high).any():
        return False
    starts = mesh.reshape(-1, 3)
    edges = mesh[:, [1, 2, 0]].reshape(-1, 3) - starts
    lengths = np.maximum(np.linalg.norm(edges, axis=1), 1e-6)
    ways = (edges / lengths[:, None]).astype(np.float32)
    _, range_m = RayCaster(np.ascontiguousarray(sides)).cast_from(starts, ways)
    return bool((range_m < lengths).any())


@pytest.mark.parametrize('speed_m_s', [2.0, 4.0, 5.0, 7.0, 10.0, 15.0])
def test_people_cross_between_the_car_in_front_and_the_rig(speed_m_s):
    for seed in (0, 3):  # in the second one somebody pushes a pushchair
        scene = sample_long_street(seed, length_m=250.0, speed_m_s=speed_m_s, environment=DAY)
        people = crossing_people(scene)
        assert len(people) == 5
        for person in people:
            course = person.course
            ends_s = course.start_s + course.length_m / course.speed_m_s
            times = np.arange(max(course.start_s, 0.0), max(ends_s, 0.0) + 0.1, 0.1)
            inside = [time_s for time_s in times if is_inside(person, scene.actors[0], time_s)]
            assert not inside, seed
            at = np.array([course.position_at(time_s)[:2] for time_s in times])
            assert np.hypot(at[:, 0] - speed_m_s * times, at[:, 1]).min() > 1.5
