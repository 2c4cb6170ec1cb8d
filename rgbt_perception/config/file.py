# SPDX-License-Identifier: Apache-2.0
"""Reading of ROS 2 parameter files without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rgbt_perception.config.tree import build_config, PerceptionConfig
from rgbt_perception.errors import ConfigError

NODE_PARAMETERS = ('autostart', 'qos_overrides.', 'use_sim_time')  # known to the node, not here


def load_config(path: Path, *, node_name: str = 'perception') -> PerceptionConfig:
    """Load a ROS 2 parameter file (``<node>: ros__parameters:``) without ROS.

    Args:
        path: YAML file; nested or dotted names; sections ``node_name``, with or without ``/**/``
            before it, and ``/**`` are read. Parameters of the node itself (``autostart``,
            ``use_sim_time``, ``qos_overrides``) are passed over.
        node_name: Section of the node.

    Raises:
        ConfigError: If the file is missing or malformed, or a setting is wrong.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(
            f"cannot read parameter file '{path}' ({error.strerror}); check the path"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"parameter file '{path}' is not valid YAML ({error}); correct it"
        ) from error
    values: dict[str, Any] = {}
    for section in ('/**', f'/**/{node_name}', node_name, f'/{node_name}'):
        body = document.get(section) if isinstance(document, dict) else None
        if isinstance(body, dict) and isinstance(body.get('ros__parameters'), dict):
            values.update(_dotted(body['ros__parameters']))
    if not values:
        raise ConfigError(
            f"parameter file '{path}' has no section '{node_name}: ros__parameters:'; expected "
            f'the layout of config/perception.param.yaml; add the section'
        )
    return build_config(
        {name: value for name, value in values.items() if not name.startswith(NODE_PARAMETERS)}
    )


def _dotted(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            values.update(_dotted(value, f'{prefix}{key}.'))
        else:
            values[f'{prefix}{key}'] = value
    return values
