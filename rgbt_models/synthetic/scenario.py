# SPDX-License-Identifier: Apache-2.0
"""What a sequence is made of, as a YAML file says it: place, light, cameras, failures, truth.

Light changes and cameras fail at shares of the sequence, so that a shorter one is the same one in
less time. What is said in seconds stays: ``clip_s``, periods of the rig and of the shutter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
import math
from pathlib import Path
from typing import Any

from rgbt_models.errors import DatasetError
from rgbt_models.synthetic.environment import Environment
from rgbt_models.synthetic.layouts import LayoutKind
from rgbt_models.synthetic.scenario_groups import (
    CameraFailure,
    check_choice,
    DRAWN,
    EgoSettings,
    LightKey,
    RigSettings,
    SensorSettings,
    WriteSettings,
)
from rgbt_models.train.settings import (
    ABOVE_0,
    build_settings,
    check_known,
    check_numbers,
    FROM_0,
    read_settings,
)

_ENVIRONMENT_TYPES = {item.name: item.type for item in fields(Environment)}
_LENGTHS: dict[Any, int] = {'float': 1, 'FloatArray': 3}  # numbers of a value, by type
_LAYOUTS = tuple(str(item.value) for item in LayoutKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A sequence to render.

    Attributes:
        seed: The same scenario gives the same images, byte for byte.
        duration_s: Length.
        layout: Where: 'street', 'crossing', 'car_park', 'path', 'yard'; '' = drawn.
        clip_s: The place changes after this long; 0 = one place all the time.
        conditions: Light and weather over time, in order.
        ego: How the rig moves.
        rig: The cameras.
        sensors: What their electronics do.
        failures: Cameras that fail for a while.
        write: What is written beside the images.
    """

    seed: int = 0
    duration_s: float = 24.0
    layout: str = 'street'
    clip_s: float = 0.0
    conditions: tuple[LightKey, ...] = (LightKey(),)
    ego: EgoSettings = field(default_factory=EgoSettings)
    rig: RigSettings = field(default_factory=RigSettings)
    sensors: SensorSettings = field(default_factory=SensorSettings)
    failures: tuple[CameraFailure, ...] = ()
    write: WriteSettings = field(default_factory=WriteSettings)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            DatasetError: If one cannot be used.
        """
        rules = {'seed': FROM_0, 'duration_s': ABOVE_0, 'clip_s': FROM_0}
        check_numbers(self, rules, what='scenario')
        check_choice('layout', self.layout, (DRAWN, *_LAYOUTS))
        shares = [key.share for key in self.conditions]
        if not shares or shares != sorted(shares):
            raise DatasetError(
                f'conditions have the shares {shares}; expected at least one, in order; correct '
                f'the scenario file'
            )

    def with_rate(self, rate_hz: float) -> Scenario:
        """Return the scenario with both cameras at one rate."""
        rig = replace(
            self.rig,
            rgb=replace(self.rig.rgb, rate_hz=rate_hz),
            thermal=replace(self.rig.thermal, rate_hz=rate_hz),
        )
        return replace(self, rig=rig)


def read_scenario(path: Path) -> Scenario:
    """Read a scenario from YAML.

    Raises:
        DatasetError: If the file cannot be read, a key is unknown (the message names the nearest
            one) or a value cannot be used.
    """
    try:
        return build_scenario(read_settings(path, Scenario, what='scenario'))
    except DatasetError as error:
        raise DatasetError(f"scenario '{path}': {error}") from error


def build_scenario(values: Any) -> Scenario:
    """Make a scenario of a YAML mapping.

    Raises:
        DatasetError: As ``read_scenario``.
    """
    lists: dict[str, tuple[Any, ...]] = {}
    if isinstance(values, Mapping):
        rest = {name: value for name, value in values.items() if name not in _LISTS}
        for name in _LISTS:
            if name in values:
                lists[name] = _build_list(name, values[name])
        values = rest
    scenario: Scenario = build_settings(Scenario, values, what='scenario')
    return replace(
        scenario,
        conditions=lists.get('conditions', scenario.conditions),
        failures=lists.get('failures', scenario.failures),
    )


def _build_list(name: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list):
        raise DatasetError(
            f"scenario setting '{name}' is {values!r}; expected a list; correct the scenario file"
        )
    build = _LISTS[name]
    return tuple(build(value, f'{name}[{index}].') for index, value in enumerate(values))


def _build_light_key(values: Any, prefix: str) -> LightKey:
    given: tuple[tuple[str, float | tuple[float, ...]], ...] = ()
    if isinstance(values, Mapping) and 'values' in values:
        given = _build_environment_values(values['values'], f'{prefix}values.')
        values = {name: value for name, value in values.items() if name != 'values'}
    key: LightKey = build_settings(LightKey, values, prefix=prefix, what='scenario')
    return replace(key, values=given)


def _build_environment_values(
    values: Any, prefix: str
) -> tuple[tuple[str, float | tuple[float, ...]], ...]:
    if not isinstance(values, Mapping):
        raise DatasetError(
            f"scenario setting '{prefix.rstrip('.')}' is {values!r}; expected a mapping of fields "
            f'of Environment; correct the scenario file'
        )
    given: list[tuple[str, float | tuple[float, ...]]] = []
    for name, value in values.items():
        check_known(Environment, name, prefix=prefix, what='scenario')
        wanted = _LENGTHS.get(_ENVIRONMENT_TYPES[name], 0)
        numbers = value if isinstance(value, list) else [value]
        is_fitting = isinstance(value, list) == (wanted > 1) and len(numbers) == wanted
        if not is_fitting or not all(_is_number(item) for item in numbers):
            what = {0: 'nothing: it is drawn', 1: 'a number', 3: 'a list of three numbers'}[wanted]
            raise DatasetError(
                f"scenario setting '{prefix}{name}' is {value!r}; expected {what}; correct the "
                f'scenario file'
            )
        given.append((name, tuple(map(float, value)) if wanted > 1 else float(value)))
    return tuple(given)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _build_failure(values: Any, prefix: str) -> CameraFailure:
    failure: CameraFailure = build_settings(CameraFailure, values, prefix=prefix, what='scenario')
    return failure


_LISTS = {'conditions': _build_light_key, 'failures': _build_failure}
