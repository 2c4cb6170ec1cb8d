# SPDX-License-Identifier: Apache-2.0
"""A car park: rows of bays along aisles, islands with trees, a building or a hedge around it."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

from rgbt_models.synthetic.layouts.background import add_background
from rgbt_models.synthetic.layouts.barriers import add_hedge, add_wall
from rgbt_models.synthetic.layouts.buildings import add_building, BuildingKind, Plot
from rgbt_models.synthetic.layouts.ground import (
    add_puddles,
    add_slab,
    add_stripes,
    arrow,
    asphalt,
    FAR_M,
    grass,
    paint,
    paving,
    Stripe,
    verge,
)
from rgbt_models.synthetic.layouts.layout import Area, Lane, Layout, LayoutKind, Rates, Spot, Use
from rgbt_models.synthetic.materials import Label, Material
from rgbt_models.synthetic.meshes import box

if TYPE_CHECKING:
    import numpy as np

    from rgbt_models.synthetic.builder import SceneBuilder

_BEGIN_X, _END_X = -25.0, 75.0
_BAY_M = 5.4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Measures: aisles along x, the own one at y = 0."""

    aisle_m: float
    bay_width_m: float
    island_m: float  # between two rows back to back, 0 = none
    num_left: int  # further aisles to the left of the own one
    num_right: int
    has_lines: bool
    slant_rad: float  # of the bays, 0 = across the aisle

    @property
    def pitch_m(self) -> float:
        return self.aisle_m + 2.0 * _BAY_M + self.island_m

    def aisles(self) -> list[float]:
        return [self.pitch_m * i for i in range(-self.num_right, self.num_left + 1)]


def build_car_park(rng: np.random.Generator, builder: SceneBuilder) -> Layout:
    """Draw and add a car park; the rig stands in one of its aisles."""
    slant = rng.uniform(0.15, 0.5) if rng.random() < 0.25 else 0.0
    rows = _Rows(
        aisle_m=rng.uniform(5.5, 8.0),
        bay_width_m=rng.uniform(2.4, 2.8) / math.cos(slant),
        island_m=rng.uniform(1.2, 3.0) if rng.random() < 0.5 else 0.0,
        num_left=int(rng.integers(0, 3)),
        num_right=int(rng.integers(0, 3)),
        has_lines=rng.random() < 0.9,
        slant_rad=slant,
    )
    areas = _add_ground(rng, builder, rows)
    bays = [
        Spot(
            x=x, y=aisle + side * (rows.aisle_m + _BAY_M) / 2,
            yaw_rad=side * (math.pi / 2 - rows.slant_rad),
        )
        for aisle in rows.aisles()
        for side in (-1.0, 1.0)
        for x in _bay_places(rows)
    ]  # fmt: skip
    _add_bay_paint(rng, builder, rows, bays)
    _add_traces(rng, builder, bays)
    built = _add_surroundings(rng, builder, areas[0])
    islands = [area for area in areas if area.use is Use.GREEN and area.width_m < 5.0]
    return Layout(
        kind=LayoutKind.CAR_PARK,
        areas=tuple(areas),
        built=tuple(built),
        lanes=tuple(
            Lane(x=0.0, y=aisle + side * 0.22 * rows.aisle_m, yaw_rad=yaw, width_m=2.5)
            for aisle in rows.aisles()
            for side, yaw in ((-1.0, 0.0), (1.0, math.pi))
        ),
        bays=tuple(bays),
        lamp_spots=tuple(
            Spot(x=rng.uniform(5.0, 50.0), y=island.y, yaw_rad=rng.uniform(-3.1, 3.1))
            for island in islands
            for _ in range(2)
        ),
        clear_m=_END_X - 8.0,
        reach_m=areas[0].width_m / 2 + 12.0,
        centre_y=areas[0].y,
        length_m=_END_X,
        yaw_spread_rad=0.45,
        rates=Rates(
            cars=1.2, trucks=0.35, motorbikes=0.5, cyclists=0.4, bicycles=0.6, people=4.0,
            crowd=0.15, animals=0.15, parked=rng.uniform(0.25, 0.95), trees=2.5, bushes=2.5,
            posts=6.0, on_foot=0.2, off_lane=0.1, large_animals=0.1,
        ),
    )  # fmt: skip


def _bay_places(rows: _Rows) -> list[float]:
    count = int((_END_X - _BEGIN_X - 16.0) / rows.bay_width_m)
    return [_BEGIN_X + 8.0 + (i + 0.5) * rows.bay_width_m for i in range(count)]


def _add_ground(rng: np.random.Generator, builder: SceneBuilder, rows: _Rows) -> list[Area]:
    aisles = rows.aisles()
    low = aisles[0] - rows.aisle_m / 2 - _BAY_M - 1.0
    high = aisles[-1] + rows.aisle_m / 2 + _BAY_M + 1.0
    floor = Area(
        use=Use.DRIVE, x=(_BEGIN_X + _END_X) / 2, y=(low + high) / 2,
        length_m=_END_X - _BEGIN_X, width_m=high - low,
    )  # fmt: skip
    add_slab(builder, floor, asphalt(rng, builder), depth_m=0.1)
    land = Area(
        use=Use.GREEN, x=floor.x, y=floor.y, length_m=2.0 * FAR_M, width_m=2.0 * FAR_M, z=-0.02
    )
    material = verge(rng, builder)
    add_background(rng, builder, length_m=_END_X, material=material)
    add_slab(builder, land, material)
    # A pavement around the floor.
    rim = paving(rng, builder)
    walk = rng.uniform(1.5, 4.0)
    areas = [floor, land]
    for side in (-1.0, 1.0):
        areas.append(
            Area(
                use=Use.WALK, x=floor.x, y=floor.y + side * (floor.width_m + walk) / 2,
                length_m=floor.length_m, width_m=walk, z=0.1,
            )
        )  # fmt: skip
        add_slab(builder, areas[-1], rim)
    end = Area(
        use=Use.WALK, x=_END_X + walk / 2, y=floor.y, length_m=walk,
        width_m=floor.width_m + 2.0 * walk, z=0.1,
    )  # fmt: skip
    add_slab(builder, end, rim)
    areas.append(end)
    if rows.island_m > 0.0:
        green = grass(rng, builder)
        for aisle in aisles[:-1]:
            island = Area(
                use=Use.GREEN, x=floor.x, y=aisle + rows.pitch_m / 2,
                length_m=floor.length_m - 16.0, width_m=rows.island_m - 0.3, z=0.12,
            )  # fmt: skip
            add_slab(builder, island, green)
            areas.append(island)
    if rng.random() < 0.3:
        places = [(rng.uniform(4.0, 40.0), rng.uniform(-6.0, 6.0)) for _ in range(4)]
        add_puddles(rng, builder, places, label=Label.ROAD)
    return areas


