# SPDX-License-Identifier: Apache-2.0
"""A street long enough for a drive, with traffic that lets the rig pass.

Traffic keeps to the right: the rig in the right lane behind a car, oncoming vehicles in the left
one, parked cars at both kerbs, people on the pavements, some crossing behind the car in front,
which keeps as many seconds ahead at any speed above 4 m/s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.actors import Course
from rgbt_models.synthetic.animals import AnimalKind
from rgbt_models.synthetic.builder import SceneBuilder
from rgbt_models.synthetic.clutter import add_clutter, add_street_lamp
from rgbt_models.synthetic.layouts import build_street, Street, Use
from rgbt_models.synthetic.placer import Candidate, Placer
from rgbt_models.synthetic.population import (
    add_animal,
    add_bicycle,
    add_bus,
    add_car,
    add_motorbike,
    add_person,
    add_truck,
)
from rgbt_models.synthetic.scene import Appearance, EgoPose, finish_scene, Scene

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.environment import Environment

_VIEW_M = 120.0
_LANE_M = 1.75  # middle of a lane from the middle of the road
_PARKED_M = 4.55  # middle of a parked car from the middle of the road
_HALF_WIDTH_M = 5.7
_CAMERA_HEIGHT_M = 1.6
_GAP_M, _GAP_S = 17.0, 4.25  # to the middle of the car in front: the longer one holds
_USUAL_BACK_M = 2.55  # from there to its rear; a longer car is farther ahead
_CROSSING_S = 2.6  # from a crossing person in the middle of the lane to the rig at this place
_WALKING_M_S = 1.35
_USUAL_REACH_M = 0.45  # of a person ahead of the middle
_ONCOMING_M_S = 7.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Site:
    """What everything is added to."""

    builder: SceneBuilder
    street: Street
    placer: Placer
    ambient_c: float
    speed_m_s: float  # of the rig


def sample_long_street(
    seed: int, *, length_m: float, speed_m_s: float, environment: Environment
) -> Scene:
    """Draw a street to drive along, from x = 0 at y = 0.

    Args:
        seed: The same arguments give the same street.
        length_m: Of the street; the drive ends 120 m before its end.
        speed_m_s: Of the rig; the car in front and those who cross are timed for it.
        environment: Light and heat of the scene.
    """
    street_rng, traffic_rng, people_rng, clutter_rng = np.random.default_rng([seed, 2]).spawn(4)
    street = _sample_street(street_rng, length_m)
    builder = SceneBuilder()
    layout = build_street(street_rng, builder, street)
    site = _Site(
        builder=builder,
        street=street,
        placer=Placer(_along(street), layout),
        ambient_c=float(environment.ambient_c),
        speed_m_s=speed_m_s,
    )
    _add_traffic(traffic_rng, site)
    _add_parked(traffic_rng, site)
    _add_people(people_rng, site)
    _add_crossing_people(people_rng, site)
    add_clutter(clutter_rng, builder, site.placer, density=length_m / 60.0)
    for index, x in enumerate(np.arange(12.0, length_m, 28.0)):
        side = 1.0 if index % 2 else -1.0
        y = street.centre_y + side * (street.half_width_m + 0.5)
        add_street_lamp(clutter_rng, builder, float(x), y, -side * math.pi / 2)
    return finish_scene(
        builder,
        layout=layout,
        appearance=_sample_appearance(street_rng),
        environment=environment,
        ego=EgoPose(position=np.array([0.0, 0.0, _CAMERA_HEIGHT_M])),
    )


def _sample_street(rng: np.random.Generator, length_m: float) -> Street:
    return Street(
        centre_y=_LANE_M,  # the rig drives at y = 0, in the right lane
        half_width_m=_HALF_WIDTH_M,
        pavement_m=rng.uniform(2.8, 3.6),
        kerb_m=0.12,
        setback_m=rng.uniform(4.0, 6.0),
        length_m=length_m,
        has_markings=True,
        marking_albedo=(0.6, 0.6, 0.6),
        marking_k=0.7,
        crossing_x=0.4 * length_m,
    )


def _sample_appearance(rng: np.random.Generator) -> Appearance:
    return Appearance(
        fine_texture=int(rng.integers(6)),
        coarse_texture=int(rng.integers(6)),
        cloud_texture=int(rng.integers(6)),
        texels_per_m=14.0,
        albedo_contrast=1.2,
        thermal_contrast=0.5,
        lit_window_from=0.6,
        window_radiance=0.8,
    )


def _along(street: Street) -> Candidate:
    reach = street.half_width_m + street.setback_m

    def candidate(rng: np.random.Generator, near: float, far: float) -> tuple[float, float]:
        del far  # things stand along the whole street
        x = rng.uniform(near, street.length_m)
        return x, street.centre_y + rng.uniform(-reach, reach)

    return candidate


def _add_traffic(rng: np.random.Generator, site: _Site) -> None:
    """Add what moves on the road, and cyclists between the lanes and the parked cars."""
    street, builder, ambient_c = site.street, site.builder, site.ambient_c
    # Time for people to cross before the rig comes, not distance, is what speed takes away.
    gap_m = max(_GAP_M, _GAP_S * site.speed_m_s)
    ahead = Course(position=_point(gap_m, 0.0, 0.0), yaw_rad=0.0, speed_m_s=site.speed_m_s)
    add_car(rng, builder, ahead, ambient_c=ambient_c, is_running=True)
    car = builder.actors[-1]
    back_m = -float(car.shape.triangles(0.0)[0][..., 0].min())
    longer = _point(max(back_m - _USUAL_BACK_M, 0.0), 0.0, 0.0)
    builder.actors[-1] = replace(car, course=replace(ahead, position=ahead.position + longer))
    left_lane = street.centre_y + _LANE_M
    kinds = (add_car, add_truck, add_car, add_bus, add_car, add_motorbike)
    for index, x in enumerate(np.arange(55.0, 2.2 * street.length_m, 48.0)):
        position = _point(x + rng.uniform(-6.0, 6.0), left_lane, 0.0)
        course = Course(position=position, yaw_rad=math.pi, speed_m_s=_ONCOMING_M_S)
        kinds[index % len(kinds)](rng, builder, course, ambient_c=ambient_c)
    for x, side, yaw in ((26.0, -1.0, 0.0), (90.0, 1.0, math.pi)):
        position = _point(x, street.centre_y + side * (_LANE_M + 1.35), 0.0)
        course = Course(position=position, yaw_rad=yaw, speed_m_s=0.9 * site.speed_m_s)
        add_bicycle(rng, builder, course, ambient_c=ambient_c, has_rider=True)


def _add_parked(rng: np.random.Generator, site: _Site) -> None:
    street = site.street
    for side, yaw in ((1.0, math.pi), (-1.0, 0.0)):
        x = rng.uniform(8.0, 14.0)
        while x < street.length_m:
            if rng.random() < 0.55:
                y = street.centre_y + side * _PARKED_M
                site.placer.take(x, y, 2.3)
                course = Course(position=_point(x, y, 0.0), yaw_rad=yaw + rng.normal(0.0, 0.02))
                add_car(rng, site.builder, course, ambient_c=site.ambient_c, is_running=False)
            x += rng.uniform(6.8, 11.0)


def _add_people(rng: np.random.Generator, site: _Site) -> None:
    """Add people on the pavements, some with a dog, and bicycles that stand there."""
    street, builder, ambient_c = site.street, site.builder, site.ambient_c
    edge = street.half_width_m + 0.6
    outer = street.half_width_m + street.pavement_m - 0.4
    for _ in range(round(street.length_m / 4.5)):
        x, side = rng.uniform(6.0, street.length_m), float(rng.choice([-1.0, 1.0]))
        lateral = side * rng.uniform(edge, outer)
        position = _point(x, street.centre_y + lateral, street.kerb_m)
        course = Course(position=position, yaw_rad=float(rng.choice([0.0, math.pi])))
        add_person(rng, builder, course, ambient_c=ambient_c)
        company = rng.random()
        beside = position + _point(rng.normal(0.0, 0.3), 0.55 * -side, 0.0)
        if company < 0.25:
            add_person(rng, builder, replace(course, position=beside), ambient_c=ambient_c)
        elif company < 0.33:
            dog = replace(course, position=beside)
            add_animal(rng, builder, dog, ambient_c=ambient_c, kind=AnimalKind.DOG)
    for _ in range(round(street.length_m / 25.0)):
        spot = site.placer.place(
            rng, near_m=8.0, far_m=street.length_m, radius_m=0.8, uses=(Use.WALK,)
        )
        if spot is not None:
            course = Course(position=spot, yaw_rad=rng.uniform(0.0, 2.0 * math.pi))
            add_bicycle(rng, builder, course, ambient_c=ambient_c, has_rider=False)


def _add_crossing_people(rng: np.random.Generator, site: _Site) -> None:
    """Let people cross behind the car in front, about 2 s before the rig arrives."""
    street, kerb = site.street, site.street.half_width_m + 0.5
    for x in np.arange(30.0, street.length_m - 0.6 * _VIEW_M, 34.0):
        side = float(rng.choice([-1.0, 1.0]))
        passes_lane_s = x / site.speed_m_s - _CROSSING_S
        to_lane_m = kerb + side * _LANE_M
        course = Course(
            position=_point(x, street.centre_y + side * kerb, 0.0),
            yaw_rad=-side * math.pi / 2,
            speed_m_s=_WALKING_M_S,
            start_s=passes_lane_s - to_lane_m / _WALKING_M_S,
            length_m=2.0 * kerb,
        )
        add_person(rng, site.builder, course, ambient_c=site.ambient_c, has_own_speed=False)
        # Who pushes a pushchair comes later, or it would be under the car.
        person = site.builder.actors[-1]
        reach_m = float(person.shape.triangles(0.0)[0][..., 0].max())
        later_s = max(reach_m - _USUAL_REACH_M, 0.0) / _WALKING_M_S
        later = replace(person.course, start_s=person.course.start_s + later_s)
        site.builder.actors[-1] = replace(person, course=later)


def _point(x: float, y: float, z: float) -> FloatArray:
    return np.array([x, y, z], np.float32)
