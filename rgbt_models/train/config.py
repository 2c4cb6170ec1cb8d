# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run, read from YAML; an unknown key is an error."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
import difflib
from pathlib import Path
from typing import Any

import yaml

from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import SEGMENTATION_CLASSES
from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.train.augment import AugmentConfig

PRECISIONS = ('bf16-mixed', '32-true')


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run.

    Attributes:
        architecture: Name of the model to build.
        pool_pairs: Rendered pairs in the training pool.
        pool_scale: Size of the pool images as a fraction of 640x480.
        pool_seed: Seed of the first scene; scenes of test sets use other seeds.
        seed: Seed of weights, crops and sensors.
        max_steps: Optimiser steps; the run ends at this or at ``max_hours``.
        max_hours: Wall time, hours; 0 = no limit (then the run is repeatable).
        size_hws: Crop sizes (height, width) px, one drawn per step.
        pixels_per_step: Pixels per process and step; sets the batch size for each crop size.
        learning_rate: Peak rate of AdamW.
        weight_decay: On weights of two or more dimensions.
        warmup_steps: Linear warm-up.
        clip_norm: Largest gradient norm.
        ema_decay: Decay of the averaged weights, which are the ones kept.
        modality_dropout: Final probability that one camera is taken away, half for each.
        dropout_start: Part of the run without modality dropout, which then ramps in.
        segmentation_weights: Weight of each segmentation class in the loss.
        precision: Fabric precision, 'bf16-mixed' or '32-true'.
        augment: Strength of the augmentation.
        rgb_mean: Written to the card.
        rgb_std: Written to the card.
        thermal_mean: Written to the card.
        thermal_std: Written to the card.
        thermal_normaliser: Written to the card.
    """

    architecture: str = 'tiny'
    pool_pairs: int = 12_800
    pool_scale: float = 0.8
    pool_seed: int = 1_000_000
    seed: int = 0
    max_steps: int = 6_000
    max_hours: float = 0.0
    size_hws: tuple[tuple[int, int], ...] = ((224, 288), (256, 320), (320, 400), (384, 512))
    pixels_per_step: int = 5 * 256 * 320
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    clip_norm: float = 2.0
    ema_decay: float = 0.998
    modality_dropout: float = 0.2
    dropout_start: float = 0.15
    segmentation_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 1.5, 3.0)
    precision: str = 'bf16-mixed'
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    rgb_mean: tuple[float, float, float] = (0.40, 0.40, 0.40)
    rgb_std: tuple[float, float, float] = (0.27, 0.27, 0.27)
    thermal_mean: float = 0.40
    thermal_std: float = 0.27
    thermal_normaliser: ThermalNormaliser = field(default_factory=ThermalNormaliser)

    def __post_init__(self) -> None:
        """Check what would only fail, or mislead, deep in the run.

        Raises:
            DatasetError: If crop sizes, class weights or the number of steps cannot be used.
        """
        sides = [side for size_hw in self.size_hws for side in size_hw]
        if (
            len(sides) != 2 * len(self.size_hws)
            or not sides
            or any(s < 16 or s % 16 for s in sides)
        ):
            raise DatasetError(
                f'size_hws is {self.size_hws}; expected (height, width) pairs of positive '
                f'multiples of 16; correct the training file'
            )
        if len(self.segmentation_weights) != len(SEGMENTATION_CLASSES):
            raise DatasetError(
                f'segmentation_weights has {len(self.segmentation_weights)} values; expected '
                f'{len(SEGMENTATION_CLASSES)}, one per class; correct the training file'
            )
        if self.precision not in PRECISIONS:
            raise DatasetError(
                f"precision is '{self.precision}'; expected one of {', '.join(PRECISIONS)}; "
                f'correct the training file'
            )
        if len(self.rgb_mean) != 3 or len(self.rgb_std) != 3:
            raise DatasetError(
                f'rgb_mean and rgb_std are {self.rgb_mean} and {self.rgb_std}; expected three '
                f'values each; correct the training file'
            )
        if self.max_steps < 1:
            raise DatasetError(
                f'max_steps is {self.max_steps}; expected 1 or more; correct the training file '
                f'(max_hours ends a run by time)'
            )


def load_train_config(path: Path) -> TrainConfig:
    """Read a training YAML; missing keys keep their defaults.

    Raises:
        DatasetError: If the file cannot be read, a key is unknown or a value has the wrong type.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8')) or {}
    except (OSError, yaml.YAMLError) as error:
        raise DatasetError(
            f"cannot read training file '{path}' ({error}); expected YAML with the fields of "
            f'TrainConfig; check the path and the syntax'
        ) from error
    return build_train_config(values)


def build_train_config(values: Any) -> TrainConfig:
    """Build the settings from a mapping as read from YAML or JSON.

    Raises:
        DatasetError: If it is no mapping, a key is unknown or a value has the wrong type.
    """
    config: TrainConfig = _build(TrainConfig, values, prefix='')
    return config


def _build(kind: type[Any], values: Any, *, prefix: str) -> Any:
    """Make a settings dataclass of a YAML mapping; every field of ``kind`` has a default."""
    if not isinstance(values, dict):
        raise DatasetError(
            f"training settings '{prefix or '(whole file)'}' are {values!r}; expected a mapping "
            f'of field names to values; correct the training file'
        )
    defaults, built = kind(), {}
    for name, value in values.items():
        _check_known(kind, name, prefix=prefix)
        default = getattr(defaults, name)
        if is_dataclass(default):
            built[name] = _build(type(default), value, prefix=f'{prefix}{name}.')
            continue
        built[name] = _to_tuple(value)
        if not _fits(built[name], default):
            raise DatasetError(
                f"training setting '{prefix}{name}' is {value!r}; expected a value like "
                f'{default!r}; correct it (YAML reads 1e-3 as text: write 1.0e-3)'
            )
    return kind(**built)


def _check_known(kind: type[Any], name: str, *, prefix: str) -> None:
    known = [item.name for item in fields(kind)]
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean '{prefix}{near[0]}'?" if near else f'known: {", ".join(known)}'
        raise DatasetError(
            f"unknown training setting '{prefix}{name}'; expected a field of "
            f'{kind.__name__}; {hint}'
        )


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_fits(item, default[0]) for item in value)
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(default)


def _to_tuple(value: Any) -> Any:
    return tuple(_to_tuple(item) for item in value) if isinstance(value, list) else value
