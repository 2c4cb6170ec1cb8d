# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run, read from YAML; an unknown key is an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import DETECTION_CLASSES
from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.train.augment import AugmentConfig
from rgbt_models.train.balance import BalanceConfig
from rgbt_models.train.settings import (
    BELOW_1,
    build_settings,
    check_numbers,
    FROM_0,
    PART,
    read_settings,
    RunSettings,
)

TASK_NAMES = ('both', 'detection', 'segmentation', 'saliency', 'matching')
CARD_TASKS = ('both', 'detection', 'segmentation')  # whose heads a card has
MAPPED_TASKS = ('both', 'segmentation')
_RULES = {
    'ema_decay': BELOW_1,
    'drop_path': BELOW_1,
    'modality_dropout': PART,
    'lovasz_weight': FROM_0,
    'visibility_weight': FROM_0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(RunSettings):
    """One training run; how it is optimised is in the fields of ``RunSettings``.

    Attributes:
        architecture: Name of the model to build.
        task: What is learnt: 'both' (detection and segmentation), or one of the tasks of
            ``rgbt_models.train.tasks``.
        init_from: Safetensors with the encoder to start from, '' = random weights.
        init_heads: Take neck and heads from ``init_from``, too: the weights of a card or a run of
            the same architecture and classes; not for saliency and matching.
        pool_pairs: Rendered pairs in the training pool.
        pool_scale: Size of the pool images as a fraction of 640x480.
        pool_seed: Seed of the first scene; scenes of test sets use other seeds.
        size_hws: Crop sizes (height, width) px, one drawn per batch.
        pixels_per_step: Pixels per process and batch, those of the largest crop or more; sets
            the batch size for each crop size.
        ema_decay: Decay of the averaged weights, which are the ones kept; 0 = no averaging.
        gradient_checkpointing: Recompute the blocks of the encoder in the backward pass instead
            of keeping their activations: less memory, more time; transformers of timm only.
        drop_path: Rate at which the last block of the encoder is left out for a sample, growing
            linearly from 0 at the first block; training only, transformers of timm only.
        modality_dropout: Final probability that one camera is taken away, half for each.
        dropout_start: Part of the run without modality dropout, which then ramps in.
        segmentation_weights: Weight of each segmentation class in the loss; empty = those of
            ``rgbt_models.train.tasks`` for the classes of the package, 1 for others.
        lovasz_weight: Of the Lovász-softmax loss, which favours the IoU of every class alike,
            beside the cross-entropy of label maps; 0 = without.
        salient_classes: Segmentation classes that are salient in a pool without saliency masks.
        augment: Strength of the augmentation.
        fine_matching: Refine matches at a quarter of a token's side; task matching only.
        is_balanced: Whether the terms of ``balance`` are added; not for saliency and matching.
        balance: Terms that balance the cameras (ours, on MDACL's ideas); training only.
        visibility_weight: Of the term that draws the fusion shares towards what each camera
            shows of the objects (ours, see ``rgbt_models.train.visibility``); training only, 0 =
            off; not for saliency and matching. The card's index is then fitted to that too.
        rgb_mean: Written to the card.
        rgb_std: Written to the card.
        thermal_mean: Written to the card.
        thermal_std: Written to the card.
        thermal_normaliser: Written to the card.
    """

    architecture: str = 'tiny'
    task: str = 'both'
    init_from: str = ''
    init_heads: bool = False
    pool_pairs: int = 12_800
    pool_scale: float = 0.8
    pool_seed: int = 1_000_000
    size_hws: tuple[tuple[int, int], ...] = ((224, 288), (256, 320), (320, 400), (384, 512))
    pixels_per_step: int = 5 * 256 * 320
    ema_decay: float = 0.998
    gradient_checkpointing: bool = False
    drop_path: float = 0.0
    modality_dropout: float = 0.2
    dropout_start: float = 0.15
    segmentation_weights: tuple[float, ...] = ()
    lovasz_weight: float = 0.0
    salient_classes: tuple[str, ...] = DETECTION_CLASSES
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    fine_matching: bool = True
    is_balanced: bool = False
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    visibility_weight: float = 0.0
    rgb_mean: tuple[float, float, float] = (0.40, 0.40, 0.40)
    rgb_std: tuple[float, float, float] = (0.27, 0.27, 0.27)
    thermal_mean: float = 0.40
    thermal_std: float = 0.27
    thermal_normaliser: ThermalNormaliser = field(default_factory=ThermalNormaliser)

    def __post_init__(self) -> None:
        """Check what would only fail, or mislead, deep in the run.

        Raises:
            DatasetError: If the task cannot be learnt or balanced, or crop sizes, class weights,
                rates or numbers of steps cannot be used.
        """
        RunSettings.__post_init__(self)  # super() does not work in a dataclass with slots
        check_numbers(self, _RULES)
        self._check_task()
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
        largest = max(height * width for height, width in self.size_hws)
        if self.pixels_per_step < largest:
            raise DatasetError(
                f'pixels_per_step is {self.pixels_per_step}; expected {largest} or more, the '
                f'pixels of the largest crop of size_hws; correct the training file'
            )
        if not all(weight > 0 for weight in self.segmentation_weights):
            raise DatasetError(
                f'segmentation_weights are {self.segmentation_weights}; expected values above 0; '
                f'correct the training file'
            )
        if len(self.rgb_mean) != 3 or len(self.rgb_std) != 3:
            raise DatasetError(
                f'rgb_mean and rgb_std are {self.rgb_mean} and {self.rgb_std}; expected three '
                f'values each; correct the training file'
            )

    def _check_task(self) -> None:
        """Check the task, and what only some tasks have.

        Raises:
            DatasetError: If they do not fit together.
        """
        if self.task not in TASK_NAMES:
            raise DatasetError(
                f"task is '{self.task}'; expected one of {', '.join(TASK_NAMES)}; correct the "
                f'training file'
            )
        if self.is_balanced and self.task not in CARD_TASKS:
            raise DatasetError(
                f"is_balanced is on with the task '{self.task}'; expected one of "
                f'{", ".join(CARD_TASKS)}, whose heads the balancing compares; leave '
                f'is_balanced out'
            )
        if self.visibility_weight > 0.0 and self.task not in CARD_TASKS:
            raise DatasetError(
                f"visibility_weight is {self.visibility_weight} with the task '{self.task}'; "
                f'expected one of {", ".join(CARD_TASKS)}, whose cards have a dominance '
                f'index; leave visibility_weight out'
            )
        if self.lovasz_weight > 0.0 and self.task not in MAPPED_TASKS:
            raise DatasetError(
                f"lovasz_weight is {self.lovasz_weight} with the task '{self.task}'; expected one "
                f'of {", ".join(MAPPED_TASKS)}, which learn label maps; leave lovasz_weight out'
            )
        if self.init_heads and (not self.init_from or self.task not in CARD_TASKS):
            raise DatasetError(
                f"init_heads is on with init_from '{self.init_from}' and the task '{self.task}'; "
                f'expected the weights of a card or a run, and one of '
                f'{", ".join(CARD_TASKS)}, whose heads a card has; leave init_heads out'
            )


def load_train_config(path: Path) -> TrainConfig:
    """Read a training YAML; missing keys keep their defaults.

    Raises:
        DatasetError: If the file cannot be read, a key is unknown or a value has the wrong type.
    """
    return build_train_config(read_settings(path, TrainConfig))


def build_train_config(values: Any) -> TrainConfig:
    """Build the settings from a mapping as read from YAML or JSON.

    Raises:
        DatasetError: If it is no mapping, a key is unknown or a value has the wrong type.
    """
    config: TrainConfig = build_settings(TrainConfig, values)
    return config
