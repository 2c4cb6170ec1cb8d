# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run, read from YAML; an unknown key is an error."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
import difflib
from pathlib import Path
from typing import Any

import yaml

from rgbt_models.errors import DatasetError
from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.train.augment import AugmentConfig

DETECTION_CLASSES = ('person', 'car', 'bicycle')
SEGMENTATION_CLASSES = (
    'sky',
    'road',
    'ground',
    'building',
    'vegetation',
    'person',
    'car',
    'bicycle',
)


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


def load_train_config(path: Path) -> TrainConfig:
    """Read a training YAML; missing keys keep their defaults.

    Raises:
        DatasetError: If the file cannot be read or a key is unknown.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8')) or {}
    except (OSError, yaml.YAMLError) as error:
        raise DatasetError(
            f"cannot read training file '{path}' ({error}); expected YAML with the fields of "
            f'TrainConfig; check the path and the syntax'
        ) from error
    nested = {'augment': AugmentConfig, 'thermal_normaliser': ThermalNormaliser}
    for name, kind in nested.items():
        if name in values:
            values[name] = _build(kind, values[name], prefix=f'{name}.')
    config: TrainConfig = _build(TrainConfig, values, prefix='')
    return config


def _build(kind: type[Any], values: dict[str, Any], *, prefix: str) -> Any:
    known = [item.name for item in fields(kind)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f'known: {", ".join(known)}'
            raise DatasetError(
                f"unknown training setting '{prefix}{name}'; expected a field of "
                f'{kind.__name__}; {hint}'
            )
    return kind(**{name: _to_tuple(value) for name, value in values.items()})


def _to_tuple(value: Any) -> Any:
    return tuple(_to_tuple(item) for item in value) if isinstance(value, list) else value
