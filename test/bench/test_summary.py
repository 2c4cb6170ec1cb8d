# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.growth import plot
from bench.report import Bound, conditions, describe_bounds
from bench.summary import main, PAGE, summarise

DECODING = {'boxes': {'median': 0.25, 'p99': 0.5, 'min': 0.2, 'max': 0.5, 'num': 9}}


def write(folder: Path, name: str, **values: Any) -> None:
    results = {'conditions': conditions(rounds=3), **values}
    (folder / f'{name}.json').write_text(json.dumps(results), encoding='utf-8')


def test_figures_stand_with_their_conditions_and_bounds(tmp_path):
    bounds = [
        Bound(name='time', value=0.25, at_most=1.0, unit='ms'),
        Bound(name='other', value=float('nan'), at_most=1.0),
    ]
    write(tmp_path, 'decoding', cpu_ms=DECODING, **describe_bounds(bounds))
    page = summarise(tmp_path)
    assert '| boxes | 0.250 | 0.500 | 0.200 |' in page
    assert 'rounds 3' in page
    assert '* kept: time 0.25 ms, bound at most 1 ms' in page
    assert '* BROKEN: other nan, bound at most 1' in page


def test_results_of_other_programs_show_their_bounds(tmp_path):
    write(tmp_path, 'other', **describe_bounds([Bound(name='x', value=2.0, at_least=1.0)]))
    assert '## other' in summarise(tmp_path)
    assert '* kept: x 2, bound at least 1' in summarise(tmp_path)


def test_check_finds_a_page_that_is_behind_its_files(tmp_path, capsys):
    write(tmp_path, 'decoding', cpu_ms=DECODING)
    arguments = ['--results', str(tmp_path)]
    assert main([*arguments, '--check']) == 1
    assert main(arguments) == 0
    assert main([*arguments, '--check']) == 0
    (tmp_path / PAGE).write_text('edited', encoding='utf-8')
    assert main([*arguments, '--check']) == 1
    assert 'is not what the results say' in capsys.readouterr().out


def test_the_committed_page_is_what_the_committed_results_say():
    assert main(['--check']) == 0


def test_the_plot_of_the_same_figures_is_the_same_file(tmp_path):
    pytest.importorskip('matplotlib')
    latency = {'latency_p50_ms': 10.0, 'latency_p99_ms': 12.0, 'peak_memory_mib': 100.0}
    results = {
        'sizes': [
            {'height': 96, 'width': 128, **latency},
            {'height': 192, 'width': 256, **latency},
        ],
        'rigs': [{'rigs': 1, **latency}, {'rigs': 2, **latency}],
    }
    for name in ('a.svg', 'b.svg'):
        plot(results, tmp_path / name)
    assert (tmp_path / 'a.svg').read_bytes() == (tmp_path / 'b.svg').read_bytes()
    head = (tmp_path / 'a.svg').read_text('utf-8').splitlines()[:3]
    assert '<!-- SPDX-License-Identifier: Apache-2.0 -->' in head
    assert '96x128' in (tmp_path / 'a.svg').read_text('utf-8')
