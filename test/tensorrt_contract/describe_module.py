# SPDX-License-Identifier: Apache-2.0
"""Print what a binding module offers, as JSON; run in a process of its own, with the stubs."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

DOC_LINES = 12  # the signatures stand first


def describe(module: Any) -> dict[str, Any]:
    """List classes with attributes, enumerations with members, functions and constants."""
    surface: dict[str, Any] = {'classes': {}, 'enums': {}, 'functions': {}, 'values': {}}
    for name in dir(module):
        value = getattr(module, name)
        if hasattr(value, '__members__'):
            surface['enums'][name] = members(value)
        elif isinstance(value, type):
            surface['classes'][name] = describe_class(name, value, surface['enums'])
        elif callable(value):
            surface['functions'][name] = head(value)
        elif isinstance(value, (int, str)):
            surface['values'][name] = value
    return surface


def describe_class(name: str, kind: type, enums: dict[str, Any]) -> dict[str, Any]:
    """Describe attributes: kind, documentation, whether they may be set."""
    attributes = {}
    for attribute in dir(kind):
        if attribute.startswith('__') and attribute != '__init__':
            continue
        value = getattr(kind, attribute)
        is_enum = hasattr(value, '__members__') and isinstance(value, type)
        if is_enum:
            enums[f'{name}.{attribute}'] = members(value)
        is_data = hasattr(type(value), '__set__')
        attributes[attribute] = {
            'kind': 'enum' if is_enum else 'data' if is_data else 'method',
            'is_writable': is_data and getattr(value, 'fset', True) is not None,
            'doc': head(value),
        }
    return attributes


def members(enum: Any) -> dict[str, int]:
    return {name: int(value) for name, value in enum.__members__.items()}


def head(value: Any) -> str:
    return '\n'.join(
        line
        for line in (getattr(value, '__doc__', None) or '').strip().splitlines()
        if line.strip()[:1].isdigit() or '(' in line
    )[:4000]


if __name__ == '__main__':
    json.dump(describe(importlib.import_module(sys.argv[1])), sys.stdout)
