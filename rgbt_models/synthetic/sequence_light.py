# SPDX-License-Identifier: Apache-2.0
"""The light of a sequence: what each key of a scenario draws, and what all of them share."""

from __future__ import annotations

from dataclasses import replace
import math
from typing import Any, TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.environment import Condition, Environment, sample_environment
from rgbt_models.synthetic.scenario_groups import DRAWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.scenario import Scenario
    from rgbt_models.synthetic.scenario_groups import LightKey

_MOST_WARMING_K = 6.0  # of the drawn air, in a whole sequence
_LASTING = ('sky_depression_k', 'cloud_k', 'ego_headlight')
_LIGHT = 11  # a stream of random numbers
_STEEP = 1e-6  # level part of a sun that stands on no side


def sample_lights(scenario: Scenario) -> Iterator[Environment]:
    """Draw the light of each key: one day at one place.

    A key takes everything from its condition but what lasts: the side of the sky where the sun
    stands, ``sky_depression_k``, ``cloud_k`` and ``ego_headlight`` are those of the key before,
    drawn or given. The air is drawn, but all of it stays within 6 K, first key included. Values
    that a key gives hold as they are; those of what lasts hold for the keys after it, too, and
    the air drawn after a given one stays within 6 K of that one.
    """
    before: Environment | None = None
    coldest_c = warmest_c = math.nan
    for key in scenario.conditions:
        drawn, given = _sample_light(scenario.seed, key), _given_by(key)
        if before is not None:
            lowest_c, highest_c = warmest_c - _MOST_WARMING_K, coldest_c + _MOST_WARMING_K
            drawn = replace(
                drawn,
                sun_direction=_on_the_side_of(before.sun_direction, drawn.sun_direction),
                ambient_c=min(max(drawn.ambient_c, lowest_c), highest_c),
                **{name: getattr(before, name) for name in _LASTING},
            )
        light = replace(drawn, **given)
        if before is None or 'ambient_c' in given:
            coldest_c = warmest_c = light.ambient_c
        coldest_c = min(coldest_c, light.ambient_c)
        warmest_c = max(warmest_c, light.ambient_c)
        yield light
        before = light


def _sample_light(seed: int, key: LightKey) -> Environment:
    condition = None if key.condition == DRAWN else Condition(key.condition)
    # By condition, so that a light that comes twice is the same one.
    number = len(Condition) if condition is None else list(Condition).index(condition)
    return sample_environment(np.random.default_rng([seed, _LIGHT, number]), condition)


def _given_by(key: LightKey) -> dict[str, Any]:
    given: dict[str, Any] = {
        name: np.array(value, np.float32) if isinstance(value, tuple) else value
        for name, value in key.values
    }
    if 'sun_direction' in given:
        given['sun_direction'] /= np.linalg.norm(given['sun_direction'])
    return given


def _on_the_side_of(before: FloatArray, drawn: FloatArray) -> FloatArray:
    """Return the drawn direction at its own height above the horizon, turned to another one."""
    level_before, level = np.hypot(*before[:2]), np.hypot(*drawn[:2])
    if level_before < _STEEP:
        return drawn
    x, y = before[:2] * (level / level_before)
    return np.array([x, y, drawn[2]], np.float32)
