# SPDX-License-Identifier: Apache-2.0
"""ROS parameters from the settings dataclasses: declared once, checked, live where that is safe.

Three things rclpy does not do, and this module does: refuse a parameter nobody declared (a
misspelled key in a YAML file is accepted silently), say what to write instead of an integer where
a floating-point number belongs, and check the choices of a string.
"""

from __future__ import annotations

import array
from dataclasses import fields
import functools
import sys
from typing import Any, TYPE_CHECKING

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)

from rgbt_perception.config import (
    build_config,
    change_config,
    describe_unknown,
    flatten,
    group_types,
    PerceptionConfig,
    Setting,
    setting_of,
)
from rgbt_perception.errors import ConfigError
from rgbt_perception.ros.qos import check_override, QOS_OVERRIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rclpy.node import Node
    from rclpy.parameter import Parameter

AUTOSTART = 'autostart'
AUTOSTART_TEXT = (
    'The node configures and activates itself; false when a lifecycle manager does it.'
)
INT64_MAX = 2**63 - 1


def declare_parameters(node: Node) -> PerceptionConfig:
    """Declare every setting and ``autostart``, and return the settings given at start.

    Args:
        node: Node whose overrides (parameter files, command line, constructor) are used.

    Raises:
        ConfigError: For an override nobody knows (with the nearest valid name), of a wrong type,
            or out of bounds.
    """
    settings = settings_by_name()
    config = build_config(_check_overrides(node, settings))
    declared = [
        (name, _to_ros(value), describe_setting(settings[name], value))
        for name, value in flatten(config).items()
    ]
    node.declare_parameters('', declared, ignore_override=True)
    autostart = ParameterDescriptor(description=AUTOSTART_TEXT, read_only=True)
    node.declare_parameter(AUTOSTART, True, autostart)
    return config


def watch_live_parameters(node: Node, apply: Callable[[PerceptionConfig], None]) -> None:
    """Check every later change of a parameter, and hand the new settings to ``apply``.

    Args:
        node: Node whose settings were declared.
        apply: Called with the complete settings after a change was accepted.
    """
    known = settings_by_name()
    has_post = hasattr(node, 'add_post_set_parameters_callback')
    current = build_config({name: _from_ros(node.get_parameter(name).value) for name in known})

    def changed(parameters: list[Parameter[Any]]) -> PerceptionConfig:
        changes = {item.name: _from_ros(item.value) for item in parameters if item.name in known}
        return change_config(current, changes) if changes else current

    def apply_change(parameters: list[Parameter[Any]]) -> None:
        nonlocal current
        previous, current = current, changed(parameters)
        if current is not previous:
            apply(current)

    def validate(parameters: list[Parameter[Any]]) -> SetParametersResult:
        try:
            changed(parameters)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if not has_post:
            apply_change(parameters)  # Humble has no callback after the change
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(validate)
    if has_post:
        node.add_post_set_parameters_callback(apply_change)


def refusal(node: Node, parameters: list[Parameter[Any]]) -> str:
    """Return why a change cannot be made where rclpy's own reason would not help; else ''.

    Args:
        node: Node whose settings were declared.
        parameters: The new values.
    """
    defaults = _defaults()
    for item in parameters:
        if not node.has_parameter(item.name):
            return describe_unknown(item.name, {**defaults, AUTOSTART: True})
        if item.name not in defaults:
            continue
        if item.value is None:
            return f'{item.name} cannot be deleted; set it to its default {defaults[item.name]!r}'
        try:
            _refuse_integer(item.name, item.value, defaults[item.name])
        except ConfigError as error:
            return str(error)
        if node.describe_parameter(item.name).read_only:
            return f'{item.name} cannot change while the node runs; set it at start'
    return ''


def settings_by_name() -> dict[str, Setting]:
    """Return the description of every setting by its dotted name."""
    return {
        f'{group}.{item.name}': setting_of(item)
        for group, group_type in group_types().items()
        for item in fields(group_type)
    }


def describe_setting(described: Setting, value: object) -> ParameterDescriptor:
    """Return the ROS descriptor of a setting: text, bounds, choices, read-only unless live.

    Args:
        described: What the dataclass field says.
        value: Any value of the setting; its type decides which range is written.
    """
    descriptor = ParameterDescriptor(description=described.text, read_only=not described.live)
    if described.choices:
        descriptor.additional_constraints = f'one of: {", ".join(described.choices)}'
    if described.ge is None and described.le is None:
        return descriptor
    if isinstance(value, float):
        low, high = sys.float_info.max * -1.0, sys.float_info.max
        span = FloatingPointRange(
            from_value=low if described.ge is None else float(described.ge),
            to_value=high if described.le is None else float(described.le),
        )
        descriptor.floating_point_range = [span]
    else:
        whole = IntegerRange(
            from_value=-INT64_MAX if described.ge is None else int(described.ge),
            to_value=INT64_MAX if described.le is None else int(described.le),
        )
        descriptor.integer_range = [whole]
    return descriptor


@functools.cache
def _defaults() -> dict[str, Any]:
    return flatten(PerceptionConfig())


def given_at_start(node: Node) -> list[str]:
    """Return the names of all parameters given by files, command line or constructor."""
    return list(_overrides_of(node))


def _overrides_of(node: Node) -> dict[str, Any]:
    # The only place that knows what a parameter file said about undeclared names; it is private.
    # Remove when rclpy can refuse undeclared overrides itself.
    return {name: item.value for name, item in node._parameter_overrides.items()}  # noqa: SLF001


def _check_overrides(node: Node, settings: Mapping[str, Setting]) -> dict[str, Any]:
    defaults = flatten(PerceptionConfig())
    values: dict[str, Any] = {}
    for name, value in _overrides_of(node).items():
        if name in settings:
            _refuse_integer(name, value, defaults[name])
            values[name] = _from_ros(value)
        elif name == AUTOSTART:
            if not isinstance(value, bool):
                raise ConfigError(f'{name} is {value!r}, expected true or false; correct it')
        elif name.startswith(QOS_OVERRIDES):
            check_override(name, value)
        elif not node.has_parameter(name):
            raise ConfigError(describe_unknown(name, {**defaults, AUTOSTART: True}))
    return values


def _refuse_integer(name: str, value: object, default: object) -> None:
    """Raise where ROS refuses an integer for a floating-point number, and say what to write."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, float) and is_whole:
        raise ConfigError(
            f'{name} is {value}, an integer, expected a floating-point number; write {value}.0'
        )
    if isinstance(default, tuple) and isinstance(value, (list, tuple, array.array)):
        whole = [item for item in value if isinstance(item, int) and not isinstance(item, bool)]
        if whole and len(whole) == len(value):
            raise ConfigError(
                f'{name} holds integers, expected floating-point numbers; '
                f'write {whole[0]}.0 instead of {whole[0]}, and so on'
            )


def _from_ros(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, array.array)) else value


def _to_ros(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
