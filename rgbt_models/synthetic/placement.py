# SPDX-License-Identifier: Apache-2.0
"""Who is where: traffic, parked rows, people alone, in groups and crowds, animals."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.actors import Course
from rgbt_models.synthetic.animals import AnimalKind
from rgbt_models.synthetic.cars import CarKind, sample_car_kind
from rgbt_models.synthetic.layouts.layout import sample_count, Use
from rgbt_models.synthetic.placer import ANYWHERE, Footprint
from rgbt_models.synthetic.population import (
    add_animal,
    add_bicycle,
    add_bus,
    add_car,
    add_motorbike,
    add_person,
    add_truck,
)

if TYPE_CHECKING:
    from rgbt_models.synthetic.builder import SceneBuilder
    from rgbt_models.synthetic.layouts.layout import Lane, Spot
    from rgbt_models.synthetic.placer import Placer

_TRIES = 12
_LARGE_KINDS = (
    *[AnimalKind.DEER] * 3,
    AnimalKind.COW,
    AnimalKind.HORSE,
    AnimalKind.SHEEP,
    AnimalKind.BOAR,
)
_MOST_PARKED = 16
_PARKED_NEAR_M, _LONG_PARKED_NEAR_M = 6.0, 14.0
_BESIDE_SHARE = 0.35  # of the scenes have a car beside the rig
_SMALL_KINDS = (*[AnimalKind.DOG] * 4, AnimalKind.FOX, AnimalKind.CAT)
_LONG_KINDS = (CarKind.VAN, CarKind.PICKUP)
_CAR = Footprint(length_m=5.3, width_m=2.15)
_VAN = Footprint(length_m=7.0, width_m=2.3)
_TRUCK = Footprint(length_m=13.4, width_m=2.9)
_MOTORBIKE = Footprint(length_m=2.3, width_m=0.95)
_BICYCLE = Footprint(length_m=2.0, width_m=0.75)
_DOG = Footprint(length_m=1.2, width_m=0.5)
_LARGE_ANIMAL = Footprint(length_m=2.8, width_m=0.9)
_ON_WHEELS = frozenset({Use.DRIVE, Use.BAY, Use.CROSS})
_ON_FOOT = frozenset({Use.WALK, Use.CROSS})
_OPEN = frozenset({Use.GREEN, Use.DRIVE, Use.WALK})


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Crew:
    """What every function here needs."""

    rng: np.random.Generator
    builder: SceneBuilder
    placer: Placer
    ambient_c: float

    def count(self, mean: float) -> int:
        """Draw how many there are, 0 to twice the mean."""
        return sample_count(self.rng, mean)


def add_traffic(crew: Crew) -> None:
    """Add what drives and what stands: parked rows first, they have fixed places."""
    rates = crew.placer.layout.rates
    if crew.rng.random() < _BESIDE_SHARE:
        _add_car_beside(crew)
    _add_parked_rows(crew)
    for _ in range(crew.count(rates.cars)):
        _add_driving_car(crew)
    for _ in range(crew.count(rates.trucks)):
        _add_driving_truck(crew)
    for _ in range(crew.count(rates.motorbikes)):
        _add_motorbike(crew)
    for _ in range(crew.count(rates.cyclists)):
        _add_cyclist(crew)
    for _ in range(crew.count(rates.bicycles)):
        _add_standing_bicycle(crew)


def add_people(crew: Crew) -> None:
    """Add people: few or, with the layout's probability, a crowd; dogs beside some of them."""
    rng, rates = crew.rng, crew.placer.layout.rates
    is_crowded = rng.random() < rates.crowd
    count = int(rng.integers(8, 24)) if is_crowded else crew.count(rates.people)
    if is_crowded and rng.random() < 0.3:
        _add_cluster(crew, count)
        count //= 3
    for _ in range(count):
        _add_walkers(crew)


def add_animals(crew: Crew) -> None:
    """Add animals that are alone: dogs, and deer, cows, horses where there is open ground."""
    rates = crew.placer.layout.rates
    if crew.rng.random() >= rates.animals:
        return
    is_large = crew.rng.random() < rates.large_animals
    kinds = _LARGE_KINDS if is_large else _SMALL_KINDS
    kind = kinds[int(crew.rng.integers(len(kinds)))]
    footprint = _LARGE_ANIMAL if is_large else _DOG
    for _ in range(1 + crew.count(0.6)):
        course = _anywhere(crew, footprint, near_m=5.0, far_m=35.0, uses=_OPEN)
        if course is not None:
            add_animal(crew.rng, crew.builder, course, ambient_c=crew.ambient_c, kind=kind)


