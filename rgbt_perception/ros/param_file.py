# SPDX-License-Identifier: Apache-2.0
"""The text of ``config/perception.param.yaml``, generated from the settings dataclasses.

Regenerate the file after changing a setting with ``write_param_file``; a test compares both.
"""

from __future__ import annotations

from dataclasses import fields
import json
from typing import Any, TYPE_CHECKING

from rgbt_perception.config import group_types, PerceptionConfig, Setting, setting_of

if TYPE_CHECKING:
    from pathlib import Path

SECTION = '/**/perception'
HEADER = f"""\
# SPDX-License-Identifier: Apache-2.0
# Settings of the node 'perception', all at their defaults.
# Generated from rgbt_perception/config by rgbt_perception/ros/param_file.py.
# '{SECTION}' matches the node in every namespace. Floating-point numbers need their point: 1.0.
# 'live' settings may be changed while the node runs: ros2 param set /perception NAME VALUE.
{SECTION}:
  ros__parameters:
    # The node configures and activates itself; false when a lifecycle manager does it.
    autostart: true
"""

OWN_HEADER = f"""\
# Settings that were in force. Give them back with --params-file.
{SECTION}:
  ros__parameters:"""


def param_file_text(config: PerceptionConfig | None = None) -> str:
    """Return a complete, commented parameter file.

    Args:
        config: The values; None = the defaults, the text of the shipped file.
    """
    values = PerceptionConfig() if config is None else config
    lines = [HEADER if config is None else OWN_HEADER]
    for group, kind in group_types().items():
        summary = (kind.__doc__ or '').splitlines()[0]
        lines += [f'    # {summary}', f'    {group}:']
        for item in fields(kind):
            lines.append(f'      # {_comment(setting_of(item))}')
            lines.append(
                f'      {item.name}: {_yaml_value(getattr(getattr(values, group), item.name))}'
            )
        lines.append('')
    return '\n'.join(lines)


def write_param_file(path: Path) -> None:
    """Write the parameter file."""
    path.write_text(param_file_text(), encoding='utf-8')


def _comment(described: Setting) -> str:
    notes = []
    if described.choices:
        notes.append(' | '.join(described.choices))
    if described.ge is not None or described.le is not None:
        low = '' if described.ge is None else f'{described.ge:g}'
        high = '' if described.le is None else f'{described.le:.10g}'
        notes.append(f'{low}..{high}')
    if described.live:
        notes.append('live')
    return f'{described.text} [{", ".join(notes)}]' if notes else described.text


def _yaml_value(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, tuple):
        return '[' + ', '.join(_yaml_value(item) for item in value) + ']'
    if isinstance(value, float):
        return _yaml_float(value)
    return json.dumps(value)


def _yaml_float(value: float) -> str:
    """Write a finite number so that YAML 1.1 takes it for one: 1e-05 would be a string."""
    digits, exponent, power = repr(value).partition('e')
    return f'{digits}{"" if "." in digits else ".0"}{exponent}{power}'
