# SPDX-License-Identifier: Apache-2.0
"""Single actors: each function adds one, with everything that belongs to it.

All share their first arguments: the source of randomness, the builder that receives the actor,
the course it takes, and ``ambient_c``, the air temperature that clothes and engines depend on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.actors import Actor, RigidBody
from rgbt_models.synthetic.animals import AnimalKind, sample_animal
from rgbt_models.synthetic.carried import Carried
from rgbt_models.synthetic.cars import build_car, CarKind
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.motorbikes import build_motorbike
from rgbt_models.synthetic.parts import Slot
from rgbt_models.synthetic.people import sample_person, sample_rider
from rgbt_models.synthetic.trucks import build_bus, build_lorry
from rgbt_models.synthetic.two_wheelers import build_bicycle

if TYPE_CHECKING:
    from rgbt_models.synthetic.actors import Course
    from rgbt_models.synthetic.builder import SceneBuilder
    from rgbt_models.synthetic.two_wheelers import TwoWheeler
    from rgbt_models.synthetic.vehicle_body import Vehicle

_RUNNING_RATE = 0.6
_BEAM_COLOUR: tuple[float, float, float] = (60.0, 57.0, 51.0)
_PUSHED_M = 0.45  # a pushed bicycle is that far to the right of whoever pushes it


def _open_slot(builder: SceneBuilder, label: Label, ambient_c: float) -> Slot:
    return Slot(
        add=builder.material,
        label=label,
        instance=builder.new_instance(label),
        frame=builder.new_frame(),
        ambient_c=ambient_c,
    )


def _is_running(rng: np.random.Generator, course: Course, asked: bool | None) -> bool:
    """What drives runs; what stands runs as asked, or is drawn."""
    drawn = rng.random() < _RUNNING_RATE
    if asked is not None:
        return asked
    return drawn or course.speed_m_s > 0.0


def _add_vehicle(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    vehicle: Vehicle,
    *,
    frame: int,
    is_running: bool,
) -> None:
    body = RigidBody(mesh=vehicle.mesh, materials=vehicle.materials)
    builder.actors.append(Actor(shape=body, frame=frame, course=course))
    if is_running:
        _add_beam(rng, builder, frame, vehicle.lamp, vehicle.lit_from, strength=1.0)


def _add_beam(
    rng: np.random.Generator,
    builder: SceneBuilder,
    frame: int,
    position: tuple[float, float, float],
    lit_from: float,
    *,
    strength: float,
) -> None:
    gain = strength * rng.uniform(0.3, 1.2)
    blue = rng.uniform(0.75, 1.1)  # bulbs are yellower than diodes
    colour = (_BEAM_COLOUR[0] * gain, _BEAM_COLOUR[1] * gain, _BEAM_COLOUR[2] * gain * blue)
    down = rng.uniform(0.02, 0.06)
    builder.add_beam(frame, position, (1.0, 0.0, -down), colour, lit_from)


def add_car(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float = 15.0,
    is_running: bool | None = None,
    kind: CarKind | None = None,
) -> None:
    """Add one car; running (warm, lights on at night) or parked, drawn if None."""
    slot = _open_slot(builder, Label.CAR, ambient_c)
    running = _is_running(rng, course, is_running)
    vehicle = build_car(
        rng,
        slot,
        is_running=running,
        kind=kind,
    )
    _add_vehicle(rng, builder, course, vehicle, frame=slot.frame, is_running=running)


def add_van(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float = 15.0,
    is_running: bool | None = None,
) -> None:
    """Add one van, which counts as a car."""
    add_car(rng, builder, course, ambient_c=ambient_c, is_running=is_running, kind=CarKind.VAN)


def add_truck(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float = 15.0,
    is_running: bool | None = None,
) -> None:
    """Add one lorry with a box, tank, container, tipper or open load."""
    slot = _open_slot(builder, Label.TRUCK, ambient_c)
    running = _is_running(rng, course, is_running)
    vehicle = build_lorry(
        rng,
        slot,
        is_running=running,
    )
    _add_vehicle(rng, builder, course, vehicle, frame=slot.frame, is_running=running)


def add_bus(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float = 15.0,
    is_running: bool | None = None,
) -> None:
    """Add one bus or coach, which counts as a truck."""
    slot = _open_slot(builder, Label.TRUCK, ambient_c)
    running = _is_running(rng, course, is_running)
    vehicle = build_bus(
        rng,
        slot,
        is_running=running,
    )
    _add_vehicle(rng, builder, course, vehicle, frame=slot.frame, is_running=running)


def add_person(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float = 15.0,
    has_own_speed: bool = True,
    carried: Carried | None = None,
) -> None:
    """Add one person on foot.

    Args:
        rng: Source of randomness.
        builder: Receives the person.
        course: Where to.
        ambient_c: Air temperature, which decides about the clothes.
        has_own_speed: Replace the speed of the course by what the gait suggests; False = the
            gait follows the course.
        carried: What goes with the person; drawn if None.
    """
    slot = _open_slot(builder, Label.PERSON, ambient_c)
    person = sample_person(
        rng,
        slot,
        speed_m_s=None if has_own_speed else course.speed_m_s,
        carried=carried,
    )
    course = replace(course, speed_m_s=person.speed_m_s)
    builder.actors.append(Actor(shape=person, frame=slot.frame, course=course))


def add_bicycle(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float = 15.0,
    has_rider: bool = True,
    is_pushed: bool = False,
) -> None:
    """Add a bicycle: with a rider, pushed by a person, or standing alone.

    Args:
        rng: Source of randomness.
        builder: Receives the bicycle and whoever rides or pushes it.
        course: Where to; ignored if it stands alone.
        ambient_c: Air temperature.
        has_rider: Somebody rides it.
        is_pushed: Somebody walks beside it; only without a rider.
    """
    slot = _open_slot(builder, Label.BICYCLE, ambient_c)
    is_held = has_rider or is_pushed
    bicycle = build_bicycle(rng, slot, is_ridden=is_held)
    if is_pushed and not has_rider:
        course = replace(course, speed_m_s=rng.uniform(0.7, 1.4))
        aside = np.array([-course.heading[1], course.heading[0], 0.0], np.float32)
        position = course.position + np.float32(_PUSHED_M) * aside
        beside = replace(course, position=position)
        _add_pusher(rng, builder, beside, bicycle, ambient_c=ambient_c)
    course = course if is_held else replace(course, speed_m_s=0.0)
    _add_two_wheeler(builder, course, bicycle, slot.frame)
    if has_rider:
        has_helmet = rng.random() < 0.45
        _add_rider(rng, builder, course, bicycle, ambient_c=ambient_c, has_helmet=has_helmet)


def _add_pusher(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    bicycle: TwoWheeler,
    *,
    ambient_c: float,
) -> None:
    slot = _open_slot(builder, Label.PERSON, ambient_c)
    person = sample_person(
        rng,
        slot,
        speed_m_s=course.speed_m_s,
        carried=Carried.PUSHED_BICYCLE,
        height_m=bicycle.rider_height_m,
    )
    builder.actors.append(Actor(shape=person, frame=slot.frame, course=course))


def add_motorbike(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float = 15.0,
    has_rider: bool = True,
    is_running: bool | None = None,
) -> None:
    """Add a motorbike or scooter, with a rider or parked.

    Args:
        rng: Source of randomness.
        builder: Receives the motorbike and its rider.
        course: Where to; ignored without a rider.
        ambient_c: Air temperature.
        has_rider: Somebody rides it.
        is_running: Hot, with its light on; if None, when it is ridden and, one in five, when it
            has just been parked.
    """
    slot = _open_slot(builder, Label.MOTORBIKE, ambient_c)
    running = has_rider or rng.random() < 0.2 if is_running is None else is_running
    motorbike = build_motorbike(
        rng,
        slot,
        is_running=running,
        is_ridden=has_rider,
    )
    course = course if has_rider else replace(course, speed_m_s=0.0)
    _add_two_wheeler(builder, course, motorbike, slot.frame)
    if has_rider:
        _add_beam(rng, builder, slot.frame, motorbike.lamp, 0.4, strength=0.6)
        has_helmet = rng.random() < 0.92
        _add_rider(rng, builder, course, motorbike, ambient_c=ambient_c, has_helmet=has_helmet)


def _add_two_wheeler(
    builder: SceneBuilder, course: Course, vehicle: TwoWheeler, frame: int
) -> None:
    body = RigidBody(mesh=vehicle.mesh, materials=vehicle.materials)
    builder.actors.append(Actor(shape=body, frame=frame, course=course))


def _add_rider(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    vehicle: TwoWheeler,
    *,
    ambient_c: float,
    has_helmet: bool,
) -> None:
    slot = _open_slot(builder, Label.RIDER, ambient_c)
    rider = sample_rider(
        rng,
        slot,
        mount=vehicle.mount,
        height_m=vehicle.rider_height_m,
        has_helmet=has_helmet,
    )
    builder.actors.append(Actor(shape=rider, frame=slot.frame, course=course))


def add_animal(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float = 15.0,
    has_own_speed: bool = True,
    kind: AnimalKind | None = None,
) -> None:
    """Add one animal.

    Args:
        rng: Source of randomness.
        builder: Receives the animal.
        course: Where to.
        ambient_c: Air temperature: thick winter fur shows less of the body.
        has_own_speed: Replace the speed of the course by what the gait suggests; False = the
            gait follows the course.
        kind: Dog, deer, ...; drawn if None.
    """
    slot = _open_slot(builder, Label.ANIMAL, ambient_c)
    animal = sample_animal(
        rng,
        slot,
        speed_m_s=None if has_own_speed else course.speed_m_s,
        kind=kind,
    )
    course = replace(course, speed_m_s=animal.speed_m_s)
    builder.actors.append(Actor(shape=animal, frame=slot.frame, course=course))
