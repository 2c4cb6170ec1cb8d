# SPDX-License-Identifier: Apache-2.0
"""What a run tells while it goes: JSON lines, TensorBoard, and a callback for a progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import importlib
import json
import logging
from pathlib import Path
from typing import Any

from rgbt_models.errors import DatasetError

LOG_NAME = 'log.jsonl'
TENSORBOARD_DIR = 'tensorboard'
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """State of a run after an optimiser step.

    Attributes:
        step: Optimiser steps done.
        samples: Pairs seen by all processes.
        progress: Part of the run done when the step began, 0..1.
        samples_per_s: Since the start of this process, all processes together.
        learning_rate: Of the step.
        losses: Means over the batches of the step, of the first process.
    """

    step: int
    samples: int
    progress: float
    samples_per_s: float
    learning_rate: float
    losses: Mapping[str, float]


class RunLog:
    """Writes the log of one run; on going on, what came after the checkpoint is cut off."""

    def __init__(self, folder: Path, *, tensorboard: bool, first_step: int) -> None:
        """Open the log.

        Args:
            folder: Of the run.
            tensorboard: Write for TensorBoard too.
            first_step: Steps done before, 0 in a new run.

        Raises:
            DatasetError: If TensorBoard is wanted and not installed.
        """
        self._path = folder / LOG_NAME
        self._cut(first_step)
        self._board = _open_board(folder / TENSORBOARD_DIR, first_step) if tensorboard else None

    def write(self, report: StepReport) -> None:
        """Add a line."""
        losses = {name: round(value, 4) for name, value in report.losses.items()}
        entry = {
            'step': report.step,
            'samples': report.samples,
            'progress': round(report.progress, 4),
            'samples_per_s': round(report.samples_per_s, 2),
            **losses,
        }
        with self._path.open('a', encoding='utf-8') as file:
            file.write(json.dumps(entry) + '\n')
        if self._board is not None:
            for name, value in report.losses.items():
                self._board.add_scalar(f'loss/{name}', value, report.step)
            self._board.add_scalar('learning_rate', report.learning_rate, report.step)
            self._board.add_scalar('samples_per_s', report.samples_per_s, report.step)
        _LOGGER.info('%s', entry)

    def close(self) -> None:
        """Write out what TensorBoard still holds."""
        if self._board is not None:
            self._board.close()

    def _cut(self, first_step: int) -> None:
        if not self._path.is_file():
            return
        kept = []
        for line in self._path.read_text(encoding='utf-8').splitlines():
            try:
                is_before = json.loads(line)['step'] <= first_step
            except ValueError:  # a kill may leave half a line
                is_before = False
            if is_before:
                kept.append(line + '\n')
        self._path.write_text(''.join(kept), encoding='utf-8')


def _open_board(folder: Path, first_step: int) -> Any:
    try:
        tensorboard = importlib.import_module('torch.utils.tensorboard')
    except ImportError as error:
        raise DatasetError(
            'tensorboard is true, and the package tensorboard is not installed; expected it; '
            "run: pip install tensorboard, or set 'tensorboard: false'"
        ) from error
    return tensorboard.SummaryWriter(str(folder), purge_step=first_step + 1)
