# SPDX-License-Identifier: Apache-2.0
"""Ray casting with Embree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.errors import RGBTError

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import BoolArray, FloatArray, IndexArray


class SimulationDependencyError(RGBTError, ImportError):
    """A package that only the synthetic world needs is missing."""


class RayCaster:
    """An Embree scene over a triangle soup."""

    def __init__(self, triangles: FloatArray) -> None:
        """Build the acceleration structure.

        Args:
            triangles: Shape (n, 3, 3), float32, metres.

        Raises:
            SimulationDependencyError: If embreex is not installed.
        """
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise SimulationDependencyError(
                'embreex is not installed; the synthetic world needs it to cast rays; '
                "install it with: pip install 'rgbt_perception[sim]'"
            ) from error
        self.triangles = np.ascontiguousarray(triangles, np.float32)
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, self.triangles)

    def cast(self, origin: FloatArray, directions: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Find the nearest surface along rays from one point.

        Args:
            origin: Shape (3,), metres.
            directions: Unit vectors, shape (n, 3), float32.

        Returns:
            Triangle index (n,), -1 = nothing, and distance (n,), inf = nothing.
        """
        origins = np.empty_like(directions)
        origins[:] = origin
        return self.cast_from(origins, directions)

    def cast_from(
        self, origins: FloatArray, directions: FloatArray
    ) -> tuple[IndexArray, FloatArray]:
        """Find the nearest surface along rays from as many points.

        Args:
            origins: Shape (n, 3), float32, metres, a little off their surfaces.
            directions: Unit vectors, shape (n, 3), float32.

        Returns:
            As ``cast``.
        """
        found = self._scene.run(origins, directions, output=1)
        triangle = np.asarray(found['primID'], np.int32)
        distance = np.asarray(found['tfar'], np.float32)
        distance[triangle < 0] = np.inf
        return triangle, distance

    def is_blocked(self, origins: FloatArray, direction: FloatArray) -> BoolArray:
        """Tell which points do not see in a direction (to the sun).

        Args:
            origins: Shape (n, 3), float32, a little off their surfaces.
            direction: Shape (3,), unit.

        Returns:
            True = something is in the way, shape (n,).
        """
        # Embree's wrapper takes a single direction for all origins.
        directions = np.asarray(direction, np.float32).reshape(1, 3)
        found = self._scene.run(origins, directions, query='OCCLUDED')
        return np.asarray(found) >= 0
