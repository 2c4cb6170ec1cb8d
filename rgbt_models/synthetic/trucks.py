# SPDX-License-Identifier: Apache-2.0
"""Lorries and buses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np

from rgbt_models.synthetic.materials import sample_colour
from rgbt_models.synthetic.meshes import box, cylinder, wedge
from rgbt_models.synthetic.parts import Painter, PartList, Slot
from rgbt_models.synthetic.vehicle_body import (
    add_lamps,
    add_mirrors,
    add_skin,
    add_underbody,
    add_wheel,
    finish_vehicle,
    Paint,
    sample_body_colour,
    sample_paint,
    Vehicle,
)


class LoadKind(Enum):
    """What a lorry carries behind its cab."""

    BOX = 0
    CONTAINER = 1
    TANK = 2
    TIPPER = 3
    FLATBED = 4


_LOAD_RATES = (0.42, 0.15, 0.1, 0.13, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lorry:
    """Sizes of a lorry, metres."""

    length: float
    width: float
    cab_length: float
    cab_height: float
    deck: float  # height of the load floor
    load_height: float  # top of the load
    radius: float


class _Room(NamedTuple):
    """Where a lorry's load is, metres."""

    back: float
    front: float
    half: float  # width
    deck: float
    top: float

    @property
    def long(self) -> float:
        return self.front - self.back

    @property
    def middle(self) -> float:
        return 0.5 * (self.front + self.back)


def _sample_lorry(rng: np.random.Generator) -> _Lorry:
    weight = rng.uniform(0.0, 1.0) ** 1.4  # light delivery lorry to heavy
    cab_height = 2.15 + 0.75 * weight + rng.uniform(-0.12, 0.35)
    return _Lorry(
        length=5.6 + 5.6 * weight * rng.uniform(0.6, 1.15),
        width=2.05 + 0.42 * weight,
        cab_length=1.55 + 0.5 * weight + rng.uniform(-0.1, 0.25),
        cab_height=cab_height,
        deck=0.75 + 0.4 * weight,
        load_height=cab_height + rng.uniform(-0.25, 0.7),
        radius=0.38 + 0.13 * weight,
    )


def build_lorry(rng: np.random.Generator, slot: Slot, *, is_running: bool) -> Vehicle:
    """Draw a lorry of 5.5 to 12.1 m: a cab, wheels, and a box, tank, tipper or open load.

    Args:
        rng: Source of randomness.
        slot: Its place in the scene.
        is_running: Engine, tyres and exhaust are warm, lights on at night.
    """
    paint = sample_paint(rng, slot, is_running=is_running)
    soak = rng.uniform(0.2, 1.2) if rng.random() < 0.6 else 0.0
    painter = slot.painter(solar=0.7, soak=soak, texture_rgb=0.05)
    size, parts = _sample_lorry(rng), PartList()
    half, front = size.width / 2, size.length / 2
    has_nose = rng.random() < 0.12
    _add_cab(rng, parts, paint, size, has_nose=has_nose)
    _add_load(rng, parts, painter, paint, size)
    rail = box((0.96 * size.length, 0.9, 0.22), (-0.02 * size.length, 0.0, size.deck - 0.2))
    parts.add(rail, paint.trim)
    axles = [front - 0.62 * size.cab_length, -front + rng.uniform(0.16, 0.24) * size.length]
    if size.length > 8.5:
        axles.append(axles[1] + 2.3 * size.radius)
    for x in axles:
        add_wheel(parts, paint, x=x, half_m=half, radius_m=size.radius, width_m=0.3)
    side = float(rng.choice([-1.0, 1.0]))
    tank = cylinder(0.28, 0.9, (0.25 * front, side * (half - 0.3), size.deck - 0.3), axis='x')
    parts.add(tank, paint.rim)
    hot = box((0.6, 0.3, 0.4), (0.2 * front, -side * (half - 0.25), size.deck - 0.3))
    parts.add(hot, paint.exhaust)
    add_underbody(parts, paint, length_m=size.length, half_m=half, clearance_m=0.4)
    lamp_z = rng.uniform(0.7, 0.95)
    add_lamps(parts, paint, ends_x=(-front, front), half_m=0.93 * half, z=(0.85, lamp_z),
              size=(0.3, rng.uniform(0.14, 0.26)))  # fmt: skip
    for x in (-front - 0.03, front + 0.03):
        parts.add(box((0.02, 0.5, 0.12), (x, 0.0, 0.6)), paint.plate)
    return finish_vehicle(parts, paint, lamp=(front + 0.12, 0.0, lamp_z))


