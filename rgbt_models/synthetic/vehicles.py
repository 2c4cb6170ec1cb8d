# SPDX-License-Identifier: Apache-2.0
"""Cars and bicycles: rigid bodies in their own frame (x forward, z up, ground at z = 0)."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import Label, Material, sample_colour, shade
from rgbt_models.synthetic.meshes import box, capsules, cylinder, wedge, wheel_rim
from rgbt_models.synthetic.parts import MaterialAdder, PartList

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray

SEDAN, COMPACT, VAN = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CarPaint:
    """Material indices of one car."""

    body: int
    hood: int
    glass: int
    tyre: int
    rim: int
    under: int
    ground: int
    grille: int
    headlamp: int
    taillamp: int
    plate: int


def _sample_paint(
    rng: np.random.Generator, add: MaterialAdder, instance: int, frame: int, *, is_running: bool
) -> _CarPaint:
    heat = rng.uniform(3.0, 22.0) if is_running else rng.uniform(-1.0, 3.0)
    paint_k = rng.uniform(-4.0, 1.5)  # polished metal reflects the cold sky
    has_colour = rng.random() < 0.5
    level = float(rng.choice([0.02, 0.1, 0.3, 0.6, 0.75])) * rng.uniform(0.8, 1.2)
    colour = sample_colour(rng) if has_colour else (level, level, level)
    # Standing in the sun warms the whole body, a dark one most.
    darkness = 1.0 - min(sum(colour) / 2.0, 0.8)
    soak = rng.uniform(0.2, 1.1) * darkness if rng.random() < 0.6 else 0.0
    threshold = rng.uniform(0.3, 0.7) if is_running else 2.0

    def material(
        colour: tuple[float, float, float],
        offset_k: float,
        texture_k: float = 0.3,
        **fields: float,
    ) -> int:
        return add(
            Material(
                label=Label.CAR, albedo=colour, instance=instance, frame=frame,
                offset_k=offset_k, texture_k=texture_k, light_threshold=threshold,
                **{'texture_rgb': 0.02, 'soak': soak, **fields},  # type: ignore[arg-type]  # floats
            )
        )  # fmt: skip

    paint = {'solar': 0.8, 'is_glossy': True}
    black, tyre_k = (0.025, 0.025, 0.025), rng.uniform(2.0, 14.0)
    glass_k = rng.uniform(-5.0, 2.0) + (rng.uniform(0.0, 4.0) if is_running else 0.0)
    ground = add(
        Material(
            label=Label.ROAD, albedo=(0.02, 0.02, 0.02), frame=frame, offset_k=0.25 * heat,
            ground_share=0.5, solar=0.0, texture_rgb=0.05, texture_k=0.4,
        )
    )  # fmt: skip
    return _CarPaint(
        ground=ground,
        body=material(colour, paint_k, **paint),
        hood=material(colour, paint_k + heat * 0.5, **paint),
        glass=material((0.03, 0.035, 0.04), glass_k, is_glossy=True, soak=0.5 * soak),
        tyre=material(black, tyre_k if is_running else rng.uniform(-1.0, 2.0), 0.5, soak=0.3),
        rim=material((0.35,) * 3, rng.uniform(0.0, 25.0) if is_running else 0.0, 0.5),
        under=material((0.01,) * 3, heat, 1.0, solar=0.0, soak=0.0),
        grille=material((0.05,) * 3, heat * rng.uniform(0.5, 1.3), 0.5, solar=0.1),
        headlamp=material(
            (0.8, 0.8, 0.75), paint_k, solar=0.2, lamp_k=rng.uniform(4.0, 18.0) - paint_k,
            emission=rng.uniform(2.0, 14.0),
        ),
        taillamp=material(
            (0.5, 0.02, 0.02), paint_k, solar=0.2, lamp_k=rng.uniform(1.0, 6.0) - paint_k,
            emission=rng.uniform(0.4, 2.5),
        ),
        plate=material((0.7, 0.7, 0.65), paint_k, solar=0.4, texture_rgb=0.1),
    )  # fmt: skip


def _car_size(rng: np.random.Generator, kind: int) -> tuple[float, float, float]:
    length, width, height = rng.uniform(3.7, 4.9), rng.uniform(1.65, 1.9), rng.uniform(1.38, 1.6)
    if kind == COMPACT:
        height = rng.uniform(1.6, 1.85)
    elif kind == VAN:
        length, width = rng.uniform(4.6, 6.5), rng.uniform(1.85, 2.1)
        height = rng.uniform(1.9, 2.6)
    return length, width, height


def build_car(
    rng: np.random.Generator,
    add: MaterialAdder,
    *,
    instance: int,
    frame: int,
    is_running: bool | None = None,
) -> tuple[FloatArray, IndexArray]:
    """Draw a car: sedan, compact or van; running (warm) or parked.

    Returns:
        Triangles (n, 3, 3) and the material of each (n,).
    """
    kind = int(rng.choice(3, p=[0.55, 0.27, 0.18]))
    length, width, height = _car_size(rng, kind)
    running = rng.random() < 0.6 if is_running is None else is_running
    paint = _sample_paint(rng, add, instance, frame, is_running=running)
    parts = PartList()
    clearance = rng.uniform(0.16, 0.24)
    belt = height * (0.5 if kind == VAN else rng.uniform(0.55, 0.62))
    hood = length * (0.27, 0.22, 0.12)[kind]
    trunk = length * (0.17 if kind == SEDAN else 0.03)
    slope = 0.25 if kind == VAN else rng.uniform(0.45, 0.75)
    back, front, half = -length / 2, length / 2, width / 2
    parts.add(
        wedge(back_x=(back, back + 0.06), front_x=(front - hood, front - hood),
              half_width=(half, half - 0.03), z=(clearance, belt)),
        paint.body,
    )  # fmt: skip
    parts.add(
        wedge(back_x=(front - hood - 0.01, front - hood - 0.01), front_x=(front, front - 0.12),
              half_width=(half, half - 0.04), z=(clearance, belt * 0.97)),
        paint.hood,
    )  # fmt: skip
    rear_slope = 0.5 if kind == SEDAN else 0.2
    windscreen = front - hood + 0.1
    parts.add(
        wedge(back_x=(back + trunk, back + trunk + rear_slope),
              front_x=(windscreen, windscreen - slope),
              half_width=(half - 0.05, half - 0.18), z=(belt, height - 0.06)),
        paint.glass,
    )  # fmt: skip
    roof_back = back + trunk + (0.42 if kind == SEDAN else 0.15)
    roof_front = windscreen + 0.02 - slope
    parts.add(
        wedge(back_x=(roof_back, roof_back + 0.05), front_x=(roof_front, roof_front - 0.05),
              half_width=(half - 0.16, half - 0.21), z=(height - 0.08, height)),
        paint.body,
    )  # fmt: skip
    _add_pillars(parts, paint, kind, length, half, (belt, height))
    _add_running_gear(parts, paint, rng.uniform(0.29, 0.36), length, half, clearance)
    _add_fittings(parts, paint, length, half, belt, clearance)
    return parts.joined()


def _add_pillars(
    parts: PartList,
    paint: _CarPaint,
    kind: int,
    length: float,
    half: float,
    z: tuple[float, float],
) -> None:
    # A van's side is mostly sheet metal.
    places, thickness = ((0.1,), 0.9) if kind == VAN else ((-0.02, 0.28), 0.1)
    for place in places:
        x = -length * 0.08 + place * length * 0.8 - length * 0.05
        for side in (-1.0, 1.0):
            centre = (x, side * (half - 0.1), (z[0] + z[1]) / 2)
            parts.add(box((thickness, 0.04, z[1] - z[0]), centre), paint.body)


def _add_running_gear(
    parts: PartList,
    paint: _CarPaint,
    radius: float,
    length: float,
    half: float,
    clearance: float,
) -> None:
    for x in (-length * 0.31, length * 0.31):
        for side in (-1.0, 1.0):
            centre = (x, side * (half - 0.08), radius)
            parts.add(cylinder(radius, 0.2, centre, axis='y'), paint.tyre)
            parts.add(cylinder(radius * 0.6, 0.22, centre, axis='y'), paint.rim)
    floor = box((length * 0.95, half * 1.8, 0.06), (0.0, 0.0, clearance - 0.02))
    parts.add(floor, paint.under)
    # What little light reaches the road below a car; a running engine warms it.
    parts.add(box((length * 0.94, half * 1.75, 0.012), (0.0, 0.0, 0.0)), paint.ground)


def _add_fittings(
    parts: PartList, paint: _CarPaint, length: float, half: float, belt: float, clearance: float
) -> None:
    front = length / 2
    parts.add(box((0.04, half, 0.2), (front - 0.03, 0.0, belt * 0.62)), paint.grille)
    for side in (-1.0, 1.0):
        centre = (front - 0.04, side * (half - 0.25), belt * 0.75)
        parts.add(box((0.06, 0.3, 0.13), centre), paint.headlamp)
        centre = (-front + 0.02, side * (half - 0.18), belt * 0.82)
        parts.add(box((0.06, 0.22, 0.16), centre), paint.taillamp)
    for x in (-front, front):
        parts.add(box((0.06, 0.48, 0.11), (x, 0.0, clearance + 0.25)), paint.plate)


def build_bicycle(
    rng: np.random.Generator, add: MaterialAdder, *, instance: int, frame: int
) -> tuple[FloatArray, IndexArray]:
    """Draw a bicycle; three in ten have a basket.

    Returns:
        Triangles (n, 3, 3) and the material of each (n,).
    """

    def material(
        colour: tuple[float, float, float], offset_k: float, solar: float, texture_rgb: float
    ) -> int:
        return add(
            Material(
                label=Label.BICYCLE, albedo=colour, instance=instance, frame=frame,
                offset_k=offset_k, solar=solar, texture_rgb=texture_rgb, texture_k=0.3,
            )
        )  # fmt: skip

    tube = material(sample_colour(rng), rng.uniform(-2.0, 2.0), 0.5, 0.05)
    tyre = material((0.03, 0.03, 0.03), rng.uniform(-1.0, 4.0), 0.4, 0.03)
    parts = PartList()
    radius, reach = rng.uniform(0.3, 0.35), rng.uniform(0.48, 0.56)
    rows: list[tuple[tuple[float, ...], tuple[float, ...], float]] = []
    for x in (-reach, reach):
        parts.add(wheel_rim(radius, (x, 0.0, radius)), tyre)
        for spoke in range(3):
            angle = spoke * math.pi / 3 + rng.uniform(0.0, 1.0)
            dx, dz = radius * math.cos(angle), radius * math.sin(angle)
            rows.append(((x - dx, 0.0, radius - dz), (x + dx, 0.0, radius + dz), 0.004))
    crank, seat = (0.0, 0.0, radius - 0.02), (-0.16, 0.0, 0.85)
    head, front, rear = (reach - 0.18, 0.0, 0.88), (reach, 0.0, radius), (-reach, 0.0, radius)
    low_head, low_seat = (head[0], 0.0, head[2] - 0.15), (seat[0], 0.0, seat[2] - 0.1)
    high_head = (head[0], 0.0, head[2] - 0.1)
    frame_tubes = (
        (crank, seat), (crank, low_head), (low_seat, high_head),
        (rear, crank), (rear, low_seat), (head, front),
    )  # fmt: skip
    rows += [(start, end, 0.022) for start, end in frame_tubes]
    rows.append(((head[0], -0.27, head[2] + 0.08), (head[0], 0.27, head[2] + 0.08), 0.018))
    parts.add(_tubes(rows), tube)
    saddle = ((seat[0] - 0.1, 0.0, seat[2] + 0.06), (seat[0] + 0.1, 0.0, seat[2] + 0.06), 0.05)
    parts.add(_tubes([saddle]), tyre)
    if rng.random() < 0.3:
        basket = material(shade(sample_colour(rng, is_dark=True), 1.0), 0.0, 0.3, 0.1)
        parts.add(box((0.3, 0.3, 0.22), (reach + 0.1, 0.0, 0.85)), basket)
    return parts.joined()


def _tubes(rows: list[tuple[tuple[float, ...], tuple[float, ...], float]]) -> FloatArray:
    starts = np.array([row[0] for row in rows], np.float32)
    ends = np.array([row[1] for row in rows], np.float32)
    radii = np.array([row[2] for row in rows], np.float32)
    mesh = capsules(starts, ends, radii, radii, np.ones_like(radii))
    return np.asarray(mesh.reshape(-1, 3, 3))
