# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys

import pytest
import torch

from bench.__main__ import main as bench_main
from bench.report import (
    Bound,
    conditions,
    describe,
    describe_bounds,
    describe_range,
    format_hw,
    NOT_INSTALLED,
    number,
    parse_size_hw,
    print_bounds,
    versions,
    write_results,
)
from rgbt_models.card import load_card
from rgbt_perception.benchmark import report


@pytest.mark.parametrize(
    ('value', 'at_most', 'at_least', 'is_kept'),
    [
        (1.2, 1.2, None, True),
        (1.21, 1.2, None, False),
        (0.99, None, 0.99, True),
        (0.98, None, 0.99, False),
        (math.nan, 1.2, None, False),
        (math.nan, None, 0.0, False),
        (0.5, 1.0, 0.0, True),
    ],
)
def test_bounds_are_inclusive_and_nan_never_keeps_them(value, at_most, at_least, is_kept):
    bound = Bound(name='x', value=value, at_most=at_most, at_least=at_least)
    assert bound.is_kept is is_kept


def test_a_bound_reads_as_one_line():
    kept = Bound(name='p99 ratio', value=1.1, at_most=1.2)
    broken = Bound(name='growth', value=1.5, at_most=1.0, unit='MiB/h')
    assert kept.text == 'kept: p99 ratio 1.1, bound at most 1.2'
    assert broken.text == 'BROKEN: growth 1.5 MiB/h, bound at most 1 MiB/h'


def test_a_range_is_median_least_and_most_rounded():
    assert describe_range([1.0004, 3.0, 2.0]) == {'median': 2.0, 'min': 1.0, 'max': 3.0}
    assert describe_range([1.00046], digits=4) == {'median': 1.0005, 'min': 1.0005, 'max': 1.0005}


def test_a_size_is_written_as_it_is_read():
    assert format_hw((96, 128)) == '96x128'
    assert parse_size_hw(format_hw((96, 128))) == (96, 128)


def test_one_broken_bound_makes_the_exit_status_1(tmp_path, capsys):
    kept = Bound(name='a', value=0.0, at_most=0.0)
    broken = Bound(name='b', value=math.nan, at_most=0.0)
    assert print_bounds([kept], tmp_path) == 0
    assert print_bounds([kept, broken], tmp_path) == 1
    assert 'BROKEN: b nan' in capsys.readouterr().out


def test_results_are_json_without_nan(tmp_path):
    bounds = [Bound(name='b', value=math.nan, at_most=1.0)]
    path = write_results('soak', describe_bounds(bounds), tmp_path / 'new')
    assert path == tmp_path / 'new' / 'soak.json'
    (written,) = json.loads(path.read_text('utf-8'))['bounds']
    assert written['value'] is None
    assert written['is_kept'] is False
    with pytest.raises(ValueError, match='JSON'):
        write_results('soak', {'x': math.nan}, tmp_path)


def test_samples_are_summed_up():
    assert describe([3.0, 1.0, 2.0]) == {
        'median': 2.0,
        'p99': 2.98,
        'min': 1.0,
        'max': 3.0,
        'num': 3,
    }
    with pytest.raises(ValueError, match='no samples, expected at least one; measure for longer'):
        describe([])


def test_conditions_name_the_versions_and_the_card():
    card = load_card('tiny')
    found = conditions(card=card, rounds=3)
    assert found['card'] == {'name': 'tiny', 'version': card.version}
    assert found['rounds'] == 3
    assert found['versions']['numpy'][0].isdigit()
    assert versions(['no-such-package']) == {'no-such-package': NOT_INSTALLED}
    json.dumps(found)


def test_the_build_of_torch_is_recorded_without_importing_it():
    code = (
        'import sys; from rgbt_perception.benchmark.report import versions; '
        'print(versions()["torch"], "torch" in sys.modules)'
    )
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [torch.__version__, 'False']


def test_torch_that_is_not_installed_is_named_so(monkeypatch):
    monkeypatch.setattr(report, 'find_spec', lambda _name: None)
    assert versions(['torch']) == {'torch': NOT_INSTALLED}


@pytest.mark.parametrize(
    ('kind', 'text', 'message'),
    [
        (int, '0', '0 is out of range, expected 1 or more; correct it'),
        (int, '1.5', "'1.5' is not a whole number; correct it"),
        (float, 'x', "'x' is not a number; correct it"),
        (float, 'nan', 'nan is out of range'),
        (float, 'inf', 'inf is out of range'),
    ],
)
def test_numbers_out_of_range_are_refused_with_the_range(kind, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        number(kind, at_least=1)(text)


def test_the_bound_itself_is_accepted():
    assert number(int, at_least=1)('1') == 1


@pytest.mark.parametrize('arguments', [['--rounds', '0'], ['--threads', '0']])
def test_bench_refuses_senseless_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        bench_main(arguments)
    assert stopped.value.code == 2
    assert '0 is out of range, expected 1 or more' in capsys.readouterr().err