def _add_cab(
    rng: np.random.Generator, parts: PartList, paint: Paint, size: _Lorry, *, has_nose: bool
) -> None:
    half, front = size.width / 2, size.length / 2
    back, top, low = front - size.cab_length, size.cab_height, 0.38
    belt = low + (top - low) * rng.uniform(0.46, 0.56)
    lean = rng.uniform(0.08, 0.3)
    nose = rng.uniform(0.7, 1.0) if has_nose else 0.04
    rows = (  # x, roof line, share of the width at the roof
        (back, 0.97 * top, 0.94), (back + 0.35, top, 0.93), (front - nose - lean - 0.1, top, 0.92),
        (front - nose - lean, 0.97 * top, 0.92), (front - nose, belt, 0.98),
        (front, belt - (0.12 if has_nose else 0.25), 0.96),
    )  # fmt: skip
    sections = np.zeros((len(rows), 5, 3), np.float32)
    for index, (x, roof, share) in enumerate(rows):
        edge = min(belt, roof - 0.04)
        sections[index] = [
            [x, 0.97 * half, low], [x, half, 0.5 * (low + edge)], [x, half, edge],
            [x, share * half, roof - 0.02], [x, 0.0, roof],
        ]  # fmt: skip
    body, glass = paint.body, paint.glass
    side = [body, glass, glass, glass, body]
    roof_row = [body, body, body, glass, paint.hood]
    lower = [paint.trim if rng.random() < 0.4 else body] * 5
    door = [body, body, body, paint.hood, paint.hood]
    materials = np.array([lower, door, side, roof_row], np.int32).T
    add_skin(parts, sections, np.ascontiguousarray(materials), paint.hood)
    grille = (0.06, 1.3 * half, 0.3 * (belt - low) + 0.2)
    parts.add(box(grille, (front, 0.0, low + 0.55 * (belt - low))), paint.grille)
    parts.add(box((0.25, 1.9 * half, 0.3), (front - 0.1, 0.0, low + 0.05)), paint.trim)
    add_mirrors(parts, paint.trim, x=front - nose - 0.1, half_m=half + 0.05, z=belt + 0.35)
    if rng.random() < 0.35:
        spoiler = wedge(
            back_x=(back, back), front_x=(back + 1.0, back + 0.15), half_width=(0.8, 0.75),
            z=(top, top + rng.uniform(0.2, 0.6)),
        )  # fmt: skip
        parts.add(spoiler, body)


def _add_load(
    rng: np.random.Generator, parts: PartList, painter: Painter, paint: Paint, size: _Lorry
) -> None:
    kind = LoadKind(int(rng.choice(len(_LOAD_RATES), p=_LOAD_RATES)))
    back, front = -size.length / 2, size.length / 2 - size.cab_length - 0.08
    half, deck, top = size.width / 2, size.deck, size.load_height
    room = _Room(back, front, half, deck, top)
    long, middle = room.long, room.middle
    offset_k = rng.uniform(-1.5, 2.0)
    skin = painter(sample_body_colour(rng), offset_k=offset_k, is_glossy=rng.random() < 0.4)
    if kind in (LoadKind.BOX, LoadKind.CONTAINER):
        parts.add(box((long, 2 * half, top - deck), (middle, 0.0, (top + deck) / 2)), skin)
        other = painter(sample_colour(rng), offset_k=offset_k)
        _add_panels(rng, parts, other, kind, room)
    elif kind == LoadKind.TANK:
        radius = min(half - 0.02, 0.5 * (top - deck) + 0.1)
        parts.add(cylinder(radius, long, (middle, 0.0, deck + radius), axis='x'), skin)
        parts.add(box((0.7 * long, 0.4, 0.12), (middle, 0.0, deck + 2 * radius)), paint.trim)
    elif kind == LoadKind.TIPPER:
        high = deck + rng.uniform(0.7, 1.3)
        parts.add(
            wedge(back_x=(back + 0.3, back), front_x=(front - 0.3, front),
                  half_width=(half - 0.15, half), z=(deck, high)),
            skin,
        )  # fmt: skip
        earth = painter(sample_colour(rng, is_dark=True), offset_k=rng.uniform(-2, 4))
        parts.add(
            wedge(back_x=(back + 0.2, back + 1.0), front_x=(front - 0.2, front - 1.0),
                  half_width=(half - 0.1, 0.3 * half), z=(high - 0.02, high + 0.35)),
            earth,
        )  # fmt: skip
    else:
        parts.add(box((long, 2 * half, 0.12), (middle, 0.0, deck)), skin)
        _add_open_load(rng, parts, painter, room)


