# SPDX-License-Identifier: Apache-2.0
"""Collects materials, fixed meshes, actors, lamps and beams while a scene is put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import FIRST_OBJECT_LABEL, Label, lit_share, Material
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
        return self.intensities * lit_share(lights, self.thresholds)[:, None]


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
        return self.colours * lit_share(lights, self.thresholds)[:, None]

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
        """Register a point light.

        Args:
            position: Shape (3,), metres.
            colour: RGB intensity.
            threshold: Lit when Environment.lights exceeds it.
        """
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
