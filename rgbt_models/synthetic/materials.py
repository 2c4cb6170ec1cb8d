# SPDX-License-Identifier: Apache-2.0
"""What surfaces are made of: how they look, how warm they are, which class they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray

BODY_C = 33.5
"""Temperature of skin and of clothes worn close to it."""


class Label(IntEnum):
    """Segmentation classes, in the order of the model's label set."""

    SKY = 0
    ROAD = 1
    SIDEWALK = 2  # any paved or bare ground that is not road
    BUILDING = 3
    VEGETATION = 4  # grass too
    POLE = 5
    PERSON = 6
    RIDER = 7
    BICYCLE = 8
    MOTORBIKE = 9
    CAR = 10  # vans too
    TRUCK = 11  # buses too
    ANIMAL = 12


FIRST_OBJECT_LABEL = Label.PERSON
"""Detection class id = label - FIRST_OBJECT_LABEL."""


class Pattern(IntEnum):
    """Surface patterns that are computed, not stored."""

    PLAIN = 0
    PAVING = 1
    FACADE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One surface of one object.

    Temperature (before sun, sky and texture) in calm, dry air is ``ambient + thermal_contrast *
    (offset_k + body_share * (BODY_C - ambient) + ground_share * ground_offset_k
    + soak * solar_heating_k + lamp_k * (is lit))``.
    """

    label: Label
    albedo: tuple[float, float, float]
    instance: int = -1  # -1 = no object
    frame: int = 0  # index of the moving frame the texture sticks to, 0 = world
    offset_k: float = 0.0
    body_share: float = 0.0
    ground_share: float = 0.0
    solar: float = 0.3  # share of solar_heating_k where the sun falls
    soak: float = 0.0  # share of solar_heating_k everywhere
    lamp_k: float = 0.0
    texture_rgb: float = 0.08
    texture_k: float = 0.4
    emission: float = 0.0  # radiance relative to albedo, when lit
    light_threshold: float = 0.5  # lit when Environment.lights exceeds it
    is_glossy: bool = False  # reflects the sky in both modalities
    sky_cooling: float = 0.5  # share of Environment.sky_cooling_k where it faces up
    pattern: Pattern = Pattern.PLAIN
    pattern_seed: int = 0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MaterialTable:
    """All materials of a scene as columns, indexed by material."""

    label: IndexArray
    instance: IndexArray
    frame: IndexArray
    albedo: FloatArray  # (3, n)
    offset_k: FloatArray
    body_share: FloatArray
    ground_share: FloatArray
    solar: FloatArray
    soak: FloatArray
    lamp_k: FloatArray
    texture_rgb: FloatArray
    texture_k: FloatArray
    emission: FloatArray
    light_threshold: FloatArray
    is_glossy: FloatArray
    sky_cooling: FloatArray
    pattern: IndexArray
    pattern_seed: IndexArray

    @classmethod
    def from_materials(cls, materials: list[Material]) -> MaterialTable:
        """Turn rows into columns."""

        def floats(name: str) -> FloatArray:
            return np.array([getattr(row, name) for row in materials], np.float32)

        def integers(name: str) -> IndexArray:
            return np.array([int(getattr(row, name)) for row in materials], np.int32)

        return cls(
            label=integers('label'),
            instance=integers('instance'),
            frame=integers('frame'),
            albedo=np.ascontiguousarray(floats('albedo').T),
            offset_k=floats('offset_k'),
            body_share=floats('body_share'),
            ground_share=floats('ground_share'),
            solar=floats('solar'),
            soak=floats('soak'),
            lamp_k=floats('lamp_k'),
            texture_rgb=floats('texture_rgb'),
            texture_k=floats('texture_k'),
            emission=floats('emission'),
            light_threshold=floats('light_threshold'),
            is_glossy=floats('is_glossy'),
            sky_cooling=floats('sky_cooling'),
            pattern=integers('pattern'),
            pattern_seed=integers('pattern_seed'),
        )

    def lit_share(self, lights: float) -> FloatArray:
        """Return how far each material's lamp is on, 0..1: a ramp just above its threshold."""
        return lit_share(lights, self.light_threshold)


def lit_share(lights: float, thresholds: FloatArray) -> FloatArray:
    """Return how far lamps are on, 0..1, shape (n,): a ramp of 0.05 above each threshold (n,)."""
    return np.asarray(np.clip((lights - thresholds) * 20.0, 0.0, 1.0), np.float32)


def sample_colour(
    rng: np.random.Generator, *, is_dark: bool = False
) -> tuple[float, float, float]:
    """Draw an albedo: half greyish, half coloured, 0.01..0.7."""
    hue = rng.uniform(0.0, 180.0)
    saturation = rng.uniform(0.0, 60.0) if rng.random() < 0.5 else rng.uniform(60.0, 220.0)
    value = rng.uniform(10.0, 235.0) * (0.45 if is_dark else 1.0)
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    red, green, blue = (cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] / 255.0) ** 2 * 0.8 + 0.01
    return float(red), float(green), float(blue)


def shade(
    colour: tuple[float, float, float], factor: float, lift: float = 0.0
) -> tuple[float, float, float]:
    """Return ``colour * factor + lift``."""
    red, green, blue = colour
    return red * factor + lift, green * factor + lift, blue * factor + lift


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))