def _add_panels(
    rng: np.random.Generator, parts: PartList, material: int, kind: LoadKind, room: _Room
) -> None:
    """Add ribs of a container, or a painted field on a box."""
    tall, z = room.top - room.deck, (room.top + room.deck) / 2
    if kind == LoadKind.CONTAINER:
        for share in np.linspace(0.08, 0.92, 9).tolist():
            at = (room.back + share * room.long, 0.0, z)
            parts.add(box((0.12, 2 * room.half + 0.05, 0.94 * tall), at), material)
    elif rng.random() < 0.7:
        long, high = rng.uniform(0.3, 0.8) * room.long, rng.uniform(0.2, 0.7) * tall
        parts.add(box((long, 2 * room.half + 0.02, high), (room.middle, 0.0, z)), material)
    if rng.random() < 0.25:  # a refrigerating machine over the cab
        at = (room.front + 0.2, 0.0, room.top - 0.35)
        parts.add(box((0.5, 1.2 * room.half, 0.6), at), material)


def _add_open_load(
    rng: np.random.Generator, parts: PartList, painter: Painter, room: _Room
) -> None:
    load = painter(sample_colour(rng), offset_k=rng.uniform(-3.0, 4.0))
    wall = (0.08, 2 * room.half, rng.uniform(0.4, 1.0))
    parts.add(box(wall, (room.front - 0.05, 0.0, room.deck + 0.5 * wall[2])), load)
    if rng.random() < 0.35:  # pipes or logs
        radius = rng.uniform(0.15, 0.3)
        for y, layer in ((-0.7, 0.0), (0.0, 0.0), (0.7, 0.0), (-0.35, 1.7), (0.35, 1.7)):
            at = (room.middle, y * room.half, room.deck + 0.06 + radius * (1.0 + layer))
            parts.add(cylinder(radius, 0.85 * room.long, at, axis='x'), load)
        return
    for _ in range(int(rng.integers(0, 5))):
        size = (rng.uniform(0.6, 1.6), rng.uniform(0.6, 1.9 * room.half), rng.uniform(0.3, 1.6))
        x = rng.uniform(room.back + 0.9, room.front - 0.9)
        at = (x, rng.uniform(-0.2, 0.2), room.deck + size[2] / 2)
        parts.add(box(size, at), painter(sample_colour(rng), offset_k=rng.uniform(-3.0, 4.0)))


