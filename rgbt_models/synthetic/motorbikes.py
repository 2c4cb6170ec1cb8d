# SPDX-License-Identifier: Apache-2.0
"""Motorbikes and scooters: rigid, x forward, z up, ground at z = 0, with a mount."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import math
from typing import TYPE_CHECKING

from rgbt_models.synthetic.limbs import LimbList, Point
from rgbt_models.synthetic.materials import sample_colour
from rgbt_models.synthetic.meshes import box, wheel_rim
from rgbt_models.synthetic.parts import Painter, PartList, Slot, tilted
from rgbt_models.synthetic.poses import Mount
from rgbt_models.synthetic.two_wheelers import TwoWheeler

if TYPE_CHECKING:
    import numpy as np

_BLACK = (0.03, 0.03, 0.03)
_STEEL = (0.35, 0.35, 0.36)


class MotorbikeKind(Enum):
    """How a motorbike is built."""

    NAKED = 0
    SPORT = 1
    CRUISER = 2
    SCOOTER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _MotorbikePaint:
    """Material indices of one motorbike."""

    body: int
    second: int
    seat: int
    tyre: int
    steel: int
    engine: int
    exhaust: int
    headlamp: int
    taillamp: int


def _sample_motorbike_paint(
    rng: np.random.Generator, paint: Painter, *, is_running: bool
) -> _MotorbikePaint:
    cold_k = rng.uniform(-4.0, 1.5)
    heat = rng.uniform(14.0, 70.0) if is_running else rng.choice([0.0, 0.0, 6.0]) * rng.random()
    soak = rng.uniform(0.2, 0.9) if rng.random() < 0.5 else 0.0
    colour = sample_colour(rng)
    second = _BLACK if rng.random() < 0.6 else sample_colour(rng, is_dark=True)
    tyre_k = rng.uniform(3.0, 18.0) if is_running else rng.uniform(-1.0, 2.0)
    return _MotorbikePaint(
        body=paint(colour, offset_k=cold_k, is_glossy=True, solar=0.7, soak=soak),
        second=paint(second, offset_k=cold_k + 0.1 * heat, soak=soak),
        seat=paint(_BLACK, offset_k=rng.uniform(0, 6) if is_running else 0.0, soak=1.2 * soak),
        tyre=paint(_BLACK, offset_k=tyre_k, soak=0.3 * soak),
        steel=paint(_STEEL, offset_k=cold_k, solar=0.4),
        engine=paint((0.12, 0.12, 0.12), offset_k=heat, texture_k=1.5, soak=soak),
        exhaust=paint((0.3, 0.29, 0.28), offset_k=heat * rng.uniform(0.6, 1.6), texture_k=1.5),
        headlamp=paint((0.8, 0.8, 0.75), lamp_k=10.0, emission=rng.uniform(3.0, 14.0)),
        taillamp=paint((0.5, 0.02, 0.02), lamp_k=3.0, emission=rng.uniform(0.4, 2.5)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chassis:
    """Joints of a motorbike."""

    kind: MotorbikeKind
    half: float  # wheelbase
    radius: float  # of the wheels
    seat_z: float
    head: Point
    grip: Point  # the left one


def _draw_chassis(rng: np.random.Generator) -> _Chassis:
    kind = MotorbikeKind(int(rng.choice(4, p=[0.3, 0.2, 0.17, 0.33])))
    is_scooter = kind == MotorbikeKind.SCOOTER
    half = 0.5 * (rng.uniform(1.15, 1.35) if is_scooter else rng.uniform(1.3, 1.62))
    head = (half - rng.uniform(0.22, 0.34), 0.0, rng.uniform(0.86, 0.98))
    return _Chassis(
        kind=kind,
        half=half,
        radius=rng.uniform(0.2, 0.27) if is_scooter else rng.uniform(0.28, 0.34),
        seat_z=rng.uniform(0.8, 0.86) if kind == MotorbikeKind.SPORT else rng.uniform(0.7, 0.8),
        head=head,
        grip=(
            head[0] - rng.uniform(0.1, 0.22),
            rng.uniform(0.3, 0.4),
            head[2] + rng.uniform(-0.02, 0.14),
        ),
    )


def build_motorbike(
    rng: np.random.Generator, slot: Slot, *, is_running: bool, is_ridden: bool = False
) -> TwoWheeler:
    """Draw a motorbike or scooter; without a rider it leans on its stand.

    Args:
        rng: Source of randomness.
        slot: Its place in the scene.
        is_running: Engine and exhaust are hot.
        is_ridden: Upright, for a rider, lights on at night.
    """
    lit_from = rng.uniform(0.0, 0.6) if is_ridden else 2.0
    painter = slot.painter(solar=0.5, texture_rgb=0.04, texture_k=0.4, light_threshold=lit_from)
    paint = _sample_motorbike_paint(rng, painter, is_running=is_running)
    chassis = _draw_chassis(rng)
    parts, limbs = PartList(), LimbList()
    _add_running_gear(rng, parts, limbs, paint, chassis)
    lamp = (chassis.head[0] + 0.12, 0.0, chassis.head[2] - 0.06)
    end = (lamp[0] + 0.05, 0.0, lamp[2])
    limbs.add(lamp, end, (0.1, 0.08), paint.headlamp, flatness=0.8)
    rear = (-chassis.half - 0.12, 0.0, chassis.seat_z + 0.05)
    limbs.tube(rear, (rear[0], 0.0, rear[2] - 0.05), 0.045, paint.taillamp)
    parts.add(box((0.02, 0.18, 0.16), (rear[0], 0.0, rear[2] - 0.2)), paint.steel)
    if chassis.kind == MotorbikeKind.SCOOTER:
        _add_scooter_body(rng, limbs, paint, chassis)
    else:
        _add_motorbike_body(rng, limbs, paint, chassis)
    if rng.random() < 0.35:
        case = rng.uniform(0.3, 0.5)
        at = (-chassis.half, 0.0, chassis.seat_z + 0.2)
        parts.add(box((case, case, 0.3), at), paint.second)
    limbs.move_to(parts)
    mesh, materials = parts.joined()
    if not is_ridden:
        mesh = tilted(mesh, math.radians(rng.uniform(-12.0, 12.0)))
    return TwoWheeler(
        mesh=mesh,
        materials=materials,
        mount=_motorbike_mount(rng, chassis),
        rider_height_m=min(max(rng.normal(1.75, 0.08), 1.5), 2.0),
        lamp=(lamp[0] + 0.1, 0.0, lamp[2]),
        lit_from=lit_from,
    )


def _motorbike_mount(rng: np.random.Generator, chassis: _Chassis) -> Mount:
    ahead = {MotorbikeKind.CRUISER: 0.45, MotorbikeKind.SPORT: -0.12}.get(chassis.kind, 0.12)
    is_sport = chassis.kind == MotorbikeKind.SPORT
    seat = (-0.31 * chassis.half, 0.0, chassis.seat_z + 0.04)
    grip = chassis.grip
    return Mount(
        saddle=seat,
        grips=((grip[0], -grip[1], grip[2]), grip),
        crank=(seat[0] + 0.15 + ahead, 0.0, 0.3),
        crank_m=0.0,
        pedal_y=0.2,
        rollout_m=1.0,
        lean_rad=rng.uniform(0.35, 0.7) if is_sport else rng.uniform(0.0, 0.2),
    )


def _add_running_gear(
    rng: np.random.Generator,
    parts: PartList,
    limbs: LimbList,
    paint: _MotorbikePaint,
    chassis: _Chassis,
) -> None:
    """Add wheels, fork, handlebar and mirrors."""
    half, radius, head = chassis.half, chassis.radius, chassis.head
    for x in (-half, half):
        tube = rng.uniform(0.18, 0.26)
        parts.add(wheel_rim(radius, (x, 0.0, radius), tube=tube), paint.tyre)
        hub = (0.62 * radius, 0.62 * radius)
        limbs.add((x, -0.04, radius), (x, 0.04, radius), hub, paint.steel, cap=0.1)
    x, y, z = chassis.grip
    for side in (-1.0, 1.0):
        fork = (head[0], 0.07 * side, head[2])
        limbs.tube(fork, (half, 0.09 * side, radius), 0.03, paint.steel)
        limbs.tube(head, (x, side * y, z), 0.017, paint.steel)
        if rng.random() < 0.8:
            at = (x + 0.03, 0.8 * side * y, z + 0.11)
            limbs.add(at, (at[0], at[1] + 0.08 * side, at[2]), (0.05, 0.05), paint.second)


def _add_motorbike_body(
    rng: np.random.Generator,
    limbs: LimbList,
    paint: _MotorbikePaint,
    chassis: _Chassis,
) -> None:
    half, radius, seat_z, head = chassis.half, chassis.radius, chassis.seat_z, chassis.head
    low, high = (-0.05, 0.0, 0.36), (0.14, 0.0, 0.58)
    limbs.add_fine(low, high, (0.2, 0.18), paint.engine, flatness=1.1)
    tank = rng.uniform(0.13, 0.18)
    limbs.add_fine(
        (0.02, 0.0, seat_z + 0.08), (head[0] - 0.1, 0.0, seat_z + 0.14), (tank, 0.8 * tank),
        paint.body,
    )  # fmt: skip
    tail = (-half - 0.05, 0.0, seat_z + (0.12 if chassis.kind == MotorbikeKind.SPORT else 0.02))
    limbs.add((0.0, 0.0, seat_z - 0.02), tail, (0.15, 0.09), paint.seat, flatness=0.45)
    limbs.tube((-half, 0.0, radius), (-0.1, 0.0, 0.38), 0.045, paint.steel)
    limbs.tube((head[0], 0.0, head[2]), (0.0, 0.0, seat_z - 0.05), 0.05, paint.second)
    side = float(rng.choice([-1.0, 1.0]))
    for y in (side * 0.17, -side * 0.17)[: 1 + (rng.random() < 0.4)]:
        limbs.add((0.1, y, 0.28), (-half - 0.1, y, rng.uniform(0.3, 0.6)), (0.03, 0.06),
                  paint.exhaust)  # fmt: skip
    guard = (half - 0.15, 0.0, 2.0 * radius + 0.02), (half + 0.12, 0.0, 1.9 * radius)
    limbs.add(*guard, (0.07, 0.06), paint.body, flatness=0.3)
    if chassis.kind == MotorbikeKind.SPORT or rng.random() < 0.2:
        limbs.add_fine(
            (0.1, 0.0, 0.42), (head[0] + 0.08, 0.0, head[2] - 0.05), (0.22, 0.2), paint.body,
            flatness=1.2,
        )  # fmt: skip
        limbs.add((head[0], 0.0, head[2]), (head[0] - 0.1, 0.0, head[2] + 0.2), (0.17, 0.12),
                  paint.second, flatness=0.15)  # fmt: skip


def _add_scooter_body(
    rng: np.random.Generator,
    limbs: LimbList,
    paint: _MotorbikePaint,
    chassis: _Chassis,
) -> None:
    half, radius, seat_z, head = chassis.half, chassis.radius, chassis.seat_z, chassis.head
    wide = rng.uniform(0.15, 0.22)
    limbs.add_fine((-half - 0.05, 0.0, 0.5), (-0.12, 0.0, 0.48), (0.8 * wide, wide), paint.body,
              flatness=1.1)  # fmt: skip
    limbs.add((-half, 0.0, seat_z), (0.0, 0.0, seat_z - 0.02), (0.15, 0.13), paint.seat,
              flatness=0.5)  # fmt: skip
    limbs.add((-0.15, 0.0, 0.24), (half - 0.3, 0.0, 0.24), (wide, wide), paint.second,
              flatness=0.3)  # fmt: skip
    limbs.add_fine((half - 0.32, 0.0, 0.28), (head[0], 0.0, head[2] - 0.05), (wide, 0.75 * wide),
              paint.body, flatness=0.45)  # fmt: skip
    limbs.add((half - 0.12, 0.0, 2.1 * radius), (half + 0.1, 0.0, 2.0 * radius), (0.09, 0.07),
              paint.body, flatness=0.6)  # fmt: skip
    limbs.add((-half + 0.1, 0.0, 0.28), (-0.2, 0.0, 0.3), (0.12, 0.1), paint.engine)
    y = -0.16 if rng.random() < 0.8 else 0.16
    limbs.add((-0.1, y, 0.26), (-half - 0.08, y, 0.36), (0.03, 0.07), paint.exhaust)
    if rng.random() < 0.3:
        limbs.add((head[0] + 0.05, 0.0, head[2]), (head[0], 0.0, head[2] + 0.4), (0.2, 0.15),
                  paint.second, flatness=0.1)  # fmt: skip
