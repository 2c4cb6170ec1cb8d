# SPDX-License-Identifier: Apache-2.0
"""Two-wheelers, rigid, x forward, z up, ground at z = 0, with a mount; here: bicycles."""

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

if TYPE_CHECKING:
    import numpy as np

    from rgbt_models.synthetic.arrays import FloatArray, IndexArray

_BLACK = (0.03, 0.03, 0.03)
_STEEL = (0.35, 0.35, 0.36)


class BicycleKind(Enum):
    """How a bicycle is built."""

    CITY = 0  # upright, often without a top tube
    SPORT = 1  # low bars
    MOUNTAIN = 2  # thick tyres
    CARGO = 3  # a box before the rider


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TwoWheeler:
    """A mesh and where its rider sits."""

    mesh: FloatArray  # (n, 3, 3)
    materials: IndexArray  # (n,)
    mount: Mount
    rider_height_m: float
    lamp: Point  # in the vehicle's frame
    lit_from: float  # Environment.lights above which it is lit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Skeleton:
    """Joints of a bicycle."""

    radius: float
    rear: Point
    front: Point
    crank: Point
    seat: Point
    head: Point
    grip: Point  # the left one


def build_bicycle(
    rng: np.random.Generator,
    slot: Slot,
    *,
    is_ridden: bool = False,
) -> TwoWheeler:
    """Draw a bicycle: one in eight for a child; alone it leans on its stand, or lies.

    Args:
        rng: Source of randomness.
        slot: Its place in the scene.
        is_ridden: Upright and lit, for a rider.
    """
    lit_from = rng.uniform(0.3, 0.8)
    paint = slot.painter(solar=0.5, texture_rgb=0.05, texture_k=0.3, light_threshold=lit_from)
    kind = BicycleKind(int(rng.choice(4, p=[0.5, 0.2, 0.24, 0.06])))
    size = rng.uniform(0.62, 0.85) if rng.random() < 0.13 else rng.uniform(0.93, 1.06)
    bones = _draw_skeleton(rng, kind, size)
    offset_k = rng.uniform(-3.0, 2.5)
    tube = paint(sample_colour(rng), offset_k=offset_k)
    tyre = paint(_BLACK, offset_k=rng.uniform(-1.0, 4.0), solar=0.4)
    steel = paint(_STEEL, offset_k=offset_k - rng.uniform(0.0, 2.0))
    parts, limbs = PartList(), LimbList()
    thick = {BicycleKind.SPORT: 0.035, BicycleKind.MOUNTAIN: 0.09}.get(kind, 0.06)
    thick *= rng.uniform(0.85, 1.3)
    for x, _, z in (bones.rear, bones.front):
        parts.add(wheel_rim(bones.radius, (x, 0.0, z), tube=thick), tyre)
        first = rng.uniform(0.0, math.pi / 2)
        for turn in (first, first + math.pi / 2):
            dx, dz = bones.radius * math.cos(turn), bones.radius * math.sin(turn)
            limbs.tube((x - dx, 0.0, z - dz), (x + dx, 0.0, z + dz), 0.005, steel)
    _add_frame(rng, limbs, bones, tube, kind, size)
    saddle = (bones.seat[0] - 0.1, 0.0, bones.seat[2]), (bones.seat[0] + 0.13, 0.0, bones.seat[2])
    limbs.add(*saddle, (0.08, 0.03), tyre, flatness=0.5)
    _add_luggage(rng, parts, limbs, paint, bones, kind)
    lamp = (bones.head[0] + 0.1, 0.0, bones.head[2] - 0.03)
    if is_ridden:
        white = paint((0.8, 0.8, 0.75), lamp_k=2.0, emission=rng.uniform(1.0, 8.0))
        limbs.tube(lamp, (lamp[0] + 0.03, 0.0, lamp[2]), 0.035, white)
    red = paint((0.5, 0.03, 0.02), emission=rng.uniform(0.5, 3.0) if is_ridden else 0.0)
    limbs.tube((bones.rear[0] - 0.2, 0.0, 0.6 * size), (bones.rear[0] - 0.2, 0.0, 0.63 * size),
               0.03, red)  # fmt: skip
    limbs.move_to(parts)
    mesh, materials = parts.joined()
    if not is_ridden:
        lies = rng.random() < 0.05
        roll = math.radians(rng.uniform(70.0, 82.0) if lies else rng.normal(0.0, 6.0))
        mesh = tilted(mesh, roll * float(rng.choice([-1.0, 1.0])))
    return TwoWheeler(
        mesh=mesh,
        materials=materials,
        mount=_bicycle_mount(rng, bones, kind, size),
        rider_height_m=1.72 * size * rng.uniform(0.97, 1.07),
        lamp=lamp,
        lit_from=lit_from,
    )


