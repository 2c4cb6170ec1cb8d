# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from pathlib import Path
import subprocess
import sys
from time import perf_counter

from fakes import FakeEngine
import pytest

from rgbt_perception.benchmark import engines
from rgbt_perception.benchmark.engines import (
    BASELINE,
    compare_engines,
    Comparison,
    describe_comparison,
    list_bounds,
    MAX_CPU_RATIOS,
    MAX_MEMORY_RATIOS,
    Measured,
    SIDES,
)
from rgbt_perception.benchmark.ros2_benchmark import back_to_back, performance_metrics
from rgbt_perception.benchmark.side import Opening, Side, SideProcess, Task, Turn
from rgbt_perception.benchmark.worker import measure, random_batch
from rgbt_perception.errors import ProcessError

ONNX = Side(backend='onnx', precision='fp32')
OTHER = Side(backend='openvino', precision='fp32')
MIB = 1 << 20


def task(tmp_path: Path, card: str = 'tiny') -> Task:
    return Task(
        card=card, input_hw=(32, 48), device='cpu', num_threads=1, cache_dir=str(tmp_path / 'c')
    )


def opening(load_s: float) -> Opening:
    return Opening(load_s=load_s, open_s=0.1, backend='x', device='cpu', precision='fp32')


def turn(*cpu_ms: float) -> Turn:
    return Turn(wall_ms=[2 * value for value in cpu_ms], cpu_ms=list(cpu_ms))


def made_comparison(device: str = 'cpu') -> Comparison:
    return Comparison(
        device=device,
        measured={
            BASELINE: Measured(
                openings=[opening(3.0), opening(2.0)],
                turns=[turn(90.0, 100.0, 110.0), turn(100.0)],
                reference_turns=[turn(300.0), turn(120.0)],
                peak_memory_bytes=400 * MIB,
            ),
            OTHER: Measured(
                openings=[opening(5.0), opening(1.0)],
                turns=[turn(100.0), turn(55.0)],
                peak_memory_bytes=100 * MIB,
            ),
        },
        refused={'onnx fp32': 'it is not there'},
    )


def test_a_ratio_is_over_the_mean_of_both_turns_of_torch_in_the_round():
    described = describe_comparison(made_comparison())
    ratio = described['engines'][OTHER.name]['cpu_ratio']
    assert ratio == {'median': 0.5, 'min': 0.5, 'max': 0.5}  # 100 / 200 and 55 / 110
    assert described['drift']['median'] == pytest.approx((3.0 + 1.2) / 2)
    assert described['engines'][OTHER.name]['memory_ratio'] == 0.25
    assert described['not_measured'] == {'onnx fp32': 'it is not there'}
    json.dumps(described, allow_nan=False)


def test_a_promise_that_was_not_measured_is_broken():
    described = describe_comparison(made_comparison())
    bounds = list_bounds('made', described, [BASELINE, ONNX, OTHER])
    by_name = {bound.name: bound for bound in bounds}
    assert by_name['made, openvino fp32: processor time over torch fp32'].is_kept
    assert math.isnan(by_name['made, onnx fp32: processor time over torch fp32'].value)
    assert not by_name['made, onnx fp32: processor time over torch fp32'].is_kept
    assert not any('torch fp32:' in name for name in by_name)  # nothing is promised of it


def test_on_cuda_wall_time_is_compared_and_nothing_is_promised():
    comparison = made_comparison('cuda:0')
    comparison.measured[OTHER].turns[0].wall_ms[:] = [100.0]  # of 200 to 600 ms of torch
    described = describe_comparison(comparison)
    assert described['clock'] == 'wall'
    assert described['engines'][OTHER.name]['wall_ratio']['min'] == 0.25
    assert described['drift']['what'].endswith('wall time')
    assert list_bounds('made', described, [BASELINE, ONNX, OTHER]) == []


def test_without_torch_there_are_figures_but_no_ratios():
    comparison = made_comparison()
    del comparison.measured[BASELINE]
    described = describe_comparison(comparison)
    engine = described['engines'][OTHER.name]
    assert engine['cpu_ms']['median'] == 77.5
    assert not [name for name in engine if name.endswith('_ratio')]
    assert 'drift' not in described


