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


def test_the_load_is_that_of_start_and_end(tmp_path):
    write(tmp_path, 'other')
    assert ' at the start' not in summarise(tmp_path)
    results = {'conditions': conditions(load_1min_at_start=0.25)}
    results['conditions']['load_1min'] = 1.5
    (tmp_path / 'other.json').write_text(json.dumps(results), encoding='utf-8')
    assert 'load 0.25 at the start, 1.5 at the end;' in summarise(tmp_path)


SPREAD = {'median': 0.5, 'min': 0.25, 'max': 0.75}
LATENCY = {'latency_p50_ms': 10.0, 'latency_p95_ms': 11.0, 'latency_p99_ms': 12.0}


def engine(*clocks: str) -> dict[str, Any]:
    return {
        **LATENCY,
        **{f'{clock}_ms': {'median': 8.0} for clock in ('cpu', 'wall')},
        **{f'{clock}_ratio': SPREAD for clock in clocks},
        'peak_memory_mib': 64.0,
        'load_s': {'median': 2.0},
        'first_load_s': 3.0,
    }


def test_engines_stand_with_the_ratios_of_their_clock(tmp_path):
    rows = {'a': {**engine('cpu', 'wall'), 'memory_ratio': 0.125}}
    drift = {'what': 'wall time', **SPREAD}
    write(tmp_path, 'engines_x', clock='wall', engines=rows, not_measured={}, drift=drift)
    page = summarise(tmp_path)
    assert '| engine | wall ms | over torch | host memory over torch | host MiB |' in page
    assert '| a | 8.000 | 0.500 (0.250 to 0.750) | 0.125 | 64.000 | 10.000 |' in page
    assert 'Drift, wall time: 0.500 (0.250 to 0.750).' in page


def test_engines_without_torch_have_no_ratios(tmp_path):
    refused = {'torch fp32': 'it is not installed'}
    write(tmp_path, 'engines_x', clock='cpu', engines={'a': engine()}, not_measured=refused)
    page = summarise(tmp_path)
    assert '| engine | cpu ms | over torch | memory over torch | peak MiB |' in page
    assert '| a | 8.000 |  |  | 64.000 | 10.000 |' in page
    assert '* torch fp32: it is not installed' in page
    assert 'Drift' not in page


def test_the_load_of_the_node_stands_by_stage_thread_and_round(tmp_path):
    loaded = {'rate_hz': 7.0, **LATENCY, 'dropped': {'dropped_late': 1, 'pairs_failed': 0}}
    write(
        tmp_path,
        'node_load_x',
        **dict.fromkeys(('engine_cpu_ms', 'node_cpu_ms', 'overhead', 'tail'), SPREAD),
        cpu_ms_by_stage={'receive': 0.125},
        cpu_ms_by_thread={'middleware': 0.375},
        rounds=[{'at_80_percent_load': loaded}, {'at_80_percent_load': loaded}],
    )
    page = summarise(tmp_path)
    assert '| engine alone | 0.500 (0.250 to 0.750) |\n| receive | 0.125 |\n| node |' in page
    assert '| middleware | 0.375 |' in page
    assert '| 2 | 7.000 | 10.000 | 11.000 | 12.000 |' in page
    assert 'dropped: dropped_late 2.' in page


def test_a_gpu_that_is_not_there_is_shown_with_its_reason(tmp_path):
    write(tmp_path, 'gpu', status='not run', reason='torch sees no CUDA device')
    assert 'Not run: torch sees no CUDA device.' in summarise(tmp_path)


def test_a_run_on_a_gpu_is_shown_in_full(tmp_path):
    model = {
        'ms': {'replay': {'median': 0.8, 'p99': 0.9}},
        'sustained_pairs_per_s': {'batch': 1250.0},
        'eager_over_replay': 2.5,
        'host_over_replay': 1.25,
        'gflop_per_pair': 158.0,
        'roofline_share': 0.25,
    }
    ceiling = {'tflops': 790.0, 'gpu': 'A', 'source': 'largest product'}
    models = {'small': model, 'base': {**model, 'roofline_share': 0.5}}
    write(tmp_path, 'gpu', status='run', models=models, ceiling=ceiling)
    page = summarise(tmp_path)
    assert '|  | small | base |' in page
    assert '| replay, p99 ms | 0.900 | 0.900 |' in page
    assert '| batch, sustained, pairs per s | 1250.000 | 1250.000 |' in page
    assert '| roofline share | 0.250 | 0.500 |' in page
    assert 'Roofline: 790.0 TFLOP/s, A, largest product.' in page


def test_shares_of_tokens_stand_with_the_range_of_their_times(tmp_path):
    share = {'ratio': 0.5, 'smallest_ratio': 0.25, 'largest_ratio': 0.75}
    metrics = {'0.5': {'mAP': 0.3, 'mIoU': 0.6}}
    write(tmp_path, 'token_merging', metrics=metrics, times={'tiny': {'0.5': share}})
    assert '| tiny | 0.500 (0.250 to 0.750) |' in summarise(tmp_path)


def test_the_least_ratios_stand_beside_what_is_asked(tmp_path):
    network = {'gflop': 9.6, 'torch_cpu_ms': SPREAD, 'least_ratio': {'int8': SPREAD}}
    write(
        tmp_path,
        'ceiling',
        gflop_per_s={'onnx int8': SPREAD},
        asked_ratio={'int8': {'openvino': 0.2, 'onnx': 0.4}},
        networks={'tiny at 256x320': network},
    )
    page = summarise(tmp_path)
    spread = '0.500 (0.250 to 0.750)'
    assert f'| onnx int8 | {spread} |' in page
    row = f'| tiny at 256x320, int8 | 9.600 | {spread} | {spread} | openvino 0.2, onnx 0.4 |'
    assert row in page


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