def _draw_skeleton(rng: np.random.Generator, kind: BicycleKind, size: float) -> _Skeleton:
    radius = size * rng.uniform(0.29, 0.36)
    base_x = 0.62 + (rng.uniform(0.45, 0.7) if kind == BicycleKind.CARGO else 0.0)
    head_z = {BicycleKind.CITY: 0.9, BicycleKind.SPORT: 0.84}.get(kind, 0.86) * size
    bars = {
        BicycleKind.CITY: (rng.uniform(0.22, 0.4), rng.uniform(1.0, 1.15)),
        BicycleKind.SPORT: (rng.uniform(0.5, 0.6), rng.uniform(0.78, 0.92)),
    }.get(kind, (rng.uniform(0.38, 0.5), rng.uniform(0.93, 1.03)))
    half = {BicycleKind.SPORT: 0.21, BicycleKind.MOUNTAIN: 0.34}.get(kind, 0.28) * size
    return _Skeleton(
        radius=radius,
        rear=(-size * rng.uniform(0.41, 0.48), 0.0, radius),
        front=(size * base_x * rng.uniform(0.94, 1.06), 0.0, radius),
        crank=(0.0, 0.0, 0.28 * size),
        seat=(-size * rng.uniform(0.15, 0.24), 0.0, size * rng.uniform(0.78, 0.92)),
        head=(size * rng.uniform(0.38, 0.46), 0.0, head_z),
        grip=(size * bars[0], half, size * bars[1]),
    )


def _add_frame(
    rng: np.random.Generator,
    limbs: LimbList,
    bones: _Skeleton,
    tube: int,
    kind: BicycleKind,
    size: float,
) -> None:
    thick = rng.uniform(0.014, 0.024)
    low_head = (bones.head[0] + 0.02, 0.0, bones.head[2] - 0.16 * size)
    low_seat = (0.7 * bones.seat[0], 0.0, 0.72 * bones.seat[2])
    is_step_through = kind == BicycleKind.CITY and rng.random() < 0.55
    top = (0.35 * bones.seat[0], 0.0, 0.45 * bones.seat[2]) if is_step_through else low_seat
    stem = (bones.head[0] - 0.02, 0.0, bones.grip[2])
    for start, end in (
        (bones.crank, bones.seat), (bones.crank, low_head), (top, low_head),
        (bones.rear, bones.crank), (bones.rear, low_seat), (bones.head, bones.front),
        (bones.head, stem),
    ):  # fmt: skip
        limbs.tube(start, end, thick, tube)
    right = (bones.grip[0], -bones.grip[1], bones.grip[2])
    for grip in (bones.grip, right):
        limbs.tube(stem, grip, 0.8 * thick, tube)


def _add_luggage(
    rng: np.random.Generator,
    parts: PartList,
    limbs: LimbList,
    paint: Painter,
    bones: _Skeleton,
    kind: BicycleKind,
) -> None:
    cloth = paint(
        sample_colour(rng, is_dark=rng.random() < 0.5),
        offset_k=rng.uniform(-1, 2),
        texture_rgb=0.1,
    )
    rear_x, top = bones.rear[0], 2.0 * bones.radius
    if kind == BicycleKind.CARGO:
        x = 0.55 * (bones.front[0] + bones.head[0]) - 0.1
        parts.add(box((rng.uniform(0.45, 0.7), rng.uniform(0.4, 0.6), 0.4), (x, 0.0, 0.5)), cloth)
    elif rng.random() < 0.3:
        x, z = bones.head[0] + 0.22, bones.head[2] - 0.02
        parts.add(box((0.3, rng.uniform(0.28, 0.42), 0.22), (x, 0.0, z)), cloth)
    draw = rng.random()
    if draw < 0.2:  # panniers hide much of the wheel
        for side in (-1.0, 1.0):
            centre = (rear_x - 0.05, 0.13 * side, 0.72 * top)
            parts.add(box((rng.uniform(0.28, 0.4), 0.12, 0.33), centre), cloth)
    elif draw < 0.28:  # a child's seat
        parts.add(box((0.26, 0.26, 0.1), (rear_x, 0.0, top + 0.12)), cloth)
        parts.add(box((0.06, 0.26, 0.42), (rear_x - 0.13, 0.0, top + 0.32)), cloth)
    if draw < 0.5:
        parts.add(box((0.4, 0.13, 0.02), (rear_x - 0.03, 0.0, top + 0.04)), cloth)
    if rng.random() < 0.5:  # mudguards
        for x in (rear_x, bones.front[0]):
            high = (x, 0.0, top + 0.02)
            low = (x - 0.9 * bones.radius, 0.0, 1.5 * bones.radius)
            limbs.add(low, high, (0.03, 0.03), cloth, flatness=0.4)


def _bicycle_mount(
    rng: np.random.Generator, bones: _Skeleton, kind: BicycleKind, size: float
) -> Mount:
    lean = {BicycleKind.SPORT: rng.uniform(0.6, 0.9), BicycleKind.MOUNTAIN: rng.uniform(0.3, 0.6)}
    right = (bones.grip[0], -bones.grip[1], bones.grip[2])
    return Mount(
        saddle=bones.seat,
        grips=(right, bones.grip),
        crank=bones.crank,
        crank_m=0.17 * size,
        pedal_y=0.11 * size,
        rollout_m=rng.uniform(3.0, 6.5) * size,
        lean_rad=lean.get(kind, rng.uniform(0.02, 0.3)),
    )
