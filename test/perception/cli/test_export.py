# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rgbt_models.card import load_card
from rgbt_models.graph_variant import GraphVariant
from rgbt_perception import variant_export
from rgbt_perception.cli.main import main
from rgbt_perception.export_gate import Gate, Measured
from rgbt_perception.variant_export import Exported

VARIANT = GraphVariant(
    file='model.int8.onnx.onnx',
    sha256='0' * 64,
    precision='int8',
    target='onnx',
    opset=18,
    is_stacked=False,
    gate={'onnx_parity': 2e-6, 'forced': False},
)
BEFORE, AFTER = (
    Measured(values={'fused': {'mIoU': miou}}, mdis=(float('nan'),) * 80, runtime='onnx 1, cpu')
    for miou in (0.6, 0.55)
)
GATE = Gate(expected=BEFORE, actual=AFTER, max_drop=0.01)


@pytest.fixture
def asked(monkeypatch):
    """Return the arguments of the export, and what it is to return under 'result'."""
    calls = {'result': Exported(variant=VARIANT, gate=None, path=Path('out/model.onnx'))}

    def export_to_card(card, request, **options):
        calls.update(card=card, request=request, **options)
        return calls['result']

    monkeypatch.setattr(variant_export, 'export_to_card', export_to_card)
    return calls


def test_the_defaults_are_an_fp32_graph_for_onnx_runtime_on_rendered_pairs(asked, capsys):
    assert main(['export', 'tiny', '--target', 'onnx']) == 0
    assert asked['card'] == load_card('tiny')
    request, pairs = asked['request'], asked['pairs']
    assert (request.precision, request.target, request.keep_tokens) == ('fp32', 'onnx', 1.0)
    assert request.opset is request.is_stacked is None
    assert (pairs.calibration.num_pairs, pairs.calibration.seed) == (48, 3_000_000)
    assert (pairs.gate.num_pairs, pairs.gate.seed, pairs.gate.source) == (80, 4_000_000, None)
    assert (asked['out_dir'], asked['is_forced']) == (None, False)
    assert capsys.readouterr().out == (
        'wrote out/model.onnx: largest relative error against torch 2.0e-06\n'
    )


def test_options_arrive(asked):
    options = '--opset 20 --stacked --keep-tokens 0.75 --calibration a --calibration-pairs 7'
    more = '--gate b --gate-pairs 9 --out c --force'
    command = ['export', 'tiny', '--precision', 'int8', '--target', 'tensorrt']
    assert main([*command, *options.split(), *more.split()]) == 0
    request, pairs = asked['request'], asked['pairs']
    assert (request.opset, request.is_stacked, request.keep_tokens) == (20, True, 0.75)
    assert (pairs.calibration.source, pairs.calibration.num_pairs) == (Path('a'), 7)
    assert (pairs.gate.source, pairs.gate.num_pairs) == (Path('b'), 9)
    assert (asked['out_dir'], asked['is_forced']) == (Path('c'), True)


def test_a_graph_that_loses_too_much_ends_with_its_figures_and_status_1(asked, capsys):
    asked['result'] = Exported(variant=VARIANT, gate=GATE, path=None)
    assert main(['export', 'tiny', '--precision', 'int8']) == 1
    shown = capsys.readouterr()
    assert shown.out == ''
    assert 'model.int8.onnx.onnx is not written: largest loss +5.00 points (mIoU' in shown.err
    assert 'allowed 1.0, on 80 pairs with onnx 1, cpu; ' in shown.err


def test_a_forced_graph_says_so(asked, capsys):
    variant = replace(VARIANT, gate={**VARIANT.gate, 'forced': True})
    asked['result'] = Exported(variant=variant, gate=GATE, path=Path('out/model.onnx'))
    assert main(['export', 'tiny', '--precision', 'int8', '--force']) == 0
    assert 'wrote out/model.onnx although it loses too much: ' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ([], 'nothing to do; expected a training run, a graph to make or metrics'),
        (['--run', 'run', '--precision', 'fp16'], 'expected one of them'),
        (['--metrics', 'a', 'b', '--target', 'onnx'], 'expected one of them'),
        (['--target', 'onnx', '--version', '2'], '--version is given, which nothing would read'),
        (['--target', 'onnx', '--pool', 'p'], 'expected it with --run; leave it out'),
        (['--target', 'onnx', '--licence', 'MIT'], '--licence is given'),
        (['--target', 'onnx', '--calibration-pairs', '3'], 'with --run or --precision fp16 or'),
        (['--target', 'onnx', '--calibration', 'a'], '--calibration is given'),
        (['--target', 'onnx', '--gate', 'a'], 'or int8 or --keep-tokens below 1; leave it out'),
        (['--target', 'onnx', '--gate-pairs', '30'], '--gate-pairs is given'),
        (['--target', 'onnx', '--force'], '--force is given'),
        (['--run', 'run', '--out', 'a'], 'expected it with --precision or --target; leave it'),
        (['--run', 'run', '--no-stacked'], '--stacked is given'),
        (['--run', 'run', '--opset', '20'], '--opset is given'),
        (['--run', 'run', '--keep-tokens', '0.5'], '--keep-tokens is given'),
        (['--metrics', 'a', 'no.json'], "metrics 'no.json' cannot be read"),
        (['--precision', 'fp16'], 'part of the installed package'),
    ],
)
def test_a_mistake_is_one_line(options, said, capsys):
    assert main(['export', 'tiny', *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith('rgbt export: ')
    assert said in error
    assert error.count('\n') == 1


def test_a_merged_fp32_graph_has_a_gate(asked):
    command = ['export', 'tiny', '--target', 'onnx', '--keep-tokens', '0.75', '--gate-pairs', '30']
    assert main([*command, '--force']) == 0
    assert (asked['pairs'].gate.num_pairs, asked['is_forced']) == (30, True)


@pytest.mark.parametrize(
    ('text', 'said'), [('{', 'cannot be read'), ('[1]', 'hold a list; expected the JSON object')]
)
def test_metrics_that_are_none_are_one_line(text, said, tmp_path, capsys):
    (tmp_path / 'metrics.json').write_text(text)
    assert main(['export', 'card', '--metrics', 'a', str(tmp_path / 'metrics.json')]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count('\n') == 1


def test_metrics_of_a_shipped_name_are_not_promised(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'metrics.json').write_text('{}')
    assert main(['export', 'tiny', '--metrics', 'a', 'metrics.json']) == 2
    assert 'no model card at' in capsys.readouterr().err
