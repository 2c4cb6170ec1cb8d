# SPDX-License-Identifier: Apache-2.0
"""Buildings: blocks of flats, houses with pitched roofs, shops, halls, towers.

A building is put together in a frame of its own: x along the front, the front at y = 0 facing
-y, z up, the ground at z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.layouts.layout import Area, Use
from rgbt_models.synthetic.materials import (
    Label,
    log_uniform,
    Material,
    Pattern,
    sample_colour,
    shade,
)
from rgbt_models.synthetic.meshes import box, boxes, cylinder, move, wedge

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.builder import SceneBuilder

_LARGEST_FITTING_Z_M = 7.0
_HOT_AREA_M2 = 0.8  # vents and boxes may be hot; what is larger follows the air


class BuildingKind(Enum):
    """What a building is for, which decides about its shape."""

    BLOCK = 'block'
    HOUSE = 'house'
    SHOP = 'shop'
    HALL = 'hall'
    TOWER = 'tower'


_TOWN_SHARES = {
    BuildingKind.BLOCK: 0.4,
    BuildingKind.HOUSE: 0.28,
    BuildingKind.SHOP: 0.22,
    BuildingKind.TOWER: 0.1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Ground for a building: the middle of its front edge, its depth lies behind it."""

    x: float
    y: float
    yaw_rad: float  # 0 = the front faces -y
    width_m: float
    depth_m: float

    def area(self) -> Area:
        """Return the ground that the building covers."""
        edge = Area(
            use=Use.BUILT, x=self.x, y=self.y, length_m=self.width_m, width_m=0.0,
            yaw_rad=self.yaw_rad,
        )  # fmt: skip
        x, y = edge.point(0.0, self.depth_m / 2)
        return Area(
            use=Use.BUILT, x=x, y=y, length_m=self.width_m, width_m=self.depth_m,
            yaw_rad=self.yaw_rad,
        )  # fmt: skip


class _Site:
    """Adds parts given in the building's frame."""

    def __init__(self, rng: np.random.Generator, builder: SceneBuilder, plot: Plot) -> None:
        self.rng = rng
        self.plot = plot
        self._builder = builder
        self._foot: FloatArray = np.array([plot.x, plot.y, 0.0], np.float32)

    def add(self, mesh: FloatArray, material: int) -> None:
        self._builder.fixed.add(move(mesh, self.plot.yaw_rad, self._foot), material)

    def plain(
        self,
        colour: tuple[float, float, float],
        *,
        offset_k: float,
        solar: float = 0.5,
        is_glossy: bool = False,
        emission: float = 0.0,
        body_share: float = 0.0,
    ) -> int:
        return self._builder.material(
            Material(
                label=Label.BUILDING, albedo=colour, offset_k=offset_k, solar=solar,
                body_share=body_share, texture_rgb=0.1, texture_k=0.5, is_glossy=is_glossy,
                emission=emission, light_threshold=self.rng.uniform(0.2, 0.8),
            )
        )  # fmt: skip

    def roof(self, colour: tuple[float, float, float]) -> int:
        """Draw tiles or sheet metal, which clear night skies cool."""
        return self._builder.material(
            Material(
                label=Label.BUILDING, albedo=colour, offset_k=self.rng.uniform(-3.0, 3.0),
                solar=0.9, sky_cooling=0.9, texture_rgb=0.1, texture_k=0.5,
            )
        )  # fmt: skip

    def facade(self, *, has_windows: bool = True) -> int:
        rng = self.rng
        colour = _wall_colour(rng)
        return self._builder.material(
            Material(
                label=Label.BUILDING, albedo=colour, offset_k=rng.uniform(-2.0, 4.0),
                solar=rng.uniform(0.45, 0.95), texture_rgb=0.12, texture_k=0.5,
                pattern=Pattern.FACADE if has_windows else Pattern.PLAIN,
                pattern_seed=int(rng.integers(0, 100)),
            )
        )  # fmt: skip


def add_building(
    rng: np.random.Generator, builder: SceneBuilder, plot: Plot, kind: BuildingKind
) -> Area:
    """Add a building; returns the ground it covers."""
    site = _Site(rng, builder, plot)
    if kind is BuildingKind.HOUSE:
        height = _add_house(site)
    elif kind is BuildingKind.HALL:
        height = _add_hall(site)
    else:
        height = _add_block(site, kind)
    _add_fittings(site, height)
    return plot.area()


