# SPDX-License-Identifier: Apache-2.0
"""Cars and vans: a skin over cross-sections whose proportions are drawn continuously."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.meshes import box
from rgbt_models.synthetic.parts import PartList, Slot
from rgbt_models.synthetic.vehicle_body import (
    add_lamps,
    add_mirrors,
    add_skin,
    add_underbody,
    add_wheel,
    finish_vehicle,
    Paint,
    sample_paint,
    Vehicle,
)

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray


class CarKind(Enum):
    """Where a car's proportions are drawn around."""

    SALOON = 0
    HATCHBACK = 1
    ESTATE = 2
    SUV = 3
    PICKUP = 4
    VAN = 5
    SPORTS = 6


_RATES = {
    CarKind.SALOON: 0.22,
    CarKind.HATCHBACK: 0.25,
    CarKind.ESTATE: 0.13,
    CarKind.SUV: 0.18,
    CarKind.PICKUP: 0.05,
    CarKind.VAN: 0.13,
    CarKind.SPORTS: 0.04,
}
_SPREAD = 0.045  # of every proportion
_LONGEST_CAR_M = 5.3  # vans are up to 7 m
_BLEND_RATE = 0.35  # how many cars lie between two kinds


class _Proportions(NamedTuple):
    """Metres, and shares of length or height; lengths along x are seen from the side."""

    length: float
    width: float
    height: float
    clearance: float
    belt: float  # lower edge of the windows, share of the height
    hood: float  # share of the length
    hood_drop: float  # front edge of the hood below the belt, m
    windscreen: float  # how far it leans back, m
    roof: float  # share of the length
    rear: float  # how far the rear window leans, m
    tail: float  # height of the tail, share of the height
    tuck: float  # how far the roof edge lies inside the sill, m
    radius: float  # of the wheels
    wheelbase: float  # share of the length


_TYPICAL = {
    CarKind.SALOON: _Proportions(
        4.6, 1.8, 1.45, 0.17, 0.63, 0.25, 0.13, 0.8, 0.27, 0.75, 0.64, 0.24, 0.32, 0.59
    ),
    CarKind.HATCHBACK: _Proportions(
        4.0, 1.75, 1.5, 0.17, 0.6, 0.21, 0.15, 0.75, 0.44, 0.35, 0.6, 0.2, 0.31, 0.62
    ),
    CarKind.ESTATE: _Proportions(
        4.65, 1.82, 1.48, 0.17, 0.62, 0.23, 0.13, 0.75, 0.5, 0.4, 0.6, 0.2, 0.32, 0.59
    ),
    CarKind.SUV: _Proportions(
        4.5, 1.88, 1.7, 0.23, 0.6, 0.22, 0.1, 0.65, 0.48, 0.35, 0.6, 0.17, 0.36, 0.6
    ),
    CarKind.PICKUP: _Proportions(
        5.2, 1.88, 1.8, 0.26, 0.58, 0.23, 0.08, 0.6, 0.22, 0.15, 0.56, 0.18, 0.38, 0.6
    ),
    CarKind.VAN: _Proportions(
        5.1, 1.95, 2.1, 0.2, 0.52, 0.13, 0.2, 0.65, 0.68, 0.12, 0.53, 0.12, 0.33, 0.6
    ),
    CarKind.SPORTS: _Proportions(
        4.4, 1.86, 1.24, 0.13, 0.62, 0.3, 0.16, 0.8, 0.2, 0.9, 0.66, 0.26, 0.33, 0.58
    ),
}


def sample_car_kind(rng: np.random.Generator) -> CarKind:
    """Draw a kind as it is frequent on roads."""
    kinds = list(_RATES)
    return kinds[int(rng.choice(len(kinds), p=list(_RATES.values())))]


def _sample_proportions(rng: np.random.Generator, kind: CarKind) -> _Proportions:
    one = _TYPICAL[kind]
    other = _TYPICAL[CarKind(int(rng.integers(len(CarKind))))]
    may_blend = kind not in (CarKind.VAN, CarKind.PICKUP) and other.height < 1.75
    blend = rng.uniform(0.0, 0.6) if may_blend and rng.random() < _BLEND_RATE else 0.0
    mixed = np.array(one) * (1.0 - blend) + np.array(other) * blend
    factors = 1.0 + _SPREAD * np.clip(rng.standard_normal(len(one)), -2.2, 2.2)
    shape = _Proportions(*(mixed * factors).tolist())
    if kind is CarKind.VAN:  # from a people carrier to a high delivery van
        growth = rng.uniform(0.0, 1.0)
        return shape._replace(
            length=shape.length * (0.88 + 0.36 * growth),
            height=shape.height * (0.88 + 0.34 * growth * rng.uniform(0.6, 1.0)),
        )
    return shape._replace(length=min(shape.length, _LONGEST_CAR_M))


