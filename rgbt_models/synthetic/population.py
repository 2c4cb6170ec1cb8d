# SPDX-License-Identifier: Apache-2.0
"""Who and what is on the street: cars, bicycles, riders and people."""

from __future__ import annotations

from dataclasses import replace
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.actors import Actor, Course, RigidBody
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.people import sample_person
from rgbt_models.synthetic.vehicles import build_bicycle, build_car

if TYPE_CHECKING:
    from rgbt_models.synthetic.builder import Placer, SceneBuilder
    from rgbt_models.synthetic.street import Street

_SADDLE_X_M = -0.12
_WALKING_GAIT_RAD = 0.08  # whoever swings less stands
_SPEED_PER_GAIT = 2.6  # m/s per radian of leg swing


def add_car(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    is_running: bool | None = None,
) -> None:
    """Add one car; running (warm, lights on at night) or parked, drawn if None."""
    instance, frame = builder.new_instance(Label.CAR), builder.new_frame()
    mesh, materials = build_car(
        rng, builder.material, instance=instance, frame=frame, is_running=is_running
    )
    body = RigidBody(mesh=mesh, materials=materials)
    builder.actors.append(Actor(shape=body, frame=frame, course=course))


def add_person(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float,
    is_riding: bool = False,
    has_own_speed: bool = True,
) -> None:
    """Add one person.

    Args:
        rng: Source of randomness.
        builder: Receives the person.
        course: Where to.
        ambient_c: Air temperature, which decides about bare arms and legs.
        is_riding: Sit on a bicycle.
        has_own_speed: Replace the speed of the course by what the gait suggests.
    """
    instance, frame = builder.new_instance(Label.PERSON), builder.new_frame()
    person = sample_person(
        rng,
        builder.material,
        instance=instance,
        frame=frame,
        ambient_c=ambient_c,
        is_riding=is_riding,
    )
    if has_own_speed:
        is_standing = person.gait_rad < _WALKING_GAIT_RAD
        speed = 0.0 if is_standing else _SPEED_PER_GAIT * person.gait_rad
        course = replace(course, speed_m_s=speed)
    builder.actors.append(Actor(shape=person, frame=frame, course=course))


def add_bicycle(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float,
    has_rider: bool,
) -> None:
    """Add a bicycle, with a rider or standing alone."""
    instance, frame = builder.new_instance(Label.BICYCLE), builder.new_frame()
    mesh, materials = build_bicycle(rng, builder.material, instance=instance, frame=frame)
    body = RigidBody(mesh=mesh, materials=materials)
    if not has_rider:
        parked = replace(course, speed_m_s=0.0)
        builder.actors.append(Actor(shape=body, frame=frame, course=parked))
        return
    builder.actors.append(Actor(shape=body, frame=frame, course=course))
    saddle = course.position + np.float32(_SADDLE_X_M) * course.heading
    add_person(
        rng,
        builder,
        replace(course, position=saddle),
        ambient_c=ambient_c,
        is_riding=True,
        has_own_speed=False,
    )


def _along_street_yaw(rng: np.random.Generator, spread_rad: float) -> float:
    return float(rng.choice([0.0, math.pi])) + rng.normal(0.0, spread_rad)


def add_traffic(
    rng: np.random.Generator,
    builder: SceneBuilder,
    placer: Placer,
    street: Street,
    ambient_c: float,
) -> None:
    """Add up to six cars and up to four bicycles, half of those with riders."""
    for _ in range(int(rng.integers(0, 7))):
        is_on_road = rng.random() < 0.85
        radius = 2.2 if rng.random() < 0.7 else 1.6
        within = street.half_width_m - 0.8 if is_on_road else math.inf
        # Nearer cars are a featureless plane seen from above.
        position = placer.place(rng, near_m=9.0, far_m=70.0, radius_m=radius, within_m=within)
        if position is None:
            continue
        yaw = _along_street_yaw(rng, 0.06)
        if rng.random() < 0.2:
            yaw = rng.uniform(0.0, 2.0 * math.pi)
        add_car(rng, builder, Course(position=position, yaw_rad=yaw))
    for _ in range(int(rng.integers(0, 5))):
        position = placer.place(rng, near_m=4.0, far_m=28.0, radius_m=0.7)
        if position is not None:
            yaw, has_rider = rng.uniform(0.0, 2.0 * math.pi), rng.random() < 0.55
            course = Course(position=position, yaw_rad=yaw, speed_m_s=rng.uniform(2.0, 5.0))
            add_bicycle(rng, builder, course, ambient_c=ambient_c, has_rider=has_rider)


def add_people(
    rng: np.random.Generator, builder: SceneBuilder, placer: Placer, ambient_c: float
) -> None:
    """Add people: up to eight, or in three of ten scenes up to 23, some in groups."""
    is_quiet = rng.random() < 0.7
    count = int(rng.integers(0, 9) if is_quiet else rng.integers(8, 24))
    for _ in range(count):
        radius = 0.3 if rng.random() < 0.7 else 0.2
        position = placer.place(rng, near_m=4.5, far_m=50.0, radius_m=radius)
        if position is None:
            continue
        yaw = _along_street_yaw(rng, 0.3)
        if rng.random() < 0.6:
            yaw = rng.uniform(0.0, 2.0 * math.pi)
        add_person(rng, builder, Course(position=position, yaw_rad=yaw), ambient_c=ambient_c)
        companions = int(rng.integers(0, 3)) if rng.random() < 0.3 else 0
        for _ in range(companions):
            beside = position.copy()
            beside[0] += np.float32(rng.normal(0.0, 0.5))
            beside[1] += np.float32(rng.normal(0.0, 0.7))
            beside[2] = placer.ground_z(float(beside[1]))
            course = Course(position=beside, yaw_rad=yaw + rng.normal(0.0, 0.2))
            add_person(rng, builder, course, ambient_c=ambient_c)
