# SPDX-License-Identifier: Apache-2.0
"""Whether one image shows anything: dark, saturated, without contrast, dead rows, byte order.

Every check looks at a sample of the pixels. The limits that are not settings were measured on
about 300 real images of both kinds: those have at most 11 % constant rows or columns and a noise
share of at most 0.21.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.config import FallbackConfig, ThermalConfig
from rgbt_perception.types import ByteArray, Image

# About so many rows and columns are looked at: blindness shows in a sample.
SAMPLES_PER_SIDE = 120
DARK_PERCENTILE = 99.5
# White as a JPEG brings it: not every pixel is exactly 255.
WHITE_LEVEL = 250
# One step of a temperature image: that of the usual 0.01 K counts.
TEMPERATURE_STEP_K = 0.01
# Largest share of rows, or of columns, that are one value from end to end.
MAX_DEAD_LINES = 0.45
PROBE_STRIDE = 16
# Largest share of pixels without a finite temperature; a cold sky may be out of range.
MAX_INVALID = 0.8
# Noise share (see _noise_share) from which on an image of little contrast shows nothing but noise.
NOISE_SHARE = 0.8
# ... little contrast: up to so many times ``fallback.min_contrast``. Single lights at night are
# noise by this measure, but of more contrast; 12 counts of 0.01 K are an old core's noise.
RGB_NOISE_CONTRAST = 4.0
THERMAL_NOISE_CONTRAST = 12.0
# 16-bit values are in the wrong order when neighbours are so many times closer after a swap.
SWAP_GAIN = 8.0

UNSHARP = 'clean the lens, check its focus and the exposure'
INVALID = 'check what the camera sends'


def take_sample(pixels: Image) -> NDArray[Any]:
    """Return a contiguous copy of every n-th row and column, at least 120 of each if there are."""
    stride_y, stride_x = _strides(pixels)
    return np.array(pixels[::stride_y, ::stride_x], order='C')


def quantum_of(pixels: Image) -> float:
    """Return one quantisation step: 1 for grey levels and counts, 0.01 K for temperatures."""
    return TEMPERATURE_STEP_K if pixels.dtype == np.float32 else 1.0


def find_rgb_problem(pixels: Image, sample: NDArray[Any], config: FallbackConfig) -> str:
    """Say why an RGB image shows nothing.

    Args:
        pixels: uint8 (h, w, 3).
        sample: What ``take_sample`` returns for it.
        config: The thresholds.

    Returns:
        The reason, '' for a good image.
    """
    if _is_dark(sample, config.dark_level):
        bright = float(np.percentile(sample, DARK_PERCENTILE))
        return f'rgb is dark (p99.5 = {bright:.0f} of 255): uncover the lens or add light'
    is_white = cv2.inRange(sample, (WHITE_LEVEL,) * 3, (255,) * 3)
    white = cv2.countNonZero(is_white) / is_white.size
    if white > config.max_saturated:
        return (
            f'rgb is saturated ({100 * white:.0f} % of the pixels at {WHITE_LEVEL} or more): '
            f'check its exposure'
        )
    # Of the best channel: colour alone is no contrast.
    contrast = float(cv2.meanStdDev(sample)[1].max())
    if contrast < config.min_contrast:
        return f'rgb has no contrast (standard deviation {contrast:.2f} grey levels): {UNSHARP}'
    return _find_dead_lines('rgb', sample) or _find_noise(
        'rgb', pixels[..., 1], contrast, RGB_NOISE_CONTRAST * config.min_contrast, 'grey levels'
    )


def find_thermal_problem(
    pixels: Image, sample: NDArray[Any], config: FallbackConfig, thermal: ThermalConfig
) -> str:
    """Say why a thermal image shows nothing.

    Contrast is measured in quantisation steps: grey levels, counts, or 0.01 K.

    Args:
        pixels: uint8, uint16 or float32 (h, w).
        sample: What ``take_sample`` returns for it.
        config: The thresholds.
        thermal: How many bits of a 16-bit value are in use, and whether bytes were swapped.

    Returns:
        The reason, '' for a good image.
    """
    if sample.dtype == np.float32:
        finite = sample[np.isfinite(sample)]
        if finite.size == 0:
            return f'thermal has no finite pixel: {INVALID}'
        invalid = 1.0 - finite.size / sample.size
        if invalid > MAX_INVALID:
            return f'thermal has {100 * invalid:.0f} % pixels without a finite value: {INVALID}'
        contrast, unit = float(finite.std(dtype=np.float64)), 'K'
    else:
        problem = _find_saturation(sample, config, thermal)
        if problem:
            return problem
        contrast = float(cv2.meanStdDev(sample)[1][0, 0])
        unit = 'counts' if sample.dtype == np.uint16 else 'grey levels'
    step = quantum_of(sample)
    if contrast / step < config.min_contrast:
        return f'thermal has no contrast (standard deviation {contrast:.3g} {unit}): {UNSHARP}'
    if sample.dtype == np.uint16 and is_byte_swapped(pixels):
        return (
            f'thermal has its bytes swapped: set thermal.is_byte_swapped to '
            f'{"false" if thermal.is_byte_swapped else "true"}'
        )
    return _find_dead_lines('thermal', sample) or _find_noise(
        'thermal', pixels, contrast, THERMAL_NOISE_CONTRAST * config.min_contrast * step, unit
    )


def is_byte_swapped(pixels: Image) -> bool:
    """Say whether 16-bit counts are in the wrong byte order.

    Neighbouring pixels of an image are close to each other. With the bytes swapped the noise of
    the low byte is in the high byte, and they are not.

    Args:
        pixels: uint16 (h, w).

    Source: ours.
    """
    if min(pixels.shape) < 2:
        return False
    here, right, down = _neighbours(pixels)
    if not (here & 0xFF).any():  # 8 bits in the upper half: either order may be right
        return False
    swapped_here = here.byteswap()
    rough = min(_distance(here, right), _distance(here, down))
    swapped_rough = min(
        _distance(swapped_here, right.byteswap()), _distance(swapped_here, down.byteswap())
    )
    return rough > SWAP_GAIN * swapped_rough


def _is_dark(sample: ByteArray, dark_level: int) -> bool:
    # Counting is quicker than a percentile, which decides close to the limit only.
    num_bright = np.count_nonzero(sample > dark_level)
    if num_bright > (1.0 - DARK_PERCENTILE / 100.0) * sample.size + 1:
        return False
    return float(np.percentile(sample, DARK_PERCENTILE)) <= dark_level


def _find_saturation(sample: NDArray[Any], config: FallbackConfig, thermal: ThermalConfig) -> str:
    bits = 8 if sample.dtype == np.uint8 else thermal.signal_bits
    top = 2**bits - 1
    share = np.count_nonzero(sample >= top) / sample.size
    if share <= config.max_saturated:
        return ''
    remedy = 'check its gain and range'
    if bits < 16 and sample.dtype == np.uint16 and int(sample.max()) > top:
        remedy = f'values reach {int(sample.max())}: correct thermal.signal_bits'
    return (
        f'thermal is saturated ({100 * share:.0f} % of the pixels at {top}, the top of {bits} '
        f'bits, or above): {remedy}'
    )


def _find_dead_lines(name: str, sample: NDArray[Any]) -> str:
    """Say so when nearly half of the rows or columns are one value from end to end."""
    if min(sample.shape[:2]) < 2:
        return ''
    lines = {'rows': sample, 'columns': sample.swapaxes(0, 1)}
    for kind, line in lines.items():
        # A few pixels of each line tell nearly always that there is nothing to look for.
        if _share_of_even(line[:, ::PROBE_STRIDE]) <= MAX_DEAD_LINES:
            continue
        share = _share_of_even(line)
        if MAX_DEAD_LINES < share < 1.0:  # all of them: a picture of stripes
            return (
                f'{name} has {100 * share:.0f} % dead {kind} (one value from end to end): check '
                f'the camera and its link'
            )
    return ''


def _share_of_even(lines: NDArray[Any]) -> float:
    """Return the share of first-axis entries that are one value, or one colour, and finite."""
    first = lines[:, :1]
    is_same = lines == first
    if lines.dtype == np.float32:  # out of range is not dead
        is_same &= np.isfinite(first)
    is_even = is_same.reshape(len(lines), -1).all(axis=1)
    return float(np.count_nonzero(is_even)) / len(lines)


def _find_noise(name: str, pixels: Image, contrast: float, limit: float, unit: str) -> str:
    if contrast >= limit or min(pixels.shape[:2]) < 2:
        return ''
    if _noise_share(pixels) < NOISE_SHARE:
        return ''
    return (
        f'{name} has no structure, only noise (standard deviation {contrast:.3g} {unit}): is the '
        f'lens covered?'
    )


def _noise_share(pixels: Image) -> float:
    """Return how much of the variance is between neighbours: 1 = white noise, 0 = smooth.

    Of the two directions the smoother one counts, so that stripes are no noise.
    """
    here, right, down = (part.astype(np.float64) for part in _neighbours(pixels))
    is_finite = np.isfinite(here) & np.isfinite(right) & np.isfinite(down)
    if not is_finite.any():
        return 0.0
    variance = float(here[is_finite].var())
    between = min(
        float(np.mean((other[is_finite] - here[is_finite]) ** 2)) for other in (right, down)
    )
    return between / (2.0 * variance) if variance > 0.0 else 0.0


def _neighbours(pixels: Image) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return sampled pixels, their right neighbours and those below; sides of at least 2."""
    stride_y, stride_x = _strides(pixels)
    here = np.array(pixels[:-1:stride_y, :-1:stride_x])
    right = np.array(pixels[:-1:stride_y, 1::stride_x])
    down = np.array(pixels[1::stride_y, :-1:stride_x])
    return here, right, down


def _distance(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(cv2.mean(cv2.absdiff(first, second))[0])


def _strides(pixels: Image) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    return max(1, height // SAMPLES_PER_SIDE), max(1, width // SAMPLES_PER_SIDE)
