# SPDX-License-Identifier: Apache-2.0
"""What moves: shapes on straight courses."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Protocol, TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.meshes import move

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray


class Shape(Protocol):
    """Something an actor can look like."""

    def triangles(self, walked_m: float) -> tuple[FloatArray, IndexArray]:
        """Return the mesh in the actor's frame after a distance travelled."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RigidBody:
    """A shape that never changes: cars, bicycles."""

    mesh: FloatArray  # (n, 3, 3)
    materials: IndexArray  # (n,)

    def triangles(self, walked_m: float) -> tuple[FloatArray, IndexArray]:
        """Return the mesh; the distance does not matter."""
        del walked_m
        return self.mesh, self.materials


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Course:
    """A straight way at constant speed."""

    position: FloatArray  # (3,), m, at the start
    yaw_rad: float
    speed_m_s: float = 0.0
    start_s: float = 0.0  # stands until then
    length_m: float = math.inf  # stands after that distance

    @property
    def heading(self) -> FloatArray:
        """Direction of travel, shape (3,), unit length."""
        return np.array([math.cos(self.yaw_rad), math.sin(self.yaw_rad), 0.0], np.float32)

    def travelled_at(self, time_s: float) -> float:
        """Return the distance travelled until a time, metres."""
        return min(self.speed_m_s * max(time_s - self.start_s, 0.0), self.length_m)

    def position_at(self, time_s: float) -> FloatArray:
        """Return the position at a time, shape (3,)."""
        travelled = np.float32(self.travelled_at(time_s))
        return np.asarray(self.position + travelled * self.heading, np.float32)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Actor:
    """Anything that may move, on its course."""

    shape: Shape
    frame: int  # Material.frame of everything it is made of
    course: Course

    def triangles_at(self, time_s: float) -> tuple[FloatArray, IndexArray]:
        """Return world-frame triangles (n, 3, 3) and the material of each (n,)."""
        mesh, materials = self.shape.triangles(self.course.travelled_at(time_s))
        return move(mesh, self.course.yaw_rad, self.course.position_at(time_s)), materials
