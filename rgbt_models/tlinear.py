# SPDX-License-Identifier: Apache-2.0
"""Counts of a thermal camera in TLinear mode: linear in temperature, 0 at absolute zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNTS_PER_K = 100.0  # high resolution: 0.01 K each, also what the simulated camera writes
COARSE_COUNTS_PER_K = 10.0  # low resolution: 0.1 K each
ZERO_C_IN_K = 273.15


def celsius_from_counts(
    counts: NDArray[Any], *, counts_per_k: float = COUNTS_PER_K
) -> NDArray[np.float32]:
    """Turn TLinear counts into temperatures.

    Args:
        counts: Any shape and real dtype; 0 is absolute zero.
        counts_per_k: Counts per kelvin, > 0.

    Returns:
        Same shape, float32, degrees Celsius; exact to 0.00004 K at room temperature.
    """
    celsius: NDArray[np.float32] = np.asarray(counts, np.float32) / np.float32(counts_per_k)
    celsius -= np.float32(ZERO_C_IN_K)
    return celsius