def build_car(
    rng: np.random.Generator, slot: Slot, *, is_running: bool, kind: CarKind | None = None
) -> Vehicle:
    """Draw a car.

    Args:
        rng: Source of randomness.
        slot: Its place in the scene.
        is_running: Engine, tyres and exhaust are warm, lights on at night.
        kind: Saloon, van, ...; drawn if None.
    """
    kind = sample_car_kind(rng) if kind is None else kind
    shape = _sample_proportions(rng, kind)
    paint = sample_paint(rng, slot, is_running=is_running)
    parts = PartList()
    is_panel_van = kind == CarKind.VAN and rng.random() < 0.6
    has_cladding = kind == CarKind.SUV or rng.random() < 0.15
    _add_body(rng, parts, paint, shape, is_panel_van=is_panel_van, has_cladding=has_cladding)
    half, length = shape.width / 2, shape.length
    for share in (-0.5, 0.5):
        x = share * shape.wheelbase * length + 0.01 * length
        add_wheel(parts, paint, x=x, half_m=0.97 * half, radius_m=shape.radius)
    add_underbody(parts, paint, length_m=length, half_m=half, clearance_m=shape.clearance)
    lamp_z = _add_fittings(rng, parts, paint, shape, kind)
    return finish_vehicle(parts, paint, lamp=(length / 2 + 0.1, 0.0, lamp_z))


def _stations(shape: _Proportions) -> FloatArray:
    """Return x, height of the roof line and whether it carries a cabin (0, 1), one per row."""
    back, front = -shape.length / 2, shape.length / 2
    belt, top = shape.belt * shape.height, shape.height
    cowl = front - shape.hood * shape.length
    roof_front = cowl - shape.windscreen
    roof_back = max(roof_front - shape.roof * shape.length, back + 0.12)
    foot = max(roof_back - shape.rear, back + 0.05)
    tail = shape.tail * shape.height
    nose = belt - shape.hood_drop
    middle = 0.5 * (roof_front + roof_back)
    return np.array(
        [
            [back, 0.8 * tail, 0.0],
            [min(back + 0.06, foot - 0.01), tail, 0.0],
            [foot, max(tail, belt), 0.0],
            [roof_back, 0.985 * top, 1.0],
            [middle - 0.05, top, 1.0],
            [middle + 0.05, top, 1.0],
            [roof_front, 0.98 * top, 1.0],
            [cowl, belt, 0.0],
            [0.5 * (cowl + front), 0.5 * (belt + nose) + 0.03, 0.0],
            [front - 0.14, nose, 0.0],
            [front, 0.75 * nose, 0.0],
        ],
        np.float32,
    )


def _add_body(
    rng: np.random.Generator,
    parts: PartList,
    paint: Paint,
    shape: _Proportions,
    *,
    is_panel_van: bool,
    has_cladding: bool,
) -> None:
    stations, half = _stations(shape), shape.width / 2
    belt = shape.belt * shape.height
    pinch = rng.uniform(0.78, 0.93)  # how narrow both ends are
    sections = np.zeros((len(stations), 5, 3), np.float32)
    for index, (x, top, cabin) in enumerate(stations.tolist()):
        end = abs(x) / (shape.length / 2)
        wide = half * (1.0 - (1.0 - pinch) * max(end - 0.72, 0.0) / 0.28)
        edge = min(belt, top - 0.03)
        low = shape.clearance + (0.08 if end > 0.9 else 0.0)
        roof_half = wide - shape.tuck if cabin else 0.9 * wide
        shoulder = top - 0.055 if cabin else top - 0.02
        sections[index] = [
            [x, 0.93 * wide, low],
            [x, wide, low + 0.55 * (edge - low)],
            [x, 0.97 * wide, edge],
            [x, roof_half, max(shoulder, edge)],
            [x, 0.0, top],
        ]
    body, glass = paint.body, paint.glass
    side = np.full(len(stations) - 1, body, np.int32)
    side[[3, 5]] = glass
    side[2] = body if is_panel_van or rng.random() < 0.5 else glass
    side[6] = glass
    if is_panel_van:
        side[3] = body
    top_row = np.full(len(stations) - 1, body, np.int32)
    top_row[6] = glass
    top_row[7:] = paint.hood
    top_row[2] = body if is_panel_van else glass
    if rng.random() < 0.12:
        top_row[4:6] = glass  # a glass roof
    lower = np.full(len(stations) - 1, paint.trim if has_cladding else body, np.int32)
    door = np.full(len(stations) - 1, body, np.int32)
    door[8:] = paint.hood
    materials: IndexArray = np.stack([lower, door, side, top_row], axis=1)
    add_skin(parts, sections, materials, paint.trim)


