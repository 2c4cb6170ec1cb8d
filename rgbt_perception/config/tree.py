# SPDX-License-Identifier: Apache-2.0
"""All settings together, by dotted names: ``sync.max_skew_s`` and so on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
import difflib
from functools import partial
from typing import Any, TypeVar

from rgbt_perception.config.inputs import (
    InputConfig,
    RegistrationConfig,
    SyncConfig,
    ThermalConfig,
)
from rgbt_perception.config.processing import (
    DiagnosticsConfig,
    DominanceConfig,
    EngineConfig,
    FallbackConfig,
    ModelConfig,
    OutputConfig,
)
from rgbt_perception.config.settings import shown, type_hints
from rgbt_perception.errors import ConfigError

MAX_NAME = 100  # characters of a name that are compared with the known ones
GroupT = TypeVar('GroupT')


@dataclass(frozen=True, slots=True, kw_only=True)
class PerceptionConfig:
    """All settings, in dotted groups: ``sync.max_skew_s`` and so on."""

    model: ModelConfig = field(default_factory=ModelConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    input: InputConfig = field(default_factory=InputConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    thermal: ThermalConfig = field(default_factory=ThermalConfig)
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    fallback: FallbackConfig = field(default_factory=FallbackConfig)
    dominance: DominanceConfig = field(default_factory=DominanceConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)


def group_types() -> dict[str, type]:
    """Return the settings groups by name, in order of declaration."""
    hints = type_hints(PerceptionConfig)
    return {item.name: hints[item.name] for item in fields(PerceptionConfig)}


def flatten(config: PerceptionConfig) -> dict[str, Any]:
    """Return every setting by its dotted name."""
    return {
        f'{group}.{item.name}': getattr(getattr(config, group), item.name)
        for group, group_type in group_types().items()
        for item in fields(group_type)
    }


def build_config(values: Mapping[str, Any]) -> PerceptionConfig:
    """Build the settings from dotted names; what is not named keeps its default.

    Args:
        values: Values by dotted name; lists are accepted for tuples.

    Raises:
        ConfigError: For an unknown name (with the nearest valid one), a wrong type or a value
            out of bounds.
    """
    known = flatten(PerceptionConfig())
    groups: dict[str, dict[str, Any]] = {name: {} for name in group_types()}
    for dotted, value in values.items():
        if dotted not in known:
            raise ConfigError(describe_unknown(dotted, known))
        group, name = dotted.split('.', 1)
        groups[group][name] = tuple(value) if isinstance(value, list) else value
    built: dict[str, Any] = {
        name: _build_group(name, kind, groups[name]) for name, kind in group_types().items()
    }
    return PerceptionConfig(**built)


def change_config(config: PerceptionConfig, values: Mapping[str, Any]) -> PerceptionConfig:
    """Return the settings with some of them changed, checked together.

    Args:
        config: The settings so far.
        values: New values by dotted name; lists are accepted for tuples.

    Raises:
        ConfigError: As ``build_config``.
    """
    groups: dict[str, dict[str, Any]] = {}
    for dotted, value in values.items():
        group, _, name = dotted.partition('.')
        if not hasattr(getattr(config, group, None), name):
            raise ConfigError(describe_unknown(dotted, flatten(config)))
        groups.setdefault(group, {})[name] = tuple(value) if isinstance(value, list) else value
    return replace(
        config,
        **{
            group: _build_group(group, partial(replace, getattr(config, group)), group_values)
            for group, group_values in groups.items()
        },
    )


def describe_unknown(name: str, known: Mapping[str, Any]) -> str:
    """Return the sentence for a setting that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(name[:MAX_NAME], known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f'known groups: {", ".join(group_types())}'
    return f'unknown parameter {shown(name)}; expected one of the documented parameters; {hint}'


def _build_group(name: str, build: Callable[..., GroupT], values: dict[str, Any]) -> GroupT:
    try:
        return build(**values)
    except ConfigError as error:
        raise ConfigError(f'{name}.{error}') from None
