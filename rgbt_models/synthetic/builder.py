# SPDX-License-Identifier: Apache-2.0
"""Collects materials, fixed meshes, actors, lamps and beams while a scene is put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import FIRST_OBJECT_LABEL, Label, Material
from rgbt_models.synthetic.parts import PartList

if TYPE_CHECKING:
    from rgbt_models.synthetic.actors import Actor
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Lamps:
    """Street lamps as point lights. Arrays share length n (may be 0)."""

    positions: FloatArray  # (n, 3), m
    intensities: FloatArray  # (n, 3), RGB
    thresholds: FloatArray  # (n,), lit when Environment.lights exceeds it

    def lit_intensities(self, lights: float) -> FloatArray:
        """Return intensities (n, 3), each faded in just above its threshold."""
        share = np.clip((lights - self.thresholds) * 20.0, 0.0, 1.0)
        return np.asarray(self.intensities * share[:, None], np.float32)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Beams:
    """Head lamps that move with actors: cones of light. Arrays share length n (may be 0)."""

    frames: IndexArray  # (n,), moving frame that the beam is fixed to, 0 = world
    positions: FloatArray  # (n, 3), m, in that frame
    directions: FloatArray  # (n, 3), unit, in that frame
    colours: FloatArray  # (n, 3), RGB intensity on the axis
    thresholds: FloatArray  # (n,), lit when Environment.lights exceeds it

    def lit_colours(self, lights: float) -> FloatArray:
        """Return colours (n, 3), each faded in just above its threshold."""
        share = np.clip((lights - self.thresholds) * 20.0, 0.0, 1.0)
        return np.asarray(self.colours * share[:, None], np.float32)

    def placed(self, frames: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Move the beams to where their frames are.

        Args:
            frames: ``Snapshot.frames``, shape (4, f): x, y, cos(yaw), sin(yaw).

        Returns:
            World positions (n, 3) in metres and directions (n, 3).
        """
        x, y, cos, sin = frames[:, self.frames]
        positions, directions = self.positions.copy(), self.directions.copy()
        for vectors in (positions, directions):
            forward, left = vectors[:, 0].copy(), vectors[:, 1].copy()
            vectors[:, 0] = cos * forward - sin * left
            vectors[:, 1] = sin * forward + cos * left
        positions[:, 0] += x
        positions[:, 1] += y
        return positions, directions


class SceneBuilder:
    """Registers what a scene consists of, in order; indices are handed out from zero."""

    def __init__(self) -> None:
        self.materials: list[Material] = []
        self.fixed = PartList()
        self.actors: list[Actor] = []
        self.instance_class_ids: list[int] = []
        self._num_frames = 1  # frame 0 is the world
        self._lamps: list[tuple[FloatArray, FloatArray, float]] = []
        self._beams: list[tuple[int, FloatArray, FloatArray, FloatArray, float]] = []

    def material(self, material: Material, /) -> int:
        """Register a material, return its index."""
        self.materials.append(material)
        return len(self.materials) - 1

    def new_instance(self, label: Label) -> int:
        """Register an object of a class, return its instance index."""
        self.instance_class_ids.append(int(label) - int(FIRST_OBJECT_LABEL))
        return len(self.instance_class_ids) - 1

    def new_frame(self) -> int:
        """Register a moving frame, return its index."""
        self._num_frames += 1
        return self._num_frames - 1

    def add_lamp(
        self, position: FloatArray, colour: tuple[float, float, float], threshold: float
    ) -> None:
        """Register a point light."""
        self._lamps.append((position, np.array(colour, np.float32), threshold))

    def lamps(self) -> Lamps:
        """Return all point lights."""
        count = len(self._lamps)
        return Lamps(
            positions=np.array([row[0] for row in self._lamps], np.float32).reshape(count, 3),
            intensities=np.array([row[1] for row in self._lamps], np.float32).reshape(count, 3),
            thresholds=np.array([row[2] for row in self._lamps], np.float32),
        )

    def add_beam(
        self,
        frame: int,
        position: tuple[float, float, float],
        direction: tuple[float, float, float],
        colour: tuple[float, float, float],
        threshold: float,
    ) -> None:
        """Register a cone of light that moves with a frame.

        Args:
            frame: Moving frame of the actor that carries it, 0 = fixed in the world.
            position: Metres, in that frame (x forward, y left, z up).
            direction: Along the beam's axis, in that frame, any length but zero.
            colour: RGB intensity on the axis, as of ``add_lamp``.
            threshold: Lit when Environment.lights exceeds it.
        """
        axis = np.array(direction, np.float32)
        axis /= np.linalg.norm(axis)
        row = (frame, np.array(position, np.float32), axis, np.array(colour, np.float32))
        self._beams.append((*row, threshold))

    def beams(self) -> Beams:
        """Return all cones of light."""
        count = len(self._beams)
        return Beams(
            frames=np.array([row[0] for row in self._beams], np.int32),
            positions=np.array([row[1] for row in self._beams], np.float32).reshape(count, 3),
            directions=np.array([row[2] for row in self._beams], np.float32).reshape(count, 3),
            colours=np.array([row[3] for row in self._beams], np.float32).reshape(count, 3),
            thresholds=np.array([row[4] for row in self._beams], np.float32),
        )


Candidate = Callable[[np.random.Generator, float, float], tuple[float, float]]
"""Draws a ground position (x, y) between a nearest and a farthest distance."""


class Placer:
    """Finds free ground for things of a given radius."""

    def __init__(
        self,
        candidate: Candidate,
        *,
        centre_y: float,
        road_half_width_m: float,
        reach_y: float,
        kerb_m: float,
    ) -> None:
        self._candidate = candidate
        self._centre_y = centre_y
        self._road_half_width_m = road_half_width_m
        self._reach_y = reach_y
        self._kerb_m = kerb_m
        self._taken: list[tuple[float, float, float]] = []

    def ground_z(self, y: float) -> float:
        """Return the height of the ground beside or on the road, metres."""
        return 0.0 if abs(y - self._centre_y) < self._road_half_width_m else self._kerb_m

    def take(self, x: float, y: float, radius_m: float) -> None:
        """Mark ground as taken."""
        self._taken.append((x, y, radius_m))

    def place(
        self,
        rng: np.random.Generator,
        *,
        near_m: float,
        far_m: float,
        radius_m: float,
        beyond_m: float = 0.0,
        within_m: float = math.inf,
    ) -> FloatArray | None:
        """Draw a free position, or None after twelve failures.

        Args:
            rng: Source of randomness.
            near_m: Least distance handed to the candidate function.
            far_m: Greatest distance.
            radius_m: Space needed; circles of two things never overlap.
            beyond_m: Least distance from the middle of the road.
            within_m: Greatest distance from the middle of the road.

        Returns:
            Shape (3,), on the ground.
        """
        for _ in range(12):
            x, y = self._candidate(rng, near_m, far_m)
            lateral = abs(y - self._centre_y)
            if not beyond_m <= lateral <= min(within_m, self._reach_y):
                continue
            if all(
                (x - other_x) ** 2 + (y - other_y) ** 2 > (radius_m + other_radius) ** 2
                for other_x, other_y, other_radius in self._taken
            ):
                self.take(x, y, radius_m)
                return np.array([x, y, self.ground_z(y)], np.float32)
        return None
