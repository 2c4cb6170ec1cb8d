# SPDX-License-Identifier: Apache-2.0
"""Temperature of each detection, from the thermal pixels its box covers."""

from __future__ import annotations

import numpy as np

from rgbt_perception.registration import Registration
from rgbt_perception.types import Detections, FloatArray, Temperatures


def unknown_temperatures(num_detections: int) -> Temperatures:
    """Return NaN for every detection."""
    nan = np.full(num_detections, np.nan, np.float32)
    return Temperatures(min_c=nan, mean_c=nan, max_c=nan)


def measure_temperatures(
    detections: Detections,
    temperature_c: FloatArray | None,
    registration: Registration,
    source_hw: tuple[int, int],
    *,
    is_thermal_grid: bool,
) -> Temperatures:
    """Measure the thermal pixels below each box.

    Args:
        detections: Boxes in reference pixels.
        temperature_c: Thermal image, shape (h, w), degrees C at its own resolution; NaN = invalid
            pixel. None when it is not radiometric.
        registration: How thermal pixels lie on the RGB grid.
        source_hw: Height and width of the reference image, px.
        is_thermal_grid: True when the reference image is the thermal image itself.
    """
    if temperature_c is None:
        return unknown_temperatures(len(detections))
    raise NotImplementedError  # filled in by the thermal part
