# SPDX-License-Identifier: Apache-2.0
"""A finished training run as a network to look at: of any task, without a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn, Tensor

from rgbt_models.build import RGBTModel
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import LabelSet, parse_label_set
from rgbt_models.train.batches import standardise_images
from rgbt_models.train.config import build_train_config, TrainConfig
from rgbt_models.train.loop import RUN_NAME, WEIGHTS_NAME
from rgbt_models.train.origin import scenes_in, scenes_of, UNKNOWN
from rgbt_models.train.pool import is_converted, Sample
from rgbt_models.train.tasks import build_task_model
from rgbt_models.weights import load_weights

SIZE_MULTIPLE = 16


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FinishedRun:
    """The network of a finished run.

    Attributes:
        folder: Of the run.
        config: Its settings.
        steps: Optimiser steps it took.
        model: With the averaged weights, in evaluation mode.
        device: Where the model is.
        label_set: Classes that the model tells.
        about: What the run wrote about itself, JSON values.
    """

    folder: Path
    config: TrainConfig
    steps: int
    model: nn.Module
    device: torch.device
    label_set: LabelSet
    about: Mapping[str, Any] = field(default_factory=dict)

    def images(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """Return standardised rgb and thermal of a pair, each (1, 3, h, w) float32.

        Nothing is drawn: the thermal counts are stretched by the normaliser of the run, without a
        camera's noise or tone curve.
        """
        rgb, thermal = standardise_images([sample], self.config)
        return rgb.to(self.device), thermal.to(self.device)

    @torch.inference_mode()
    def outputs(
        self,
        rgb: Tensor,
        thermal: Tensor,
        available: Sequence[tuple[float, float]] = ((1.0, 1.0),),
    ) -> list[dict[str, Tensor]]:
        """Run the network on one pair of any size, once per set of cameras.

        Args:
            rgb: (1, 3, h, w), standardised.
            thermal: (1, 3, h, w), standardised.
            available: 1 or 0 for RGB and thermal; 0 = that image is not looked at.

        Returns:
            Per set of cameras, the outputs for the images padded with 0 (the mean) at the right
            and below to multiples of 16, on the CPU.
        """
        images = pad_to_multiple(rgb), pad_to_multiple(thermal)
        flags = [torch.tensor([cameras], device=self.device) for cameras in available]
        outputs: list[dict[str, Tensor]]
        if isinstance(self.model, RGBTModel):  # the encoder sees both images whatever is used
            features = self.model.encoder(*images)
            outputs = [self.model.decode(features, cameras) for cameras in flags]
        else:
            outputs = [self.model(*images, cameras) for cameras in flags]
        return [{name: value.cpu() for name, value in of.items()} for of in outputs]


def load_run(folder: Path, *, device: str = 'cpu') -> FinishedRun:
    """Read a run that ``rgbt train`` finished.

    Args:
        folder: With ``run.json`` and the weights.
        device: Of torch, 'cpu' or 'cuda:0'.

    Raises:
        DatasetError: If the folder is not one of a training run, or the device is not there.
        WeightsError: If the weights do not fit the settings.
    """
    about = read_run(folder)
    settings = about.get('config')
    if not isinstance(settings, dict) or 'architecture' not in settings:
        raise DatasetError(
            f"the run in '{folder}' has no architecture; expected one of rgbt train, not of rgbt "
            f'pretrain; give the folder of a training run'
        )
    config = build_train_config(settings)
    label_set = parse_label_set(about)
    model = build_task_model(config, label_set)
    load_weights(model, folder / WEIGHTS_NAME)
    place = _find_device(device)
    return FinishedRun(
        folder=folder,
        config=config,
        steps=int(about.get('steps', 0)),
        model=model.to(place).eval(),
        device=place,
        label_set=label_set,
        about=about,
    )


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a run wrote about itself.

    Raises:
        DatasetError: If the folder holds no finished run, or its JSON cannot be read.
    """
    path = folder / RUN_NAME
    if not path.is_file():
        raise DatasetError(
            f"'{folder}' holds no {RUN_NAME}; expected the folder of a finished rgbt train run; "
            f'give that folder'
        )
    try:
        about = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"cannot read '{path}' ({error}); expected the JSON that a finished run writes; "
            f'restore it'
        ) from error
    return about if isinstance(about, dict) else {}


def is_trained_on(about: Mapping[str, Any], pool_dir: Path) -> bool | None:
    """Whether a rendered pool holds scenes that a run, or the encoder it began with, has seen.

    Scenes are told by the seed in the name of their shard.

    Args:
        about: What the run wrote about itself, ``FinishedRun.about``.
        pool_dir: The pool.

    Returns:
        None where it cannot be known: for a converted data set, and where none is found but the
        encoder is of unknown origin.
    """
    if is_converted(pool_dir):
        return None
    here = scenes_in(path.name for path in pool_dir.glob('shard_*'))
    seen = scenes_of(about)
    if any(own.start < other.stop and other.start < own.stop for own in here for other in seen):
        return True
    return None if str(about.get('encoder_origin', '')).startswith(UNKNOWN) else False


def pad_to_multiple(image: Tensor, multiple: int = SIZE_MULTIPLE) -> Tensor:
    """Pad an image (..., h, w) with 0 at the right and below to multiples of ``multiple``."""
    below, right = (-side % multiple for side in image.shape[-2:])
    return nn.functional.pad(image, (0, right, 0, below))


def _find_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA fails an assertion
        raise DatasetError(
            f"device '{name}' cannot be used ({str(error).splitlines()[0]}); expected 'cpu' or "
            f"'cuda:0' with a GPU; name another --device"
        ) from error
    return device