@pytest.mark.parametrize(
    ('sides', 'is_installed', 'broken'),
    [
        ([OTHER], True, []),  # nobody asked for torch
        ([BASELINE, OTHER], False, []),
        ([BASELINE, OTHER], True, ['made, torch fp32: rounds measured']),
        ([ONNX, OTHER], True, ['made, onnx fp32: start to first result, cold or usual']),
    ],
)
def test_without_torch_the_start_is_judged_and_torch_itself_where_it_is_installed(
    sides, is_installed, broken, monkeypatch
):
    monkeypatch.setattr(engines, 'find_spec', lambda name: name if is_installed else None)
    comparison = made_comparison()
    del comparison.measured[BASELINE]
    comparison.refused[BASELINE.name] = 'it cannot be imported'
    comparison.measured[OTHER].openings[0] = opening(1.5)
    bounds = list_bounds('made', describe_comparison(comparison), sides)
    start = next(bound for bound in bounds if bound.name.startswith('made, openvino fp32'))
    assert (start.value, start.at_most, start.unit) == (1.5, 2.0, 's')
    assert not any('over torch' in bound.name for bound in bounds)
    assert [bound.name for bound in bounds if not bound.is_kept] == broken


def test_the_slower_of_the_cold_and_the_usual_start_counts():
    described = describe_comparison(made_comparison())
    (bound,) = (item for item in list_bounds('made', described, [OTHER]) if 'start' in item.name)
    assert bound.value == 5.0
    assert not bound.is_kept


def test_promises_are_those_that_were_given():
    assert MAX_CPU_RATIOS == {
        'openvino fp32': 0.50,
        'openvino bf16': 0.28,
        'openvino int8': 0.20,
        'onnx fp32': 0.60,
        'onnx int8': 0.40,
    }
    assert {side.name for side in SIDES} == {'torch fp32', *MAX_CPU_RATIOS}
    assert dict.fromkeys(MAX_CPU_RATIOS, 0.6) == MAX_MEMORY_RATIOS


def test_engines_take_turns_and_what_cannot_be_opened_says_why(tmp_path):
    notes: list[str] = []
    sides = (ONNX, Side(backend='onnx', precision='int8'))
    found = compare_engines(task(tmp_path), sides, num_rounds=2, num_runs=2, note=notes.append)
    assert list(found.measured) == [BASELINE, ONNX]
    assert list(found.refused) == ['onnx int8']
    assert 'int8' in found.refused['onnx int8']
    for side, measured in found.measured.items():
        assert len(measured.openings) == 2
        assert [len(item.wall_ms) for item in measured.turns] == [2, 2]
        assert len(measured.reference_turns) == (2 if side == BASELINE else 0)
        assert min(min(item.cpu_ms) for item in measured.turns) > 0.0
        assert 20 * MIB < measured.peak_memory_bytes < 4096 * MIB
        first = measured.openings[0]
        assert first.load_s > first.open_s > 0.0
        assert (first.backend, first.precision) == (side.backend, side.precision)
    assert notes.index('round 2 of 2: onnx fp32') > notes.index('round 1 of 2: onnx fp32')


class Process:
    """Stand-in for the process of a side that notes who did what in which order."""

    order: list[str]

    def __init__(self, side: Side, _task: Task) -> None:
        self.side, self.opening = side, opening(1.0)
        Process.order.append(f'open {side.name}')

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, num_runs: int) -> Turn:
        Process.order.append(f'run {self.side.name}')
        return turn(*[1.0] * num_runs)

    def peak_memory_bytes(self) -> int:
        return MIB

    def close(self) -> None:
        Process.order.append(f'close {self.side.name}')


def test_torch_has_the_first_and_the_last_turn_of_every_round(tmp_path, monkeypatch):
    Process.order = []
    monkeypatch.setattr(engines, 'SideProcess', Process)
    compare_engines(task(tmp_path), [ONNX, OTHER], num_rounds=2, num_runs=1)
    names = [BASELINE.name, ONNX.name, OTHER.name]
    turns = [f'run {name}' for name in (*names, BASELINE.name)]
    assert Process.order == [
        *(f'{what} {name}' for name in names for what in ('open', 'close')),
        *(f'open {name}' for name in names),
        *turns,
        *turns,
        *(f'close {name}' for name in reversed(names)),
    ]


def test_an_engine_is_measured_where_torch_cannot_be_opened(tmp_path):
    refused = {BASELINE.name: 'torch is not installed'}
    found = compare_engines(task(tmp_path), [ONNX], num_rounds=1, num_runs=1, refused=refused)
    assert list(found.measured) == [ONNX]
    assert found.refused == refused


def test_when_nothing_that_was_asked_for_opens_the_reasons_are_said(tmp_path):
    sides = [Side(backend='onnx', precision='fp16')]
    refused = {'onnx fp16': 'no graph', BASELINE.name: 'no torch'}
    with pytest.raises(ProcessError, match=r'no engine .* \(onnx fp16: no graph; torch fp32: no'):
        compare_engines(task(tmp_path), sides, num_rounds=1, num_runs=1, refused=refused)