def _add_car_beside(crew: Crew) -> None:
    """Add a car beside the rig, which fills much of the picture and is cut by its edge."""
    rng, placer = crew.rng, crew.placer
    kind = sample_car_kind(rng)
    footprint = _VAN if kind in _LONG_KINDS else _CAR
    for _ in range(_TRIES):
        x, y = rng.uniform(3.5, 9.0), rng.choice([-1.0, 1.0]) * rng.uniform(2.1, 4.5)
        area = placer.layout.area_at(x, y)
        if area is None or area.use not in _ON_WHEELS or not placer.is_seen(x, y):
            continue
        yaw = area.yaw_rad + rng.choice([0.0, math.pi]) + rng.normal(0.0, 0.06)
        if placer.try_take(x, y, yaw, footprint):
            course = Course(
                position=placer.on_ground(x, y), yaw_rad=yaw, speed_m_s=rng.uniform(0.0, 12.0)
            )
            add_car(rng, crew.builder, course, ambient_c=crew.ambient_c, kind=kind)
            return


def _add_parked_rows(crew: Crew) -> None:
    layout, rng = crew.placer.layout, crew.rng
    seen = [spot for spot in layout.bays if crew.placer.is_seen(spot.x, spot.y)]
    seen = [
        spot
        for spot in seen
        if math.hypot(spot.x, spot.y) > (_LONG_PARKED_NEAR_M if spot.is_long else _PARKED_NEAR_M)
    ]
    seen.sort(key=lambda spot: math.hypot(spot.x, spot.y))
    taken = 0
    for spot in seen:
        if taken >= _MOST_PARKED or rng.random() >= layout.rates.parked:
            continue
        taken += _add_parked(crew, spot)


def _add_parked(crew: Crew, spot: Spot) -> bool:
    rng = crew.rng
    yaw = spot.yaw_rad + rng.normal(0.0, 0.02) + (math.pi if rng.random() < 0.3 else 0.0)
    x, y = spot.x + rng.normal(0.0, 0.06), spot.y + rng.normal(0.0, 0.06)
    is_two_wheeler = not spot.is_long and rng.random() < 0.06
    kind = sample_car_kind(rng)
    footprint = _VAN if kind in _LONG_KINDS else _CAR
    if spot.is_long or is_two_wheeler:
        footprint = _TRUCK if spot.is_long else _MOTORBIKE
    if not crew.placer.try_take(x, y, yaw, footprint):
        return False
    course = Course(position=crew.placer.on_ground(x, y), yaw_rad=yaw)
    is_running = rng.random() < 0.15
    if spot.is_long:
        add_truck(rng, crew.builder, course, ambient_c=crew.ambient_c, is_running=is_running)
    elif is_two_wheeler:
        add_motorbike(
            rng, crew.builder, course, ambient_c=crew.ambient_c, has_rider=False,
            is_running=is_running,
        )  # fmt: skip
    else:
        add_car(
            rng, crew.builder, course, ambient_c=crew.ambient_c, is_running=is_running, kind=kind
        )
    return True


def _add_driving_car(crew: Crew) -> None:
    rng, rates = crew.rng, crew.placer.layout.rates
    is_on_lane = rng.random() >= rates.off_lane
    kind = sample_car_kind(rng)
    footprint = _VAN if kind in _LONG_KINDS else _CAR
    # Nearer cars are a featureless plane seen from above.
    if is_on_lane:
        course = _on_lane(crew, footprint, near_m=9.0, far_m=70.0, speed=(0.0, 12.0))
    else:
        uses = _ON_WHEELS if rng.random() < 0.6 else ANYWHERE
        course = _anywhere(crew, footprint, near_m=9.0, far_m=60.0, uses=uses)
    if course is not None:
        add_car(rng, crew.builder, course, ambient_c=crew.ambient_c, kind=kind)


