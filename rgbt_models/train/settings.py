# SPDX-License-Identifier: Apache-2.0
"""Settings that training and pretraining share, and how settings are read from YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
import difflib
import math
from pathlib import Path
from typing import Any

import yaml

from rgbt_models.errors import DatasetError
from rgbt_models.train.precision import AUTO, PRECISIONS

SCHEDULES = ('cosine', 'constant', 'poly')
FINAL_RATE = 0.02  # of the peak learning rate

# What a number must be: the check, and how a message says it. NaN breaks each.
Rule = tuple[Callable[[float], bool], str]
ABOVE_0: Rule = (lambda value: 0.0 < value < math.inf, 'a number above 0')
FROM_0: Rule = (lambda value: 0.0 <= value < math.inf, '0 or more')
PART: Rule = (lambda value: 0.0 <= value <= 1.0, 'a value in [0, 1]')
BELOW_1: Rule = (lambda value: 0.0 <= value < 1.0, 'a value in [0, 1)')
_RULES = {
    'max_hours': FROM_0,
    'learning_rate': ABOVE_0,
    'final_rate': PART,
    'warmup_steps': FROM_0,
    'weight_decay': FROM_0,
    'weight_decay_growth': FROM_0,
    'clip_norm': FROM_0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How a run is optimised, ended and kept.

    Attributes:
        seed: Seed of weights, crops and sensors.
        max_steps: Optimiser steps; the run ends at this or at ``max_hours``.
        max_hours: Wall time, hours; 0 = no limit (then the run is repeatable).
        accumulate: Batches per optimiser step and process.
        learning_rate: Peak rate of AdamW.
        betas: Of AdamW.
        schedule: Of the rate after the warm-up: 'cosine', 'poly' or 'constant'.
        final_rate: Rate at the end as a part of the peak; 'constant' does not use it.
        warmup_steps: Linear warm-up.
        layer_decay: Each layer of the encoder learns this much slower than the next; 1 = alike.
        weight_decay: On weights of two or more dimensions.
        weight_decay_growth: Weight decay at the end over that at the start, along a cosine.
        clip_norm: Largest gradient norm; 0 = no clipping.
        precision: 'bf16-mixed', '32-true' or 'auto' = the first where the machine computes with
            bfloat16, else the second.
        checkpoint_every: Optimiser steps between two checkpoints.
        tensorboard: Write the losses for TensorBoard too, into the folder of the run.
    """

    seed: int = 0
    max_steps: int = 6_000
    max_hours: float = 0.0
    accumulate: int = 1
    learning_rate: float = 1.2e-3
    betas: tuple[float, float] = (0.9, 0.98)
    schedule: str = 'cosine'
    final_rate: float = FINAL_RATE
    warmup_steps: int = 100
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    weight_decay_growth: float = 1.0
    clip_norm: float = 2.0
    precision: str = AUTO
    checkpoint_every: int = 200
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            DatasetError: If one cannot be used.
        """
        for name in ('accumulate', 'checkpoint_every', 'max_steps'):
            value = getattr(self, name)
            if value < 1:
                raise DatasetError(
                    f'{name} is {value}; expected 1 or more; correct the training file '
                    f'(max_hours ends a run by time)'
                )
        check_numbers(self, _RULES)
        for name, choices in (('schedule', SCHEDULES), ('precision', PRECISIONS)):
            value = getattr(self, name)
            if value not in choices:
                raise DatasetError(
                    f"{name} is '{value}'; expected one of {', '.join(choices)}; correct the "
                    f'training file'
                )
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise DatasetError(
                f'betas is {self.betas}; expected two values in 0..1; correct the training file'
            )
        if not 0.0 < self.layer_decay <= 1.0:
            raise DatasetError(
                f'layer_decay is {self.layer_decay}; expected above 0 and at most 1 (no decay); '
                f'correct the training file'
            )


def check_numbers(settings: Any, rules: Mapping[str, Rule], *, what: str = 'training') -> None:
    """Check fields of a settings dataclass.

    Args:
        settings: The dataclass.
        rules: Rule by field name.
        what: What the settings are of, for messages.

    Raises:
        DatasetError: If a number breaks its rule.
    """
    for name, (is_usable, wanted) in rules.items():
        value = getattr(settings, name)
        if not is_usable(value):
            raise DatasetError(f'{name} is {value}; expected {wanted}; correct the {what} file')


def read_settings(path: Path, kind: type[Any], *, what: str = 'training') -> Any:
    """Read the values of a YAML of settings.

    Args:
        path: The file.
        kind: Dataclass whose fields it holds, for the message.
        what: What the settings are of, for the message.

    Raises:
        DatasetError: If the file cannot be read.
    """
    try:
        return yaml.safe_load(path.read_text(encoding='utf-8')) or {}
    except (OSError, yaml.YAMLError) as error:
        raise DatasetError(
            f"cannot read {what} file '{path}' ({error}); expected YAML with the fields of "
            f'{kind.__name__}; check the path and the syntax'
        ) from error


def build_settings(
    kind: type[Any], values: Any, *, prefix: str = '', what: str = 'training'
) -> Any:
    """Make a settings dataclass of a YAML mapping; every field of ``kind`` has a default.

    Args:
        kind: The dataclass.
        values: The mapping.
        prefix: Where it lies in the file, for messages; '' or ending in a point.
        what: What the settings are of, for messages.

    Raises:
        DatasetError: If it is no mapping, a key is unknown or a value has the wrong type.
    """
    if not isinstance(values, dict):
        raise DatasetError(
            f"{what} settings '{prefix or '(whole file)'}' are {values!r}; expected a mapping "
            f'of field names to values; correct the {what} file'
        )
    defaults, built = kind(), {}
    for name, value in values.items():
        check_known(kind, name, prefix=prefix, what=what)
        default = getattr(defaults, name)
        if is_dataclass(default):
            built[name] = build_settings(
                type(default), value, prefix=f'{prefix}{name}.', what=what
            )
            continue
        built[name] = _to_tuple(value)
        if not _fits(built[name], default):
            raise DatasetError(
                f"{what} setting '{prefix}{name}' is {value!r}; expected a value like "
                f'{default!r}; correct it (YAML reads 1e-3 as text: write 1.0e-3)'
            )
    return kind(**built)


def check_known(kind: type[Any], name: str, *, prefix: str, what: str) -> None:
    """Check that a dataclass has a field.

    Raises:
        DatasetError: If it has not; the message names the nearest one.
    """
    known = [item.name for item in fields(kind)]
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean '{prefix}{near[0]}'?" if near else f'known: {", ".join(known)}'
        raise DatasetError(
            f"unknown {what} setting '{prefix}{name}'; expected a field of {kind.__name__}; {hint}"
        )


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):  # an empty one stands for numbers
        like = default[0] if default else 0.0
        return isinstance(value, tuple) and all(_fits(item, like) for item in value)
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(default)


def _to_tuple(value: Any) -> Any:
    return tuple(_to_tuple(item) for item in value) if isinstance(value, list) else value
