# SPDX-License-Identifier: Apache-2.0
"""What a place offers: ground of several uses, lanes, bays, buildings, and who is likely there."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class LayoutKind(Enum):
    """Kinds of places."""

    STREET = 'street'
    CROSSING = 'crossing'
    CAR_PARK = 'car_park'
    PATH = 'path'
    YARD = 'yard'


class Use(Enum):
    """What a piece of ground is for."""

    DRIVE = 'drive'  # roads, aisles, yards
    BAY = 'bay'  # where vehicles stand
    WALK = 'walk'  # pavements, foot paths
    CROSS = 'cross'  # zebra crossings
    GREEN = 'green'  # grass, verges, bare land
    BUILT = 'built'  # buildings, walls: nothing else fits there


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A level rectangle of ground."""

    use: Use
    x: float  # m, of the centre
    y: float
    length_m: float  # along the yaw
    width_m: float
    yaw_rad: float = 0.0
    z: float = 0.0  # height of the surface

    def contains(self, x: float, y: float, margin_m: float = 0.0) -> bool:
        """Tell whether a point lies inside, at least a margin (may be negative) off the edges."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        along = cos * (x - self.x) + sin * (y - self.y)
        across = cos * (y - self.y) - sin * (x - self.x)
        return (
            abs(along) <= self.length_m / 2 - margin_m
            and abs(across) <= self.width_m / 2 - margin_m
        )

    def point(self, along_m: float, across_m: float) -> tuple[float, float]:
        """Return the world position of a point given from the centre, across = to the left."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return self.x + cos * along_m - sin * across_m, self.y + sin * along_m + cos * across_m


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place to stand with a direction to face."""

    x: float
    y: float
    yaw_rad: float
    is_long: bool = False  # for trucks


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A straight line that vehicles drive along."""

    x: float  # a point of the line
    y: float
    yaw_rad: float  # direction of travel
    width_m: float = 3.0
    is_narrow: bool = False  # for bicycles and people, not for cars

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the line nearest to another one."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        along = cos * (x - self.x) + sin * (y - self.y)
        return self.x + along * cos, self.y + along * sin

    def distance_m(self, x: float, y: float) -> float:
        """Return how far a point is from the line."""
        near_x, near_y = self.nearest(x, y)
        return math.hypot(x - near_x, y - near_y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How many of each kind are likely: the mean of a count, unless said otherwise."""

    cars: float = 2.4  # driving
    trucks: float = 0.65  # buses too
    motorbikes: float = 0.85
    cyclists: float = 0.9
    bicycles: float = 0.9  # standing
    people: float = 4.0
    crowd: float = 0.25  # probability of many people
    animals: float = 0.38  # probability that there are some without people
    large_animals: float = 0.35  # share of these that are deer, cows, horses
    dogs: float = 0.05  # share of people with a dog
    on_foot: float = 0.6  # share of people who keep to pavements and foot paths
    parked: float = 0.5  # probability that a bay is taken
    trees: float = 4.0
    bushes: float = 5.0
    posts: float = 12.0
    lamps: float = 2.0
    benches: float = 0.5
    piles: float = 0.3
    off_lane: float = 0.2  # share of cars that stand anywhere, at any angle


def sample_count(rng: np.random.Generator, mean: float) -> int:
    """Draw how many there are, 0 to twice the mean (>= 0); fractions are rounded by chance."""
    return int(rng.uniform(0.0, 2.0 * mean) + rng.random())


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A place around x = y = 0, where the rig stands; its free way is along +x."""

    kind: LayoutKind
    areas: tuple[Area, ...] = ()  # they may overlap: the highest counts
    built: tuple[Area, ...] = ()
    lanes: tuple[Lane, ...] = ()
    bays: tuple[Spot, ...] = ()
    lamp_spots: tuple[Spot, ...] = ()  # foot of the mast; the arm points along the yaw
    signal_spots: tuple[Spot, ...] = ()  # traffic lights, facing along the yaw
    fence_lines: tuple[Area, ...] = ()  # where a railing may stand: length along the yaw
    clear_m: float = 60.0  # length of the rig's free way
    centre_y: float = 0.0  # of the furnished strip along x
    reach_m: float = math.inf  # half the width of that strip
    length_m: float = 130.0  # furnished length ahead of x = 0
    yaw_spread_rad: float = 0.22  # how far the rig looks aside, standard deviation
    rates: Rates = field(default_factory=Rates)

    def area_at(self, x: float, y: float) -> Area | None:
        """Return the highest ground under a point, None beyond all of it."""
        under = [area for area in self.areas if area.contains(x, y)]
        return max(under, key=lambda area: area.z) if under else None

    def ground_z(self, x: float, y: float) -> float:
        """Return the height of the ground, metres; 0 beyond all areas."""
        area = self.area_at(x, y)
        return 0.0 if area is None else area.z

    def is_within_reach(self, y: float) -> bool:
        """Tell whether points at a y lie in the strip along x that is furnished."""
        return abs(y - self.centre_y) <= self.reach_m

    def lane_near(self, x: float, y: float, *, is_narrow: bool = False) -> Lane | None:
        """Return the nearest lane of a kind, None if there is none."""
        lanes = [lane for lane in self.lanes if lane.is_narrow == is_narrow]
        return min(lanes, key=lambda lane: lane.distance_m(x, y)) if lanes else None
