# SPDX-License-Identifier: Apache-2.0
"""Four-legged animals, from cats to horses: warm bodies under fur that walk, stand or graze."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import math
from typing import NamedTuple, TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.limbs import along, bend, LimbList, Point, shifted
from rgbt_models.synthetic.parts import PartList, Slot

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray

Colour = tuple[float, float, float]


class AnimalKind(str, Enum):
    """What an animal's proportions are drawn around."""

    DOG = 'dog'
    CAT = 'cat'
    FOX = 'fox'
    BOAR = 'boar'
    SHEEP = 'sheep'
    DEER = 'deer'
    COW = 'cow'
    HORSE = 'horse'


_RATES = (0.42, 0.05, 0.06, 0.07, 0.08, 0.18, 0.08, 0.06)
_COATS: dict[AnimalKind, tuple[Colour, ...]] = {
    AnimalKind.DOG: ((0.03, 0.03, 0.03), (0.25, 0.15, 0.07), (0.6, 0.55, 0.45), (0.3, 0.28, 0.25)),
    AnimalKind.CAT: ((0.03, 0.03, 0.03), (0.3, 0.16, 0.06), (0.5, 0.48, 0.45), (0.15, 0.13, 0.1)),
    AnimalKind.FOX: ((0.35, 0.14, 0.04),),
    AnimalKind.BOAR: ((0.06, 0.05, 0.04), (0.12, 0.09, 0.06), (0.55, 0.4, 0.34)),
    AnimalKind.SHEEP: ((0.6, 0.57, 0.5), (0.5, 0.45, 0.38), (0.05, 0.045, 0.04)),
    AnimalKind.DEER: ((0.25, 0.15, 0.08), (0.16, 0.12, 0.08), (0.32, 0.2, 0.1)),
    AnimalKind.COW: ((0.03, 0.025, 0.02), (0.25, 0.12, 0.05), (0.6, 0.57, 0.5), (0.4, 0.28, 0.18)),
    AnimalKind.HORSE: (
        (0.16, 0.08, 0.04),
        (0.03, 0.025, 0.02),
        (0.55, 0.53, 0.5),
        (0.3, 0.18, 0.1),
    ),
}
_HORNED_RATES = {AnimalKind.DEER: 0.4, AnimalKind.COW: 0.45}


class Posture(Enum):
    """What an animal does."""

    STAND = 0
    WALK = 1
    RUN = 2
    GRAZE = 3
    LIE = 4
    SIT = 5


class _Build(NamedTuple):
    """Metres, and lengths as shares of the height of the back."""

    back: float  # height of the back, m
    body: float  # from chest to rump
    girth: float  # half height of the chest
    rump: float  # half height of the hindquarters
    narrow: float  # width of the body over its height
    neck: float
    neck_rad: float  # above the horizon
    head: float
    snout: float
    ear: float
    tail: float
    limb: float  # half thickness of the upper leg