def test_an_engine_that_fails_after_opening_is_an_error_with_its_message(tmp_path):
    with SideProcess(ONNX, task(tmp_path)) as process:
        process._process.kill()
        with pytest.raises(ProcessError, match="process of engine 'onnx fp32' ended with status"):
            process.run(1)


def test_a_card_that_is_not_there_is_the_message_of_the_engine(tmp_path):
    with pytest.raises(ProcessError, match='no model card'):
        SideProcess(ONNX, task(tmp_path, card=str(tmp_path)))


def test_runs_begin_no_sooner_than_a_period_after_one_another():
    began = perf_counter()
    found = measure(FakeEngine(), random_batch((32, 48)), 4, 0.05)
    assert perf_counter() - began >= 0.15
    assert len(found['wall_ms']) == 4
    assert min(found['wall_ms']) < 50.0  # the pause is none of it


def test_a_worker_ends_when_its_input_ends(tmp_path):
    order = {
        'card': 'tiny',
        'input_hw': [32, 48],
        'device': 'cpu',
        'num_threads': 1,
        'cache_dir': str(tmp_path),
        'backend': 'onnx',
        'precision': 'fp32',
    }
    command = [sys.executable, '-m', 'rgbt_perception.benchmark.worker', json.dumps(order)]
    done = subprocess.run(
        command, input='{"num_runs": 1}\n', capture_output=True, text=True, timeout=60, check=True
    )
    opened, ran = (json.loads(line) for line in done.stdout.splitlines())
    assert opened['backend'] == 'onnx'
    assert len(ran['wall_ms']) == len(ran['cpu_ms']) == 1


WORKER_CODE = """
import sys
import cv2
from rgbt_perception.benchmark import worker

settings = []
worker.keep_freed_memory = lambda: settings.append('memory')
worker.serve = lambda _order, answer: answer({'settings': [*settings, cv2.getNumThreads()]})
sys.argv = ['worker', '{}']
sys.exit(worker.main())
"""


def test_a_worker_runs_with_the_settings_of_the_node():
    command = [sys.executable, '-c', WORKER_CODE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {'settings': ['memory', 1]}


MS = 1_000_000


def test_metrics_are_those_of_ros2_benchmark():
    # Sent every 100 ms; the second of four is lost, the others take 30, 50 and 40 ms.
    sent = {1: 0, 2: 100 * MS, 3: 200 * MS, 4: 300 * MS}
    received = {1: 30 * MS, 3: 250 * MS, 4: 340 * MS}
    metrics = performance_metrics(sent, received)
    expected = {
        'RECEIVED_DURATION': 310.0,
        'MEAN_PLAYBACK_FRAME_RATE': 4 / 0.3,
        'MEAN_FRAME_RATE': 3 / 0.31,
        'NUM_MISSED_FRAMES': 1,
        'NUM_FRAMES_SENT': 4,
        'FIRST_SENT_RECEIVED_LATENCY': 30.0,
        'LAST_SENT_RECEIVED_LATENCY': 40.0,
        'FIRST_INPUT_LATENCY': 30.0,
        'LAST_INPUT_LATENCY': 40.0,
        'MAX_LATENCY': 50.0,
        'MIN_LATENCY': 30.0,
        'MEAN_LATENCY': 40.0,
        'MAX_JITTER': 130.0,  # of the intervals 220 and 90
        'MIN_JITTER': 130.0,
        'MEAN_JITTER': 130.0,
        'STD_DEV_JITTER': 0.0,
    }
    named = {key: value for key, value in metrics.items() if key.startswith('Basic')}
    assert named == pytest.approx(
        {f'BasicPerformanceMetrics.{name}': value for name, value in expected.items()}, abs=1e-3
    )
    assert (metrics['latency_p50_ms'], metrics['latency_p99_ms']) == (40.0, 49.8)


def test_a_single_result_has_a_latency_but_no_rate():
    metrics = performance_metrics({7: 0}, {7: 5 * MS})
    assert metrics['BasicPerformanceMetrics.MEAN_LATENCY'] == 5.0
    assert 'BasicPerformanceMetrics.MEAN_FRAME_RATE' not in metrics


@pytest.mark.parametrize('received', [{}, {1: 0, 2: 5}])
def test_results_must_be_of_frames_that_were_sent(received):
    with pytest.raises(ValueError, match='expected one or more, each of a sent frame'):
        performance_metrics({1: 0}, received)


def test_runs_back_to_back_have_their_own_durations_as_latencies():
    metrics = performance_metrics(*back_to_back([10.0, 30.0, 20.0]))
    assert metrics['BasicPerformanceMetrics.MAX_LATENCY'] == 30.0
    assert metrics['BasicPerformanceMetrics.MEAN_LATENCY'] == 20.0
    assert metrics['BasicPerformanceMetrics.RECEIVED_DURATION'] == 50.0
