# SPDX-License-Identifier: Apache-2.0
"""Settings: one frozen dataclass per stage; node, replay and evaluation share them.

Each field carries its default, one sentence, its bounds or choices, and whether it may change
while the node runs. ROS parameters, the YAML file and its checks all come from these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from dataclasses import dataclass, field, fields
import difflib
from pathlib import Path
from typing import Any, get_type_hints, TypeVar

import numpy as np
import yaml

from rgbt_perception.errors import ConfigError

IDENTITY_3X3 = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
NODE_PARAMETERS = ('autostart', 'qos_overrides.', 'use_sim_time')  # known to the node, not here
GroupT = TypeVar('GroupT')


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is known about one field besides name, type and default.

    Attributes:
        text: One sentence, with the unit.
        ge: Smallest accepted number, or None.
        le: Largest accepted number, or None.
        choices: Accepted strings, or ().
        live: True when the value may change while the node runs.
    """

    text: str
    ge: float | None = None
    le: float | None = None
    choices: tuple[str, ...] = ()
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
    """Declare one field of a settings group."""
    described = Setting(text=text, ge=ge, le=le, choices=choices, live=live)
    return field(default=default, metadata={'setting': described})


def setting_of(item: dataclasses.Field[Any]) -> Setting:
    """Return what ``setting`` stored in a field."""
    described: Setting = item.metadata['setting']
    return described


