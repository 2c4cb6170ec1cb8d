# SPDX-License-Identifier: Apache-2.0
"""Training runs of the small model: settings, and a run around any network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rgbt_models.label_sets import PACKAGE_LABEL_SET
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.finished_run import FinishedRun


def config_of(task: str, **changes: Any) -> TrainConfig:
    """Return the settings of a run of two steps; tests register the architecture 'made'."""
    return TrainConfig(
        architecture='made',
        task=task,
        max_steps=2,
        size_hws=((64, 96),),
        pixels_per_step=2 * 64 * 96,
        precision='32-true',
        **changes,
    )


def run_of(task: str, model: torch.nn.Module, **changes: Any) -> FinishedRun:
    """Return a run, without a folder, whose network is ``model``."""
    return FinishedRun(
        folder=Path('made_run'),
        config=config_of(task, **changes),
        steps=2,
        model=model.eval(),
        device=torch.device('cpu'),
        label_set=PACKAGE_LABEL_SET,
    )
