# SPDX-License-Identifier: Apache-2.0
"""From thermal frames to the network's 0..1 range: the normaliser the settings choose."""

from __future__ import annotations

import cv2
import numpy as np

from rgbt_models.normalise import ThermalNormaliser, WindowNormaliser
from rgbt_models.smoothing import SmoothedPercentileNormaliser
from rgbt_perception.config import ThermalConfig
from rgbt_perception.radiometry import Radiometry
from rgbt_perception.types import FloatArray, Frame

CLAHE_TILES = (8, 8)


class ThermalScaler:
    """Normalises the thermal frames of one camera, in the order they come.

    Attributes:
        config: Settings; may be replaced between two calls.
        problem: Why the chosen normaliser, or the hot spot warning, could not be used on the last
            frame; '' when they were.
    """

    def __init__(
        self, config: ThermalConfig, card_normaliser: ThermalNormaliser, radiometry: Radiometry
    ) -> None:
        """Start without history.

        Args:
            config: Settings; ``clahe_clip`` is taken over for good.
            card_normaliser: The rule of the card; its clip values hold for every normaliser.
            radiometry: What gives temperatures.
        """
        self.config = config
        self.problem = ''
        self._card_normaliser = card_normaliser
        self._radiometry = radiometry
        self._smoothed = SmoothedPercentileNormaliser(
            card_normaliser, time_constant_s=config.time_constant_s
        )
        self._clahe = (
            cv2.createCLAHE(config.clahe_clip, CLAHE_TILES) if config.clahe_clip > 0.0 else None
        )

    def reset(self) -> None:
        """Forget the history."""
        self._smoothed.reset()
        self.problem = ''

    def __call__(self, frame: Frame) -> FloatArray:
        """Return the normalised image, shape (h, w), float32, about 0..1, finite.

        Counts that need more than ``signal_bits`` are taken as broken pixels: they do not count
        and become 0, as NaN does. Broken pixels are 0 before CLAHE.
        """
        self.problem = ''
        if self.config.hot_spot_c > 0.0 and self._radiometry.unit(frame.pixels) == 'counts':
            self.problem = (
                f'no hot spot can be found: the thermal image is '
                f'{self._radiometry.describe(frame.pixels)}; set thermal.reading, or '
                f'thermal.hot_spot_c to 0'
            )
        image = self._normalise(frame)
        return image if self._clahe is None else _equalise(image, self._clahe)

    def _normalise(self, frame: Frame) -> FloatArray:
        config = self.config
        pixels = self._radiometry.mark_overflow(frame.pixels)
        if config.normaliser == 'percentile':
            self._smoothed.time_constant_s = config.time_constant_s
            return self._smoothed(pixels, stamp_ns=frame.stamp_ns)
        self._smoothed.reset()
        if config.normaliser == 'window':
            temperature_c = self._radiometry.temperature_c(frame.pixels)
            if temperature_c is not None:
                window = WindowNormaliser(
                    low_c=config.window_low_c,
                    high_c=config.window_high_c,
                    rule=self._card_normaliser,
                )
                return window(temperature_c)
            self.problem = (
                f'normaliser window needs temperatures, but the thermal image is '
                f'{self._radiometry.describe(frame.pixels)}; set thermal.reading, or '
                f"thermal.normaliser to card; until then the card's rule is used"
            )
        return self._card_normaliser(pixels)


def _equalise(image: FloatArray, clahe: cv2.CLAHE) -> FloatArray:
    """Equalise local contrast within 0..1; what lies beyond keeps its distance."""
    inside = np.clip(image, 0.0, 1.0)
    levels = clahe.apply(np.rint(inside * np.float32(255.0)).astype(np.uint8))
    return np.asarray(levels.astype(np.float32) / np.float32(255.0) + (image - inside))
