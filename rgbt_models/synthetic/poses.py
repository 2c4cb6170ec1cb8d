# SPDX-License-Identifier: Apache-2.0
"""How people hold themselves: where hips, hands and feet are at a phase of their gait.

A pose is a set of targets; arms and legs are bent to reach them, so that a foot on the ground
stays where it is while the body moves over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import math
from typing import TYPE_CHECKING

from rgbt_models.synthetic.limbs import along, Point, shifted

if TYPE_CHECKING:
    import numpy as np

SIDES = (-1.0, 1.0)  # right, left
_RUNNING_DUTY, _WALKING_DUTY = 0.36, 0.62  # share of the stride with a foot on the ground


class Stance(Enum):
    """What a person does."""

    STAND = 0
    WALK = 1
    RUN = 2
    SIT = 3
    CROUCH = 4
    BEND = 5
    RIDE = 6


class Hand(Enum):
    """What a hand does."""

    SWING = 0
    POCKET = 1
    PHONE = 2
    EAR = 3
    CROSSED = 4
    AKIMBO = 5
    RAISED = 6
    FRONT = 7  # pushes or carries something before the body
    TRAIL = 8  # pulls something behind
    UPRIGHT = 9  # holds an umbrella
    REACH = 10  # towards the ground
    LAP = 11
    BARS = 12  # of a bicycle to the right


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Lengths of a body, metres."""

    height: float
    leg: float  # hip joint above the ground
    torso: float
    neck: float
    head: float
    upper_arm: float
    forearm: float
    shoulder: float  # half width
    hip: float  # half width
    ankle: float  # above the ground
    girth: float  # of limbs, relative to an average adult, metres per metre


