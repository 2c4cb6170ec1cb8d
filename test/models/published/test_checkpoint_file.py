# SPDX-License-Identifier: Apache-2.0
"""Released files are read without running what they contain."""

from __future__ import annotations

from collections import OrderedDict
import os
from pathlib import Path
import sys
import types

import numpy as np
import pytest
import torch

from rgbt_models.errors import WeightsError
from rgbt_models.published.checkpoint_file import read_checkpoint

WEIGHTS = {'blocks.0.norm1.weight': torch.arange(3.0)}


class Malicious:
    """Runs a shell command when it is unpickled by a reader that runs what a file names."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> type:
    """The trainer's loss history, by its real name."""

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history = np.array([1.5, 2.5])
            self._count = np.int64(3)

        def mean(self) -> None:
            raise AssertionError('called while reading')

        def __getstate__(self) -> dict:
            return {**self.__dict__, 'methods': {'mean': HistoryBuffer.mean}}

    HistoryBuffer.__module__ = 'mmengine.logging.history_buffer'
    HistoryBuffer.__qualname__ = 'HistoryBuffer'
    HistoryBuffer.mean.__module__ = 'mmengine.logging.history_buffer'
    HistoryBuffer.mean.__qualname__ = 'HistoryBuffer.mean'
    for name in ('mmengine', 'mmengine.logging', 'mmengine.logging.history_buffer'):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules['mmengine.logging.history_buffer'].HistoryBuffer = HistoryBuffer
    return HistoryBuffer


@pytest.mark.parametrize(
    'content',
    [WEIGHTS, {'model': WEIGHTS}, {'state_dict': OrderedDict(WEIGHTS), 'optimizer': {'step': 3}}],
)
def test_weights_lie_at_the_top_or_below_model_or_state_dict(tmp_path, content):
    torch.save(content, tmp_path / 'x.pth')
    checkpoint = read_checkpoint(tmp_path / 'x.pth')
    assert list(checkpoint.tensors) == ['blocks.0.norm1.weight']
    assert checkpoint.tensors['blocks.0.norm1.weight'].tolist() == [0, 1, 2]
    assert checkpoint.class_names == ()


def test_the_class_names_that_the_trainer_noted_are_read(tmp_path):
    meta = {'dataset_meta': {'classes': ('person', 'car')}, 'epoch': 1}
    torch.save({'meta': meta, 'state_dict': WEIGHTS}, tmp_path / 'x.pth')
    assert read_checkpoint(tmp_path / 'x.pth').class_names == ('person', 'car')


@pytest.mark.parametrize('key', ['state_dict', 'meta', 'other'])
def test_a_malicious_file_is_refused_and_nothing_runs(tmp_path, key):
    marker = tmp_path / 'marker'
    content = {'state_dict': WEIGHTS, key: {'x': Malicious(marker)}}
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(WeightsError, match=r'cannot read checkpoint .* as weights'):
        read_checkpoint(tmp_path / 'x.pth')
    assert not marker.exists()


def test_the_file_above_would_run_in_a_careless_reader(tmp_path):
    marker = tmp_path / 'marker'
    torch.save({'x': Malicious(marker)}, tmp_path / 'x.pth')
    torch.load(tmp_path / 'x.pth', weights_only=False)  # noqa: TID251 - shows the danger
    assert marker.exists()


def test_the_loss_history_of_the_trainer_is_passed_over_and_not_called(tmp_path, history):
    content = {'message_hub': {'loss': history()}, 'state_dict': WEIGHTS}
    torch.save(content, tmp_path / 'x.pth')
    # The class is not there when the file is read, as on a machine without the trainer.
    for name in [name for name in sys.modules if name.startswith('mmengine')]:
        del sys.modules[name]
    assert list(read_checkpoint(tmp_path / 'x.pth').tensors) == ['blocks.0.norm1.weight']


def test_reading_leaves_no_name_allowed_behind(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'x.pth')
    before = set(torch.serialization.get_safe_globals())  # torch keeps no order
    read_checkpoint(tmp_path / 'x.pth')
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize('content', [{}, {'state_dict': {}}, [1, 2], {'model': {'a': 3}}])
def test_a_file_without_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(WeightsError, match='holds no dictionary of tensors'):
        read_checkpoint(tmp_path / 'x.pth')


def test_a_cut_file_is_refused(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'x.pth')
    content = (tmp_path / 'x.pth').read_bytes()
    (tmp_path / 'x.pth').write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match='cannot read checkpoint'):
        read_checkpoint(tmp_path / 'x.pth')


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r'no checkpoint .*none\.pth'):
        read_checkpoint(tmp_path / 'none.pth')
