# SPDX-License-Identifier: Apache-2.0
"""Which cameras of a pair can be relied on: there at all, and not blind."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgbt_perception.config import FallbackConfig
from rgbt_perception.types import Frame, Mode, Pair

# About so many rows and columns are looked at: blindness shows in a sample.
SAMPLES_PER_SIDE = 120
DARK_PERCENTILE = 99.5
# Grey level of a temperature image: the step of the usual 0.01 K counts.
TEMPERATURE_STEP_K = 0.01


class HealthMonitor:
    """Judges the cameras pair by pair, with memory: frozen images, hysteresis.

    Attributes:
        config: Settings; may be replaced between two calls.
    """

    def __init__(self, config: FallbackConfig) -> None:
        """Start without history."""
        self.config = config

    def reset(self) -> None:
        """Forget the history."""

    def assess(self, pair: Pair) -> tuple[Mode, str]:
        """Return the mode of one pair, and why a camera is not used ('' when both are)."""
        return assess(pair, self.config)


def assess(pair: Pair, config: FallbackConfig) -> tuple[Mode, str]:
    """Decide which cameras of a pair the network should look at.

    A camera is used when its frame is there and not blind. RGB is blind when it is dark (its
    99.5th percentile is at most ``dark_level``) or without contrast (standard deviation below
    ``min_contrast`` grey levels). Thermal is blind without contrast in units of its own
    quantisation (1 for counts and grey levels, 0.01 K for temperatures), or without any finite
    pixel.

    Args:
        pair: One or two frames.
        config: The thresholds.

    Returns:
        The mode, and why a camera is not used ('' when both are).
    """
    rgb_problem = 'no rgb frame' if pair.rgb is None else _rgb_problem(pair.rgb, config)
    thermal_problem = (
        'no thermal frame' if pair.thermal is None else _thermal_problem(pair.thermal, config)
    )
    mode = {
        (True, True): Mode.FUSED,
        (True, False): Mode.RGB_ONLY,
        (False, True): Mode.THERMAL_ONLY,
        (False, False): Mode.NONE,
    }[not rgb_problem, not thermal_problem]
    return mode, '; '.join(problem for problem in (rgb_problem, thermal_problem) if problem)


def _sample(pixels: NDArray[Any]) -> NDArray[Any]:
    stride_y, stride_x = (max(1, side // SAMPLES_PER_SIDE) for side in pixels.shape[:2])
    return pixels[::stride_y, ::stride_x]


def _rgb_problem(frame: Frame, config: FallbackConfig) -> str:
    sample = _sample(frame.pixels)
    bright = float(np.percentile(sample, DARK_PERCENTILE))
    if bright <= config.dark_level:
        return f'rgb is dark (p99.5 = {bright:.0f} of 255)'
    contrast = float(sample.std(axis=(0, 1)).max())  # of the best channel: colour is no contrast
    if contrast < config.min_contrast:
        return f'rgb has no contrast (standard deviation {contrast:.2f} grey levels)'
    return ''


def _thermal_problem(frame: Frame, config: FallbackConfig) -> str:
    sample = _sample(frame.pixels)
    is_temperature = frame.pixels.dtype == np.float32
    if is_temperature:
        sample = sample[np.isfinite(sample)]
        if sample.size == 0:
            return 'thermal has no finite pixel'
    contrast = float(sample.std(dtype=np.float64))
    if contrast / (TEMPERATURE_STEP_K if is_temperature else 1.0) >= config.min_contrast:
        return ''
    unit = 'K' if is_temperature else 'counts' if sample.dtype == np.uint16 else 'grey levels'
    return f'thermal has no contrast (standard deviation {contrast:.3g} {unit})'
