# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from typing import ClassVar

import pytest

from rgbt_models.errors import DatasetError
from rgbt_models.train.run_log import RunLog, StepReport


def report(step, **losses):
    return StepReport(
        step=step,
        samples=4 * step,
        progress=0.123456,
        samples_per_s=7.654,
        learning_rate=0.01,
        losses=losses,
    )


def test_a_line_per_report(tmp_path):
    log = RunLog(tmp_path, tensorboard=False, first_step=0)
    log.write(report(20, box=0.123456, segmentation=2.0))
    log.close()
    assert json.loads((tmp_path / 'log.jsonl').read_text()) == {
        'step': 20,
        'samples': 80,
        'progress': 0.1235,
        'samples_per_s': 7.65,
        'box': 0.1235,
        'segmentation': 2.0,
    }


def test_tensorboard_without_the_package_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    with pytest.raises(DatasetError, match=r'is not installed; .*pip install tensorboard'):
        RunLog(tmp_path, tensorboard=True, first_step=0)


def test_tensorboard_gets_the_losses(tmp_path, monkeypatch):
    class Writer:
        calls: ClassVar[list[tuple]] = []

        def __init__(self, folder, purge_step):
            self.calls.append(('open', folder, purge_step))

        def add_scalar(self, *values):
            self.calls.append(values)

        def close(self):
            self.calls.append(('close',))

    class Module:
        SummaryWriter = Writer

    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', Module)
    log = RunLog(tmp_path, tensorboard=True, first_step=40)
    log.write(report(60, box=0.5))
    log.close()
    assert Writer.calls == [
        ('open', str(tmp_path / 'tensorboard'), 41),
        ('loss/box', 0.5, 60),
        ('learning_rate', 0.01, 60),
        ('samples_per_s', 7.654, 60),
        ('close',),
    ]