def _add_driving_truck(crew: Crew) -> None:
    rng = crew.rng
    is_bus = rng.random() < 0.4
    if rng.random() < 0.8:
        course = _on_lane(crew, _TRUCK, near_m=14.0, far_m=75.0, speed=(0.0, 9.0))
    else:
        course = _anywhere(crew, _TRUCK, near_m=15.0, far_m=75.0, uses=_ON_WHEELS)
    if course is not None:
        (add_bus if is_bus else add_truck)(rng, crew.builder, course, ambient_c=crew.ambient_c)


def _add_motorbike(crew: Crew) -> None:
    rng = crew.rng
    has_rider = rng.random() < 0.65
    if has_rider:
        course = _on_lane(crew, _MOTORBIKE, near_m=5.0, far_m=34.0, speed=(3.0, 12.0))
    else:
        course = _anywhere(crew, _MOTORBIKE, near_m=4.5, far_m=26.0, uses=ANYWHERE)
    if course is not None:
        add_motorbike(rng, crew.builder, course, ambient_c=crew.ambient_c, has_rider=has_rider)


def _add_cyclist(crew: Crew) -> None:
    rng = crew.rng
    if rng.random() < 0.6:
        course = _on_lane(crew, _BICYCLE, near_m=4.5, far_m=30.0, speed=(2.0, 5.0), is_narrow=True)
    else:
        course = _anywhere(crew, _BICYCLE, near_m=4.5, far_m=30.0, uses=ANYWHERE, speed=3.5)
    if course is not None:
        is_pushed = rng.random() < 0.08
        add_bicycle(
            rng, crew.builder, course, ambient_c=crew.ambient_c, has_rider=not is_pushed,
            is_pushed=is_pushed,
        )  # fmt: skip


def _add_standing_bicycle(crew: Crew) -> None:
    """Add a bicycle without a rider, in one of four cases a row of them."""
    rng = crew.rng
    course = _anywhere(crew, _BICYCLE, near_m=4.0, far_m=26.0, uses=ANYWHERE - {Use.DRIVE})
    if course is None:
        return
    add_bicycle(rng, crew.builder, course, ambient_c=crew.ambient_c, has_rider=False)
    if rng.random() >= 0.25:
        return
    x, y, _ = (float(value) for value in course.position)
    across = course.yaw_rad + math.pi / 2
    for place in range(1, int(rng.integers(2, 5))):
        there = (x + place * math.cos(across), y + place * math.sin(across))
        if not crew.placer.try_take(*there, course.yaw_rad, _BICYCLE):
            return
        beside = Course(
            position=crew.placer.on_ground(*there), yaw_rad=course.yaw_rad + rng.normal(0.0, 0.08)
        )
        add_bicycle(rng, crew.builder, beside, ambient_c=crew.ambient_c, has_rider=False)


def _on_lane(
    crew: Crew,
    footprint: Footprint,
    *,
    near_m: float,
    far_m: float,
    speed: tuple[float, float],
    is_narrow: bool = False,
) -> Course | None:
    """Find a free place on a lane, as far away as candidates are.

    Where there is no lane of the kind asked for, the other kind serves: cars on a wide path,
    bicycles in a car park.
    """
    rng, placer = crew.rng, crew.placer
    for _ in range(_TRIES):
        # One draw picks the lane, another one the place along it.
        lane = placer.layout.lane_near(*placer.candidate(rng, near_m, far_m), is_narrow=is_narrow)
        if lane is None:
            lane = placer.layout.lane_near(0.0, 0.0, is_narrow=not is_narrow)
        if lane is None:
            return None
        x, y = _beside_line(crew, lane, placer.candidate(rng, near_m, far_m))
        if not near_m <= math.hypot(x, y) <= 1.4 * far_m or not placer.is_seen(x, y):
            continue
        yaw = lane.yaw_rad + rng.normal(0.0, 0.04)
        if is_narrow and rng.random() < 0.4:
            yaw += math.pi
        if placer.layout.area_at(x, y) is not None and placer.try_take(x, y, yaw, footprint):
            position = placer.on_ground(x, y)
            return Course(position=position, yaw_rad=yaw, speed_m_s=rng.uniform(*speed))
    return None


