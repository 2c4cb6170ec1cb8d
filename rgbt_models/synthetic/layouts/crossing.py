# SPDX-License-Identifier: Apache-2.0
"""Two roads that cross ahead of the rig: zebra crossings, stop lines, traffic lights, corners."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

from rgbt_models.synthetic.layouts.background import add_background
from rgbt_models.synthetic.layouts.buildings import add_building, Plot, sample_building_kind
from rgbt_models.synthetic.layouts.ground import (
    add_puddles,
    add_slab,
    add_stripes,
    arrow,
    asphalt,
    dashes,
    FAR_M,
    paint,
    paving,
    Stripe,
    verge,
    zebra,
)
from rgbt_models.synthetic.layouts.layout import Area, Lane, Layout, LayoutKind, Rates, Spot, Use
from rgbt_models.synthetic.materials import Label

if TYPE_CHECKING:
    import numpy as np

    from rgbt_models.synthetic.builder import SceneBuilder

_LENGTH_M = 110.0
_ZEBRA_M = 3.2
_CORNER_M = 250.0  # size of the blocks between the roads
_RANKS = (-1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Roads:
    """Measures of the crossing: the own road along x, the other one along y."""

    centre_y: float
    half_own_m: float
    cross_x: float  # middle of the other road
    half_cross_m: float
    pavement_m: float
    kerb_m: float
    setback_m: float
    keeps_left: bool

    @property
    def near_x(self) -> float:
        return self.cross_x - self.half_cross_m

    @property
    def far_x(self) -> float:
        return self.cross_x + self.half_cross_m


def build_crossing(rng: np.random.Generator, builder: SceneBuilder) -> Layout:
    """Draw and add a crossing."""
    half_own, pavement = rng.uniform(3.2, 7.0), rng.uniform(2.0, 5.0)
    roads = _Roads(
        centre_y=rng.uniform(-0.6, 0.6) * half_own,
        half_own_m=half_own,
        cross_x=rng.uniform(12.0, 34.0),
        half_cross_m=rng.uniform(3.0, 7.0),
        pavement_m=pavement,
        kerb_m=rng.uniform(0.02, 0.16),
        setback_m=pavement + rng.uniform(0.0, 6.0),
        keeps_left=rng.random() < 0.25,
    )
    areas = _add_ground(rng, builder, roads)
    built = [
        area
        for side in _RANKS
        for end in _RANKS
        for area in _add_block(rng, builder, roads, side, end)
    ]
    zebras = [area for area in _zebra_areas(roads) if rng.random() < 0.75]
    _add_paint(rng, builder, roads, zebras)
    has_signals = rng.random() < 0.65
    return Layout(
        kind=LayoutKind.CROSSING,
        areas=(*areas, *zebras),
        built=tuple(built),
        lanes=_lanes(roads),
        lamp_spots=_lamp_spots(roads),
        signal_spots=_signal_spots(roads) if has_signals else (),
        clear_m=90.0,
        centre_y=roads.centre_y,
        reach_m=45.0,
        length_m=_LENGTH_M,
        yaw_spread_rad=0.3,
        rates=Rates(cars=3.2, trucks=0.7, cyclists=1.1, trees=3.0, bushes=2.0, off_lane=0.08),
    )


def _add_ground(rng: np.random.Generator, builder: SceneBuilder, roads: _Roads) -> list[Area]:
    """Add one sheet of asphalt with four raised corners on it."""
    size = 2.0 * FAR_M
    sheet = Area(use=Use.DRIVE, x=0.0, y=0.0, length_m=size, width_m=size)
    add_slab(builder, sheet, asphalt(rng, builder))
    areas, land = [sheet], -1  # far away the land is as in the last corner
    stone = paving(rng, builder, has_joints=rng.random() < 0.8)
    for side in _RANKS:
        for end in _RANKS:
            x = roads.cross_x + end * (roads.half_cross_m + _CORNER_M / 2)
            y = roads.centre_y + side * (roads.half_own_m + _CORNER_M / 2)
            corner = Area(
                use=Use.WALK, x=x, y=y, length_m=_CORNER_M, width_m=_CORNER_M, z=roads.kerb_m
            )
            add_slab(builder, corner, stone)
            shift = roads.pavement_m
            inner = Area(
                use=Use.GREEN, x=x + end * shift, y=y + side * shift, length_m=_CORNER_M,
                width_m=_CORNER_M, z=roads.kerb_m + 0.01,
            )  # fmt: skip
            land = verge(rng, builder)
            add_slab(builder, inner, land)
            areas += [corner, inner]
    add_background(rng, builder, length_m=_LENGTH_M, material=land)
    if rng.random() < 0.2:
        spots = [
            (rng.uniform(4.0, 30.0), roads.centre_y + rng.uniform(-0.8, 0.8) * roads.half_own_m)
            for _ in range(int(rng.integers(1, 6)))
        ]
        add_puddles(rng, builder, spots, label=Label.ROAD)
    return areas


def _add_block(
    rng: np.random.Generator, builder: SceneBuilder, roads: _Roads, side: float, end: float
) -> list[Area]:
    """Add the houses of one corner, along both roads."""
    if rng.random() < 0.12:
        return []
    built = []
    x = roads.half_cross_m + roads.setback_m
    front = roads.centre_y + side * (roads.half_own_m + roads.setback_m)
    depth = rng.uniform(8.0, 14.0)
    while x < (75.0 if end > 0 else 25.0):
        width = rng.uniform(8.0, 24.0)
        if rng.random() < 0.85:
            plot = Plot(
                x=roads.cross_x + end * (x + width / 2), y=front,
                yaw_rad=0.0 if side > 0 else math.pi, width_m=width, depth_m=depth,
            )  # fmt: skip
            built.append(add_building(rng, builder, plot, sample_building_kind(rng)))
        x += width + rng.uniform(0.0, 6.0) * (rng.random() < 0.5)
    # Along the other road, behind the first house.
    y = roads.half_own_m + roads.setback_m + depth + rng.uniform(0.0, 6.0)
    while y < 60.0:
        width = rng.uniform(8.0, 24.0)
        if rng.random() < 0.85:
            plot = Plot(
                x=roads.cross_x + end * (roads.half_cross_m + roads.setback_m),
                y=roads.centre_y + side * (y + width / 2),
                yaw_rad=-end * math.pi / 2, width_m=width, depth_m=rng.uniform(8.0, 14.0),
            )  # fmt: skip
            built.append(add_building(rng, builder, plot, sample_building_kind(rng)))
        y += width + rng.uniform(0.0, 6.0) * (rng.random() < 0.5)
    return built


def _zebra_areas(roads: _Roads) -> list[Area]:
    """Return the four places of zebra crossings, people walk along their length."""
    own, other = 2.0 * roads.half_own_m - 0.3, 2.0 * roads.half_cross_m - 0.3
    aside = 1.0 + _ZEBRA_M / 2
    own_zebras = [
        Area(
            use=Use.CROSS, x=x, y=roads.centre_y, length_m=own, width_m=_ZEBRA_M,
            yaw_rad=math.pi / 2, z=0.001,
        )
        for x in (roads.near_x - aside, roads.far_x + aside)
    ]  # fmt: skip
    return own_zebras + [
        Area(
            use=Use.CROSS, x=roads.cross_x,
            y=roads.centre_y + side * (roads.half_own_m + aside), length_m=other,
            width_m=_ZEBRA_M, z=0.001,
        )
        for side in _RANKS
    ]  # fmt: skip


def _add_paint(
    rng: np.random.Generator, builder: SceneBuilder, roads: _Roads, zebras: list[Area]
) -> None:
    material = paint(rng, builder)
    stripes: list[Stripe] = []
    for area in zebras:
        stripes += zebra(area)
    clear = _ZEBRA_M + 2.4
    y, x = roads.centre_y, roads.cross_x
    own_half, cross_half = roads.half_own_m, roads.half_cross_m
    line = {'dash_m': 3.0, 'gap_m': 3.0 if rng.random() < 0.7 else 0.0, 'width_m': 0.14}
    stripes += dashes((-30.0, y), (roads.near_x - clear, y), **line)
    stripes += dashes((roads.far_x + clear, y), (_LENGTH_M, y), **line)
    for side in _RANKS:
        start, end = y + side * (own_half + clear), y + side * (own_half + 80.0)
        stripes += dashes((x, start), (x, end), **line)
        # Stop lines: over the half of the road that comes in.
        right = 1.0 if roads.keeps_left else -1.0
        middle = x - side * right * cross_half / 2
        stripes.append((middle, start + 0.3 * side, 0.0, cross_half - 0.3, 0.4))
        if rng.random() < 0.5:
            edge = side * (own_half - 0.25)
            for begin, stop in ((-150.0, roads.near_x - clear), (roads.far_x + clear, 250.0)):
                stripes += dashes(
                    (begin, y + edge), (stop, y + edge), dash_m=1.0, gap_m=0.0, width_m=0.12
                )
    way = 1.0 if roads.keeps_left else -1.0
    for x_line, yaw, towards in (
        (roads.near_x - clear - 0.3, 0.0, way),
        (roads.far_x + clear + 0.3, math.pi, -way),
    ):
        middle = y + towards * own_half / 2
        stripes.append((x_line, middle, math.pi / 2, own_half - 0.3, 0.4))
        if rng.random() < 0.6:
            stripes += arrow(x_line - 4.5 * math.cos(yaw), middle, yaw)
    add_stripes(builder, stripes, material)


def _lanes(roads: _Roads) -> tuple[Lane, ...]:
    way = 1.0 if roads.keeps_left else -1.0
    own, other = roads.half_own_m, roads.half_cross_m
    lanes = []
    for share, width, is_narrow in ((0.5, 3.5, False), (0.88, 1.0, True)):
        for direction, yaw in ((1.0, 0.0), (-1.0, math.pi)):
            y = roads.centre_y + way * direction * own * share
            lanes.append(
                Lane(x=0.0, y=y, yaw_rad=yaw, width_m=min(width, own), is_narrow=is_narrow)
            )
        for direction, yaw in ((1.0, math.pi / 2), (-1.0, -math.pi / 2)):
            x = roads.cross_x - way * direction * other * share
            lanes.append(
                Lane(x=x, y=0.0, yaw_rad=yaw, width_m=min(width, other), is_narrow=is_narrow)
            )
    return tuple(lanes)


def _corner_points(roads: _Roads, aside: float) -> list[tuple[float, float, float, float]]:
    """Return the four corners of the pavements: x, y, end (-1 near, 1 far), side."""
    return [
        (
            roads.cross_x + end * (roads.half_cross_m + aside),
            roads.centre_y + side * (roads.half_own_m + aside),
            end,
            side,
        )
        for end in _RANKS
        for side in _RANKS
    ]


def _signal_spots(roads: _Roads) -> tuple[Spot, ...]:
    """Return a traffic light for each way in, on the far and on the near side."""
    spots = []
    for x, y, end, side in _corner_points(roads, 0.5):
        spots.append(Spot(x=x, y=y, yaw_rad=math.pi if end * side > 0 else 0.0))
        spots.append(Spot(x=x + 0.7 * end, y=y + 0.7 * side, yaw_rad=-side * math.pi / 2))
    return tuple(spots)


def _lamp_spots(roads: _Roads) -> tuple[Spot, ...]:
    spots = [
        Spot(x=x + 1.2 * end, y=y + 1.2 * side, yaw_rad=math.atan2(-side, -end))
        for x, y, end, side in _corner_points(roads, 0.5)
    ]
    for side in _RANKS:
        y = roads.centre_y + side * (roads.half_own_m + 0.5)
        spots += [
            Spot(x=roads.far_x + further, y=y, yaw_rad=-side * math.pi / 2)
            for further in (16.0, 34.0)
        ]
    return tuple(spots)