# In the order of the fields of _Build.
_TYPICAL = {
    AnimalKind.DOG: _Build(0.5, 0.95, 0.23, 0.17, 0.75, 0.33, 0.75, 0.24, 0.26, 0.14, 0.5, 0.075),
    AnimalKind.CAT: _Build(0.27, 1.25, 0.24, 0.22, 0.8, 0.25, 0.6, 0.3, 0.12, 0.14, 0.9, 0.07),
    AnimalKind.FOX: _Build(0.38, 1.35, 0.22, 0.18, 0.8, 0.3, 0.5, 0.26, 0.28, 0.2, 0.95, 0.055),
    AnimalKind.BOAR: _Build(0.75, 1.25, 0.32, 0.25, 0.65, 0.22, 0.0, 0.25, 0.35, 0.13, 0.2, 0.07),
    AnimalKind.SHEEP: _Build(0.72, 1.15, 0.3, 0.29, 0.85, 0.3, 0.8, 0.17, 0.2, 0.13, 0.2, 0.055),
    AnimalKind.DEER: _Build(0.95, 1.05, 0.21, 0.18, 0.7, 0.5, 0.95, 0.15, 0.2, 0.16, 0.13, 0.05),
    AnimalKind.COW: _Build(1.4, 1.3, 0.27, 0.25, 0.75, 0.36, 0.25, 0.19, 0.24, 0.12, 0.6, 0.06),
    AnimalKind.HORSE: _Build(1.5, 1.1, 0.23, 0.22, 0.72, 0.5, 0.85, 0.16, 0.27, 0.09, 0.55, 0.06),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coat:
    """Material indices of one animal."""

    back: int
    flank: int
    leg: int
    face: int
    ear: int
    horn: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Animal:
    """The shape of one animal; ``triangles`` poses it at a distance travelled."""

    build: _Build
    coat: _Coat
    posture: Posture
    speed_m_s: float
    stride_m: float
    phase: float
    nod_rad: float
    turn: float  # of the head, -1..1
    tail_rad: float
    has_horns: bool
    saddle: float  # where the second colour begins along the body, 0..1

    @property
    def height_m(self) -> float:
        """Height of the back when standing, metres."""
        return self.build.back

    def triangles(self, walked_m: float) -> tuple[FloatArray, IndexArray]:
        """Return the body in its own frame (x forward, z up, feet at z = 0).

        Args:
            walked_m: Distance travelled so far; the legs move with it.

        Returns:
            Triangles (n, 3, 3) and the material of each (n,).
        """
        limbs, parts = LimbList(), PartList()
        build, size = self.build, self.build.back
        phase = self.phase + walked_m / self.stride_m
        bounce = 0.02 * math.sin(4.0 * math.pi * phase) if self.speed_m_s > 0.0 else 0.0
        top = (1.0 + bounce) * size
        chest_z, rump_z = top - build.girth * size, top - build.rump * size
        if self.posture == Posture.LIE:
            chest_z = build.girth * size
        if self.posture in (Posture.LIE, Posture.SIT):
            rump_z = build.rump * size
        half = 0.5 * build.body * size
        chest = (half - build.girth * size * 0.6, 0.0, chest_z)
        rump = (-half + build.rump * size * 0.6, 0.0, rump_z)
        self._add_trunk(limbs, chest, rump)
        self._add_head(limbs, chest)
        self._add_tail(limbs, rump)
        for fore, joint in ((True, chest), (False, rump)):
            for side in (-1.0, 1.0):
                self._add_leg(limbs, joint, side, phase, fore=fore)
        limbs.move_to(parts)
        triangles, materials = parts.joined()
        triangles[..., 2] -= triangles[..., 2].min()
        return triangles, materials

    def _add_trunk(self, limbs: LimbList, chest: Point, rump: Point) -> None:
        build, size, coat = self.build, self.build.back, self.coat
        girth, rear = build.girth * size * build.narrow, build.rump * size * build.narrow
        x, y, z = (a + self.saddle * (b - a) for a, b in zip(rump, chest, strict=True))
        middle: Point = (x, y, z)
        between = rear + self.saddle * (girth - rear)
        for start, end, radii, material in (
            (rump, middle, (rear, between), coat.back),
            (middle, chest, (between, girth), coat.flank),
        ):
            limbs.add_fine(start, end, radii, material, flatness=1.0 / build.narrow, cap=0.8)

    def _add_head(self, limbs: LimbList, chest: Point) -> None:
        build, size, coat = self.build, self.build.back, self.coat
        rise = build.neck_rad + self.nod_rad
        if self.posture == Posture.GRAZE:
            rise = -0.9 + self.nod_rad
        root = shifted(chest, 0.35 * build.girth * size, 0.0, 0.25 * build.girth * size)
        length = build.neck * size
        if self.posture == Posture.GRAZE:
            length = max(length, 0.75 * root[2] - build.snout * size)
        ahead = (math.cos(rise), 0.1 * self.turn, math.sin(rise))
        nape = along(root, ahead, length)
        nape = (nape[0], nape[1], max(nape[2], 0.6 * build.head * size))
        thick = build.girth * size * build.narrow
        limbs.add_fine(root, nape, (0.72 * thick, 0.4 * build.head * size), coat.flank)
        down = -1.1 if self.posture == Posture.GRAZE else min(0.1, rise - 0.9) * 0.6
        way = (math.cos(down) * math.cos(self.turn), math.sin(self.turn) * math.cos(down),
               math.sin(down))  # fmt: skip
        skull = 0.5 * build.head * size
        end = along(nape, way, 0.4 * skull)
        limbs.add_fine(nape, end, (skull, 0.9 * skull), coat.face)
        nose = along(end, way, build.snout * size)
        nose = (nose[0], nose[1], max(nose[2], 0.3 * skull))
        limbs.add(end, nose, (0.62 * skull, 0.42 * skull), coat.face)
        for side in (-1.0, 1.0):
            y = 0.6 * skull * side
            ear = shifted(nape, -0.2 * skull, y, 0.75 * skull)
            tip = shifted(ear, -0.3 * skull, 0.5 * y, build.ear * size)
            limbs.add(ear, tip, (0.35 * skull, 0.12 * skull), coat.ear, flatness=0.4)
            if self.has_horns:
                low = shifted(ear, 0.1 * skull, -0.2 * y, 0.0)
                mid = shifted(low, -0.2 * skull, 1.6 * y, 1.3 * skull)
                limbs.tube(low, mid, 0.13 * skull, coat.horn)
                limbs.tube(mid, shifted(mid, 0.7 * skull, 0.5 * y, 1.1 * skull), 0.1 * skull,
                           coat.horn)  # fmt: skip

    def _add_tail(self, limbs: LimbList, rump: Point) -> None:
        build, size = self.build, self.build.back
        root = shifted(rump, -0.6 * build.rump * size, 0.0, 0.55 * build.rump * size)
        length = build.tail * size
        tip = shifted(root, -math.cos(self.tail_rad) * length, 0.0,
                      math.sin(self.tail_rad) * length)  # fmt: skip
        tip = (tip[0], tip[1], max(tip[2], 0.05 * size))
        bushy = 0.5 * build.limb * size
        limbs.add(root, tip, (bushy, 0.8 * bushy), self.coat.back)

    def _add_leg(
        self, limbs: LimbList, joint: Point, side: float, phase: float, *, fore: bool
    ) -> None:
        build, size, coat = self.build, self.build.back, self.coat
        thick = build.limb * size
        hip = shifted(joint, 0.0, side * build.girth * size * build.narrow * 0.55, 0.0)
        foot_m = 0.02 * size + 0.008
        offset = (0.0 if fore else 0.25) + (0.5 if side > 0 else 0.0)  # a walk in four beats
        if self.posture == Posture.RUN:
            offset = (0.0 if fore else 0.45) + (0.1 if side > 0 else 0.0)
        x, rise = self._step(phase + offset)
        target = (hip[0] + x, hip[1], foot_m + rise)
        if self.posture == Posture.LIE or (self.posture == Posture.SIT and not fore):
            target = (hip[0] + (0.3 if fore else 0.22) * size, 1.3 * hip[1], foot_m)
        length = 0.52 * max((1.0 - 0.75 * build.girth) * size - foot_m, 0.1)
        forward = -1.0 if fore else 1.0
        knee, end = bend(hip, target, (length, length), (forward, 0.15 * side, 0.1))
        knee = (knee[0], knee[1], max(knee[2], foot_m))
        limbs.add(knee, hip, (0.6 * thick, 1.35 * thick), coat.flank if fore else coat.back)
        limbs.add(end, knee, (0.36 * thick, 0.55 * thick), coat.leg)
        toe = shifted(end, 0.05 * size, 0.0, 0.0)
        limbs.add(end, toe, (foot_m, 0.8 * foot_m), coat.leg)

    def _step(self, phase: float) -> tuple[float, float]:
        """Return a hoof's way before its hip and above the ground, metres."""
        if self.speed_m_s <= 0.0:
            return 0.03 * self.build.back * math.sin(17.0 * phase), 0.0
        duty = 0.38 if self.posture == Posture.RUN else 0.6
        phase %= 1.0
        half = min(0.5 * duty * self.stride_m, 0.4 * self.build.back)
        if phase < duty:
            return half * (1.0 - 2.0 * phase / duty), 0.0
        share = (phase - duty) / (1.0 - duty)
        return -half * math.cos(math.pi * share), 0.12 * self.build.back * math.sin(
            math.pi * share
        )


def sample_animal(
    rng: np.random.Generator,
    slot: Slot,
    *,
    speed_m_s: float | None = None,
    kind: AnimalKind | None = None,
) -> Animal:
    """Draw an animal.

    Args:
        rng: Source of randomness.
        slot: The animal's place in the scene.
        speed_m_s: Speed the gait must fit, 0 = standing; drawn with the posture if None.
        kind: Dog, deer, ...; drawn if None.
    """
    drawn = list(AnimalKind)[int(rng.choice(len(_RATES), p=_RATES))]
    kind = drawn if kind is None else AnimalKind(kind)
    typical = _TYPICAL[kind]
    factors = np.clip(rng.normal(1.0, 0.1, len(typical)), 0.78, 1.25)
    build = _Build(*(np.array(typical) * factors).tolist())
    if kind == AnimalKind.DOG:
        build = build._replace(back=build.back * rng.uniform(0.5, 1.3))
        if rng.random() < 0.15:
            build = _with_short_legs(build, rng.uniform(0.55, 0.8))
    elif rng.random() < 0.2:
        build = build._replace(back=build.back * rng.uniform(0.6, 0.8))  # young
    posture, speed = _sample_posture(rng, build, kind, speed_m_s)
    return Animal(
        build=build,
        coat=_sample_coat(rng, slot, kind),
        posture=posture,
        speed_m_s=speed,
        stride_m=max(0.6 * build.back + 0.45 * speed, 0.15) * rng.uniform(0.9, 1.1),
        phase=rng.random(),
        nod_rad=rng.normal(0.0, 0.22),
        turn=rng.normal(0.0, 0.35),
        tail_rad=rng.uniform(-1.3, 0.9)
        if kind in (AnimalKind.DOG, AnimalKind.CAT)
        else rng.uniform(-1.4, -0.3),
        has_horns=rng.random() < _HORNED_RATES.get(kind, 0.0),
        saddle=rng.uniform(0.25, 0.75),
    )


def _with_short_legs(build: _Build, share: float) -> _Build:
    """Lower the back; everything else keeps its size, so its shares of the height grow."""
    kept = {'back': share, 'narrow': 1.0, 'neck_rad': 1.0, 'girth': 0.85 / share}
    values = build._asdict()
    return _Build(**{name: values[name] * kept.get(name, 1.0 / share) for name in values})


def _sample_posture(
    rng: np.random.Generator, build: _Build, kind: AnimalKind, speed_m_s: float | None
) -> tuple[Posture, float]:
    gait = math.sqrt(9.81 * build.back)  # animals of all sizes change gait alike
    if speed_m_s is not None and speed_m_s > 0.0:
        return (Posture.RUN if speed_m_s > 0.9 * gait else Posture.WALK), speed_m_s
    draw = rng.random()
    rest = Posture.STAND
    if draw < 0.12:
        rest = Posture.LIE
    elif draw < 0.3:
        small = kind in (AnimalKind.DOG, AnimalKind.CAT, AnimalKind.FOX)
        rest = Posture.SIT if small else Posture.GRAZE
    elif draw < 0.4:
        rest = Posture.GRAZE  # or sniffs
    if speed_m_s is not None or draw < 0.55:
        return rest, 0.0
    is_running = draw > 0.92
    return (
        (Posture.RUN, gait * rng.uniform(1.0, 1.8))
        if is_running
        else (Posture.WALK, gait * rng.uniform(0.25, 0.6))
    )


def _sample_coat(rng: np.random.Generator, slot: Slot, kind: AnimalKind) -> _Coat:
    paint = slot.painter(solar=0.4, texture_rgb=0.15, texture_k=0.6)
    colours = _COATS[kind]
    tone = rng.uniform(0.6, 1.4)
    red, green, blue = colours[int(rng.integers(len(colours)))]
    main = (red * tone, green * tone, blue * tone)
    is_patched = rng.random() < (0.6 if kind in (AnimalKind.COW, AnimalKind.DOG) else 0.25)
    other = colours[int(rng.integers(len(colours)))] if is_patched else main
    insulation = 0.25 if kind == AnimalKind.SHEEP else 0.1 * (slot.ambient_c < 8.0)
    share = rng.uniform(0.35, 0.7) - insulation
    bare = min(share + rng.uniform(0.08, 0.3), 0.97)
    dark = (0.4 * red, 0.4 * green, 0.4 * blue)
    return _Coat(
        back=paint(main, body_share=share),
        flank=paint(other, body_share=min(share + rng.uniform(-0.05, 0.12), 0.9)),
        leg=paint(dark if rng.random() < 0.4 else main, body_share=share * rng.uniform(0.6, 1.15)),
        face=paint(other, body_share=bare),
        ear=paint(main, body_share=share * rng.uniform(0.5, 1.3)),
        horn=paint((0.35, 0.3, 0.22), body_share=rng.uniform(0.1, 0.5)),
    )
