# SPDX-License-Identifier: Apache-2.0
"""Bounds of settings that are numbers."""

from __future__ import annotations

from collections.abc import Mapping
import math

from rgbt_models.errors import RGBTError

SHARE = (0.0, 1.0)
NOT_NEGATIVE = (0.0, math.inf)


def check_ranges(
    settings: object,
    bounds: Mapping[str, tuple[float, float]],
    *,
    what: str,
    error: type[RGBTError],
) -> None:
    """Refuse a setting outside its bounds.

    Args:
        settings: Has an attribute for every name in bounds: a number.
        bounds: Lowest and highest value, both allowed; infinity itself never is.
        what: Begins the message, e.g. 'thermal sensor'.
        error: What is raised.

    Raises:
        RGBTError: The error given, for the first setting that is out of bounds or not finite.
    """
    for name, (low, high) in bounds.items():
        value = float(getattr(settings, name))
        if math.isfinite(value) and low <= value <= high:
            continue
        expected = f'{low:g}..{high:g}' if math.isfinite(high) else f'{low:g} or more'
        raise error(f'{what} has {name} {value:g}, expected {expected}; correct it')
