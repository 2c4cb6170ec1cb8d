# SPDX-License-Identifier: Apache-2.0
"""People: a body of tapered limbs with clothes, gait and things they carry."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import Label, Material, sample_colour
from rgbt_models.synthetic.meshes import box, capsules
from rgbt_models.synthetic.parts import MaterialAdder, PartList

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import DoubleArray, FloatArray, IndexArray

STEP_LENGTH_PER_HEIGHT = 0.42


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wardrobe:
    """Material indices of one person."""

    skin: int
    top: int
    trousers: int
    hair: int
    shoes: int
    sleeve: int
    leg: int
    bag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limb:
    """What differs between the left and the right side."""

    arm_gain: float
    arm_offset_rad: float
    arm_out: float
    elbow_rad: float
    knee_gain: float
    hip_rad: float  # riders only
    knee_rad: float  # riders only
    has_bare_forearm: bool


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Person:
    """The shape of one person; ``triangles`` poses it at a gait phase."""

    height_m: float
    width: float  # relative to an average build
    torso_taper: float
    lean_rad: float
    gait_rad: float  # amplitude of the hip angle
    phase_rad: float
    is_riding: bool
    coat: int  # 0 none, 1 coat in the colour of the top, 2 skirt
    has_hair: bool
    has_long_hair: bool
    head_tilt_m: float
    bag: int  # 0 none, 1 backpack, 2 bag in the left hand, 3 in the right hand
    limbs: tuple[_Limb, _Limb]  # right, left
    wardrobe: _Wardrobe

    def triangles(self, walked_m: float) -> tuple[FloatArray, IndexArray]:
        """Return the body in its own frame (x forward, z up, feet at z = 0).

        Args:
            walked_m: Distance walked so far; legs and arms swing with it.

        Returns:
            Triangles (n, 3, 3) and the material of each (n,).
        """
        scale = self.height_m / 1.75
        clothes = self.wardrobe
        hip, shoulder = 0.92 * scale, 1.43 * scale
        base = 0.12 if self.is_riding else 0.0
        lean = np.array([math.sin(self.lean_rad), 0.0, math.cos(self.lean_rad)])
        pelvis = np.array([0.0, 0.0, base + hip])
        neck = pelvis + lean * (shoulder - hip)
        half = 0.17 * scale * self.width
        body = _LimbRows()
        up = np.array([0.0, 0.0, 1.0])
        body.add(
            pelvis + 0.02 * up, neck - 0.06 * up, half * self.torso_taper, half * 1.1,
            clothes.top, 0.62,
        )  # fmt: skip
        if self.coat:
            material = clothes.top if self.coat == 1 else clothes.trousers
            start = pelvis - 0.35 * scale * up
            body.add(start, pelvis + 0.2 * up, half * 1.2, half, material, 0.75)
        self._add_head(body, neck, scale)
        stride = self.height_m * STEP_LENGTH_PER_HEIGHT * 2.0
        phase = self.phase_rad + 2.0 * math.pi * walked_m / stride
        for side, limb in zip((-1.0, 1.0), self.limbs, strict=True):
            swing = self.gait_rad * math.sin(phase + (math.pi if side > 0 else 0.0))
            if self.is_riding:
                swing = limb.hip_rad + 0.25 * math.sin(phase + (math.pi if side > 0 else 0.0))
            self._add_leg(body, pelvis, side, limb, swing)
            self._add_arm(body, neck, side, limb, swing)
        parts = PartList()
        mesh = body.capsules()
        for index, material in enumerate(body.materials):
            parts.add(mesh[index], material)
        self._add_bag(parts, pelvis, neck, scale)
        return parts.joined()

    def _add_head(self, body: _LimbRows, neck: DoubleArray, scale: float) -> None:
        clothes = self.wardrobe
        tilt = math.sin(self.lean_rad) * 0.5 + self.head_tilt_m
        head = neck + np.array([tilt, 0.0, 1.0]) * 0.19 * scale
        up = np.array([0.0, 0.0, 1.0])
        body.add(neck, head, 0.055 * scale, 0.055 * scale, clothes.skin)
        start, end = head - 0.02 * up, head + 0.05 * up
        body.add(start, end, 0.095 * scale, 0.10 * scale, clothes.skin, 1.05)
        if self.has_hair:
            start = head + np.array([-0.03, 0.0, 0.05]) * scale
            end = head + np.array([-0.02, 0.0, 0.075]) * scale
            body.add(start, end, 0.105 * scale, 0.1 * scale, clothes.hair)
        if self.has_long_hair:
            start = head + np.array([-0.07, 0.0, -0.1]) * scale
            end = head + np.array([-0.03, 0.0, 0.05]) * scale
            body.add(start, end, 0.08 * scale, 0.1 * scale, clothes.hair)

    def _add_leg(
        self, body: _LimbRows, pelvis: DoubleArray, side: float, limb: _Limb, swing: float
    ) -> None:
        scale, clothes = self.height_m / 1.75, self.wardrobe
        # The leg behind bends less than the leg that comes forward.
        bend = limb.knee_gain * self.gait_rad * 2.0 * (1.0 if swing < 0 else 0.3)
        knee_rad = limb.knee_rad if self.is_riding else bend
        hip = pelvis + np.array([0.0, side * 0.09 * scale * self.width, -0.02])
        knee = hip + _swung(swing) * 0.44 * scale
        ankle = knee + _swung(swing - knee_rad) * 0.42 * scale
        radius = 0.085 * scale * self.width
        body.add(knee, hip, radius * 0.75, radius, clothes.leg)
        body.add(ankle, knee, radius * 0.55, radius * 0.75, clothes.leg)
        heel = ankle + np.array([0.0, 0.0, -0.02])
        toe = ankle + np.array([0.13 * scale, 0.0, -0.04])
        body.add(heel, toe, 0.045 * scale, 0.04 * scale, clothes.shoes)

    def _add_arm(
        self, body: _LimbRows, neck: DoubleArray, side: float, limb: _Limb, swing: float
    ) -> None:
        scale, clothes = self.height_m / 1.75, self.wardrobe
        angle = -swing * limb.arm_gain + limb.arm_offset_rad
        elbow_rad = limb.elbow_rad
        if self.is_riding:
            angle, elbow_rad = 0.9 + limb.arm_offset_rad, 0.2
        half = 0.17 * scale * self.width
        shoulder = neck + np.array([0.0, side * half * 1.12, -0.05])
        elbow = shoulder + _swung(angle, side * limb.arm_out) * 0.29 * scale
        bent = _swung(angle + elbow_rad, side * limb.arm_out * 0.3)
        hand = elbow + bent * 0.27 * scale
        upper = 0.045 * scale * self.width
        body.add(elbow, shoulder, upper, 0.06 * scale * self.width, clothes.sleeve)
        forearm = clothes.skin if limb.has_bare_forearm else clothes.sleeve
        body.add(hand, elbow, 0.035 * scale, upper, forearm)
        tip = hand + (hand - elbow) * 0.25
        body.add(hand, tip, 0.04 * scale, 0.035 * scale, clothes.skin)

    def _add_bag(
        self, parts: PartList, pelvis: DoubleArray, neck: DoubleArray, scale: float
    ) -> None:
        if self.bag == 1:
            x, y, z = (pelvis + neck) / 2 + np.array([-0.22 * scale, 0.0, 0.05])
            size = (0.18 * scale, 0.3 * scale, 0.42 * scale)
            parts.add(box(size, (x, y, z)), self.wardrobe.bag)
        elif self.bag > 1:
            side = -1.0 if self.bag == 3 else 1.0
            x, y, z = pelvis + np.array([0.0, 0.28 * side, -0.25])
            parts.add(box((0.3, 0.12, 0.3), (x, y, z)), self.wardrobe.bag)


class _LimbRows:
    """Collects limbs so that all are meshed in one call."""

    def __init__(self) -> None:
        self.materials: list[int] = []
        self._points: list[DoubleArray] = []
        self._radii: list[tuple[float, float, float]] = []

    def add(
        self,
        start: DoubleArray,
        end: DoubleArray,
        start_radius: float,
        end_radius: float,
        material: int,
        flatness: float = 1.0,
    ) -> None:
        self._points.append(np.stack([start, end]))
        self._radii.append((start_radius, end_radius, flatness))
        self.materials.append(material)

    def capsules(self) -> FloatArray:
        points = np.array(self._points, np.float32)
        radii = np.array(self._radii, np.float32)
        return capsules(points[:, 0], points[:, 1], radii[:, 0], radii[:, 1], radii[:, 2])


def _swung(angle_rad: float, out: float = 0.0) -> DoubleArray:
    """Return the direction of a limb that hangs down and is swung forward by an angle."""
    down = math.cos(angle_rad)
    return np.array([math.sin(angle_rad), out, -down])


def _sample_wardrobe(
    rng: np.random.Generator, add: MaterialAdder, instance: int, frame: int, ambient_c: float
) -> _Wardrobe:
    # Clothes lie between air and body. Some coats are so thick, or so recently brought out of a
    # cool room, that they show the air's temperature: such people are colder than a sunlit wall.
    is_cold_clad = rng.random() < 0.22
    share = rng.uniform(0.0, 0.15) if is_cold_clad else rng.uniform(0.08, 0.75)
    trouser_share = float(np.clip(share + rng.uniform(-0.15, 0.15), 0.03, 0.85))
    tone = rng.uniform(0.12, 0.75)
    is_dark_clad = is_cold_clad and rng.random() < 0.5
    hair_level = rng.uniform(0.4, 6.0)

    def material(
        colour: tuple[float, float, float],
        share: float,
        solar: float,
        texture_rgb: float,
        texture_k: float,
    ) -> int:
        return add(
            Material(
                label=Label.PERSON, albedo=colour, instance=instance, frame=frame,
                body_share=share, solar=solar, texture_rgb=texture_rgb, texture_k=texture_k,
            )
        )  # fmt: skip

    skin_share = rng.uniform(0.75, 1.0)
    skin = material((tone, tone * 0.68, tone * 0.5), skin_share, 0.1, 0.03, 0.4)
    top = material(sample_colour(rng, is_dark=is_dark_clad), share, 0.35, 0.12, 0.7)
    is_dark = is_dark_clad or rng.random() < 0.7
    trousers = material(sample_colour(rng, is_dark=is_dark), trouser_share, 0.35, 0.08, 0.6)
    hair_colour = (0.05 * hair_level, 0.04 * hair_level, 0.03 * hair_level)
    hair = material(hair_colour, rng.uniform(0.35, 0.85), 0.4, 0.1, 0.4)
    shoes = material(sample_colour(rng, is_dark=True), rng.uniform(0.05, 0.5), 0.3, 0.05, 0.3)
    bag = material(sample_colour(rng, is_dark=True), rng.uniform(0.0, 0.25), 0.4, 0.1, 0.3)
    has_sleeves = rng.random() < 0.75 or ambient_c < 12.0
    has_long_trousers = rng.random() < 0.85 or ambient_c < 14.0
    return _Wardrobe(
        skin=skin,
        top=top,
        trousers=trousers,
        hair=hair,
        shoes=shoes,
        bag=bag,
        sleeve=top if has_sleeves else skin,
        leg=trousers if has_long_trousers else skin,
    )


def _sample_limb(rng: np.random.Generator) -> _Limb:
    has_bent_arm = rng.random() < 0.3
    return _Limb(
        arm_gain=rng.uniform(0.5, 1.1),
        arm_offset_rad=rng.normal(0.0, 0.1),
        arm_out=rng.uniform(0.03, 0.25),
        elbow_rad=rng.uniform(0.7, 2.2) if has_bent_arm else rng.uniform(0.05, 0.7),
        knee_gain=rng.uniform(0.0, 0.5),
        hip_rad=rng.uniform(0.9, 1.5),
        knee_rad=rng.uniform(1.0, 1.6),
        has_bare_forearm=rng.random() < 0.2,
    )


def sample_person(
    rng: np.random.Generator,
    add: MaterialAdder,
    *,
    instance: int,
    frame: int,
    ambient_c: float,
    is_riding: bool = False,
) -> Person:
    """Draw a person: one in seven a child, one in four standing.

    Args:
        rng: Source of randomness.
        add: Registers a material and returns its index.
        instance: Object index of the person.
        frame: Moving frame of the person.
        ambient_c: Air temperature, which decides about bare arms and legs.
        is_riding: Sit on a bicycle.
    """
    is_adult = rng.random() < 0.85
    is_walking = rng.random() < 0.75
    bag_draw = rng.random()
    bag = 1 if bag_draw < 0.25 else 0
    if 0.25 <= bag_draw < 0.40:
        bag = int(rng.integers(2, 4))
    return Person(
        height_m=rng.uniform(1.5, 1.9) if is_adult else rng.uniform(0.9, 1.5),
        width=rng.uniform(0.85, 1.3),
        torso_taper=rng.uniform(0.85, 1.0),
        lean_rad=rng.uniform(0.2, 0.6) if is_riding else rng.normal(0.0, 0.05),
        gait_rad=rng.uniform(0.05, 0.6) if is_walking else rng.uniform(0.0, 0.08),
        phase_rad=rng.uniform(0.0, 2.0 * math.pi),
        is_riding=is_riding,
        coat=0 if is_riding or rng.random() > 0.2 else int(rng.choice([1, 1, 1, 2, 2])),
        has_hair=rng.random() < 0.9,
        has_long_hair=rng.random() < 0.2,
        head_tilt_m=rng.normal(0.0, 0.02),
        bag=bag,
        limbs=(_sample_limb(rng), _sample_limb(rng)),
        wardrobe=_sample_wardrobe(rng, add, instance, frame, ambient_c),
    )