def sample_figure(rng: np.random.Generator, *, height_m: float | None = None) -> Figure:
    """Draw a body: 1 in 6 a child; thin to heavy.

    Args:
        rng: Source of randomness.
        height_m: Height; drawn if None.
    """
    is_adult = rng.random() < 0.84
    drawn = rng.normal(1.71, 0.1) if is_adult else rng.uniform(0.85, 1.5)
    height = min(max(drawn, 0.8), 2.02) if height_m is None else height_m
    childhood = min(max((1.6 - height) / 0.7, 0.0), 1.0)
    head = (0.131 + 0.05 * childhood + rng.normal(0.0, 0.004)) * height
    leg = (0.525 - 0.06 * childhood + rng.normal(0.0, 0.012)) * height
    neck = (0.04 - 0.018 * childhood) * height
    heavy = math.exp(rng.normal(0.02, 0.14))  # of limbs and belly
    return Figure(
        height=height,
        leg=leg,
        torso=height - head - leg - neck,
        neck=neck,
        head=head,
        upper_arm=0.172 * height * rng.uniform(0.95, 1.05),
        forearm=0.15 * height * rng.uniform(0.95, 1.05),
        shoulder=0.112 * height * rng.uniform(0.88, 1.1) * heavy**0.4,
        hip=0.05 * height * heavy**0.5,
        ankle=0.045 * height,
        girth=height * heavy,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """What distinguishes one person's posture from another's."""

    stance: Stance
    hands: tuple[Hand, Hand]  # right, left
    stride_m: float  # two steps
    phase: float  # share of a stride
    lean_rad: float
    arm_gain: float
    arm_out: float
    apart: float  # feet, relative to the hips
    ahead: float  # one foot before the other, share of the height
    depth: float  # of crouching and bending, 0..1
    nod_rad: float
    sway: float  # hips to one side, share of the height


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Where a vehicle holds its rider, in the vehicle's frame."""

    saddle: Point
    grips: tuple[Point, Point]  # right, left
    crank: Point  # or the middle between the foot rests
    crank_m: float  # 0 = foot rests
    pedal_y: float  # half distance of the feet
    rollout_m: float  # way per turn of the crank
    lean_rad: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Targets of a body in the actor's frame."""

    pelvis: Point  # between the hip joints
    torso: Point  # unit direction from the pelvis to the neck
    feet: tuple[Point, Point]  # ankles
    hands: tuple[Point, Point]  # wrists
    knees: tuple[Point, Point]  # which way they point
    nod_rad: float


def pose_person(figure: Figure, habit: Habit, walked_m: float) -> Pose:
    """Return the pose of somebody on foot after a distance travelled."""
    phase = habit.phase + walked_m / habit.stride_m
    if habit.stance in (Stance.WALK, Stance.RUN):
        pelvis, feet = _stride(figure, habit, phase)
    else:
        pelvis, feet = _rest(figure, habit)
    torso = (math.sin(habit.lean_rad), -0.6 * habit.sway, math.cos(habit.lean_rad))
    swing = math.cos(2.0 * math.pi * phase)  # of the right leg
    hands = [_reach(figure, habit, pelvis, torso, index, swing) for index in (0, 1)]
    return Pose(
        pelvis=pelvis,
        torso=torso,
        feet=feet,
        hands=(hands[0], hands[1]),
        knees=_knees(habit),
        nod_rad=habit.nod_rad,
    )


def pose_rider(figure: Figure, habit: Habit, mount: Mount, travelled_m: float) -> Pose:
    """Return the pose of somebody on a saddle; the feet turn the crank."""
    pelvis = shifted(mount.saddle, 0.0, 0.0, 0.045 * figure.height)
    arm = 0.97 * (figure.upper_arm + figure.forearm)
    lean, torso = mount.lean_rad, (0.0, 0.0, 1.0)
    for _ in range(12):  # lean until the hands reach
        torso = (math.sin(lean), 0.0, math.cos(lean))
        shoulder = shifted(along(pelvis, torso, figure.torso), 0.0, figure.shoulder, 0.0)
        if math.dist(shoulder, mount.grips[1]) < arm:
            break
        lean += 0.1
    angle = habit.phase * 2.0 * math.pi + 2.0 * math.pi * travelled_m / mount.rollout_m
    feet = []
    for side in SIDES:
        turn = angle + (math.pi if side > 0 else 0.0)
        x = mount.crank[0] + mount.crank_m * math.cos(turn) - 0.05 * figure.height
        z = mount.crank[2] - mount.crank_m * math.sin(turn) + figure.ankle
        feet.append((x, side * mount.pedal_y, z))
    return Pose(
        pelvis=pelvis,
        torso=torso,
        feet=(feet[0], feet[1]),
        hands=mount.grips,
        knees=((1.0, -0.15, 0.5), (1.0, 0.15, 0.5)),
        nod_rad=habit.nod_rad - 0.4 * lean,
    )


def _stride(figure: Figure, habit: Habit, phase: float) -> tuple[Point, tuple[Point, Point]]:
    is_running = habit.stance == Stance.RUN
    duty = _RUNNING_DUTY if is_running else _WALKING_DUTY
    lift = (0.14 if is_running else 0.045) * figure.height
    leg = 0.995 * (figure.leg - figure.ankle)
    height = figure.ankle + (0.95 if is_running else 0.985) * leg
    feet = []
    for side in SIDES:
        x, rise = _step(phase + (0.5 if side > 0 else 0.0), duty, habit.stride_m, lift)
        feet.append((x, side * figure.hip * habit.apart, figure.ankle + rise))
        if not is_running:
            height = min(height, figure.ankle + rise + math.sqrt(max(leg * leg - x * x, 0.01)))
    height = max(height, figure.ankle + 0.945 * leg)  # the ankles stretch for the rest
    bounce = 0.03 * figure.height * math.cos(4.0 * math.pi * phase) if is_running else 0.0
    sway = 0.012 * figure.height * math.sin(2.0 * math.pi * phase)
    return (0.0, sway, height + bounce), (feet[0], feet[1])


def _step(phase: float, duty: float, stride_m: float, lift_m: float) -> tuple[float, float]:
    """Return how far a foot is before the hip and above the ground, metres."""
    phase %= 1.0
    half = 0.5 * duty * stride_m
    if phase < duty:  # on the ground: as fast as the body, backwards
        share = phase / duty
        rolled = max(share - 0.65, 0.0) / 0.35
        return half * (1.0 - 2.0 * share), 0.09 * stride_m * rolled * rolled
    share = (phase - duty) / (1.0 - duty)
    rise = lift_m * math.sin(math.pi * share) + 0.09 * stride_m * (1.0 - share) ** 2
    return -half * math.cos(math.pi * share), rise


def _rest(figure: Figure, habit: Habit) -> tuple[Point, tuple[Point, Point]]:
    height = figure.height
    apart, ahead = figure.hip * habit.apart, habit.ahead * height
    feet = tuple((ahead if side > 0 else -ahead, side * apart, figure.ankle) for side in SIDES)
    pelvis = (0.0, habit.sway * height, 0.985 * figure.leg)
    if habit.stance == Stance.SIT:
        reach = (0.21 + 0.12 * habit.depth) * height
        pelvis = (0.0, 0.0, seat_height(figure) + 0.055 * height)
        feet = tuple((x + reach, y, z) for x, y, z in feet)
    elif habit.stance == Stance.CROUCH:
        pelvis = (-0.06 * height, 0.0, (0.36 - 0.2 * habit.depth) * height)
        feet = tuple((x + 0.03 * height, 1.3 * y, z) for x, y, z in feet)
    elif habit.stance == Stance.BEND:
        pelvis = (-0.11 * height, 0.0, (0.97 - 0.2 * habit.depth) * figure.leg)
    return pelvis, (feet[0], feet[1])


def seat_height(figure: Figure) -> float:
    """Return the height of the seat somebody sits on, metres."""
    return 0.25 * figure.height


def _knees(habit: Habit) -> tuple[Point, Point]:
    out = 0.5 if habit.stance == Stance.CROUCH else 0.12
    return (1.0, -out, 0.3), (1.0, out, 0.3)


def _reach(
    figure: Figure, habit: Habit, pelvis: Point, torso: Point, index: int, swing: float
) -> Point:
    """Return where a wrist wants to be."""
    side, height, hand = SIDES[index], figure.height, habit.hands[index]
    shoulder = shifted(along(pelvis, torso, figure.torso), 0.0, side * figure.shoulder, 0.0)
    arm = figure.upper_arm + figure.forearm
    if hand == Hand.SWING:
        is_running = habit.stance == Stance.RUN
        angle = side * swing * habit.arm_gain
        length = (0.62 if is_running else 0.955) * arm
        x = math.sin(angle) * length + (0.1 * height if is_running else 0.02 * height)
        return shifted(shoulder, x, side * habit.arm_out * arm, -math.cos(angle) * length)
    if hand in (Hand.EAR, Hand.RAISED):
        head = along(pelvis, torso, figure.torso + figure.neck + 0.4 * figure.head)
        ear = shifted(head, 0.02 * height, side * 0.055 * height, 0.0)
        return ear if hand == Hand.EAR else shifted(ear, 0.1, side * 0.1 * height, 0.12 * height)
    chest = along(pelvis, torso, 0.66 * figure.torso)
    low = 0.1 + 0.25 * (1.0 - habit.depth)
    return {
        Hand.POCKET: shifted(pelvis, 0.03 * height, side * (figure.hip + 0.035 * height), 0.02),
        Hand.PHONE: shifted(chest, 0.16 * height, side * 0.02 * height, 0.02 * height),
        Hand.CROSSED: shifted(chest, 0.09 * height, -side * 0.07 * height, -0.02 * height),
        Hand.AKIMBO: shifted(pelvis, 0.0, side * (figure.hip + 0.05 * height), 0.07 * height),
        Hand.FRONT: shifted(pelvis, 0.23 * height, side * 0.1 * height, 0.08 * height),
        Hand.TRAIL: shifted(pelvis, -0.14 * height, side * 0.13 * height, -0.01 * height),
        Hand.UPRIGHT: shifted(shoulder, 0.13 * height, -side * 0.06 * height, -0.07 * height),
        Hand.REACH: (0.24 * height, side * 0.09 * height, low * height),
        Hand.BARS: shifted(pelvis, 0.2 * height, (0.07 * side - 0.18) * height, 0.06 * height),
        Hand.LAP: shifted(pelvis, 0.17 * height, side * 0.06 * height, 0.04 * height),
    }[hand]