def _beside_line(crew: Crew, lane: Lane, point: tuple[float, float]) -> tuple[float, float]:
    x, y = lane.nearest(*point)
    aside = crew.rng.normal(0.0, 0.08 * lane.width_m)
    return x - aside * math.sin(lane.yaw_rad), y + aside * math.cos(lane.yaw_rad)


def _anywhere(
    crew: Crew,
    footprint: Footprint,
    *,
    near_m: float,
    far_m: float,
    uses: Collection[Use],
    speed: float = 0.0,
) -> Course | None:
    """Find a free place on ground of some uses, facing anywhere."""
    rng, placer = crew.rng, crew.placer
    for _ in range(_TRIES):
        x, y = placer.candidate(rng, near_m, far_m)
        area = placer.layout.area_at(x, y)
        if area is None or area.use not in uses or not placer.layout.is_within_reach(y):
            continue
        yaw = rng.uniform(0.0, 2.0 * math.pi)
        if placer.try_take(x, y, yaw, footprint):
            position = placer.on_ground(x, y)
            return Course(position=position, yaw_rad=yaw, speed_m_s=speed)
    return None


def _walking_yaw(crew: Crew, x: float, y: float) -> float:
    """Draw where somebody faces: mostly along the ground they are on."""
    rng, area = crew.rng, crew.placer.layout.area_at(x, y)
    if area is None or rng.random() < 0.45:
        return float(rng.uniform(0.0, 2.0 * math.pi))
    return area.yaw_rad + float(rng.choice([0.0, math.pi])) + float(rng.normal(0.0, 0.3))


def _add_walkers(crew: Crew) -> None:
    """Add one person and, in three of ten cases, up to two more; sometimes a dog."""
    rng, placer = crew.rng, crew.placer
    radius = 0.34 if rng.random() < 0.7 else 0.27
    uses = _ON_FOOT if rng.random() < placer.layout.rates.on_foot else ANYWHERE
    position = placer.place(rng, near_m=4.5, far_m=50.0, radius_m=radius, uses=uses)
    if position is None:
        position = placer.place(rng, near_m=4.5, far_m=50.0, radius_m=radius)
    if position is None:
        return
    x, y = float(position[0]), float(position[1])
    yaw = _walking_yaw(crew, x, y)
    add_person(rng, crew.builder, Course(position=position, yaw_rad=yaw), ambient_c=crew.ambient_c)
    companions = int(rng.integers(0, 3)) if rng.random() < 0.3 else 0
    for _ in range(companions):
        _add_person_at(crew, x + rng.normal(0.0, 0.6), y + rng.normal(0.0, 0.8), yaw, 0.25)
    if rng.random() < placer.layout.rates.dogs:
        there = (x + rng.uniform(-1.2, 1.2), y + rng.uniform(-1.2, 1.2))
        if placer.try_take(*there, yaw, _DOG):
            dog = Course(position=placer.on_ground(*there), yaw_rad=yaw, speed_m_s=1.2)
            add_animal(rng, crew.builder, dog, ambient_c=crew.ambient_c, kind=AnimalKind.DOG)


def _add_person_at(crew: Crew, x: float, y: float, yaw_rad: float, radius_m: float) -> None:
    """Add a person to a place if it is free and outdoors."""
    rng, placer = crew.rng, crew.placer
    if math.hypot(x, y) < 4.0 or not placer.is_free(x, y, radius_m):
        return
    placer.take(x, y, radius_m)
    course = Course(position=placer.on_ground(x, y), yaw_rad=yaw_rad + rng.normal(0.0, 0.3))
    add_person(rng, crew.builder, course, ambient_c=crew.ambient_c)


def _add_cluster(crew: Crew, count: int) -> None:
    """Add a crowd that stands or walks close together."""
    rng, placer = crew.rng, crew.placer
    middle = placer.place(rng, near_m=8.0, far_m=30.0, radius_m=0.3)
    if middle is None:
        return
    spread, yaw = rng.uniform(1.0, 3.0), rng.uniform(0.0, 2.0 * math.pi)
    for _ in range(count):
        x = float(middle[0]) + rng.normal(0.0, spread)
        y = float(middle[1]) + rng.normal(0.0, spread)
        _add_person_at(crew, x, y, yaw, 0.25)
