# SPDX-License-Identifier: Apache-2.0
"""Live check of the registration: how far thermal lies beside RGB, from the images alone."""

from __future__ import annotations

from rgbt_perception.config import RegistrationConfig
from rgbt_perception.types import FloatArray, Image, Misregistration, UNKNOWN_MISREGISTRATION


class MisregistrationMonitor:
    """Measures the shift between the registered images now and then, and smooths it.

    Attributes:
        config: Settings; may be replaced between two calls.
    """

    def __init__(self, config: RegistrationConfig) -> None:
        """Start without history."""
        self.config = config

    def reset(self) -> None:
        """Forget the history."""

    def update(self, rgb: Image, thermal: FloatArray) -> Misregistration:
        """Take in the images of one fused pair.

        Args:
            rgb: RGB image, shape (h, w, 3), uint8.
            thermal: Registered, normalised thermal image on the same grid, shape (h, w), float32.
        """
        return UNKNOWN_MISREGISTRATION