def _check_value(name: str, value: Any, kind: Any, described: Setting) -> None:
    if kind is float:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not np.isfinite(value)
        ):
            raise ConfigError(f'{name} is {value!r}, expected a finite number; write e.g. 1.0')
    elif kind is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f'{name} is {value!r}, expected a whole number; write e.g. 10')
    elif kind is str:
        if not isinstance(value, str):
            raise ConfigError(f'{name} is {value!r}, expected a string; put it in quotes')
    elif not isinstance(value, tuple) or not all(isinstance(x, (int, float)) for x in value):
        raise ConfigError(f'{name} is {value!r}, expected a list of numbers')
    if described.choices and value not in described.choices:
        raise ConfigError(
            f'{name} is {value!r}, expected one of {", ".join(described.choices)}; choose one'
        )
    low, high = described.ge, described.le
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f'{"-inf" if low is None else low}..{"inf" if high is None else high}'
        raise ConfigError(f'{name} is {value!r}, expected a value in {bounds}; correct it')


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Base of the settings groups: checks types, bounds and choices when built."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for item in fields(self):
            _check_value(item.name, getattr(self, item.name), hints[item.name], setting_of(item))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(_Group):
    """Which model runs, and at what size."""

    card: str = setting('tiny', 'Name of a shipped model card, or a path to a card folder.')
    input_height: int = setting(0, 'Network input height, px; 0 = from the card.', ge=0, le=4096)
    input_width: int = setting(0, 'Network input width, px; 0 = from the card.', ge=0, le=4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig(_Group):
    """What executes the model."""

    backend: str = setting(
        'auto',
        'Runtime of the network; auto takes ONNX Runtime, else torch.',
        choices=('auto', 'onnx', 'torch'),
    )
    device: str = setting('cpu', "Where it runs: 'cpu' or 'cuda:N'.")
    num_threads: int = setting(0, 'CPU threads; 0 = all cores but one.', ge=0, le=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputConfig(_Group):
    """How images arrive."""

    rgb_transport: str = setting(
        'raw', 'Topic type of the RGB camera.', choices=('raw', 'compressed')
    )
    thermal_transport: str = setting(
        'raw', 'Topic type of the thermal camera.', choices=('raw', 'compressed')
    )
    max_pixels: int = setting(
        33_554_432, 'Largest accepted image, height times width.', ge=1, le=1_000_000_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncConfig(_Group):
    """Pairing of RGB and thermal frames."""

    max_skew_s: float = setting(
        0.02, 'Largest accepted |thermal - rgb| stamp difference, s, inclusive.', ge=0.0, le=1.0
    )
    offset_s: float = setting(
        0.0, 'Subtracted from thermal stamps before pairing, s.', ge=-3600.0, le=3600.0
    )
    queue_size: int = setting(10, 'Frames kept per camera while waiting.', ge=1, le=1000)
    max_wait_s: float = setting(
        0.15, 'Longest wait for a partner before a frame goes on alone, s.', ge=0.0, le=10.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationConfig(_Group):
    """How thermal pixels are brought onto the RGB image."""

    method: str = setting(
        'identity',
        'identity: same view, only resized. homography: by homography_thermal_to_rgb.',
        choices=('identity', 'homography'),
    )
    homography_thermal_to_rgb: tuple[float, ...] = setting(
        IDENTITY_3X3,
        'Row-major 3x3 from thermal to RGB pixels, centre of the first pixel = (0, 0).',
    )

    def __post_init__(self) -> None:
        """Check that the homography is 3x3, finite and invertible.

        Raises:
            ConfigError: If it is not.
        """
        super(RegistrationConfig, self).__post_init__()
        values = np.asarray(self.homography_thermal_to_rgb, np.float64)
        if values.shape != (9,):
            raise ConfigError(
                f'homography_thermal_to_rgb has {values.size} numbers, expected 9 (row-major '
                f'3x3); write all nine'
            )
        if not np.isfinite(values).all() or abs(np.linalg.det(values.reshape(3, 3))) < 1e-9:
            raise ConfigError(
                f'homography_thermal_to_rgb {values.tolist()} cannot be inverted; expected a '
                f'regular 3x3 matrix; calibrate again'
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputConfig(_Group):
    """What is published."""

    score_threshold: float = setting(
        0.3, 'Smallest score of a published detection.', ge=0.0, le=1.0, live=True
    )
    nms_iou: float = setting(
        0.5, 'Boxes of a class overlapping more than this are merged.', ge=0.0, le=1.0, live=True
    )
    max_detections: int = setting(100, 'Most detections per pair.', ge=1, le=1000, live=True)
    class_id_format: str = setting(
        'name', 'Content of class_id in detections.', choices=('name', 'index'), live=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackConfig(_Group):
    """When a camera counts as missing or blind."""

    missing_after_s: float = setting(
        0.5,
        'A camera silent for this long is missing, s: the other is not held up.',
        ge=0.0,
        le=60,
    )
    dark_level: int = setting(
        12, 'RGB is blind when its 99.5th percentile is at most this, 0..255.', ge=0, le=255
    )
    min_contrast: float = setting(
        1.0, 'A camera is blind when its standard deviation is below this, grey levels.', ge=0.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DominanceConfig(_Group):
    """Temporal filter of the modality dominance index."""

    time_constant_s: float = setting(
        1.0, 'Time constant of the moving average, s; 0 = no filter.', ge=0.0, le=60.0, live=True
    )
    threshold: float = setting(
        0.2, 'One camera dominates beyond |mdi| of this.', ge=0.0, le=1.0, live=True
    )
    hysteresis: float = setting(
        0.1, 'Width of the band around the threshold in which the state holds.', ge=0.0, le=1.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticsConfig(_Group):
    """What goes to /diagnostics."""

    period_s: float = setting(1.0, 'Time between two diagnostics messages, s.', ge=0.1, le=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerceptionConfig:
    """All settings, in dotted groups: ``sync.max_skew_s`` and so on."""

    model: ModelConfig = ModelConfig()
    engine: EngineConfig = EngineConfig()
    input: InputConfig = InputConfig()
    sync: SyncConfig = SyncConfig()
    registration: RegistrationConfig = RegistrationConfig()
    output: OutputConfig = OutputConfig()
    fallback: FallbackConfig = FallbackConfig()
    dominance: DominanceConfig = DominanceConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()


def group_types() -> dict[str, type]:
    """Return the settings groups by name, in order of declaration."""
    return {item.name: type(item.default) for item in fields(PerceptionConfig)}


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


def describe_unknown(name: str, known: Mapping[str, Any]) -> str:
    """Return the sentence for a setting that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f'known groups: {", ".join(group_types())}'
    return f"unknown parameter '{name}'; expected one of the documented parameters; {hint}"


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


def _build_group(name: str, kind: type[GroupT], values: dict[str, Any]) -> GroupT:
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f'{name}.{error}') from None
