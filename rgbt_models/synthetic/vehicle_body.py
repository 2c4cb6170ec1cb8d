# SPDX-License-Identifier: Apache-2.0
"""What cars, lorries and buses share: paint, wheels, lamps, and a skin over cross-sections.

Vehicles are rigid, x forward from the middle, y to the left, z up, ground at z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import Label, Material, sample_colour
from rgbt_models.synthetic.meshes import box, cylinder, disc, fan, loft
from rgbt_models.synthetic.parts import PartList, Slot

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray
    from rgbt_models.synthetic.limbs import Point

Colour = tuple[float, float, float]

_COOLANT_C = 75.0  # what a thermostat keeps; hoods show a share of it
_CABIN_C = 21.0
_ROAD_IN_SIDES = 0.4  # share of the road's warmth that a body takes on
_BLACK: Colour = (0.025, 0.025, 0.025)
_GREYS = (0.02, 0.06, 0.15, 0.3, 0.55, 0.75)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Vehicle:
    """A mesh and the place of its head lamps."""

    mesh: FloatArray  # (n, 3, 3)
    materials: IndexArray  # (n,)
    lamp: Point  # between the head lamps
    lit_from: float  # Environment.lights above which they are lit


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint:
    """Material indices of one vehicle."""

    body: int
    hood: int  # over the engine
    glass: int
    trim: int  # plastic: bumpers, arches, racks
    tyre: int
    rim: int
    under: int
    ground: int
    grille: int
    exhaust: int
    headlamp: int
    taillamp: int
    plate: int
    lit_from: float


def sample_body_colour(rng: np.random.Generator) -> Colour:
    """Draw a paint: six of ten white, grey or black."""
    if rng.random() < 0.4:
        return sample_colour(rng)
    level = float(rng.choice(_GREYS)) * rng.uniform(0.8, 1.2)
    return (level, level, level * rng.uniform(0.97, 1.04))


def sample_paint(rng: np.random.Generator, slot: Slot, *, is_running: bool) -> Paint:
    """Draw how a vehicle looks and how warm its parts are.

    Running: the engine shows through hood and grille, tyres and brakes are warm, exhaust and
    underbody hot. Parked: near the air's temperature and, since sides face the road, the road's;
    what faces the sky is colder. By day three of four are hot all over from standing in the sun.
    One in six parked ones has just come in.
    """
    engine_k = max(_COOLANT_C - slot.ambient_c, 20.0)
    is_warm = is_running or rng.random() < 0.16
    heat = engine_k * rng.uniform(0.05, 0.4) if is_warm else rng.uniform(-1.0, 2.5)
    paint_k = rng.uniform(-0.8, 1.8)
    cabin_k = rng.uniform(0.0, 0.35) * (_CABIN_C - slot.ambient_c) if is_warm else 0.0
    colour = sample_body_colour(rng)
    # Standing in the sun warms the whole body, a dark one most.
    darkness = 1.0 - 0.25 * min(sum(colour), 2.0)
    soak = rng.uniform(0.5, 1.9) * darkness if rng.random() < 0.78 else 0.0
    lit_from = rng.uniform(0.3, 0.7) if is_running else 2.0
    paint = slot.painter(soak=soak, texture_rgb=0.02, texture_k=0.3, light_threshold=lit_from)
    tyre_k = rng.uniform(2.0, 15.0) if is_warm else rng.uniform(-1.0, 2.0)
    brake_k = rng.uniform(0.0, 30.0) if is_warm else rng.uniform(-1.5, 1.0)
    trim_level = rng.uniform(0.02, 0.08)
    rim_level = rng.choice([0.05, 0.3, 0.45])
    ground = slot.add(
        Material(
            label=Label.ROAD, albedo=(0.02, 0.02, 0.02), frame=slot.frame,
            offset_k=0.25 * max(heat, 0.0), ground_share=0.5, solar=0.0, texture_rgb=0.05,
        )
    )  # fmt: skip
    return Paint(
        ground=ground,
        body=paint(
            colour, offset_k=paint_k, ground_share=_ROAD_IN_SIDES, solar=0.8, is_glossy=True
        ),
        hood=paint(
            colour, offset_k=paint_k + 0.5 * heat, ground_share=_ROAD_IN_SIDES, solar=0.8,
            is_glossy=True,
        ),
        glass=paint(
            (0.03, 0.035, 0.04), offset_k=rng.uniform(-2.0, 2.0) + cabin_k, is_glossy=True,
            soak=0.5 * soak,
        ),
        trim=paint((trim_level,) * 3, offset_k=rng.uniform(-2.0, 1.0), solar=0.7),
        tyre=paint(_BLACK, offset_k=tyre_k, texture_k=0.5, soak=0.3 * soak),
        rim=paint((rim_level,) * 3, offset_k=brake_k, texture_k=0.5, soak=0.4 * soak),
        under=paint((0.01,) * 3, offset_k=heat, texture_k=1.0, solar=0.0, soak=0.0),
        grille=paint((0.04,) * 3, offset_k=heat * rng.uniform(0.4, 1.3), solar=0.1),
        exhaust=paint((0.1,) * 3, offset_k=heat * rng.uniform(1.0, 2.5), soak=0.0),
        headlamp=paint(
            (0.8, 0.8, 0.75), offset_k=paint_k, solar=0.2, emission=rng.uniform(2.0, 14.0),
            lamp_k=rng.uniform(2.0, 18.0) - paint_k,
        ),
        taillamp=paint(
            (0.5, 0.02, 0.02), offset_k=paint_k, solar=0.2, emission=rng.uniform(0.4, 2.5),
            lamp_k=rng.uniform(1.0, 6.0) - paint_k,
        ),
        plate=paint((0.7, 0.7, 0.65), offset_k=paint_k - 1.0, is_glossy=True, texture_rgb=0.1),
        lit_from=lit_from,
    )  # fmt: skip


def finish_vehicle(parts: PartList, paint: Paint, *, lamp: Point) -> Vehicle:
    """Join the parts; ``lamp`` is the place between the head lamps."""
    mesh, materials = parts.joined()
    return Vehicle(mesh=mesh, materials=materials, lamp=lamp, lit_from=paint.lit_from)


def add_skin(parts: PartList, sections: FloatArray, materials: IndexArray, ends: int) -> None:
    """Add a closed body that is symmetric about y = 0.

    Args:
        parts: Receives the body.
        sections: Shape (s, k, 3): from the back to the front, each the left half of an outline
            from the sill up to the middle of the roof.
        materials: Shape (s-1, k-1): material of each interval and edge.
        ends: Material of the faces at both ends.
    """
    mirror = np.array([1.0, -1.0, 1.0], np.float32)
    left = loft(sections).reshape(-1, 3, 3)
    indices = np.repeat(materials.reshape(-1), 2)
    parts.add_mixed(np.concatenate([left, left * mirror]), np.concatenate([indices, indices]))
    for section in (sections[0], sections[-1]):
        outline = np.concatenate([section, section[::-1] * mirror])
        parts.add(fan(outline), ends)


def add_wheel(
    parts: PartList,
    paint: Paint,
    *,
    x: float,
    half_m: float,
    radius_m: float,
    width_m: float = 0.2,
) -> None:
    """Add a wheel on both sides, with its dark arch behind it."""
    for side in (-1.0, 1.0):
        outside = side * half_m
        arch = disc(1.17 * radius_m, (x, outside - 0.012 * side, 1.02 * radius_m))
        arch[..., 2] = np.maximum(arch[..., 2], 0.5 * radius_m)
        parts.add(arch, paint.trim)
        centre = (x, outside - side * (0.5 * width_m - 0.02), radius_m)
        parts.add(cylinder(radius_m, width_m, centre, axis='y'), paint.tyre)
        parts.add(disc(0.63 * radius_m, (x, outside + side * 0.025, radius_m)), paint.rim)


def add_underbody(
    parts: PartList, paint: Paint, *, length_m: float, half_m: float, clearance_m: float
) -> None:
    """Add the floor, and the dark warm patch of road that it shades."""
    floor = box((0.94 * length_m, 1.7 * half_m, 0.06), (0.0, 0.0, clearance_m + 0.04))
    parts.add(floor, paint.under)
    # What little light reaches the road below; a running engine warms it.
    parts.add(box((0.94 * length_m, 1.75 * half_m, 0.012), (0.0, 0.0, 0.0)), paint.ground)


def add_lamps(
    parts: PartList,
    paint: Paint,
    *,
    ends_x: tuple[float, float],
    half_m: float,
    z: tuple[float, float],
    size: tuple[float, float],
) -> None:
    """Add head and tail lamps.

    Args:
        parts: Receives them.
        paint: Their materials.
        ends_x: Back and front of the vehicle.
        half_m: Half of the distance of their outer edges.
        z: Height of the tail lamps and of the head lamps.
        size: Width and height of one lamp.
    """
    width, height = size
    for side in (-1.0, 1.0):
        y = side * (half_m - 0.5 * width)
        parts.add(box((0.07, width, height), (ends_x[1] - 0.02, y, z[1])), paint.headlamp)
        parts.add(box((0.07, 0.7 * width, 1.3 * height), (ends_x[0] + 0.02, y, z[0])),
                  paint.taillamp)  # fmt: skip


def add_mirrors(parts: PartList, material: int, *, x: float, half_m: float, z: float) -> None:
    """Add wing mirrors."""
    for side in (-1.0, 1.0):
        parts.add(box((0.1, 0.2, 0.14), (x, side * (half_m + 0.08), z)), material)
