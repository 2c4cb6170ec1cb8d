# SPDX-License-Identifier: Apache-2.0
"""What people carry, push and sit on.

What is carried belongs to the person; what stands on the ground (a pulled suitcase, a stroller, a
bench) does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.limbs import along, LimbList, Point, shifted
from rgbt_models.synthetic.meshes import box, fan, wheel_rim
from rgbt_models.synthetic.poses import Figure, Hand, Pose, seat_height

if TYPE_CHECKING:
    from rgbt_models.synthetic.parts import PartList


class Carried(Enum):
    """One thing that goes with a person."""

    NOTHING = 0
    BACKPACK = 1
    SHOULDER_BAG = 2
    SHOPPING = 3
    SUITCASE = 4
    UMBRELLA = 5
    BOX = 6
    STROLLER = 7
    BENCH = 8
    CHILD_ON_BACK = 9
    PUSHED_BICYCLE = 10


HANDS = {
    Carried.SUITCASE: (Hand.TRAIL, None),
    Carried.UMBRELLA: (None, Hand.UPRIGHT),
    Carried.BOX: (Hand.FRONT, Hand.FRONT),
    Carried.STROLLER: (Hand.FRONT, Hand.FRONT),
    Carried.PUSHED_BICYCLE: (Hand.BARS, Hand.BARS),
}
"""What the right and the left hand do with it; None = whatever they like."""

ON_GROUND = frozenset({Carried.SUITCASE, Carried.STROLLER, Carried.BENCH})
"""Labeled as background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A thing that goes with a person."""

    kind: Carried
    material: int
    size: float  # relative to what is usual


def add_carried(
    parts: PartList, limbs: LimbList, load: Load, *, pose: Pose, figure: Figure
) -> None:
    """Add a thing to the mesh of a person.

    Args:
        parts: Receives boxes.
        limbs: Receives rounded things.
        load: The thing.
        pose: The person's.
        figure: The person's.
    """
    kind, material, size = load.kind, load.material, load.size
    height = figure.height
    if kind == Carried.BACKPACK:
        _add_on_back(limbs, pose, figure, material, (0.3, 0.85), 0.085 * size * height)
    elif kind == Carried.CHILD_ON_BACK:
        _add_on_back(limbs, pose, figure, material, (0.25, 1.05), 0.075 * size * height)
    elif kind == Carried.SHOULDER_BAG:
        _add_shoulder_bag(limbs, pose, figure, material, size)
    elif kind == Carried.SHOPPING:
        for hand in pose.hands if size > 1.0 else pose.hands[:1]:
            depth = 0.34 * size
            centre = shifted(hand, 0.0, 0.0, -0.1 - depth / 2)
            parts.add(box((0.28 * size, 0.13 * size, depth), centre), material)
            limbs.tube(hand, shifted(hand, 0.0, 0.0, -0.12), 0.008, material)
    elif kind == Carried.BOX:
        x, _, z = pose.hands[1]
        wide = 2.0 * max(abs(pose.hands[1][1]), 0.1)
        parts.add(box((0.28 * size, wide, 0.26 * size), (x + 0.08, 0.0, z + 0.1)), material)
    elif kind == Carried.UMBRELLA:
        _add_umbrella(parts, limbs, pose.hands[1], figure, material, size)
    else:
        _add_on_ground(parts, limbs, load, pose=pose, figure=figure)


def _add_on_back(
    limbs: LimbList,
    pose: Pose,
    figure: Figure,
    material: int,
    shares: tuple[float, float],
    radius: float,
) -> None:
    back = (-pose.torso[2], 0.0, pose.torso[0])  # square to the torso, to the rear
    reach = 0.06 * figure.height + 0.55 * radius
    low, high = (
        along(along(pose.pelvis, pose.torso, share * figure.torso), back, reach)
        for share in shares
    )
    limbs.add_fine(low, high, (radius, 0.85 * radius), material, flatness=0.7, cap=0.5)


def _add_shoulder_bag(
    limbs: LimbList, pose: Pose, figure: Figure, material: int, size: float
) -> None:
    side = 1.0 if size > 1.0 else -1.0
    y = side * (figure.hip + 0.07 * figure.height)
    low = shifted(pose.pelvis, 0.0, y, -0.03 * figure.height)
    high = shifted(low, 0.0, 0.0, 0.12 * size)
    limbs.add(low, high, (0.13 * size, 0.12 * size), material, flatness=1.6, cap=0.4)
    neck = along(pose.pelvis, pose.torso, figure.torso)
    limbs.tube(high, shifted(neck, 0.0, -0.5 * side * figure.shoulder, 0.0), 0.015, material)


def _add_umbrella(
    parts: PartList, limbs: LimbList, hand: Point, figure: Figure, material: int, size: float
) -> None:
    radius = 0.48 * size
    top = shifted(hand, 0.05, -hand[1], 0.38 * figure.height)
    limbs.tube(shifted(hand, 0.0, 0.0, -0.1), top, 0.01, material)
    angle = np.linspace(0.0, 2.0 * math.pi, 11)
    rim = np.stack(
        [top[0] + radius * np.cos(angle), top[1] + radius * np.sin(angle),
         np.full(11, top[2] - 0.42 * radius)], axis=1,
    )  # fmt: skip
    parts.add(fan(np.concatenate([np.array([top]), rim])), material)


def _add_on_ground(
    parts: PartList, limbs: LimbList, load: Load, *, pose: Pose, figure: Figure
) -> None:
    kind, material, size = load.kind, load.material, load.size
    if kind == Carried.SUITCASE:
        x, y, z = pose.hands[0]
        tall = 0.6 * size
        centre = (x - 0.3, y, 0.03 + tall / 2)
        parts.add(box((0.26 * size, 0.4 * size, tall), centre), material)
        limbs.tube((x, y, z), (x - 0.28, y, tall), 0.015, material)
    elif kind == Carried.BENCH:
        seat = seat_height(figure)
        parts.add(box((0.42, 1.3 * size, 0.06), (-0.04, 0.0, seat - 0.05)), material)
        for y in (-0.5 * size, 0.5 * size):
            leg = box((0.35, 0.07, seat - 0.08), (-0.04, y, (seat - 0.08) / 2))
            parts.add(leg, material)
        if size > 1.0:
            parts.add(box((0.05, 1.3 * size, 0.3), (-0.28, 0.0, seat + 0.25)), material)
    elif kind == Carried.STROLLER:
        _add_stroller(parts, limbs, pose.hands, material, size)


def _add_stroller(
    parts: PartList, limbs: LimbList, hands: tuple[Point, Point], material: int, size: float
) -> None:
    x, _, z = hands[1]
    near, far, low = x + 0.25, x + 0.85 * size, 0.2
    for hand in hands:
        limbs.tube(hand, (near + 0.1, hand[1], low + 0.25), 0.015, material)
    limbs.add((near, 0.0, 0.62), (far, 0.0, 0.5), (0.24, 0.2), material, flatness=0.75)
    limbs.add((near, 0.0, 0.75), (near + 0.2, 0.0, 0.85), (0.22, 0.25), material, flatness=0.8)
    for wheel_x in (near, far):
        for y in (-0.24, 0.24):
            limbs.tube((wheel_x, y, low), ((near + far) / 2, y * 0.7, 0.5), 0.015, material)
            if size > 1.0 or wheel_x == near:
                parts.add(wheel_rim(0.14, (wheel_x, y, 0.14), tube=0.15), material)
            else:
                hub = (wheel_x, y - 0.02, 0.08), (wheel_x, y + 0.02, 0.08)
                limbs.add(*hub, (0.08, 0.08), material, cap=0.1)
    parts.add(box((0.4, 0.35, 0.15), ((near + far) / 2, 0.0, low + 0.1)), material)
    limbs.tube((x, hands[0][1], z), (x, hands[1][1], z), 0.015, material)
