# SPDX-License-Identifier: Apache-2.0
"""Settings: one frozen dataclass per stage; node, replay and evaluation share them.

Each field carries its default, one sentence, its bounds or choices, and whether it may change
while the node runs. ROS parameters, the YAML file and its checks all come from these fields.
"""

from rgbt_perception.config.file import load_config
from rgbt_perception.config.inputs import (
    IDENTITY_3X3,
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
from rgbt_perception.config.settings import Setting, setting_of, shown
from rgbt_perception.config.tree import (
    build_config,
    change_config,
    describe_unknown,
    flatten,
    group_types,
    PerceptionConfig,
)

__all__ = [
    'IDENTITY_3X3',
    'DiagnosticsConfig',
    'DominanceConfig',
    'EngineConfig',
    'FallbackConfig',
    'InputConfig',
    'ModelConfig',
    'OutputConfig',
    'PerceptionConfig',
    'RegistrationConfig',
    'Setting',
    'SyncConfig',
    'ThermalConfig',
    'build_config',
    'change_config',
    'describe_unknown',
    'flatten',
    'group_types',
    'load_config',
    'setting_of',
    'shown',
]
