# SPDX-License-Identifier: Apache-2.0
"""Fractal noise that varies surfaces, fixed to the objects it lies on."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgbt_models.synthetic.arrays import FloatArray

NUM_TEXTURES = 6
_SIZE = 1024
_MASK = _SIZE - 1
_TEXELS_PER_CELL = 4  # stored texels per texel of ``Appearance.texels_per_m``
_STORED_PER_UNIT = 30.0  # int8 steps per standard deviation
_SEED = 100


class Grain(Enum):
    """Which sizes of spots noise has."""

    FRACTAL = 0  # all
    SMOOTH = 1  # the large ones of FRACTAL, at the same places
    FINE = 2  # two small ones only


# Cells along a side and amplitude.
_OCTAVES = {
    Grain.FRACTAL: (
        (4, 1.0), (8, 0.8), (16, 0.7), (32, 0.6), (64, 0.5), (128, 0.5), (256, 0.35), (512, 0.25),
    ),
    Grain.SMOOTH: ((4, 1.0), (8, 0.8), (16, 0.7), (32, 0.6)),
    Grain.FINE: ((64, 0.7), (512, 1.0)),
}  # fmt: skip


@cache
def _texture(index: int, grain: Grain) -> NDArray[np.int8]:
    rng = np.random.default_rng(_SEED + index)
    total = np.zeros((_SIZE, _SIZE), np.float32)
    for cells, amplitude in _OCTAVES[grain]:
        lattice = rng.standard_normal((cells, cells), dtype=np.float32)
        # A wrapped border of one cell on all sides makes the enlarged middle periodic.
        lattice = np.pad(lattice, 1, mode='wrap')
        step = _SIZE // cells
        side = _SIZE + 2 * step
        fine = cv2.resize(lattice, (side, side), interpolation=cv2.INTER_LINEAR)
        total += np.float32(amplitude) * fine[step : step + _SIZE, step : step + _SIZE]
    total -= total.mean()
    total *= _STORED_PER_UNIT / total.std()
    return np.clip(np.rint(total), -127, 127).astype(np.int8).ravel()


def sample_texture(
    index: int,
    u: FloatArray,
    v: FloatArray,
    texels_per_m: float,
    *,
    grain: Grain = Grain.FRACTAL,
) -> FloatArray:
    """Look up noise of zero mean and unit variance.

    Args:
        index: Which texture, 0..NUM_TEXTURES - 1.
        u: Surface coordinate, metres, any shape.
        v: The other surface coordinate, same shape.
        texels_per_m: Scale; the noise repeats every 256 texels.
        grain: Which sizes of spots it has.
    """
    scale = np.float32(texels_per_m * _TEXELS_PER_CELL)
    column = np.floor(u * scale).astype(np.int32)
    row = np.floor(v * scale).astype(np.int32)
    column &= _MASK
    row &= _MASK
    row *= _SIZE
    row += column
    noise = _texture(index, grain).take(row).astype(np.float32)
    noise *= np.float32(1.0 / _STORED_PER_UNIT)
    return np.asarray(noise)
