# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
import torch

from bench.gpu import (
    build_sides,
    CEILING_FLOPS,
    list_bounds,
    main,
    MAX_REPLAY_MS,
    measure,
    Sides,
)
from bench.report import Bound
from rgbt_models.build import create_model
from rgbt_perception.engine.torch_runs import repeat


class Durations:
    """Timer that calls nothing: each side takes what it is said to take, ms."""

    def __init__(self, sides: Sides, durations_ms: dict[str, float]) -> None:
        self._names = {call: name for name, call in sides.calls.items()}
        self._durations_ms = durations_ms
        self.order: list[str] = []

    def __call__(self, call) -> float:
        name = self._names[call]
        self.order.append(name)
        return self._durations_ms[name]


def stand_ins(flops: int = 0) -> Sides:
    names = ('replay', 'eager', 'host to host', 'batch')
    return Sides(calls={name: lambda name=name: name for name in names}, flops=flops)


KEPT_MS = {'replay': 0.8, 'eager': 2.0, 'host to host': 1.0, 'batch': 3.2}


def test_sides_take_turns_and_ratios_are_to_the_replay():
    sides = stand_ins(flops=158_000_000_000)
    timer = Durations(sides, KEPT_MS)
    measured = measure(sides, rounds=3, timer=timer)
    assert timer.order == [*sides.calls] * 3
    assert measured['ms']['replay'] == {
        'median': 0.8,
        'p99': 0.8,
        'min': 0.8,
        'max': 0.8,
        'num': 3,
    }
    assert measured['eager_over_replay'] == 2.5
    assert measured['host_over_replay'] == 1.25
    assert measured['pairs_per_s'] == 1250.0
    assert measured['gflop_per_pair'] == 158.0
    assert CEILING_FLOPS == 790e12
    assert measured['roofline_share'] == 0.25  # 158 GFLOP in 0.8 ms is 197.5 TFLOP/s


@pytest.mark.parametrize(
    ('slower', 'broken'),
    [
        ({}, []),
        ({'replay': 0.91, 'eager': 2.0}, ['small: replay, median']),
        ({'eager': 1.5}, ['small: eager over replay']),
        ({'host to host': 1.1}, ['small: host to host over replay']),
        ({'batch': 4.1}, ['small: sustained, batch 4']),
    ],
)
def test_each_bound_can_be_broken(slower: dict[str, float], broken: list[str]):
    sides = stand_ins()
    durations = {**KEPT_MS, **slower}
    measured = {'small': measure(sides, rounds=1, timer=Durations(sides, durations))}
    bounds = list_bounds(measured)
    assert [bound.name for bound in bounds if not bound.is_kept] == broken


def test_bounds_are_those_that_were_asked_for():
    sides = stand_ins()
    values = measure(sides, rounds=1, timer=Durations(sides, KEPT_MS))

    def limits(bound: Bound) -> tuple[float | None, float | None]:
        return bound.at_most, bound.at_least

    found = {
        bound.name: limits(bound) for bound in list_bounds(dict.fromkeys(MAX_REPLAY_MS, values))
    }
    assert found == {
        'small: replay, median': (0.9, None),
        'base: replay, median': (1.8, None),
        **{f'{name}: eager over replay': (None, 2.0) for name in MAX_REPLAY_MS},
        **{f'{name}: host to host over replay': (1.35, None) for name in MAX_REPLAY_MS},
        'small: sustained, batch 4': (None, 1000.0),
    }


def test_sides_run_the_model_on_one_and_on_four_pairs():
    torch.manual_seed(0)
    model = create_model('tiny', num_detection_classes=2, num_segmentation_classes=3).eval()
    waits = []
    with torch.inference_mode():
        sides = build_sides(model, (32, 48), capture=repeat, synchronise=lambda: waits.append(1))
        outputs = {name: call() for name, call in sides.calls.items()}
    assert {name: value['segmentation_logits'].shape for name, value in outputs.items()} == {
        'replay': (1, 3, 8, 12),
        'eager': (1, 3, 8, 12),
        'host to host': (1, 3, 8, 12),
        'batch': (4, 3, 8, 12),
    }
    assert waits == [1]
    # Its largest layer by far, the second of stem and of detection tower apart: 3x3, 96 channels.
    assert sides.flops > 2 * 9 * 96 * 96 * (4 * 6) * 2


def test_without_a_gpu_it_says_so_and_succeeds(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert main(['--out', str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith('not run: torch sees no CUDA device')
    assert json.loads((tmp_path / 'gpu.json').read_text())['status'] == 'not run'
