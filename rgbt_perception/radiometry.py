# SPDX-License-Identifier: Apache-2.0
"""What thermal pixel values mean: counts to temperatures, by the settings."""

from __future__ import annotations

from rgbt_perception.config import ThermalConfig
from rgbt_perception.types import FloatArray, Image


class Radiometry:
    """Turns thermal pixels into temperatures.

    Attributes:
        config: Settings; may be replaced between two calls.
    """

    def __init__(self, config: ThermalConfig) -> None:
        """Take over the settings."""
        self.config = config

    def temperature_c(self, pixels: Image) -> FloatArray | None:
        """Return temperatures in degrees C, shape and NaNs kept; None when not radiometric."""
        return None
