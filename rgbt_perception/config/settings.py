# SPDX-License-Identifier: Apache-2.0
"""What a settings group is made of: fields with a sentence, bounds, choices, and live or not.

The groups themselves are in ``inputs`` and ``processing``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields
import math
from typing import Any, get_type_hints

from rgbt_perception.errors import ConfigError

MAX_SHOWN = 200  # characters of a value in a message
_TYPE_HINTS: dict[type, dict[str, Any]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is known about one field besides name, type and default.

    Attributes:
        text: One sentence, with the unit.
        ge: Smallest accepted number, or None.
        le: Largest accepted number, or None.
        choices: Accepted strings, or ().
        length: How many numbers a list holds, or None when it is not a list.
        live: True when the value may change while the node runs.
    """

    text: str
    ge: float | None = None
    le: float | None = None
    choices: tuple[str, ...] = ()
    length: int | None = None
    live: bool = False


def setting(
    default: Any,
    text: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """Declare one field of a settings group; a tuple as default fixes the length of a list."""
    length = len(default) if isinstance(default, tuple) else None
    described = Setting(text=text, ge=ge, le=le, choices=choices, length=length, live=live)
    return field(default=default, metadata={'setting': described})


def setting_of(item: dataclasses.Field[Any]) -> Setting:
    """Return what ``setting`` stored in a field."""
    described: Setting = item.metadata['setting']
    return described


def type_hints(kind: type) -> dict[str, Any]:
    """Return the resolved types of the fields of a dataclass; resolving them takes long."""
    if kind not in _TYPE_HINTS:
        _TYPE_HINTS[kind] = get_type_hints(kind)
    return _TYPE_HINTS[kind]


def shown(value: object) -> str:
    """Return a value as it appears in a message: in full, unless it is very long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f'{text[: MAX_SHOWN - 3]}...'


def _check_value(name: str, value: Any, kind: Any, described: Setting) -> None:
    expected = _expected(value, kind, described)
    if expected:
        raise ConfigError(f'{name} is {shown(value)}, expected {expected}')
    if described.choices and value not in described.choices:
        raise ConfigError(
            f'{name} is {shown(value)}, expected one of {", ".join(described.choices)}; choose one'
        )
    low, high = described.ge, described.le
    numbers = value if isinstance(value, tuple) else () if kind in (str, bool) else (value,)
    if any((low is not None and x < low) or (high is not None and x > high) for x in numbers):
        bounds = f'{"-inf" if low is None else low}..{"inf" if high is None else high}'
        raise ConfigError(f'{name} is {shown(value)}, expected a value in {bounds}; correct it')


def _expected(value: Any, kind: Any, described: Setting) -> str:
    """Return what a value of the wrong type should have been, '' when the type is right."""
    if kind is bool:
        return '' if isinstance(value, bool) else 'true or false; correct it'
    if kind is str:
        return '' if isinstance(value, str) else 'a string; put it in quotes'
    if kind is int:
        return '' if _is_number(value, int) else 'a whole number; write e.g. 10'
    if kind is float:
        return '' if _is_number(value, (int, float)) else 'a finite number; write e.g. 1.0'
    is_list = isinstance(value, tuple) and all(_is_number(x, (int, float)) for x in value)
    if is_list and len(value) == described.length:
        return ''
    return f'a list of {described.length} finite numbers; write all of them'


def _is_number(value: Any, kind: type | tuple[type, ...]) -> bool:
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    return is_number and math.isfinite(float(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Base of the settings groups: checks types, bounds and choices when built."""

    def __post_init__(self) -> None:
        hints = type_hints(type(self))
        for item in fields(self):
            _check_value(item.name, getattr(self, item.name), hints[item.name], setting_of(item))
