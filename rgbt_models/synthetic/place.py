# SPDX-License-Identifier: Apache-2.0
"""Where a sequence happens, and how the rig moves through it."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.layouts import LayoutKind
from rgbt_models.synthetic.long_street import sample_long_street
from rgbt_models.synthetic.raycast import RayCaster
from rgbt_models.synthetic.scenario_groups import DRAWN
from rgbt_models.synthetic.scene import EgoPose, sample_scene, Scene

if TYPE_CHECKING:
    from rgbt_models.synthetic.actors import Actor
    from rgbt_models.synthetic.arrays import DoubleArray
    from rgbt_models.synthetic.environment import Environment
    from rgbt_models.synthetic.scenario import Scenario
    from rgbt_models.synthetic.scenario_groups import EgoSettings

_VIEW_M = 120.0  # built-up street ahead of the last position
_BEFORE_OBSTACLE_M = 3.0
_BRAKING_M_S2 = 1.5
_SWAY_YAW, _SWAY_PITCH, _SWAY_ROLL = 0.012, 0.003, 0.002  # rad, of a car on its springs
_NEAR_M = 1.0  # what comes nearer to the rig than that would be driven through
_HALF_WIDTH_M = 0.8  # of the rig
_STEP_M = 0.3  # what is lower is no obstacle
_HEADROOM_M = 0.2  # above the cameras
_LOOK_S = 0.2  # between two looks at who is in the way
_AWAY_M = 500.0  # behind


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Way:
    """How the rig moves: along +x, or on the spot."""

    settings: EgoSettings
    clear_m: float  # it stops before that

    def travelled_at(self, time_s: float) -> float:
        """Return the distance travelled at a time, metres; it brakes evenly before the end."""
        speed = self.settings.speed_m_s
        if self.settings.path != 'forward' or speed <= 0.0 or self.clear_m <= 0.0:
            return 0.0
        braking_m = min(0.5 * speed * speed / _BRAKING_M_S2, self.clear_m)
        steady_m = self.clear_m - braking_m
        if time_s * speed <= steady_m:
            return speed * time_s
        braking_s = 2.0 * braking_m / speed
        part = min((time_s - steady_m / speed) / braking_s, 1.0)
        return steady_m + braking_m * part * (2.0 - part)

    def pose_at(self, time_s: float) -> EgoPose:
        """Return where the rig is at a time."""
        settings = self.settings
        yaw = settings.sway * _SWAY_YAW * math.sin(0.5 * time_s)
        if settings.path == 'pan':
            phase = 2.0 * math.pi * time_s / settings.pan_period_s
            yaw += math.radians(settings.pan_deg) * math.sin(phase)
        pitch = math.radians(settings.pitch_deg)
        return EgoPose(
            position=np.array([self.travelled_at(time_s), 0.0, settings.height_m]),
            yaw_rad=yaw,
            pitch_rad=pitch + settings.sway * _SWAY_PITCH * math.sin(5.1 * time_s),
            roll_rad=settings.sway * _SWAY_ROLL * math.sin(3.7 * time_s + 1.0),
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Place:
    """A scene and the way of the rig through it."""

    scene: Scene
    way: Way

    def ego_at(self, time_s: float) -> EgoPose:
        """Return where the rig is, ``time_s`` after it came here."""
        return self.way.pose_at(time_s)


def sample_place(
    scenario: Scenario, *, seed: int, environment: Environment, view_angle_rad: float
) -> Place:
    """Draw a place of a scenario.

    Args:
        scenario: Says which layout, and how the rig moves.
        seed: Of this place.
        environment: Light and heat when the rig arrives; people are dressed for it.
        view_angle_rad: Horizontal field of view of the RGB camera.
    """
    duration_s = scenario.clip_s or scenario.duration_s
    layout = None if scenario.layout == DRAWN else LayoutKind(scenario.layout)
    speed_m_s = scenario.ego.speed_m_s if scenario.ego.path == 'forward' else 0.0
    if layout is LayoutKind.STREET and speed_m_s > 0.0:
        length_m = speed_m_s * duration_s
        scene = sample_long_street(
            seed, length_m=length_m + _VIEW_M, speed_m_s=speed_m_s, environment=environment
        )
        return Place(scene=scene, way=Way(settings=scenario.ego, clear_m=math.inf))
    scene = sample_scene(
        seed,
        environment=environment,
        layout=layout,
        view_angle_rad=view_angle_rad,
        keep_way_clear=speed_m_s > 0.0,
    )
    free_m = min(scene.layout.clear_m, measure_free_way(scene, height_m=scenario.ego.height_m))
    way = Way(settings=scenario.ego, clear_m=max(free_m - _BEFORE_OBSTACLE_M, 0.0))
    return Place(scene=clear_way(scene, way, duration_s=duration_s), way=way)


def clear_way(scene: Scene, way: Way, *, duration_s: float) -> Scene:
    """Return a scene without the actors that the rig would drive through: they are far behind."""
    times = np.arange(0.0, duration_s + _LOOK_S, _LOOK_S)
    rig = np.array([way.pose_at(float(time_s)).position[:2] for time_s in times])
    actors = tuple(
        _sent_away(actor) if _meets(actor, times, rig) else actor for actor in scene.actors
    )
    return replace(scene, actors=actors)


def measure_free_way(scene: Scene, *, height_m: float) -> float:
    """Return how far the rig can go along +x before it meets something fixed, metres.

    A kerb or anything else up to ``_STEP_M`` is driven over.
    """
    beside = np.linspace(-_HALF_WIDTH_M, _HALF_WIDTH_M, 21)
    heights = np.linspace(min(_STEP_M, 0.5 * height_m), height_m + _HEADROOM_M, 7)
    y, z = (grid.ravel() for grid in np.meshgrid(beside, heights))
    origins = np.stack([np.zeros_like(y), y, z], axis=1).astype(np.float32)
    ahead = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (len(origins), 1))
    _, range_m = RayCaster(scene.fixed_triangles).cast_from(origins, ahead)
    return float(range_m.min())


def _meets(actor: Actor, times: DoubleArray, rig: DoubleArray) -> bool:
    """Tell whether the rectangle that an actor covers comes too near to the rig."""
    mesh, _ = actor.shape.triangles(0.0)
    low, high = mesh[..., :2].min(axis=(0, 1)), mesh[..., :2].max(axis=(0, 1))
    course = actor.course
    at = np.array([course.position_at(float(time_s))[:2] for time_s in times])
    x, y = (rig - at).T
    cos, sin, _ = course.heading
    local = np.stack([cos * x + sin * y, cos * y - sin * x], axis=1)
    beside = np.maximum(np.maximum(low - local, local - high), 0.0)
    return bool((np.hypot(beside[:, 0], beside[:, 1]) < _NEAR_M).any())


def _sent_away(actor: Actor) -> Actor:
    # Not removed: its frame and the lamps in it are counted by number.
    away = np.array([_AWAY_M, 0.0, 0.0], np.float32)
    course = replace(actor.course, position=actor.course.position - away, speed_m_s=0.0)
    return replace(actor, course=course)
