# SPDX-License-Identifier: Apache-2.0
"""RGB-thermal perception for ROS 2: the runtime. ROS itself only under ``ros`` and ``nodes``."""

from rgbt_perception.config import build_config, load_config, PerceptionConfig
from rgbt_perception.errors import (
    BackendUnavailableError,
    BagError,
    ConfigError,
    EngineError,
    FrameError,
    RGBTError,
    ShapeError,
)
from rgbt_perception.pipeline import open_pipeline, Pipeline
from rgbt_perception.sync import Pairer
from rgbt_perception.types import (
    Detections,
    Dominance,
    DominanceState,
    DropReason,
    Frame,
    Modality,
    Mode,
    Pair,
    Result,
)

__all__ = [
    'BackendUnavailableError',
    'BagError',
    'ConfigError',
    'Detections',
    'Dominance',
    'DominanceState',
    'DropReason',
    'EngineError',
    'Frame',
    'FrameError',
    'Modality',
    'Mode',
    'Pair',
    'Pairer',
    'PerceptionConfig',
    'Pipeline',
    'RGBTError',
    'Result',
    'ShapeError',
    'build_config',
    'load_config',
    'open_pipeline',
]
