# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from time import thread_time

import pytest

from bench.node_load import describe_run, list_bounds, Run
from bench.node_load_node import StageClock
from bench.node_streams import NodeSettings, Phase
from rgbt_perception.benchmark.side import Side, Task

MS = 1_000_000


def phase(latencies_ms: list[float], *, cpu_ms: float = 105.0) -> Phase:
    sent_ns = [index * 100 * MS for index in range(len(latencies_ms))]
    stages = {'preprocess_ms': 1.0, 'infer_ms': 9.0, 'postprocess_ms': 1.0}
    return Phase(
        rate_hz=10.0,
        sent_ns=[*sent_ns, len(sent_ns) * 100 * MS],  # the last one is missed
        results=[
            {
                'stamp_ns': stamp,
                'received_ns': stamp + round(latency * MS),
                'skew_ms': 3.0,
                'mode': 'fused',
                **stages,
            }
            for stamp, latency in zip(sent_ns, latencies_ms, strict=True)
        ],
        counts={'dropped_late': '2', 'pairs_superseded': '1', 'rgb_frames': '9'},
        cpu_ms=cpu_ms,
        stages_ms={'receive': 1.0, 'publish': 2.0},
    )


def test_the_node_is_judged_over_the_engine_of_the_same_round():
    run = Run(
        engine_cpu_ms=[100.0, 200.0, 100.0],
        low=[phase([20.0], cpu_ms=value) for value in (104.0, 202.0, 110.0)],
        loaded=phase([10.0, 10.0, 10.0, 16.0]),
    )
    overhead, tail = list_bounds(run)
    assert overhead.value == pytest.approx(0.04)
    assert overhead.is_kept
    assert (tail.at_most, tail.is_kept) == (1.5, False)


def test_what_no_stage_explains_is_the_rest():
    run = Run(engine_cpu_ms=[100.0], low=[phase([20.0, 30.0])], loaded=phase([10.0]))
    described = describe_run(run)
    assert list(described['cpu_ms_by_stage'].values()) == [1.0, 2.0, 2.0]  # 105 - 100 - 3
    json.dumps(described, allow_nan=False)


def test_a_stream_is_described_with_its_losses():
    described = phase([20.0, 30.0]).describe()
    assert described['BasicPerformanceMetrics.NUM_MISSED_FRAMES'] == 1
    assert described['BasicPerformanceMetrics.MEAN_LATENCY'] == 25.0
    assert described['dropped'] == {'dropped_late': 2, 'pairs_superseded': 1}
    assert described['skew_ms']['median'] == 3.0


def test_results_of_one_camera_have_no_skew():
    alone = phase([20.0, 30.0])
    for item in alone.results:
        item['skew_ms'] = None
    assert alone.describe()['skew_ms'] is None


class Worker:
    def work(self, seconds: float) -> float:
        began = thread_time()
        while thread_time() - began < seconds:
            pass
        return seconds


def test_the_clock_adds_up_processor_time_and_writes_it(tmp_path):
    clock = StageClock()
    kind = type('Watched', (Worker,), {})
    clock.watch('work', kind, 'work')
    assert [kind().work(0.01) for _ in range(2)] == [0.01, 0.01]
    clock.write(tmp_path / 'times.json')
    times = json.loads((tmp_path / 'times.json').read_text('utf-8'))
    assert 0.02 <= times['stages_s']['work'] <= times['process_s']


def test_slow_cameras_are_not_missing_ones():
    settings = NodeSettings(
        side=Side(backend='onnx', precision='fp32'),
        task=Task(card='tiny', input_hw=(32, 48), device='cpu', num_threads=1, cache_dir='c'),
        folder=Path('f'),
        env={},
        image_size='640x480',
        rigs=('a', 'b'),
    )
    text = ' '.join(settings.arguments)
    assert '--rig a --rig b --ros-args -p model.card:=tiny' in text
    assert '-p fallback.missing_after_s:=30.0' in text
    assert '-p engine.precision:=fp32' in text
