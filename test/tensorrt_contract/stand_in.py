# SPDX-License-Identifier: Apache-2.0
"""Objects with exactly the surface of a real binding, behind which a test does the work.

What the binding lacks is lacking here too, and a call with the wrong arguments is an error.
"""

from __future__ import annotations

import enum
from typing import Any

from tensorrt_contract.bindings import Surface

Call = tuple[str, tuple[Any, ...]]


class StandIn:
    """Stands in for an object of a class of a binding, or ('') for its module.

    Methods and properties come from ``_behaviour``, where it has them; calls go to ``_calls``.
    """

    def __init__(self, surface: Surface, owner: str, behaviour: Any, calls: list[Call]) -> None:
        for name, value in {
            '_surface': surface,
            '_owner': owner,
            '_behaviour': behaviour,
            '_calls': calls,
        }.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        kind = self._surface.find(self._owner, name)
        if kind is None:
            raise AttributeError(f'{self._owner}.{name} is not in {self._surface.version}')
        if not self._owner and kind == 'enum':
            return build_enum(self._surface, name)
        if not self._owner and kind == 'data':
            return self._surface.values[name]
        value = getattr(self._behaviour, name)
        if kind == 'data' or isinstance(value, type):
            return value
        owner, method = (name, '__init__') if kind == 'class' else (self._owner, name)
        signatures = self._surface.signatures(owner, method)

        def call(*args: Any, **keywords: Any) -> Any:
            if not any(item.accepts(len(args), set(keywords)) for item in signatures):
                raise TypeError(f'{owner}.{method} takes {signatures}, not {args}, {keywords}')
            self._calls.append((f'{self._owner}.{name}'.lstrip('.'), (*args, *keywords.values())))
            return value(*args, **keywords)

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        attribute = self._surface.classes[self._owner].get(name)
        if attribute is None or not attribute['is_writable']:
            raise AttributeError(f'{self._owner}.{name} cannot be set in {self._surface.version}')
        self._calls.append((f'{self._owner}.{name}', (value,)))
        setattr(self._behaviour, name, value)


class _Enum(enum.Enum):
    """As an enumeration of pybind11: no number, but has one."""

    def __int__(self) -> int:
        return int(self.value)


_ENUMS: dict[tuple[str, str], Any] = {}


def build_enum(surface: Surface, name: str) -> Any:
    """Return an enumeration with the members that this version has; always the same one."""
    key = (surface.version, name)
    if key not in _ENUMS:
        _ENUMS[key] = _Enum(name.rpartition('.')[2], surface.enums[name])
    return _ENUMS[key]
