# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from made_data import write_dataset
import pytest

from rgbt_perception import mdi_study
from rgbt_perception.cli.main import main
from rgbt_perception.degradations import Degradation


@pytest.mark.usefixtures('small_plan')
def test_study_of_a_data_set_is_written_and_shown(tmp_path, capsys):
    folder = write_dataset(tmp_path / 'data', num_pairs=4)
    status = main(['mdi-study', str(folder), '--out', str(tmp_path / 'out'), '--pairs', '3'])
    assert status == 0
    shown = capsys.readouterr().out
    assert 'tiny, 3 pairs' in shown
    assert 'not a vote' in shown
    study = json.loads((tmp_path / 'out' / 'study.json').read_text('utf-8'))
    assert (study['model'], study['pairs'], study['seed']) == ('tiny', 3, 0)
    assert study['degradations'] == ['none', 'thermal_flat_0.03']


@pytest.fixture
def small_plan(monkeypatch):
    """Two conditions instead of nine."""
    conditions = (Degradation(), Degradation(kind='thermal_flat', amount=0.03))
    monkeypatch.setattr(
        mdi_study.StudyPlan.__init__,
        '__kwdefaults__',
        {**mdi_study.StudyPlan.__init__.__kwdefaults__, 'degradations': conditions},
    )


def test_a_missing_data_set_is_one_line_and_status_2(tmp_path, capsys):
    status = main(['mdi-study', str(tmp_path / 'none'), '--out', str(tmp_path / 'out')])
    assert status == 2
    assert capsys.readouterr().err.startswith('rgbt mdi-study: ')
