# SPDX-License-Identifier: Apache-2.0
"""What cameras do when they fail, as changes of their images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rgbt_models.synthetic.thermal_sensor import ThermalSensor

Image: TypeAlias = NDArray[Any]

CAMERAS = ('rgb', 'thermal')
LATE_S = 0.5  # how much later messages arrive
_COVER_LEVEL, _COVER_NOISE = 2.0, 1.2  # of 255
_CAP_C = 24.0  # of a lens cap: the camera's own warmth
_QUIET_K = 0.02  # noise of what has no contrast
_DARK_GAIN = 1.0 / 24.0
_FLAT_GAIN = 0.02  # thermal contrast that is left
_NOISE_LEVEL = 70.0  # of 255
_NOISE_SHARE = 3.0  # of the standard deviation of the thermal image
_FLARE = 200.0


class FaultKind(str, Enum):
    """How a camera fails.

    gap: sends nothing. covered: something is before the lens. frozen: repeats its last image
    under new stamps, its first one if it fails from the start. dark: RGB far too dark, thermal
    without contrast. saturated: at the upper end of its range. noise: hidden in noise. ffc: the
    shutter of a thermal camera is closed for a flat-field correction: it repeats its last image,
    and its pattern is another one afterwards. late: messages arrive half a second later.
    """

    GAP = 'gap'
    COVERED = 'covered'
    FROZEN = 'frozen'
    DARK = 'dark'
    SATURATED = 'saturated'
    NOISE = 'noise'
    FFC = 'ffc'
    LATE = 'late'


def kinds_of(camera: str) -> tuple[str, ...]:
    """Return the failures that a camera can have: only a thermal one has a shutter."""
    return tuple(
        kind.value for kind in FaultKind if camera == 'thermal' or kind is not FaultKind.FFC
    )


def spoil_image(
    image: Image,
    kind: FaultKind,
    rng: np.random.Generator,
    *,
    last: Image | None,
    sensor: ThermalSensor | None = None,
) -> Image | None:
    """Return what a failing camera sends instead of an image.

    Args:
        image: What it would have sent: RGB (h, w, 3) uint8 or thermal counts (h, w) uint16.
        kind: How it fails.
        rng: Draws noise.
        last: What it sent last while it worked, None if there was nothing.
        sensor: What thermal counts mean; TLinear 0.01 K if None.

    Returns:
        The image, of the same shape and type; None = it sends nothing.
    """
    if kind is FaultKind.GAP:
        return None
    if kind is FaultKind.LATE:
        return image
    if kind in (FaultKind.FROZEN, FaultKind.FFC):
        return image if last is None else last
    if image.ndim == 3:
        return _spoil_rgb(image, kind, rng)
    return _spoil_thermal(image, kind, rng, sensor or ThermalSensor())


@dataclass(slots=True)
class FailingCamera:
    """One camera that may fail: it remembers what it repeats when it freezes.

    That is its last good image, however late its message was; without any, the first image
    that it took while it failed.
    """

    _last: Image | None = None

    def send(
        self,
        image: Image,
        kind: FaultKind | None,
        rng: np.random.Generator,
        *,
        sensor: ThermalSensor | None = None,
    ) -> Image | None:
        """Return what the camera sends, in order of exposure.

        Args:
            image: What a good camera sends.
            kind: How it fails; None = it works.
            rng: Draws noise.
            sensor: What thermal counts mean; TLinear 0.01 K if None.
        """
        if kind in {None, FaultKind.LATE} or self._last is None:
            self._last = image
        if kind is None:
            return image
        return spoil_image(image, kind, rng, last=self._last, sensor=sensor)


def _spoil_rgb(image: Image, kind: FaultKind, rng: np.random.Generator) -> Image:
    values = image.astype(np.float32)
    if kind is FaultKind.SATURATED:
        return _to_type_of(image, values + np.float32(_FLARE), 255)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    if kind is FaultKind.COVERED:
        values = np.float32(_COVER_LEVEL) + np.float32(_COVER_NOISE) * noise
    elif kind is FaultKind.DARK:
        values = np.float32(_DARK_GAIN) * values + noise
    else:
        values += np.float32(_NOISE_LEVEL) * noise
    return _to_type_of(image, values, 255)


def _spoil_thermal(
    image: Image, kind: FaultKind, rng: np.random.Generator, sensor: ThermalSensor
) -> Image:
    if kind is FaultKind.SATURATED:
        return np.full_like(image, sensor.largest_count)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    quiet = np.float32(_QUIET_K * sensor.counts_per_k) * noise
    values = image.astype(np.float32)
    mean = np.float32(values.mean())
    if kind is FaultKind.COVERED:
        values = np.float32(sensor.zero_c_counts + sensor.counts_per_k * _CAP_C) + quiet
    elif kind is FaultKind.DARK:
        values = mean + np.float32(_FLAT_GAIN) * (values - mean) + quiet
    else:
        values += np.float32(_NOISE_SHARE) * np.float32(values.std()) * noise
    return _to_type_of(image, values, sensor.largest_count)


def _to_type_of(image: Image, values: Image, largest: int) -> Image:
    return np.clip(np.rint(values), 0, largest).astype(image.dtype)