def build_bus(rng: np.random.Generator, slot: Slot, *, is_running: bool) -> Vehicle:
    """Draw a bus or coach of 7 to 12.5 m: long rows of windows, the engine at the back.

    Args:
        rng: Source of randomness.
        slot: Its place in the scene.
        is_running: Engine, tyres and exhaust are warm, lights on at night.
    """
    paint = sample_paint(rng, slot, is_running=is_running)
    parts = PartList()
    length, width = rng.uniform(7.0, 12.5), rng.uniform(2.25, 2.55)
    height = rng.uniform(2.75, 3.25) + (rng.uniform(0.2, 0.5) if rng.random() < 0.35 else 0.0)
    half, front, radius = width / 2, length / 2, rng.uniform(0.42, 0.5)
    _add_bus_body(rng, parts, paint, (length, width, height))
    for x in (front - rng.uniform(1.6, 2.6), -front + rng.uniform(2.0, 3.2)):
        add_wheel(parts, paint, x=x, half_m=half + 0.01, radius_m=radius, width_m=0.3)
    add_underbody(parts, paint, length_m=length, half_m=half, clearance_m=0.28)
    lamp_z = rng.uniform(0.65, 0.9)
    add_lamps(parts, paint, ends_x=(-front, front), half_m=0.93 * half, z=(0.95, lamp_z),
              size=(0.32, rng.uniform(0.14, 0.26)))  # fmt: skip
    vent = (0.06, rng.uniform(1.1, 1.7) * half, rng.uniform(0.4, 0.9))
    parts.add(box(vent, (-front, 0.0, 0.8)), paint.grille)
    parts.add(box((0.9, 0.04, 0.5), (-front + 0.9, -half, 0.75)), paint.grille)
    parts.add(box((0.25, 0.12, 0.1), (-front, 0.5 * half, 0.35)), paint.exhaust)
    if rng.random() < 0.7:  # air conditioning
        x = rng.uniform(-0.3, 0.2) * length
        parts.add(box((rng.uniform(1.2, 2.6), 1.4 * half, 0.24), (x, 0.0, height + 0.08)),
                  paint.grille if rng.random() < 0.3 else paint.body)  # fmt: skip
    for x in (-front - 0.03, front + 0.03):
        parts.add(box((0.02, 0.5, 0.12), (x, 0.0, 0.5)), paint.plate)
    add_mirrors(parts, paint.trim, x=front + 0.1, half_m=half, z=0.72 * height)
    return finish_vehicle(parts, paint, lamp=(front + 0.12, 0.0, lamp_z))


def _add_bus_body(
    rng: np.random.Generator, parts: PartList, paint: Paint, size: tuple[float, float, float]
) -> None:
    length, width, height = size
    half, front, low = width / 2, length / 2, 0.3
    belt = rng.uniform(1.0, 1.45) if rng.random() < 0.7 else rng.uniform(1.45, 1.7)
    cornice = height - rng.uniform(0.28, 0.5)
    panes = int(rng.integers(4, 8))
    pillar = rng.uniform(0.06, 0.25)
    edges = np.linspace(-front + 0.5, front - rng.uniform(0.4, 0.9), panes + 1)
    rows: list[tuple[float, float]] = [(-front, 0.97), (-front + 0.12, 1.0)]
    for edge in edges.tolist():
        rows += [(edge - pillar / 2, 1.0), (edge + pillar / 2, 1.0)]
    rows += [(front - 0.2, 0.99), (front, 0.95)]
    sections = np.zeros((len(rows), 5, 3), np.float32)
    for index, (x, share) in enumerate(rows):
        wide = half * share
        sections[index] = [
            [x, 0.98 * wide, low], [x, wide, belt], [x, 0.985 * wide, cornice],
            [x, 0.9 * wide, height - 0.06], [x, 0.0, height * (0.5 + 0.5 * share)],
        ]  # fmt: skip
    count = len(rows) - 1
    pane = np.full(count, paint.body, np.int32)
    pane[3 : count - 2 : 2] = paint.glass
    pane[-2:] = paint.glass
    if rng.random() < 0.45:  # glass without visible pillars
        pane[2 : count - 1] = paint.glass
    lower = np.full(count, paint.body, np.int32)
    lower[:2] = paint.hood  # over the engine
    if rng.random() < 0.6:  # doors on the right, drawn on both sides
        lower[-3] = paint.glass
    roof = np.full(count, paint.body, np.int32)
    add_skin(parts, sections, np.stack([lower, pane, roof, roof], axis=1), paint.body)
    screen = (0.05, 1.75 * half, cornice - belt + 0.25)
    parts.add(box(screen, (front, 0.0, (cornice + belt) / 2 - 0.05)), paint.glass)
    window = (0.04, 1.4 * half, 0.8 * (cornice - belt))
    parts.add(box(window, (-front, 0.0, (cornice + belt) / 2)), paint.glass)
    sign = box((0.05, 1.3 * half, 0.22), (front, 0.0, height - 0.2))
    parts.add(sign, paint.trim)