def _add_fittings(
    rng: np.random.Generator, parts: PartList, paint: Paint, shape: _Proportions, kind: CarKind
) -> float:
    """Add lamps, bumpers, plates, mirrors, sometimes a roof rack; return the lamps' height."""
    front, half = shape.length / 2, shape.width / 2
    belt = shape.belt * shape.height
    lamp_z = 0.72 * (belt - shape.hood_drop) + 0.05
    size = (rng.uniform(0.2, 0.42), rng.uniform(0.09, 0.2))
    tail_z = 0.72 * shape.tail * shape.height
    add_lamps(parts, paint, ends_x=(-front, front), half_m=0.84 * half, z=(tail_z, lamp_z),
              size=size)  # fmt: skip
    grille = (0.05, rng.uniform(0.6, 1.1) * half, rng.uniform(0.12, 0.3))
    parts.add(box(grille, (front - 0.02, 0.0, lamp_z - 0.08)), paint.grille)
    bumper = paint.trim if rng.random() < 0.4 else paint.body
    for x in (-front + 0.06, front - 0.06):
        height = 0.2 * rng.uniform(0.8, 1.2)
        parts.add(box((0.2, 1.6 * half, height), (x, 0.0, shape.clearance + 0.18)), bumper)
    for x in (-front - 0.05, front + 0.05):
        parts.add(box((0.02, 0.5, 0.11), (x, 0.0, shape.clearance + 0.24)), paint.plate)
    y = float(rng.choice([-0.5, 0.5])) * half
    parts.add(box((0.16, 0.09, 0.07), (-front + 0.02, y, shape.clearance + 0.06)), paint.exhaust)
    cowl = front - shape.hood * shape.length
    add_mirrors(parts, paint.trim, x=cowl - 0.3, half_m=half, z=belt + 0.07)
    if kind == CarKind.PICKUP:
        _add_load_bed(rng, parts, paint, shape)
    elif rng.random() < (0.3 if kind in (CarKind.ESTATE, CarKind.SUV, CarKind.VAN) else 0.05):
        _add_roof_rack(rng, parts, paint, shape)
    return lamp_z


def _add_load_bed(
    rng: np.random.Generator, parts: PartList, paint: Paint, shape: _Proportions
) -> None:
    back = -shape.length / 2
    bed = 0.33 * shape.length
    top = shape.tail * shape.height
    floor = box((bed, 0.82 * shape.width, 0.02), (back + 0.55 * bed, 0.0, top + 0.005))
    parts.add(floor, paint.trim)
    if rng.random() < 0.4:
        tall = rng.uniform(0.15, 0.6)
        cargo = (rng.uniform(0.4, 0.9) * bed, rng.uniform(0.5, 0.8) * shape.width, tall)
        parts.add(box(cargo, (back + 0.55 * bed, 0.0, top + tall / 2)), paint.tyre)


def _add_roof_rack(
    rng: np.random.Generator, parts: PartList, paint: Paint, shape: _Proportions
) -> None:
    middle = shape.length * (0.5 - shape.hood) - shape.windscreen - 0.5 * shape.roof * shape.length
    for share in (-0.3, 0.3):
        x = middle + share * shape.roof * shape.length
        bar = box((0.05, 1.3 * shape.width / 2, 0.04), (x, 0.0, shape.height + 0.05))
        parts.add(bar, paint.trim)
    if rng.random() < 0.4:
        size = (rng.uniform(1.0, 1.9), rng.uniform(0.5, 0.9), rng.uniform(0.15, 0.4))
        is_own_colour = rng.random() < 0.5
        material = paint.trim if is_own_colour else paint.plate
        parts.add(box(size, (middle, 0.0, shape.height + 0.07 + size[2] / 2)), material)
