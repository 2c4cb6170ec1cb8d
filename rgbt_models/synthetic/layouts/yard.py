# SPDX-License-Identifier: Apache-2.0
"""An industrial yard: hall fronts, docks, containers, parked trucks, painted lines, puddles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.layouts.background import add_background
from rgbt_models.synthetic.layouts.barriers import add_railing, add_wall
from rgbt_models.synthetic.layouts.buildings import add_building, BuildingKind, Plot
from rgbt_models.synthetic.layouts.ground import (
    add_puddles,
    add_slab,
    add_stripes,
    asphalt,
    dashes,
    FAR_M,
    gravel,
    paint,
    paving,
    Stripe,
    verge,
    zebra,
)
from rgbt_models.synthetic.layouts.layout import Area, Lane, Layout, LayoutKind, Rates, Spot, Use
from rgbt_models.synthetic.materials import Label, Material, sample_colour
from rgbt_models.synthetic.meshes import boxes, move

if TYPE_CHECKING:
    from rgbt_models.synthetic.builder import SceneBuilder

_BEGIN_X = -30.0
_CONTAINER_M = (6.06, 2.44, 2.59)
_DOCK_M = 7.0  # from a hall's front to the middle of a truck before it
_WAY_M = 3.0  # half the width of the rig's way


def build_yard(rng: np.random.Generator, builder: SceneBuilder) -> Layout:
    """Draw and add a yard between halls; the rig stands in its middle lane."""
    end = rng.uniform(45.0, 80.0)
    left, right = rng.uniform(9.0, 24.0), rng.uniform(9.0, 24.0)
    is_road = rng.random() < 0.55
    floor = Area(
        use=Use.DRIVE, x=(_BEGIN_X + end) / 2, y=(left - right) / 2, length_m=end - _BEGIN_X,
        width_m=left + right,
    )  # fmt: skip
    walk = Area(
        use=Use.WALK, x=floor.x, y=left - 0.9, length_m=floor.length_m, width_m=1.6, z=0.002
    )
    add_slab(builder, floor, _floor(rng, builder, is_road=is_road), depth_m=0.1)
    label = Label.ROAD if is_road else Label.SIDEWALK
    land = Area(use=Use.GREEN, x=0.0, y=0.0, length_m=2 * FAR_M, width_m=2 * FAR_M, z=-0.03)
    outside = verge(rng, builder)
    add_slab(builder, land, outside)
    add_background(rng, builder, length_m=end, material=outside)
    built, bays = _add_halls(rng, builder, floor, end)
    stacks = _add_containers(rng, builder, floor)
    _add_paint(rng, builder, floor, bays, label=label)
    places = [
        (rng.uniform(4.0, 0.8 * end), rng.uniform(-right, left)) for _ in range(rng.integers(0, 9))
    ]
    add_puddles(rng, builder, places, label=label)
    return Layout(
        kind=LayoutKind.YARD,
        areas=(floor, land, walk),
        built=(*built, *stacks),
        lanes=(
            Lane(x=0.0, y=-1.8, yaw_rad=0.0),
            Lane(x=0.0, y=1.8, yaw_rad=math.pi),
            Lane(x=0.55 * end, y=0.0, yaw_rad=math.pi / 2),
        ),
        bays=tuple(bays),
        lamp_spots=tuple(
            Spot(x=x, y=y, yaw_rad=-math.copysign(math.pi / 2, y))
            for x in (12.0, 30.0)
            for y in (left - 1.0, 1.0 - right)
        ),
        clear_m=end - 6.0,
        centre_y=floor.y,
        reach_m=floor.width_m / 2,
        length_m=end,
        yaw_spread_rad=0.5,
        rates=Rates(
            cars=1.2, trucks=1.3, motorbikes=0.4, cyclists=0.5, bicycles=0.5, people=4.5,
            crowd=0.15, animals=0.12, large_animals=0.1, dogs=0.03, on_foot=0.15,
            parked=rng.uniform(0.3, 0.9), trees=0.3, bushes=0.6, posts=9.0, benches=0.1,
            piles=5.0, off_lane=0.5,
        ),
    )  # fmt: skip


def _floor(rng: np.random.Generator, builder: SceneBuilder, *, is_road: bool) -> int:
    if is_road:
        return asphalt(rng, builder)
    if rng.random() < 0.3:
        return gravel(rng, builder)
    return paving(rng, builder, has_joints=rng.random() < 0.6)


def _add_halls(
    rng: np.random.Generator, builder: SceneBuilder, floor: Area, end: float
) -> tuple[list[Area], list[Spot]]:
    """Add halls left, right and at the end; returns their ground and places of trucks."""
    built: list[Area] = []
    bays: list[Spot] = []
    for side in (-1.0, 1.0):
        front = floor.y + side * floor.width_m / 2
        x = -15.0
        while x < end:
            width = rng.uniform(15.0, 40.0)
            draw = rng.random()
            if draw < 0.7:
                plot = Plot(
                    x=x + width / 2, y=front, yaw_rad=0.0 if side > 0 else math.pi,
                    width_m=width, depth_m=rng.uniform(15.0, 30.0),
                )  # fmt: skip
                kind = BuildingKind.HALL if rng.random() < 0.8 else BuildingKind.BLOCK
                built.append(add_building(rng, builder, plot, kind))
                if abs(front) > 17.0 and rng.random() < 0.6:
                    bays += _docks(x, min(width, end - x), front - side * _DOCK_M, side)
            else:
                line = Area(use=Use.BUILT, x=x + width / 2, y=front, length_m=width, width_m=0.2)
                if draw < 0.85:
                    built.append(add_wall(rng, builder, line))
                else:
                    add_railing(rng, builder, line)
            x += width + rng.uniform(0.5, 5.0)
    if rng.random() < 0.75:
        plot = Plot(
            x=end + rng.uniform(0.0, 10.0), y=floor.y + rng.normal(0.0, 6.0),
            yaw_rad=-math.pi / 2, width_m=rng.uniform(20.0, 60.0), depth_m=20.0,
        )  # fmt: skip
        built.append(add_building(rng, builder, plot, BuildingKind.HALL))
    return built, bays


def _docks(x: float, width: float, y: float, side: float) -> list[Spot]:
    count = int((width - 3.0) / 4.2)
    return [
        Spot(x=x + 3.0 + 4.2 * i, y=y, yaw_rad=-side * math.pi / 2, is_long=True)
        for i in range(count)
    ]


def _add_containers(rng: np.random.Generator, builder: SceneBuilder, floor: Area) -> list[Area]:
    """Add stacks of containers at the edges of the yard."""
    stacks: list[Area] = []
    length, width, height = _CONTAINER_M
    for _ in range(int(rng.integers(0, 7))):
        side = float(rng.choice([-1.0, 1.0]))
        y = floor.y + side * (floor.width_m / 2 - rng.uniform(1.6, 3.0))
        x = rng.uniform(6.0, 50.0)
        is_across, is_double = rng.random() < 0.4, rng.random() < 0.4
        area = Area(
            use=Use.BUILT, x=x, y=y, length_m=length * (2.0 if is_double else 1.0), width_m=width,
            yaw_rad=(math.pi / 2 if is_across else 0.0) + rng.normal(0.0, 0.02),
        )  # fmt: skip
        if abs(y) - (area.length_m / 2 if is_across else width / 2) < _WAY_M:
            continue
        if any(math.hypot(x - other.x, y - other.y) < 9.5 for other in stacks):
            continue
        for level in range(int(rng.integers(1, 4))):
            _add_container(rng, builder, area, level * height)
        stacks.append(area)
    return stacks


def _add_container(rng: np.random.Generator, builder: SceneBuilder, area: Area, z: float) -> None:
    """Add one container: a body with ribs."""
    height = _CONTAINER_M[2]
    material = builder.material(
        Material(
            label=Label.BUILDING, albedo=sample_colour(rng), offset_k=rng.uniform(-5.0, 4.0),
            solar=0.9, texture_rgb=0.1, texture_k=0.4, sky_cooling=0.9,
        )
    )  # fmt: skip
    ribs = int(area.length_m / 0.55)
    sizes = np.empty((ribs + 1, 3), np.float32)
    sizes[0] = area.length_m - 0.1, area.width_m - 0.1, height - 0.05
    sizes[1:] = 0.22, area.width_m, height - 0.3
    centres = np.zeros((ribs + 1, 3), np.float32)
    centres[1:, 0] = (np.arange(ribs) + 0.5) * (area.length_m / ribs) - area.length_m / 2
    centres[:, 2] = z + height / 2
    foot = np.array([area.x, area.y, 0.0], np.float32)
    builder.fixed.add(move(boxes(sizes, centres), area.yaw_rad, foot), material)


def _add_paint(
    rng: np.random.Generator,
    builder: SceneBuilder,
    floor: Area,
    bays: list[Spot],
    *,
    label: Label,
) -> None:
    """Add lane edges, dock lines and a way for people."""
    material = paint(rng, builder, label=label)
    stripes: list[Stripe] = [(bay.x - 2.1, bay.y, bay.yaw_rad, 12.0, 0.12) for bay in bays]
    if rng.random() < 0.6:
        begin, end = _BEGIN_X + 2.0, floor.x + floor.length_m / 2 - 3.0
        for y in (-3.6, 3.6):
            stripes += dashes((begin, y), (end, y), dash_m=2.0, gap_m=1.0, width_m=0.14)
    if rng.random() < 0.4:
        across = Area(
            use=Use.CROSS, x=rng.uniform(8.0, 30.0), y=floor.y, length_m=floor.width_m - 4.0,
            width_m=2.5, yaw_rad=math.pi / 2,
        )  # fmt: skip
        stripes += zebra(across)
    add_stripes(builder, stripes, material)