def sample_building_kind(rng: np.random.Generator) -> BuildingKind:
    """Draw a kind as it is frequent in towns; halls stand elsewhere."""
    kinds = list(_TOWN_SHARES)
    return kinds[int(rng.choice(len(kinds), p=list(_TOWN_SHARES.values())))]


def _wall_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw plaster and concrete, brick, or any colour."""
    draw, level = rng.random(), rng.uniform(0.12, 0.65)
    if draw < 0.5:
        return level, level * rng.uniform(0.88, 1.0), level * rng.uniform(0.65, 1.0)
    if draw < 0.7:
        return 0.4 * level + 0.08, 0.2 * level + 0.04, 0.14 * level + 0.03
    return shade(sample_colour(rng), 0.6, rng.uniform(0.05, 0.4))


def _add_block(site: _Site, kind: BuildingKind) -> float:
    """Add a flat-roofed block; returns its height."""
    rng, plot = site.rng, site.plot
    height = rng.uniform(20.0, 45.0) if kind is BuildingKind.TOWER else rng.uniform(3.0, 22.0)
    if kind is BuildingKind.SHOP:
        height = max(height, 4.2)
    _add_body(site, site.facade(), height)
    trim = site.plain(shade(sample_colour(rng), 0.7, 0.1), offset_k=rng.uniform(-3.0, 3.0))
    if rng.random() < 0.6:  # cornice
        site.add(box((plot.width_m + 0.4, plot.depth_m + 0.4, 0.35), _middle(plot, height)), trim)
    if rng.random() < 0.4:  # ledges between storeys
        storey = rng.uniform(2.7, 3.6)
        levels = np.arange(storey, height - 1.0, storey, dtype=np.float32)
        _add_row(site, trim, levels, (plot.width_m + 0.1, 0.3, 0.18))
    if rng.random() < 0.5:
        _add_roof_plant(site, height)
    if kind is BuildingKind.SHOP:
        _add_shop_front(site)
    elif height > 6.0 and rng.random() < 0.5:
        _add_balconies(site, height)
    return height


def _middle(plot: Plot, z: float) -> tuple[float, float, float]:
    return 0.0, plot.depth_m / 2, z


def _add_body(site: _Site, material: int, height: float) -> None:
    plot = site.plot
    site.add(box((plot.width_m, plot.depth_m, height), _middle(plot, height / 2)), material)


def _add_row(
    site: _Site, material: int, levels: FloatArray, size: tuple[float, float, float]
) -> None:
    if not len(levels):
        return
    centres = np.zeros((len(levels), 3), np.float32)
    centres[:, 2] = levels
    site.add(boxes(np.tile(np.array(size, np.float32), (len(levels), 1)), centres), material)


def _add_house(site: _Site) -> float:
    """Add walls, a pitched roof and often a chimney; returns the height of the eaves."""
    rng, plot = site.rng, site.plot
    eaves, rise = rng.uniform(2.6, 8.5), rng.uniform(1.5, 4.5)
    wall, level = site.facade(), rng.uniform(0.04, 0.25)
    _add_body(site, wall, eaves)
    tile = site.roof((level * rng.uniform(1.0, 2.2), level, level * rng.uniform(0.7, 1.0)))
    half = plot.width_m / 2 + 0.3
    roof = wedge(
        back_x=(-half, -half), front_x=(half, half),
        half_width=(plot.depth_m / 2 + 0.4, 0.05), z=(eaves, eaves + rise),
    )  # fmt: skip
    roof += np.array(_middle(plot, 0.0), np.float32)
    if rng.random() < 0.35:  # the gable faces the front
        swapped = wedge(
            back_x=(-0.4, -0.4), front_x=(plot.depth_m + 0.4, plot.depth_m + 0.4),
            half_width=(half, 0.05), z=(eaves, eaves + rise),
        )  # fmt: skip
        roof = swapped[..., [1, 0, 2]]
    site.add(roof, tile)
    if rng.random() < 0.6:
        warm = rng.uniform(0.0, 18.0) if rng.random() < 0.5 else rng.uniform(-2.0, 2.0)
        brick = site.plain((0.25, 0.13, 0.09), offset_k=warm)
        x, top = rng.uniform(-0.3, 0.3) * plot.width_m, eaves + rise + 0.8
        site.add(box((0.6, 0.6, 2.5), (x, plot.depth_m * 0.55, top - 1.25)), brick)
    _add_door(site, rng.uniform(-0.4, 0.4) * plot.width_m)
    return eaves


def _add_door(site: _Site, x: float) -> None:
    rng = site.rng
    door = site.plain(sample_colour(rng), offset_k=rng.uniform(-1.5, 3.0))
    site.add(box((rng.uniform(0.9, 1.8), 0.16, rng.uniform(2.0, 2.5)), (x, 0.0, 1.05)), door)
    if rng.random() < 0.4:
        porch = site.plain(sample_colour(rng), offset_k=rng.uniform(-4.0, 2.0))
        site.add(box((rng.uniform(1.5, 3.0), 1.4, 0.14), (x, -0.6, 2.65)), porch)


def _add_hall(site: _Site) -> float:
    """Add an industrial hall with gates, docks and a canopy; returns its height."""
    rng, plot = site.rng, site.plot
    height = rng.uniform(4.5, 11.0)
    _add_body(site, site.facade(has_windows=rng.random() < 0.25), height)
    seam = site.plain(shade(sample_colour(rng), 0.6, 0.08), offset_k=rng.uniform(-4.0, 1.0))
    columns = np.arange(-plot.width_m / 2, plot.width_m / 2, rng.uniform(1.5, 6.0))
    centres = np.zeros((len(columns), 3), np.float32)
    centres[:, 0], centres[:, 2] = columns, height / 2
    sizes = np.tile(np.array([0.12, 0.1, height], np.float32), (len(columns), 1))
    site.add(boxes(sizes, centres), seam)
    gate = site.plain(sample_colour(rng), offset_k=rng.uniform(-2.0, 4.0))
    inside = site.plain(
        (0.05, 0.05, 0.05), offset_k=rng.uniform(-1.0, 9.0), emission=rng.uniform(0.0, 6.0)
    )
    width = rng.uniform(2.8, 4.6)
    for x in np.arange(-plot.width_m / 2 + width, plot.width_m / 2 - width, width * 1.8):
        is_open = rng.random() < 0.2
        size = (width, 0.2, min(rng.uniform(3.0, 4.5), height - 0.6))
        site.add(box(size, (float(x), 0.0, size[2] / 2)), inside if is_open else gate)
        if rng.random() < 0.5:  # rubber buffers of a dock
            black = site.plain((0.02, 0.02, 0.02), offset_k=rng.uniform(-1.0, 3.0), solar=0.9)
            site.add(box((width + 0.8, 0.5, 0.5), (float(x), -0.2, 1.0)), black)
    if rng.random() < 0.5:
        canopy = site.roof(sample_colour(rng))
        depth = rng.uniform(1.5, 4.0)
        site.add(box((plot.width_m * 0.8, depth, 0.3), (0.0, -depth / 2, height - 0.5)), canopy)
    _add_roof_plant(site, height)
    return height


def _add_roof_plant(site: _Site, height: float) -> None:
    rng, plot = site.rng, site.plot
    for _ in range(int(rng.integers(1, 4))):
        warm = rng.uniform(2.0, 25.0) if rng.random() < 0.4 else rng.uniform(-6.0, 2.0)
        metal = site.plain(shade(sample_colour(rng), 0.5, 0.2), offset_k=warm)
        size = (rng.uniform(0.6, 4.0), rng.uniform(0.6, 3.0), rng.uniform(0.5, 2.2))
        x = rng.uniform(-0.4, 0.4) * plot.width_m
        y = rng.uniform(0.1, 0.9) * plot.depth_m
        if rng.random() < 0.3:
            site.add(cylinder(0.25, size[2] + 1.5, (x, y, height + size[2] / 2)), metal)
        else:
            site.add(box(size, (x, y, height + size[2] / 2)), metal)


def _add_shop_front(site: _Site) -> None:
    """Add glass, a lit sign board and an awning along the ground floor."""
    rng, plot = site.rng, site.plot
    glass = site.plain(
        (0.05, 0.055, 0.06), offset_k=rng.uniform(-4.0, 3.0), solar=0.15, is_glossy=True,
        emission=rng.uniform(0.0, 14.0),
    )  # fmt: skip
    frame = site.plain(sample_colour(rng, is_dark=True), offset_k=rng.uniform(-2.0, 2.0))
    width = rng.uniform(1.4, 3.2)
    places = np.arange(-plot.width_m / 2 + width / 2, plot.width_m / 2 - width / 2, width)
    if len(places):
        centres = np.zeros((len(places), 3), np.float32)
        centres[:, 0], centres[:, 2] = places, 1.5
        sizes = np.tile(np.array([width - 0.25, 0.12, 2.3], np.float32), (len(places), 1))
        site.add(boxes(sizes, centres), glass)
        site.add(box((plot.width_m - 0.1, 0.2, 0.35), (0.0, 0.0, 0.17)), frame)
    sign = site.plain(
        sample_colour(rng), offset_k=rng.uniform(-1.0, 4.0), emission=rng.uniform(0.0, 4.0)
    )
    site.add(box((plot.width_m * rng.uniform(0.4, 1.0), 0.3, 0.7), (0.0, -0.1, 3.1)), sign)
    if rng.random() < 0.5:
        awning = wedge(
            back_x=(-plot.width_m * 0.4,) * 2, front_x=(plot.width_m * 0.4,) * 2,
            half_width=(0.8, 0.1), z=(2.5, 3.0),
        )  # fmt: skip
        awning += np.array([0.0, -0.7, 0.0], np.float32)
        site.add(
            awning, site.plain(sample_colour(rng), offset_k=rng.uniform(-3.0, 3.0), solar=0.9)
        )


def _add_balconies(site: _Site, height: float) -> None:
    rng, plot = site.rng, site.plot
    slab = site.plain(shade(sample_colour(rng), 0.5, 0.2), offset_k=rng.uniform(-3.0, 2.0))
    rail = site.plain(sample_colour(rng), offset_k=rng.uniform(-4.0, 2.0))
    storey, width = rng.uniform(2.7, 3.3), rng.uniform(2.0, 4.0)
    depth, step = rng.uniform(0.9, 1.6), rng.uniform(1.3, 2.2)
    columns = np.arange(-plot.width_m / 2 + width, plot.width_m / 2 - width / 2, width * step)
    levels = np.arange(storey, min(height - 1.0, 14.0), storey)
    if not len(columns) or not len(levels):
        return
    x, z = (grid.ravel() for grid in np.meshgrid(columns, levels))
    centres = np.stack([x, np.full_like(x, -depth / 2), z], axis=1).astype(np.float32)
    sizes = np.tile(np.array([width, depth, 0.16], np.float32), (len(x), 1))
    site.add(boxes(sizes, centres), slab)
    fronts = centres + np.array([0.0, -depth / 2, 0.55], np.float32)
    sizes = np.tile(np.array([width, 0.06, 0.95], np.float32), (len(x), 1))
    site.add(boxes(sizes, fronts), rail)


def _add_fittings(site: _Site, height: float) -> None:
    """Add doors, posters, vents, outlets of air conditioners: boxes of any size and warmth."""
    rng, plot = site.rng, site.plot
    for _ in range(int(rng.integers(0, 16))):
        size = (log_uniform(rng, 0.15, 3.5), rng.uniform(0.1, 1.0), log_uniform(rng, 0.2, 3.0))
        is_small = size[0] * size[2] < _HOT_AREA_M2
        is_lit, is_body_warm = rng.random() < 0.4, is_small and rng.random() < 0.05
        warmest_k = 10.0 if is_small and rng.random() < 0.2 else 2.0
        material = site.plain(
            sample_colour(rng),
            offset_k=0.0 if is_body_warm else rng.uniform(-4.0, warmest_k),
            body_share=rng.uniform(0.5, 1.2) if is_body_warm else 0.0,
            emission=rng.uniform(0.3, 2.0) if is_lit else 0.0,
        )
        highest = max(min(height, _LARGEST_FITTING_Z_M), size[2] / 2 + 0.01)
        z = rng.uniform(size[2] / 2, highest)
        x = rng.uniform(-0.5, 0.5) * plot.width_m
        site.add(box(size, (x, 0.0, z)), material)
