# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
import torch
from torch_engines import tf32_allowed

from bench import gpu
from bench.gpu import (
    build_model,
    build_sides,
    CALLS_AHEAD,
    capture_or_fail,
    list_bounds,
    main,
    MAX_REPLAY_MS,
    measure,
    measure_ceiling,
    measure_sustained,
    Sides,
    sustain,
)
from bench.report import Bound
from rgbt_models.build import create_model
from rgbt_perception.engine.torch_runs import repeat
from rgbt_perception.errors import EngineError


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


def measure_made(sides: Sides, durations_ms: dict[str, float], batch_per_s: float = 1001.0):
    timer = Durations(sides, durations_ms)
    measured = measure(sides, rounds=1, timer=timer, ceiling_flops=790e12)
    return {**measured, 'sustained_pairs_per_s': {'batch': batch_per_s}}


KEPT_MS = {'replay': 0.8, 'eager': 2.0, 'host to host': 1.0, 'batch': 3.2}


def test_sides_take_turns_and_ratios_are_to_the_replay():
    sides = stand_ins(flops=158_000_000_000)
    timer = Durations(sides, KEPT_MS)
    measured = measure(sides, rounds=3, timer=timer, ceiling_flops=790e12)
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
    assert measured['gflop_per_pair'] == 158.0
    assert measured['roofline_share'] == 0.25  # 158 GFLOP in 0.8 ms is 197.5 TFLOP/s


@pytest.mark.parametrize(
    ('slower', 'broken'),
    [
        ({}, []),
        ({'replay': 0.91, 'eager': 2.0}, ['small: replay, median']),
        ({'eager': 1.5}, ['small: eager over replay']),
        ({'host to host': 1.1}, ['small: host to host over replay']),
    ],
)
def test_each_bound_can_be_broken(slower: dict[str, float], broken: list[str]):
    sides = stand_ins()
    bounds = list_bounds({'small': measure_made(sides, {**KEPT_MS, **slower})})
    assert [bound.name for bound in bounds if not bound.is_kept] == broken


def test_the_sustained_rate_is_a_bound_of_its_own():
    # 4 pairs in 3.2 ms by turns, which says nothing of calls back to back
    bounds = list_bounds({'small': measure_made(stand_ins(), KEPT_MS, batch_per_s=999.0)})
    assert [bound.name for bound in bounds if not bound.is_kept] == ['small: sustained, batch 4']


class Queue:
    """Device that takes .25 s per call, and a clock of its own."""

    def __init__(self) -> None:
        self.now_s = self.busy_until_s = 0.0
        self.num_ahead: list[int] = []

    def call(self) -> None:
        self.now_s += 1 / 64  # of the host
        self.busy_until_s = max(self.busy_until_s, self.now_s) + 0.25

    def mark(self):
        until_s = self.busy_until_s

        def wait() -> None:
            self.num_ahead.append(round((self.busy_until_s - until_s) / 0.25))
            self.now_s = max(self.now_s, until_s)

        return wait


def test_a_sustained_rate_is_of_seconds_with_calls_always_ahead():
    queue = Queue()
    rate = sustain(queue.call, seconds=10.0, mark=queue.mark, now_s=lambda: queue.now_s)
    # That of the device, but for the first call's way to it; not that of the host, 64 per second.
    assert rate == pytest.approx(4.0, rel=0.01)
    assert set(queue.num_ahead[1:-CALLS_AHEAD]) == {CALLS_AHEAD}
    assert queue.num_ahead[-CALLS_AHEAD:] == list(range(CALLS_AHEAD))[::-1]


def test_pairs_are_counted_by_what_a_call_takes(monkeypatch):
    calls_per_s = {'batch': 250.5, 'host to host': 600.0}
    monkeypatch.setattr(gpu, 'sustain', lambda call, **_: calls_per_s[call()])
    rates = measure_sustained(stand_ins(), seconds=0.01, mark=lambda: lambda: None)
    assert rates == {'batch': 1002.0, 'host to host': 600.0}


def test_a_model_is_prepared_as_the_engine_does_it_on_cuda():
    with tf32_allowed():
        model = build_model('tiny', 'cpu')
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert model.encoder.use_stacked_batch
    kernel = next(item for item in model.parameters() if item.ndim == 4 and item.shape[1] > 1)
    assert kernel.dtype == torch.bfloat16
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_what_is_not_captured_is_not_measured_as_a_replay(monkeypatch):
    def call() -> dict[str, torch.Tensor]:
        return {}

    monkeypatch.setattr(gpu, 'capture_cuda_graph', lambda _: dict)
    assert capture_or_fail(call) is dict
    monkeypatch.setattr(gpu, 'capture_cuda_graph', lambda given: given)  # as after a failure
    with pytest.raises(EngineError, match=r'cannot be captured, .* see the messages above'):
        capture_or_fail(call)


def test_the_roofline_is_of_the_best_matrix_product_of_the_device():
    calls = []

    def timer(call) -> float:
        size = call().shape[0]
        calls.append(size)
        return {8: 1.0, 16: 4.0}[size] if calls.count(size) > 1 else 100.0

    # 2 * 8^3 operations in 1 ms, 2 * 16^3 in 4 ms
    assert measure_ceiling('cpu', timer=timer, sizes=(8, 16)) == pytest.approx(2048e3)


def test_bounds_are_those_that_were_asked_for():
    values = measure_made(stand_ins(), KEPT_MS)

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
    written = json.loads((tmp_path / 'gpu.json').read_text())
    assert written['status'] == 'not run'
    assert written['reason'] == 'torch sees no CUDA device, expected an NVIDIA GPU'
    assert {'load_1min_at_start', 'load_1min'} <= written['conditions'].keys()