def _add_bay_paint(
    rng: np.random.Generator, builder: SceneBuilder, rows: _Rows, bays: list[Spot]
) -> None:
    if not rows.has_lines:
        return
    # One line per bay, half a width before its middle.
    stripes: list[Stripe] = [
        (bay.x - rows.bay_width_m / 2, bay.y, bay.yaw_rad, _BAY_M, 0.1) for bay in bays
    ]
    for aisle in rows.aisles():
        if rng.random() < 0.5:
            for x in range(-5, 60, 16):
                stripes += arrow(float(x), aisle - 0.22 * rows.aisle_m, 0.0)
                stripes += arrow(float(x) + 8.0, aisle + 0.22 * rows.aisle_m, math.pi)
    add_stripes(builder, stripes, paint(rng, builder))


def _add_traces(rng: np.random.Generator, builder: SceneBuilder, bays: list[Spot]) -> None:
    """Add the cold or warm patches where cars stood until lately, and oil."""
    ahead = [bay for bay in bays if 5.0 < bay.x < 50.0]
    patches = [(bay.x, bay.y, bay.yaw_rad, 4.2, 1.75) for bay in ahead if rng.random() < 0.06]
    for stripe in patches:
        level = rng.uniform(0.05, 0.2)
        material = builder.material(
            Material(
                label=Label.ROAD, albedo=(level, level, level), offset_k=rng.normal(0.0, 1.5),
                ground_share=rng.uniform(0.3, 0.9), solar=rng.uniform(0.3, 0.8),
                texture_rgb=0.1, texture_k=0.35,
            )
        )  # fmt: skip
        add_stripes(builder, [stripe], material, z=-0.001)


def _add_surroundings(rng: np.random.Generator, builder: SceneBuilder, floor: Area) -> list[Area]:
    """Add a shop or a hall on one side; hedges, walls or nothing on the others."""
    built = []
    edge = floor.width_m / 2 + 6.0
    front = float(rng.choice([-1.0, 1.0]))
    for side in (-1.0, 1.0):
        y = floor.y + side * edge
        if side == front and rng.random() < 0.7:
            plot = Plot(
                x=rng.uniform(15.0, 45.0), y=y, yaw_rad=0.0 if side > 0 else math.pi,
                width_m=rng.uniform(25.0, 60.0), depth_m=rng.uniform(12.0, 25.0),
            )  # fmt: skip
            kinds = (BuildingKind.SHOP, BuildingKind.HALL, BuildingKind.BLOCK)
            built.append(add_building(rng, builder, plot, kinds[int(rng.integers(3))]))
        else:
            built += _add_border(rng, builder, Area(
                use=Use.BUILT, x=30.0, y=y, length_m=80.0, width_m=0.3, z=-0.02,
            ))  # fmt: skip
    if rng.random() < 0.6:
        plot = Plot(
            x=_END_X + rng.uniform(6.0, 20.0), y=floor.y + rng.normal(0.0, 12.0),
            yaw_rad=-math.pi / 2, width_m=rng.uniform(20.0, 60.0), depth_m=15.0,
        )  # fmt: skip
        ends = (BuildingKind.SHOP, BuildingKind.HALL, BuildingKind.BLOCK, BuildingKind.TOWER)
        built.append(add_building(rng, builder, plot, ends[int(rng.integers(4))]))
    if rng.random() < 0.5:
        built.append(_add_shelter(rng, builder, floor))
    return built


def _add_border(rng: np.random.Generator, builder: SceneBuilder, line: Area) -> list[Area]:
    draw = rng.random()
    if draw < 0.4:
        return [add_hedge(rng, builder, line)]
    return [add_wall(rng, builder, line)] if draw < 0.75 else []


def _add_shelter(rng: np.random.Generator, builder: SceneBuilder, floor: Area) -> Area:
    """Add an open shelter for trolleys on the pavement."""
    side = float(rng.choice([-1.0, 1.0]))
    x, y = rng.uniform(10.0, 40.0), floor.y + side * (floor.width_m / 2 + 1.2)
    level = rng.uniform(0.1, 0.5)
    material = builder.material(
        Material(
            label=Label.BUILDING, albedo=(level, level, level), offset_k=rng.uniform(-5.0, 3.0),
            solar=0.8, texture_rgb=0.05, texture_k=0.4, is_glossy=True, sky_cooling=0.9,
        )
    )  # fmt: skip
    builder.fixed.add(box((4.0, 1.8, 0.08), (x, y, 2.3)), material)
    builder.fixed.add(box((4.0, 0.06, 2.2), (x, y + side * 0.85, 1.2)), material)
    return Area(use=Use.BUILT, x=x, y=y, length_m=4.0, width_m=1.8)
