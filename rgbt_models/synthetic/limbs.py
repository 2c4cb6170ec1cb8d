# SPDX-License-Identifier: Apache-2.0
"""Limbs of people, animals and machines: rounded, tapered rods with joints.

Points are plain tuples (x forward, y to the left, z up, metres): for a dozen joints Python is
faster than arrays. All limbs of a body become a mesh in two calls.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from rgbt_models.synthetic.meshes import capsules

if TYPE_CHECKING:
    from rgbt_models.synthetic.parts import PartList

Point: TypeAlias = tuple[float, float, float]


def shifted(point: Point, x: float, y: float, z: float) -> Point:
    """Return a point moved by an offset."""
    return point[0] + x, point[1] + y, point[2] + z


def along(start: Point, direction: Point, length_m: float) -> Point:
    """Return the point at a distance from another; ``direction`` has unit length."""
    return (
        start[0] + direction[0] * length_m,
        start[1] + direction[1] * length_m,
        start[2] + direction[2] * length_m,
    )


def bend(
    root: Point, target: Point, lengths_m: tuple[float, float], towards: Point
) -> tuple[Point, Point]:
    """Bend a limb of two parts so that its end reaches for a target.

    A target out of reach is approached as far as the straight limb goes.

    Args:
        root: Shoulder or hip.
        target: Where wrist or ankle should be.
        lengths_m: Of the upper and the lower part.
        towards: Rough direction in which the elbow or knee points.

    Returns:
        Elbow or knee, and the wrist or ankle.
    """
    upper, lower = lengths_m
    span = max(math.dist(root, target), 1e-6)
    axis = tuple((end - start) / span for start, end in zip(root, target, strict=True))
    span = min(max(span, abs(upper - lower) + 1e-3), 0.999 * (upper + lower))
    reach = (upper * upper - lower * lower + span * span) / (2.0 * span)
    height = math.sqrt(max(upper * upper - reach * reach, 0.0))
    share = sum(a * b for a, b in zip(axis, towards, strict=True))
    out = [b - share * a for a, b in zip(axis, towards, strict=True)]
    norm = math.hypot(*out) + 1e-9
    x, y, z = (
        start + reach * a + height * b / norm for start, a, b in zip(root, axis, out, strict=True)
    )
    return (x, y, z), along(root, (axis[0], axis[1], axis[2]), span)


class LimbList:
    """Collects limbs with their materials."""

    def __init__(self) -> None:
        self._fine: list[tuple[float, ...]] = []
        self._plain: list[tuple[float, ...]] = []
        self._fine_materials: list[int] = []
        self._plain_materials: list[int] = []

    def add(
        self,
        start: Point,
        end: Point,
        radii_m: tuple[float, float],
        material: int,
        *,
        flatness: float = 1.0,
        cap: float = 1.0,
    ) -> None:
        """Append a limb.

        Args:
            start: Middle of one cap.
            end: Middle of the other cap.
            radii_m: At the start and at the end.
            material: Index of its material.
            flatness: Thickness front to back as a fraction of the width.
            cap: Height of the caps as a fraction of their radius.
        """
        row = (*start, *end, *radii_m, flatness, cap)
        self._plain.append(row)
        self._plain_materials.append(material)

    def add_fine(
        self,
        start: Point,
        end: Point,
        radii_m: tuple[float, float],
        material: int,
        *,
        flatness: float = 1.0,
        cap: float = 1.0,
    ) -> None:
        """Append a limb of more triangles, for what decides the silhouette."""
        self._fine.append((*start, *end, *radii_m, flatness, cap))
        self._fine_materials.append(material)

    def tube(self, start: Point, end: Point, radius_m: float, material: int) -> None:
        """Append a thin rod."""
        self.add(start, end, (radius_m, radius_m), material)

    def move_to(self, parts: PartList) -> None:
        """Append the meshes of all limbs to a part list."""
        for rows, materials, is_fine in (
            (self._fine, self._fine_materials, True),
            (self._plain, self._plain_materials, False),
        ):
            if rows:
                meshes = capsules(np.array(rows, np.float32), is_fine=is_fine)
                parts.add_each(meshes, materials)
