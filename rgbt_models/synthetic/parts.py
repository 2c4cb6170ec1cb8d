# SPDX-License-Identifier: Apache-2.0
"""Lists of meshes with their materials."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from typing import Any, Protocol, TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import Label, Material

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray

_UNPAINTED = (0.03, 0.03, 0.03)


class MaterialAdder(Protocol):
    """Registers a material and returns its index."""

    def __call__(self, material: Material, /) -> int:
        """Register one material."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The place of one object in a scene."""

    add: MaterialAdder
    label: Label
    instance: int  # of the object
    frame: int  # moving frame that its textures stick to
    ambient_c: float  # air temperature, which clothes, fur and engines depend on

    def painter(self, **fields: Any) -> Painter:
        """Return a painter for this object; ``fields`` are those of ``Material``."""
        base = Material(
            label=self.label, albedo=_UNPAINTED, instance=self.instance, frame=self.frame, **fields
        )  # fmt: skip
        return Painter(self.add, base)


class Painter:
    """Registers the materials of one object, which share most of their fields."""

    def __init__(self, add: MaterialAdder, base: Material) -> None:
        self._add, self._base = add, base

    def __call__(self, albedo: tuple[float, float, float], **fields: Any) -> int:
        """Register the base with another albedo and other fields of ``Material``."""
        return self._add(replace(self._base, albedo=albedo, **fields))


class PartList:
    """Collects triangles and the material of each."""

    def __init__(self) -> None:
        self._triangles: list[FloatArray] = []
        self._materials: list[IndexArray] = []

    def add(self, triangles: FloatArray, material: int) -> None:
        """Append a mesh, shape (n, 3, 3), made of one material."""
        self.add_mixed(triangles, np.full(len(triangles), material, np.int32))

    def add_each(self, triangles: FloatArray, materials: list[int]) -> None:
        """Append meshes of equal size, shape (m, n, 3, 3), each made of its own material."""
        indices = np.repeat(np.array(materials, np.int32), triangles.shape[1])
        self.add_mixed(triangles.reshape(-1, 3, 3), indices)

    def add_mixed(self, triangles: FloatArray, materials: IndexArray) -> None:
        """Append a mesh (n, 3, 3) with the material of each triangle (n,)."""
        self._triangles.append(triangles)
        self._materials.append(materials)

    def joined(self) -> tuple[FloatArray, IndexArray]:
        """Return all triangles (n, 3, 3) and the material index of each (n,)."""
        if not self._triangles:
            return np.zeros((0, 3, 3), np.float32), np.zeros(0, np.int32)
        return np.concatenate(self._triangles), np.concatenate(self._materials)


def tilted(triangles: FloatArray, roll_rad: float) -> FloatArray:
    """Turn a mesh about its x axis (positive = to the right) and stand it on z = 0 again."""
    cos, sin = math.cos(roll_rad), math.sin(roll_rad)
    rotation = np.array([[1.0, 0.0, 0.0], [0.0, cos, sin], [0.0, -sin, cos]], np.float32)
    turned = triangles @ rotation
    turned[..., 2] -= turned[..., 2].min()
    return np.asarray(turned, np.float32)
