# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json

import pytest

from rgbt_perception.benchmark.engines import SIDES
from rgbt_perception.cli import bench


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


def test_a_measured_card_is_shown_written_and_judged(tmp_path, capsys):
    args = parse('tiny', '--backends', 'onnx', '--precisions', 'fp32', '--input', '32x48')
    args.rounds, args.runs, args.out = 1, 1, tmp_path
    status = bench.run(args)
    results = json.loads((tmp_path / 'engines_tiny.json').read_text('utf-8'))
    assert status == (0 if all(item['is_kept'] for item in results['bounds']) else 1)
    assert list(results['engines']) == ['torch fp32', 'onnx fp32']
    assert results['conditions']['input'] == '32x48'
    assert results['conditions']['weights'] == 'trained'
    assert results['engines']['onnx fp32']['BasicPerformanceMetrics.MEAN_LATENCY'] > 0.0
    shown = capsys.readouterr().out
    assert 'tiny at 32x48' in shown
    assert 'tiny, onnx fp32: processor time over torch fp32' in shown


def test_what_was_not_measured_is_shown_with_its_reason(capsys):
    bench.show({'engines': {}, 'not_measured': {'openvino bf16': 'this CPU has none'}}, 'made')
    assert 'openvino bf16: not measured: this CPU has none' in capsys.readouterr().out


@pytest.mark.parametrize('arguments', [['--rounds', '0'], ['--input', 'large']])
def test_senseless_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(*arguments)
    assert stopped.value.code == 2
    assert arguments[1] in capsys.readouterr().err
