# SPDX-License-Identifier: Apache-2.0
"""Lists of meshes with their materials."""

from __future__ import annotations

from typing import Protocol, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray
    from rgbt_models.synthetic.materials import Material


class MaterialAdder(Protocol):
    """Registers a material and returns its index."""

    def __call__(self, material: Material, /) -> int:
        """Register one material."""


class PartList:
    """Collects triangles and the material of each."""

    def __init__(self) -> None:
        self._triangles: list[FloatArray] = []
        self._materials: list[int] = []

    def add(self, triangles: FloatArray, material: int) -> None:
        """Append a mesh, shape (n, 3, 3), made of one material."""
        self._triangles.append(triangles)
        self._materials.append(material)

    def joined(self) -> tuple[FloatArray, IndexArray]:
        """Return all triangles (n, 3, 3) and the material index of each (n,)."""
        if not self._triangles:
            return np.zeros((0, 3, 3), np.float32), np.zeros(0, np.int32)
        counts = [len(triangles) for triangles in self._triangles]
        materials = np.repeat(np.array(self._materials, np.int32), counts)
        return np.concatenate(self._triangles), materials
