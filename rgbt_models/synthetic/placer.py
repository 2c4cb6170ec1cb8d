# SPDX-License-Identifier: Apache-2.0
"""Finds free ground: nothing overlaps, nothing stands in a wall, everything is on its ground."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.layouts.layout import Layout, Use

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray

_TRIES = 12
ANYWHERE = frozenset(Use) - {Use.BUILT}

Candidate = Callable[[np.random.Generator, float, float], tuple[float, float]]
"""Draws a ground position (x, y) between a nearest and a farthest distance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Rectangle of ground that a thing covers, about its own origin."""

    length_m: float
    width_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A circle (no extent) or a rectangle of taken ground."""

    x: float
    y: float
    radius_m: float  # of the circle, or of the circle around the rectangle
    half_length_m: float = 0.0
    half_width_m: float = 0.0
    cos: float = 1.0
    sin: float = 0.0

    @property
    def is_round(self) -> bool:
        return self.half_length_m == 0.0

    def distance_m(self, x: float, y: float) -> float:
        """Return how far a point is from the rectangle."""
        along = abs(self.cos * (x - self.x) + self.sin * (y - self.y)) - self.half_length_m
        across = abs(self.cos * (y - self.y) - self.sin * (x - self.x)) - self.half_width_m
        return math.hypot(max(along, 0.0), max(across, 0.0))

    def separates(self, other: _Taken) -> bool:
        """Tell whether one of this rectangle's own axes separates it from another."""
        dx, dy = other.x - self.x, other.y - self.y
        cos = abs(self.cos * other.cos + self.sin * other.sin)
        sin = abs(self.cos * other.sin - self.sin * other.cos)
        along = other.half_length_m * cos + other.half_width_m * sin
        across = other.half_length_m * sin + other.half_width_m * cos
        return (
            abs(self.cos * dx + self.sin * dy) >= self.half_length_m + along
            or abs(self.cos * dy - self.sin * dx) >= self.half_width_m + across
        )

    def overlaps(self, other: _Taken) -> bool:
        """Tell whether two pieces of ground overlap."""
        reach = self.radius_m + other.radius_m
        if (self.x - other.x) ** 2 + (self.y - other.y) ** 2 >= reach * reach:
            return False
        if self.is_round:
            return other.is_round or other.distance_m(self.x, self.y) < self.radius_m
        if other.is_round:
            return self.distance_m(other.x, other.y) < other.radius_m
        return not (self.separates(other) or other.separates(self))


def _rectangle(x: float, y: float, yaw_rad: float, length_m: float, width_m: float) -> _Taken:
    return _Taken(
        x=x,
        y=y,
        radius_m=math.hypot(length_m, width_m) / 2,
        half_length_m=length_m / 2,
        half_width_m=width_m / 2,
        cos=math.cos(yaw_rad),
        sin=math.sin(yaw_rad),
    )


Seen = Callable[[float, float], bool]
"""Tells whether a ground position (x, y) may be seen by the rig."""


class Placer:
    """Finds free ground of a layout, within what a camera may see."""

    def __init__(
        self, candidate: Candidate, layout: Layout, *, is_seen: Seen | None = None
    ) -> None:
        """Start with all ground free but that of buildings.

        Args:
            candidate: Draws positions.
            layout: What the ground is like.
            is_seen: Tells whether a position may be seen; None = all may.
        """
        self.layout = layout
        self._candidate = candidate
        self._is_seen = is_seen
        self._taken = [
            _rectangle(area.x, area.y, area.yaw_rad, area.length_m, area.width_m)
            for area in layout.built
        ]

    def candidate(
        self, rng: np.random.Generator, near_m: float, far_m: float
    ) -> tuple[float, float]:
        """Draw a ground position between two distances, free or not."""
        return self._candidate(rng, near_m, far_m)

    def is_seen(self, x: float, y: float) -> bool:
        """Tell whether a position may be seen by the rig."""
        return self._is_seen is None or self._is_seen(x, y)

    def take(self, x: float, y: float, radius_m: float) -> None:
        """Mark a circle of ground as taken."""
        self._taken.append(_Taken(x=x, y=y, radius_m=radius_m))

    def take_rectangle(self, x: float, y: float, yaw_rad: float, footprint: Footprint) -> None:
        """Mark a rectangle of ground as taken, free or not."""
        self._taken.append(_rectangle(x, y, yaw_rad, footprint.length_m, footprint.width_m))

    def is_free(self, x: float, y: float, radius_m: float) -> bool:
        """Tell whether a circle overlaps nothing that is taken, buildings among it."""
        circle = _Taken(x=x, y=y, radius_m=radius_m)
        return not any(other.overlaps(circle) for other in self._taken)

    def try_take(self, x: float, y: float, yaw_rad: float, footprint: Footprint) -> bool:
        """Take a rectangle if all of it is free; tell whether it was."""
        wanted = _rectangle(x, y, yaw_rad, footprint.length_m, footprint.width_m)
        if any(other.overlaps(wanted) for other in self._taken):
            return False
        self._taken.append(wanted)
        return True

    def on_ground(self, x: float, y: float) -> FloatArray:
        """Return a position on the ground, shape (3,)."""
        return np.array([x, y, self.layout.ground_z(x, y)], np.float32)

    def place(
        self,
        rng: np.random.Generator,
        *,
        near_m: float,
        far_m: float,
        radius_m: float,
        uses: Collection[Use] = ANYWHERE,
    ) -> FloatArray | None:
        """Draw a free position, or None after twelve failures.

        Args:
            rng: Source of randomness.
            near_m: Least distance handed to the candidate function.
            far_m: Greatest distance.
            radius_m: Space needed; circles of two things never overlap.
            uses: What the ground may be for.

        Returns:
            Shape (3,), on the ground.
        """
        for _ in range(_TRIES):
            x, y = self._candidate(rng, near_m, far_m)
            area = self.layout.area_at(x, y)
            if area is None or area.use not in uses or not self.layout.is_within_reach(y):
                continue
            if self.is_free(x, y, radius_m):
                self.take(x, y, radius_m)
                return np.array([x, y, area.z], np.float32)
        return None
