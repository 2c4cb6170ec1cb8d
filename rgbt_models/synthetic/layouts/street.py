# SPDX-License-Identifier: Apache-2.0
"""A straight street along x: road, pavements, verges, houses on both sides."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

from rgbt_models.synthetic.layouts.background import add_background
from rgbt_models.synthetic.layouts.barriers import add_hedge, add_wall
from rgbt_models.synthetic.layouts.buildings import add_building, Plot, sample_building_kind
from rgbt_models.synthetic.layouts.ground import (
    add_puddles,
    add_slab,
    add_stripes,
    asphalt,
    dashes,
    FAR_M,
    paint,
    paving,
    Stripe,
    verge,
    zebra,
)
from rgbt_models.synthetic.layouts.layout import (
    Area,
    Lane,
    Layout,
    LayoutKind,
    Rates,
    Spot,
    Use,
)
from rgbt_models.synthetic.materials import Label

if TYPE_CHECKING:
    import numpy as np

    from rgbt_models.synthetic.builder import SceneBuilder

ZEBRA_M = 3.0
_VERGE_M = 200.0
_BAY_WIDTH_M = 2.2
_BEHIND_M = 10.0  # houses begin this far behind the rig


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """Measures of a straight street along x."""

    centre_y: float  # m, of the road
    half_width_m: float  # of the road
    pavement_m: float
    kerb_m: float  # height of the pavement above the road
    setback_m: float  # from the road's edge to the buildings
    length_m: float  # built-up length ahead of x = 0
    has_markings: bool
    marking_albedo: tuple[float, float, float]
    marking_k: float  # markings are this much colder than the road
    crossing_x: float  # start of a zebra crossing, inf = none
    has_bays: bool = False  # cars stand along both kerbs
    keeps_left: bool = False


def sample_street(rng: np.random.Generator, *, length_m: float = 130.0) -> Street:
    """Draw a street: roads 6..15 m wide, the rig somewhere on them."""
    half_width = rng.uniform(3.0, 7.5)
    pavement = rng.uniform(1.5, 5.0)
    level = rng.uniform(0.4, 0.75)
    is_yellow = rng.random() < 0.3
    return Street(
        centre_y=rng.uniform(-half_width * 0.6, half_width * 0.6),
        half_width_m=half_width,
        pavement_m=pavement,
        kerb_m=rng.uniform(0.0, 0.16),
        setback_m=pavement + rng.uniform(0.0, 8.0),
        length_m=length_m,
        has_markings=rng.random() < 0.8,
        marking_albedo=(level, level, level * (0.4 if is_yellow else 1.0)),
        marking_k=rng.uniform(0.0, 1.5),
        crossing_x=rng.uniform(5.0, 25.0) if rng.random() < 0.3 else math.inf,
        has_bays=half_width > 4.2 and rng.random() < 0.5,
        keeps_left=rng.random() < 0.25,
    )


def build_street(rng: np.random.Generator, builder: SceneBuilder, street: Street) -> Layout:
    """Add the street with its paint, houses and horizon.

    Returns:
        The layout; its lanes, bays and lamp spots reach along the whole street.
    """
    areas = _add_ground(rng, builder, street)
    _add_paint(rng, builder, street, areas[0])
    built = _add_houses(rng, builder, street)
    built += _add_gardens(rng, builder, street)
    if math.isfinite(street.crossing_x):
        areas.append(_zebra_area(street))
    edge = street.half_width_m + 0.5
    return Layout(
        kind=LayoutKind.STREET,
        areas=tuple(areas),
        built=tuple(built),
        lanes=_lanes(street),
        bays=tuple(_bays(rng, street)) if street.has_bays else (),
        lamp_spots=tuple(
            Spot(x=x, y=street.centre_y + side * edge, yaw_rad=-side * math.pi / 2)
            for side in (-1.0, 1.0)
            for x in _places(rng, 3.0, 0.46 * street.length_m, 14.0)
        ),
        fence_lines=tuple(
            Area(
                use=Use.WALK, x=20.0, y=street.centre_y + side * (street.half_width_m + 0.1),
                length_m=32.0, width_m=0.1, z=street.kerb_m,
            )
            for side in (-1.0, 1.0)
        ),
        clear_m=street.length_m - 65.0,  # there may be a house at the far end
        centre_y=street.centre_y,
        reach_m=street.half_width_m + street.setback_m,
        length_m=street.length_m,
        rates=Rates(parked=rng.uniform(0.2, 0.9), large_animals=0.25),
    )  # fmt: skip


def _places(rng: np.random.Generator, low: float, high: float, step: float) -> list[float]:
    count = max(1, round((high - low) / step))
    return [low + (i + rng.uniform(0.1, 0.9)) * (high - low) / count for i in range(count)]


def _add_ground(rng: np.random.Generator, builder: SceneBuilder, street: Street) -> list[Area]:
    length = FAR_M + street.length_m
    middle = street.length_m - 30.0
    road = Area(
        use=Use.DRIVE, x=middle, y=street.centre_y, length_m=length,
        width_m=2.0 * street.half_width_m,
    )  # fmt: skip
    add_slab(builder, road, asphalt(rng, builder))
    areas = [road]
    land = -1  # beyond the verges it is as on the last side
    for side in (-1.0, 1.0):
        y = street.centre_y + side * (street.half_width_m + street.pavement_m / 2)
        pavement = Area(
            use=Use.WALK, x=middle, y=y, length_m=length, width_m=street.pavement_m,
            z=street.kerb_m,
        )  # fmt: skip
        add_slab(builder, pavement, paving(rng, builder))
        outside = street.half_width_m + street.pavement_m + _VERGE_M / 2
        behind = Area(
            use=Use.GREEN, x=middle, y=street.centre_y + side * outside, length_m=length,
            width_m=_VERGE_M, z=street.kerb_m - 0.01,
        )  # fmt: skip
        land = verge(rng, builder)
        add_slab(builder, behind, land)
        areas += [pavement, behind]
    add_background(rng, builder, length_m=street.length_m, material=land)
    if rng.random() < 0.25:
        count = int(rng.integers(1, 7))
        spots = [
            (rng.uniform(4.0, 45.0), street.centre_y + rng.uniform(-0.8, 0.8) * road.width_m / 2)
            for _ in range(count)
        ]
        add_puddles(rng, builder, spots, label=Label.ROAD)
    return areas


def _zebra_area(street: Street) -> Area:
    """Return the zebra crossing; people walk along its length."""
    return Area(
        use=Use.CROSS, x=street.crossing_x + ZEBRA_M / 2, y=street.centre_y,
        length_m=2.0 * street.half_width_m - 0.4, width_m=ZEBRA_M, yaw_rad=math.pi / 2, z=0.001,
    )  # fmt: skip


def _add_paint(
    rng: np.random.Generator, builder: SceneBuilder, street: Street, road: Area
) -> None:
    if not street.has_markings:
        return
    material = paint(rng, builder, albedo=street.marking_albedo, colder_k=street.marking_k)
    behind, ahead = road.x - road.length_m / 2, road.x + road.length_m / 2
    # Lines pause for the crossing.
    gap = (street.crossing_x - 1.5, street.crossing_x + ZEBRA_M + 1.5)
    pieces = [(behind, ahead)]
    if math.isfinite(street.crossing_x):
        pieces = [(behind, gap[0]), (gap[1], ahead)]
        add_stripes(builder, zebra(_zebra_area(street)), material)
    stripes: list[Stripe] = []
    for start, end in pieces:
        near, far = max(start, -12.0), min(end, street.length_m + 40.0)
        for offset in (-(street.half_width_m - 0.3), street.half_width_m - 0.3):
            y = street.centre_y + offset
            stripes += dashes((start, y), (end, y), dash_m=1.0, gap_m=0.0, width_m=0.14)
        stripes += dashes(
            (near, street.centre_y), (far, street.centre_y),
            dash_m=3.2, gap_m=2.8, width_m=0.16,
        )  # fmt: skip
    add_stripes(builder, stripes, material)
    if street.has_bays:
        add_stripes(builder, _bay_lines(street), material)


def _bay_lines(street: Street) -> list[Stripe]:
    inner = street.half_width_m - _BAY_WIDTH_M
    stripes: list[Stripe] = []
    for side in (-1.0, 1.0):
        y = street.centre_y + side * inner
        stripes += dashes((0.0, y), (street.length_m, y), dash_m=0.6, gap_m=0.6, width_m=0.1)
    return stripes


def _lanes(street: Street) -> tuple[Lane, ...]:
    drivable = street.half_width_m - (_BAY_WIDTH_M if street.has_bays else 0.0)
    side = 1.0 if street.keeps_left else -1.0
    width = min(drivable, 4.0)
    lanes = [
        Lane(x=0.0, y=street.centre_y + side * drivable / 2, yaw_rad=0.0, width_m=width),
        Lane(x=0.0, y=street.centre_y - side * drivable / 2, yaw_rad=math.pi, width_m=width),
    ]
    for way, yaw in ((side, 0.0), (-side, math.pi)):
        y = street.centre_y + way * (drivable - 0.7)
        lanes.append(Lane(x=0.0, y=y, yaw_rad=yaw, width_m=1.0, is_narrow=True))
    return tuple(lanes)


def _bays(rng: np.random.Generator, street: Street) -> list[Spot]:
    offset, spots = street.half_width_m - _BAY_WIDTH_M / 2, []
    for side in (-1.0, 1.0):
        faces_ahead = (side < 0) != street.keeps_left
        x = rng.uniform(8.0, 12.0)
        while x < street.length_m:
            is_on_zebra = -4.0 < x - street.crossing_x < ZEBRA_M + 4.0
            if not is_on_zebra:
                yaw = 0.0 if faces_ahead else math.pi
                spots.append(Spot(x=x, y=street.centre_y + side * offset, yaw_rad=yaw))
            x += rng.uniform(6.2, 8.0)
    return spots


def _add_houses(rng: np.random.Generator, builder: SceneBuilder, street: Street) -> list[Area]:
    """Add a row of houses on each side (one side in eight has none) and often a far end."""
    built = []
    for side in (-1.0, 1.0):
        if rng.random() < 0.12:
            continue
        x = -_BEHIND_M
        while x < street.length_m:
            width = rng.uniform(6.0, 25.0)
            if rng.random() < 0.8:
                front = street.half_width_m + street.setback_m + rng.uniform(0.0, 3.0)
                plot = Plot(
                    x=x + width / 2, y=street.centre_y + side * front,
                    yaw_rad=0.0 if side > 0 else math.pi, width_m=width,
                    depth_m=rng.uniform(6.0, 15.0),
                )  # fmt: skip
                built.append(add_building(rng, builder, plot, sample_building_kind(rng)))
            x += width + (rng.uniform(0.0, 10.0) if rng.random() < 0.5 else 0.0)
    if rng.random() < 0.4:
        plot = Plot(
            x=street.length_m + rng.uniform(-60.0, 20.0),
            y=street.centre_y + rng.normal(0.0, 10.0), yaw_rad=-math.pi / 2,
            width_m=rng.uniform(10.0, 60.0), depth_m=8.0,
        )  # fmt: skip
        built.append(add_building(rng, builder, plot, sample_building_kind(rng)))
    return built


def _add_gardens(rng: np.random.Generator, builder: SceneBuilder, street: Street) -> list[Area]:
    """Add walls and hedges between pavement and houses where there is room."""
    built: list[Area] = []
    room = street.setback_m - street.pavement_m
    for side in (-1.0, 1.0):
        if room < 2.0 or rng.random() < 0.5:
            continue
        y = street.centre_y + side * (street.half_width_m + street.pavement_m + 0.7)
        x = rng.uniform(0.0, 10.0)
        while x < min(street.length_m, 90.0):
            length = rng.uniform(4.0, 16.0)
            line = Area(
                use=Use.BUILT, x=x + length / 2, y=y, length_m=length, width_m=0.3,
                z=street.kerb_m - 0.01,
            )  # fmt: skip
            add = add_hedge if rng.random() < 0.5 else add_wall
            built.append(add(rng, builder, line))
            x += length + rng.uniform(1.0, 12.0)
    return built
