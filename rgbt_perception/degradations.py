# SPDX-License-Identifier: Apache-2.0
"""Making one camera of a pair worse by a known amount, as a study of dominance needs it.

Dark and flat are what the night does to an RGB camera and thermal crossover to a thermal one: the
signal shrinks, the noise of the sensor stays. Noise is a sensor with too much gain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgbt_perception.errors import ConfigError
from rgbt_perception.types import ByteArray, Modality, Pair

KINDS = ('none', 'rgb_dark', 'rgb_noise', 'thermal_flat', 'thermal_noise')
# Of an ordinary sensor: it stays when the signal shrinks. Full scale, and the scene's deviation.
RGB_FLOOR, THERMAL_FLOOR = 0.01, 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """One way and strength of making a camera worse.

    Attributes:
        kind: One of ``KINDS``.
        amount: Part of the signal that is left for dark and flat, 0..1; deviation of the noise
            as a part of full scale (RGB) or of the scene's own deviation (thermal) for noise.
    """

    kind: str = 'none'
    amount: float = 1.0

    def __post_init__(self) -> None:
        """Check kind and amount.

        Raises:
            ConfigError: If one is wrong.
        """
        if self.kind not in KINDS or not 0.0 <= self.amount < float('inf'):
            raise ConfigError(
                f"degradation is '{self.kind}' of {self.amount}; expected one of "
                f'{", ".join(KINDS)} and an amount of 0 or more; correct it'
            )

    @property
    def name(self) -> str:
        """Kind and amount in one word."""
        return self.kind if self.kind == 'none' else f'{self.kind}_{self.amount:g}'

    @property
    def modality(self) -> Modality | None:
        """The camera that gets worse, None when neither does."""
        if self.kind == 'none':
            return None
        return Modality.RGB if self.kind.startswith('rgb') else Modality.THERMAL


def degrade(pair: Pair, degradation: Degradation, rng: np.random.Generator) -> Pair:
    """Return the pair with one camera made worse; the input is not changed.

    Args:
        pair: A pair with both frames.
        degradation: What to do.
        rng: Source of the noise.
    """
    rgb, thermal = pair.rgb, pair.thermal
    modality = degradation.modality
    if modality is Modality.RGB and rgb is not None:
        rgb = replace(rgb, pixels=_degrade_rgb(np.asarray(rgb.pixels, np.uint8), degradation, rng))
    if modality is Modality.THERMAL and thermal is not None:
        pixels = _degrade_thermal(np.asarray(thermal.pixels), degradation, rng)
        thermal = replace(thermal, pixels=pixels)
    return Pair(rgb=rgb, thermal=thermal)


def _degrade_rgb(
    pixels: ByteArray, degradation: Degradation, rng: np.random.Generator
) -> ByteArray:
    image = pixels.astype(np.float32) / 255.0
    is_dark = degradation.kind == 'rgb_dark'
    gain, noise = (degradation.amount, RGB_FLOOR) if is_dark else (1.0, degradation.amount)
    image = gain * image + noise * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.rint(np.clip(image, 0.0, 1.0) * 255.0), np.uint8)


def _degrade_thermal(
    pixels: NDArray[Any], degradation: Degradation, rng: np.random.Generator
) -> NDArray[Any]:
    image = pixels.astype(np.float32)
    mean, deviation = float(np.nanmean(image)), float(np.nanstd(image))
    is_flat = degradation.kind == 'thermal_flat'
    gain, noise = (degradation.amount, THERMAL_FLOOR) if is_flat else (1.0, degradation.amount)
    noisy = noise * deviation * rng.standard_normal(image.shape, np.float32)
    image = mean + gain * (image - mean) + noisy
    if np.issubdtype(pixels.dtype, np.floating):
        return image.astype(pixels.dtype)
    limits = np.iinfo(pixels.dtype)
    return np.rint(np.clip(image, limits.min, limits.max)).astype(pixels.dtype)
