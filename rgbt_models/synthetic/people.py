# SPDX-License-Identifier: Apache-2.0
"""People: bodies of every build, on foot, sitting, bent or on a saddle."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

from rgbt_models.synthetic.carried import add_carried, Carried, HANDS, Load, ON_GROUND
from rgbt_models.synthetic.clothes import Clothes, Headgear, Outer, sample_clothes
from rgbt_models.synthetic.limbs import along, bend, LimbList, Point, shifted
from rgbt_models.synthetic.materials import Label, Material, sample_colour
from rgbt_models.synthetic.parts import PartList, Slot
from rgbt_models.synthetic.poses import (
    Figure,
    Habit,
    Hand,
    Mount,
    Pose,
    pose_person,
    pose_rider,
    sample_figure,
    SIDES,
    Stance,
)

if TYPE_CHECKING:
    import numpy as np

    from rgbt_models.synthetic.arrays import FloatArray, IndexArray

_RUNNING_FROM_M_S = 2.1
_UPRIGHT = frozenset({Stance.STAND, Stance.WALK, Stance.RUN})


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Person:
    """The shape of one person; ``triangles`` poses it at a distance travelled."""

    figure: Figure
    habit: Habit
    clothes: Clothes
    speed_m_s: float  # what the gait is made for; 0 = stays where it is
    waist: float  # half width of the waist over that of the shoulders
    load: Load
    mount: Mount | None  # riders only

    @property
    def height_m(self) -> float:
        """Height when standing upright, without headgear, metres."""
        return self.figure.height

    def triangles(self, walked_m: float) -> tuple[FloatArray, IndexArray]:
        """Return the body in its own frame (x forward, z up, feet at z = 0).

        Args:
            walked_m: Distance travelled so far; legs and arms move with it.

        Returns:
            Triangles (n, 3, 3) and the material of each (n,).
        """
        if self.mount is None:
            pose = pose_person(self.figure, self.habit, walked_m)
        else:
            pose = pose_rider(self.figure, self.habit, self.mount, walked_m)
        limbs, parts = LimbList(), PartList()
        self._add_torso(limbs, pose)
        self._add_head(limbs, pose)
        for index, side in enumerate(SIDES):
            self._add_leg(limbs, pose, index, side)
            self._add_arm(limbs, pose, index, side)
        if self.load.kind != Carried.NOTHING:
            add_carried(parts, limbs, self.load, pose=pose, figure=self.figure)
        limbs.move_to(parts)
        triangles, materials = parts.joined()
        if self.mount is None:  # a stretched leg may not quite reach down
            triangles[..., 2] -= triangles[..., 2].min()
        return triangles, materials

    def _add_torso(self, limbs: LimbList, pose: Pose) -> None:
        figure, clothes = self.figure, self.clothes
        width = clothes.bulk * figure.girth
        hips, shoulders = 0.105 * width, 1.02 * figure.shoulder * (0.6 + 0.4 * clothes.bulk)
        waist = shoulders * self.waist * (0.4 + 0.6 * clothes.bulk)
        middle = along(pose.pelvis, pose.torso, 0.32 * figure.torso)
        neck = along(pose.pelvis, pose.torso, figure.torso - 0.025 * figure.height)
        below = clothes.trousers if clothes.outer == Outer.NONE else clothes.outer_part
        limbs.add_fine(
            pose.pelvis, middle, (hips, max(waist, 0.85 * hips)), below,
            flatness=0.72, cap=0.6,
        )  # fmt: skip
        limbs.add_fine(
            middle, neck, (1.03 * waist, shoulders), clothes.chest,
            flatness=0.62, cap=0.45,
        )  # fmt: skip
        if clothes.outer != Outer.NONE and self.habit.stance in _UPRIGHT:
            knees = (0.2 + 0.5 * clothes.outer_reach) * figure.leg
            hem = shifted(pose.pelvis, 0.0, 0.0, -min(knees, 0.8 * pose.pelvis[2]))
            start = along(pose.pelvis, pose.torso, 0.25 * figure.torso)
            flare = hips * (1.08 + 0.3 * clothes.outer_reach)
            limbs.add_fine(
                hem, start, (flare, 1.05 * max(waist, hips)), clothes.outer_part,
                flatness=0.8, cap=0.25,
            )  # fmt: skip

    def _add_head(self, limbs: LimbList, pose: Pose) -> None:
        figure, clothes = self.figure, self.clothes
        size = figure.head
        base = along(pose.pelvis, pose.torso, figure.torso - 0.01 * figure.height)
        tilt = 0.35 * pose.torso[0] + pose.nod_rad
        norm = math.hypot(tilt, 1.0)
        up = (tilt / norm, 0.0, 1.0 / norm)
        ahead = (up[2], 0.0, -up[0])
        middle = along(base, up, figure.neck + 0.01 * figure.height + 0.5 * size)
        radius = 0.285 * size
        limbs.add(base, middle, (0.034 * figure.height, 0.2 * size), clothes.skin)
        low, high = along(middle, up, -0.23 * size), along(middle, up, 0.2 * size)
        limbs.add_fine(low, high, (0.85 * radius, 1.2 * radius), clothes.skin, flatness=1.15)
        nose = along(along(middle, ahead, 1.05 * radius), up, -0.05 * size)
        limbs.tube(nose, along(nose, up, -0.06 * size), 0.06 * size, clothes.skin)
        if clothes.has_hair:
            start = along(middle, ahead, -0.14 * size)
            end = along(along(middle, ahead, -0.06 * size), up, 0.24 * size)
            limbs.add(start, end, (1.05 * radius, 1.22 * radius), clothes.hair, flatness=1.1)
        if clothes.has_long_hair:
            start = along(along(middle, ahead, -0.24 * size), up, -0.75 * size)
            end = along(along(middle, ahead, -0.14 * size), up, 0.1 * size)
            limbs.add(start, end, (0.8 * radius, 1.2 * radius), clothes.hair, flatness=0.7)
        self._add_headgear(limbs, middle, up, ahead)

    def _add_headgear(self, limbs: LimbList, middle: Point, up: Point, ahead: Point) -> None:
        clothes, size = self.clothes, self.figure.head
        kind, cover = clothes.headgear, clothes.cover
        if kind == Headgear.NONE:
            return
        crown = along(middle, up, 0.25 * size)
        if kind == Headgear.HOOD:
            low = along(along(middle, ahead, -0.12 * size), up, -0.35 * size)
            limbs.add(low, along(crown, ahead, -0.08 * size), (0.36 * size, 0.38 * size),
                      clothes.top, flatness=1.1)  # fmt: skip
            return
        wide = {Headgear.HELMET: 0.42, Headgear.BEANIE: 0.36}.get(kind, 0.35) * size
        low = along(middle, up, (0.02 if kind == Headgear.HELMET else 0.16) * size)
        limbs.add_fine(
            low, crown, (wide, 0.97 * wide), cover, flatness=1.18,
            cap=0.9 if kind == Headgear.BEANIE else 0.8,
        )  # fmt: skip
        if kind == Headgear.CAP:
            edge = along(low, ahead, 0.55 * size)
            limbs.add(low, edge, (0.3 * size, 0.25 * size), cover, flatness=0.12, cap=0.3)
        elif kind == Headgear.BRIM:
            limbs.add_fine(low, along(low, up, 0.02), (0.66 * size, 0.62 * size), cover, cap=0.05)

    def _add_leg(self, limbs: LimbList, pose: Pose, index: int, side: float) -> None:
        figure, clothes = self.figure, self.clothes
        # The pelvis turns with the stride.
        ahead = 0.14 * (pose.feet[index][0] - pose.pelvis[0]) if self.mount is None else 0.0
        hip = shifted(pose.pelvis, ahead, side * figure.hip, 0.0)
        length = 0.5 * (figure.leg - figure.ankle)
        knee, ankle = bend(hip, pose.feet[index], (length, length), pose.knees[index])
        thick = figure.girth * (0.5 + 0.5 * clothes.bulk)
        shin = thick if clothes.shin == clothes.trousers else figure.girth
        limbs.add(knee, hip, (0.034 * thick * 1.05, 0.052 * thick), clothes.thigh)
        limbs.add(ankle, knee, (0.024 * shin, 0.034 * shin), clothes.shin)
        sole = 0.024 * figure.height
        drop = min(figure.ankle, max(ankle[2], 0.5 * figure.ankle)) - sole
        heel = shifted(ankle, -0.012 * figure.height, 0.0, -drop)
        x, y, z = shifted(heel, 0.1 * figure.height, 0.01 * side, 0.0)
        if self.mount is None:  # a raised heel points the toe down
            z = min(max(sole, z - 1.2 * (ankle[2] - figure.ankle)), z)
        toe = (x, y, z)
        limbs.add(heel, toe, (sole, 0.9 * sole), clothes.shoe)

    def _add_arm(self, limbs: LimbList, pose: Pose, index: int, side: float) -> None:
        figure, clothes = self.figure, self.clothes
        neck = along(pose.pelvis, pose.torso, figure.torso - 0.035 * figure.height)
        shoulder = shifted(neck, 0.0, side * figure.shoulder, 0.0)
        out = 0.35 + 0.5 * (self.habit.hands[index] == Hand.AKIMBO)
        lengths = (figure.upper_arm, figure.forearm)
        elbow, wrist = bend(shoulder, pose.hands[index], lengths, (-0.7, side * out, -0.5))
        thick = figure.girth * (0.35 + 0.65 * clothes.bulk)
        limbs.add(elbow, shoulder, (0.025 * thick, 0.033 * thick), clothes.sleeve)
        lower = thick if clothes.forearm == clothes.sleeve else figure.girth
        limbs.add(wrist, elbow, (0.018 * lower, 0.025 * lower), clothes.forearm)
        size = 0.075 * figure.height / max(figure.forearm, 1e-3)
        tip = tuple(end + size * (end - start) for start, end in zip(elbow, wrist, strict=True))
        radius = 0.02 * figure.height
        limbs.add(wrist, (tip[0], tip[1], tip[2]), (radius, 0.9 * radius), clothes.hand,
                  flatness=0.7)  # fmt: skip


_STANCES = (Stance.STAND, Stance.WALK, Stance.RUN, Stance.SIT, Stance.CROUCH, Stance.BEND)
_STANCE_RATES = (0.25, 0.56, 0.06, 0.05, 0.035, 0.045)
_LOADS = tuple(kind for kind in Carried if kind not in (Carried.BENCH, Carried.PUSHED_BICYCLE))
_LOAD_RATES = (0.52, 0.15, 0.1, 0.07, 0.03, 0.035, 0.035, 0.045, 0.015)
_IDLE_HANDS = (
    (Hand.SWING, Hand.SWING), (Hand.POCKET, Hand.POCKET), (Hand.CROSSED, Hand.CROSSED),
    (Hand.PHONE, Hand.SWING), (Hand.PHONE, Hand.PHONE), (Hand.SWING, Hand.EAR),
    (Hand.AKIMBO, Hand.AKIMBO), (Hand.POCKET, Hand.SWING), (Hand.SWING, Hand.RAISED),
    (Hand.FRONT, Hand.FRONT),
)  # fmt: skip
_IDLE_RATES = (0.3, 0.15, 0.12, 0.1, 0.06, 0.05, 0.06, 0.08, 0.04, 0.04)


def _sample_habit(
    rng: np.random.Generator, figure: Figure, stance: Stance, speed_m_s: float, carried: Carried
) -> Habit:
    idle = _IDLE_HANDS[int(rng.choice(len(_IDLE_HANDS), p=_IDLE_RATES))]
    is_mirrored = rng.random() < 0.5
    hands = idle[::-1] if is_mirrored else idle
    if stance == Stance.RUN or (stance == Stance.WALK and rng.random() < 0.65):
        hands = (Hand.SWING, Hand.SWING)
    elif stance in (Stance.SIT, Stance.CROUCH):
        hands = (Hand.LAP, Hand.PHONE if rng.random() < 0.3 else Hand.LAP)
    elif stance == Stance.BEND:
        hands = (Hand.REACH, Hand.REACH)
    needed = HANDS.get(carried, (None, None))
    right, left = (own or need for own, need in zip(needed, hands, strict=True))
    gentle = rng.normal(0.0, 0.05)
    lean, gain = {
        Stance.RUN: (rng.uniform(0.08, 0.32), rng.uniform(0.7, 1.2)),
        Stance.WALK: (gentle + 0.03, rng.uniform(0.15, 0.55) * min(speed_m_s, 1.8)),
        Stance.CROUCH: (rng.uniform(0.25, 0.8), 0.0),
        Stance.BEND: (rng.uniform(0.7, 1.5), 0.0),
        Stance.SIT: (rng.uniform(-0.2, 0.5), 0.0),
    }.get(stance, (gentle, rng.uniform(0.0, 0.2)))
    if carried == Carried.STROLLER:
        lean += 0.08
    is_running = stance == Stance.RUN
    stride = (0.5 + 0.27 * speed_m_s) if is_running else (0.42 + 0.26 * speed_m_s)
    return Habit(
        stance=stance,
        hands=(right, left),
        stride_m=stride * figure.height * rng.uniform(0.93, 1.07),
        phase=rng.random(),
        lean_rad=lean,
        arm_gain=gain,
        arm_out=rng.uniform(0.05, 0.3),
        apart=rng.uniform(0.7, 1.1) if stance in (Stance.WALK, Stance.RUN) else rng.uniform(1, 2),
        ahead=rng.normal(0.0, 0.03),
        depth=rng.random(),
        nod_rad=rng.normal(0.02, 0.12) + (0.25 if Hand.PHONE in (right, left) else 0.0),
        sway=rng.normal(0.0, 0.012),
    )


def _sample_stance(rng: np.random.Generator, speed_m_s: float | None) -> tuple[Stance, float]:
    """Draw what a person does and how fast; a given speed decides."""
    if speed_m_s is None:
        stance = _STANCES[int(rng.choice(len(_STANCES), p=_STANCE_RATES))]
        walking, running = rng.uniform(0.35, 1.75), rng.uniform(2.2, 4.2)
        return stance, {Stance.WALK: walking, Stance.RUN: running}.get(stance, 0.0)
    if speed_m_s <= 0.0:
        return Stance.STAND, 0.0
    return (Stance.RUN if speed_m_s > _RUNNING_FROM_M_S else Stance.WALK), speed_m_s


def _sample_load(rng: np.random.Generator, stance: Stance) -> Carried:
    drawn = _LOADS[int(rng.choice(len(_LOADS), p=_LOAD_RATES))]
    if stance == Stance.SIT:
        return Carried.BENCH if rng.random() < 0.75 else Carried.NOTHING
    if stance in (Stance.WALK, Stance.STAND):
        return drawn
    return drawn if drawn in (Carried.BACKPACK, Carried.NOTHING) else Carried.NOTHING


def sample_person(
    rng: np.random.Generator,
    slot: Slot,
    *,
    speed_m_s: float | None = None,
    carried: Carried | None = None,
    height_m: float | None = None,
) -> Person:
    """Draw a person on foot.

    Args:
        rng: Source of randomness.
        slot: The person's place in the scene.
        speed_m_s: Speed the gait must fit, 0 = standing; drawn with the stance if None.
        carried: What goes with the person; drawn if None.
        height_m: Height of the person; drawn if None.
    """
    stance, speed = _sample_stance(rng, speed_m_s)
    load = _sample_load(rng, stance) if carried is None else carried
    figure = sample_figure(rng, height_m=height_m)
    if load in (Carried.STROLLER, Carried.BENCH, Carried.SUITCASE) and figure.height < 1.35:
        load = Carried.NOTHING
    clothes = sample_clothes(rng.spawn(1)[0], slot)  # the body does not depend on the air
    material = clothes.bag
    if load in ON_GROUND:
        material = slot.add(
            Material(
                label=Label.BUILDING, albedo=sample_colour(rng, is_dark=rng.random() < 0.5),
                frame=slot.frame, offset_k=rng.uniform(-2.0, 3.0), solar=0.45, texture_rgb=0.1,
            )
        )  # fmt: skip
    elif load == Carried.CHILD_ON_BACK:
        material = clothes.top
    return Person(
        figure=figure,
        habit=_sample_habit(rng, figure, stance, speed, load),
        clothes=clothes,
        speed_m_s=speed,
        waist=rng.uniform(0.72, 1.0) * (figure.girth / figure.height) ** 0.6,
        load=Load(kind=load, material=material, size=rng.uniform(0.8, 1.25)),
        mount=None,
    )


def sample_rider(
    rng: np.random.Generator,
    slot: Slot,
    *,
    mount: Mount,
    height_m: float,
    has_helmet: bool,
) -> Person:
    """Draw a rider for a bicycle or motorbike.

    Args:
        rng: Source of randomness.
        slot: The person's place in the scene.
        mount: Saddle, grips and pedals.
        height_m: Height of the rider, metres.
        has_helmet: Wears a helmet.
    """
    figure = sample_figure(rng, height_m=height_m)
    clothes = sample_clothes(rng.spawn(1)[0], slot, has_helmet=has_helmet)
    return Person(
        figure=figure,
        habit=_sample_habit(rng, figure, Stance.RIDE, 0.0, Carried.NOTHING),
        clothes=clothes,
        speed_m_s=0.0,
        waist=rng.uniform(0.72, 1.0) * (figure.girth / figure.height) ** 0.6,
        load=Load(
            kind=Carried.BACKPACK if rng.random() < 0.25 else Carried.NOTHING,
            material=clothes.bag,
            size=rng.uniform(0.8, 1.2),
        ),
        mount=mount,
    )
