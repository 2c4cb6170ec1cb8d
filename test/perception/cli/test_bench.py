# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json

import pytest

from rgbt_perception.benchmark.engines import SIDES
from rgbt_perception.cli import bench
from rgbt_perception.errors import ConfigError


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(arguments)


def names(backends: list[str] | None = None, precisions: list[str] | None = None) -> list[str]:
    return [side.name for side in bench.choose_sides(backends, precisions)]


def test_without_arguments_it_is_the_table_of_two_cards():
    args = parse()
    assert (args.cards, args.rounds, args.threads) == ([], 5, 1)
    assert bench.DEFAULT_CARDS == ('tiny', 'random:small')
    assert names() == [side.name for side in SIDES]


def test_sides_are_those_of_the_table_or_every_combination_named():
    assert names(['onnx']) == ['onnx fp32', 'onnx int8']
    assert names(None, ['int8']) == ['onnx int8', 'openvino int8']
    assert names(['torch'], ['bf16']) == ['torch bf16']


def test_a_backend_that_is_not_in_the_table_is_measured_in_all_its_precisions():
    assert names(['tensorrt', 'torch']) == [
        'tensorrt fp32',
        'tensorrt fp16',
        'tensorrt int8',
        'torch fp32',
    ]


def test_a_choice_that_leaves_nothing_is_refused():
    with pytest.raises(ConfigError, match='no engine of the table computes in fp16, expected one'):
        names(None, ['fp16'])


def test_without_torch_the_card_with_random_weights_is_left_out_and_named(capsys, monkeypatch):
    assert bench._default_cards() == bench.DEFAULT_CARDS
    monkeypatch.setattr(bench, 'find_spec', lambda _name: None)
    assert bench._default_cards() == ('tiny',)
    assert 'random:small: not measured: torch is not installed' in capsys.readouterr().out


def test_a_measured_card_is_shown_written_and_judged(tmp_path, capsys):
    args = parse('tiny', '--backends', 'onnx', '--precisions', 'fp32', '--input', '32x48')
    args.rounds, args.runs, args.out = 1, 1, tmp_path
    status = bench.run(args)
    results = json.loads((tmp_path / 'engines_tiny_32x48.json').read_text('utf-8'))
    assert status == (0 if all(item['is_kept'] for item in results['bounds']) else 1)
    assert list(results['engines']) == ['torch fp32', 'onnx fp32']
    assert results['conditions']['input'] == '32x48'
    assert results['conditions']['weights'] == 'trained'
    assert results['engines']['onnx fp32']['BasicPerformanceMetrics.MEAN_LATENCY'] > 0.0
    shown = capsys.readouterr().out
    assert 'tiny at 32x48' in shown
    assert 'tiny, onnx fp32: processor time over torch fp32' in shown


def test_results_of_cuda_do_not_replace_those_of_the_cpu():
    assert bench.name_results('tiny', (96, 128), 'cpu') == 'engines_tiny_96x128'
    assert bench.name_results('tiny', (96, 128), 'cuda:1') == 'engines_tiny_96x128_cuda1'


def test_what_was_not_measured_is_shown_with_its_reason(capsys):
    described = {'clock': 'cpu', 'engines': {}, 'not_measured': {'openvino bf16': 'it has none'}}
    bench.show(described, 'made')
    shown = capsys.readouterr().out
    assert 'openvino bf16: not measured: it has none' in shown
    assert 'no ratios: torch fp32 was not measured' in shown


def test_on_cuda_the_ratios_shown_are_of_wall_time(capsys):
    spread = {'median': 0.25, 'min': 0.2, 'max': 0.3}
    times = {'latency_p50_ms': 1.0, 'latency_p99_ms': 2.0, 'peak_memory_mib': 3.0}
    engine = {**times, 'load_s': spread, 'wall_ms': spread, 'wall_ratio': spread}
    described = {'engines': {'torch fp16': engine}, 'not_measured': {}, 'drift': spread}
    bench.show({'clock': 'wall', **described}, 'made')
    shown = capsys.readouterr().out
    assert 'wall ms' in shown
    assert 'host MiB' in shown
    assert '0.250' in shown
    assert 'no ratios' not in shown


@pytest.mark.parametrize('arguments', [['--rounds', '0'], ['--input', 'large']])
def test_senseless_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(*arguments)
    assert stopped.value.code == 2
    assert arguments[1] in capsys.readouterr().err
