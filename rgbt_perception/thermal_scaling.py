# SPDX-License-Identifier: Apache-2.0
"""From thermal frames to the network's 0..1 range: the normaliser the settings choose."""

from __future__ import annotations

from rgbt_models.normalise import ThermalNormaliser
from rgbt_perception.config import ThermalConfig
from rgbt_perception.radiometry import Radiometry
from rgbt_perception.types import FloatArray, Frame


class ThermalScaler:
    """Normalises the thermal frames of one camera, in the order they come.

    Attributes:
        config: Settings; may be replaced between two calls.
        problem: Why the chosen normaliser could not be used on the last frame, '' when it was.
    """

    def __init__(
        self, config: ThermalConfig, card_normaliser: ThermalNormaliser, radiometry: Radiometry
    ) -> None:
        """Start without history."""
        self.config = config
        self.problem = ''
        self._card_normaliser = card_normaliser
        self._radiometry = radiometry

    def reset(self) -> None:
        """Forget the history."""

    def __call__(self, frame: Frame) -> FloatArray:
        """Return the normalised image, shape (h, w), float32, about 0..1, finite."""
        return self._card_normaliser(frame.pixels)
