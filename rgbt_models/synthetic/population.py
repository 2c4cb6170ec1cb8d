# SPDX-License-Identifier: Apache-2.0
"""Single actors: each function adds one, with everything that belongs to it.

All share their first arguments: the source of randomness, the builder that receives the actor,
the course it takes, and ``ambient_c``, the air temperature that clothes and engines depend on.
Each actor draws from a generator of its own, spawned from the one given: whatever the air makes
somebody wear, those added later are the same.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Protocol, TYPE_CHECKING

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
    from rgbt_models.synthetic.limbs import Point
    from rgbt_models.synthetic.two_wheelers import TwoWheeler
    from rgbt_models.synthetic.vehicle_body import Vehicle

_RUNNING_RATE = 0.6  # of cars that stand
_JUST_PARKED_RATE = 0.2  # of motorbikes that stand
_HELMET_RATES = {Label.BICYCLE: 0.45, Label.MOTORBIKE: 0.92}
_BEAM_COLOUR: tuple[float, float, float] = (60.0, 57.0, 51.0)
_PUSHED_M = 0.45  # a pushed bicycle is that far to the right of whoever pushes it


def _own(rng: np.random.Generator) -> np.random.Generator:
    return rng.spawn(1)[0]


def _open_slot(builder: SceneBuilder, label: Label, ambient_c: float) -> Slot:
    return Slot(
        add=builder.material,
        label=label,
        instance=builder.new_instance(label),
        frame=builder.new_frame(),
        ambient_c=ambient_c,
    )


def _is_running(rng: np.random.Generator, course: Course, asked: bool | None) -> bool:
    """Tell whether an engine runs: as asked or, if None, when it drives or as drawn."""
    drawn = rng.random() < _RUNNING_RATE
    if asked is not None:
        return asked
    return drawn or course.speed_m_s > 0.0


class _Build(Protocol):
    """Draws a vehicle."""

    def __call__(self, rng: np.random.Generator, slot: Slot, *, is_running: bool) -> Vehicle:
        """Return the vehicle for a slot."""


def _add_vehicle(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    slot: Slot,
    build: _Build,
    *,
    is_running: bool | None,
) -> None:
    running = _is_running(rng, course, is_running)
    vehicle = build(rng, slot, is_running=running)
    body = RigidBody(mesh=vehicle.mesh, materials=vehicle.materials)
    builder.actors.append(Actor(shape=body, frame=slot.frame, course=course))
    if running:
        _add_beam(rng, builder, slot.frame, vehicle.lamp, vehicle.lit_from, strength=1.0)


def _add_beam(
    rng: np.random.Generator,
    builder: SceneBuilder,
    frame: int,
    position: Point,
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
    """Add one car or van.

    Args:
        rng: Source of randomness.
        builder: Receives the car.
        course: Where to, from the middle of the car.
        ambient_c: Air temperature.
        is_running: Warm, with its lights on at night; if None, always when it drives and six of
            ten times when it stands.
        kind: Saloon, van, ...; drawn if None.
    """
    rng = _own(rng)
    slot = _open_slot(builder, Label.CAR, ambient_c)
    build = partial(build_car, kind=kind)
    _add_vehicle(rng, builder, course, slot, build, is_running=is_running)


def add_truck(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float = 15.0,
    is_running: bool | None = None,
) -> None:
    """Add one lorry with a box, tank, container, tipper or open load; arguments as of cars."""
    rng = _own(rng)
    slot = _open_slot(builder, Label.TRUCK, ambient_c)
    _add_vehicle(rng, builder, course, slot, build_lorry, is_running=is_running)


def add_bus(
    rng: np.random.Generator,
    builder: SceneBuilder,
    course: Course,
    *,
    ambient_c: float = 15.0,
    is_running: bool | None = None,
) -> None:
    """Add one bus or coach, which counts as a truck; arguments as of cars."""
    rng = _own(rng)
    slot = _open_slot(builder, Label.TRUCK, ambient_c)
    _add_vehicle(rng, builder, course, slot, build_bus, is_running=is_running)


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
    rng = _own(rng)
    slot = _open_slot(builder, Label.PERSON, ambient_c)
    speed_m_s = None if has_own_speed else course.speed_m_s
    person = sample_person(rng, slot, speed_m_s=speed_m_s, carried=carried)
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
        is_pushed: Somebody walks beside it; without a rider only, who wins if both are asked for.
    """
    rng = _own(rng)
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
        _add_rider(rng, builder, course, bicycle, slot)


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
        is_running: Hot; if None, when it is ridden and, one in five, when it has just been
            parked. Its lights are on at night only when it is ridden.
    """
    rng = _own(rng)
    slot = _open_slot(builder, Label.MOTORBIKE, ambient_c)
    drawn = has_rider or rng.random() < _JUST_PARKED_RATE
    running = drawn if is_running is None else is_running
    motorbike = build_motorbike(rng, slot, is_running=running, is_ridden=has_rider)
    course = course if has_rider else replace(course, speed_m_s=0.0)
    _add_two_wheeler(builder, course, motorbike, slot.frame)
    if has_rider:
        _add_beam(rng, builder, slot.frame, motorbike.lamp, motorbike.lit_from, strength=0.6)
        _add_rider(rng, builder, course, motorbike, slot)


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
    ridden: Slot,
) -> None:
    """Add whoever rides the vehicle of a slot."""
    has_helmet = rng.random() < _HELMET_RATES[ridden.label]
    slot = _open_slot(builder, Label.RIDER, ridden.ambient_c)
    rider = sample_rider(
        rng, slot, mount=vehicle.mount, height_m=vehicle.rider_height_m, has_helmet=has_helmet
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
    rng = _own(rng)
    slot = _open_slot(builder, Label.ANIMAL, ambient_c)
    speed_m_s = None if has_own_speed else course.speed_m_s
    animal = sample_animal(rng, slot, speed_m_s=speed_m_s, kind=kind)
    course = replace(course, speed_m_s=animal.speed_m_s)
    builder.actors.append(Actor(shape=animal, frame=slot.frame, course=course))
