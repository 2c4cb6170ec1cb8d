# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import threading
from time import monotonic, thread_time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import pytest
import rclpy

from bench import node_load_node
from bench.node_load import (
    build_parser,
    describe_rounds,
    list_bounds,
    main,
    MORE,
    REST,
    Round,
    run_round,
)
from bench.node_load_node import (
    check_thread_times,
    group_thread,
    name_threads,
    read_thread_times,
    StageClock,
    STAGES,
    TASKS,
)
from bench.node_load_peers import Listener
from bench.node_streams import count_dropped, NodeSettings, parse_image_hw, Phase
from rgbt_perception.benchmark.side import Side, Task, Turn
from rgbt_perception.errors import ProcessError
from rgbt_perception.types import DropReason

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
        dropped={'dropped_late': 2, 'dropped_superseded': 1},
        cpu_ms=cpu_ms,
        stages_ms={'engine': 101.0, 'receive': 1.0, 'publish': 2.0},
        threads_ms={'executor': 3.0, 'engine': 102.0},
    )


def made_round(
    engine_cpu_ms: tuple[float, float], node_cpu_ms: float, latencies_ms: list[float]
) -> Round:
    return Round(
        engine_cpu_ms=engine_cpu_ms,
        low=phase([20.0], cpu_ms=node_cpu_ms),
        loaded=phase(latencies_ms),
    )


def test_the_node_is_judged_over_the_engine_before_and_after_it():
    calm = [10.0, 10.0, 10.0, 10.0]
    rounds = [
        made_round((90.0, 110.0), 104.0, calm),
        made_round((200.0, 200.0), 202.0, [*calm[1:], 16.0]),
        made_round((100.0, 100.0), 110.0, [*calm[1:], 16.0]),
    ]
    overhead, tail = list_bounds(rounds)
    assert overhead.value == pytest.approx(0.04)
    assert overhead.is_kept
    assert tail.value == pytest.approx(1.582)  # p99 of the second and the third
    assert (tail.at_most, tail.is_kept) == (1.5, False)


class Programs:
    """Engine and node; note who ran in which order."""

    def __init__(self) -> None:
        self.order: list[tuple[str, float]] = []

    def run(self, num_runs: int, period_s: float) -> Turn:
        self.order.append((f'engine, {num_runs} runs', 1.0 / period_s))
        return Turn(wall_ms=[1.0] * 3, cpu_ms=[1.0, 1.0, 4.0])

    def stream(self, rate_hz: float, num_pairs: int) -> list[Phase]:
        self.order.append((f'node, {num_pairs} pairs', rate_hz))
        return [phase([10.0, 30.0])]


def test_the_engine_runs_before_and_after_the_node_at_its_rate_and_its_mean_counts():
    programs = Programs()
    args = build_parser().parse_args(['--pairs', '7', '--load-pairs', '9'])
    found = run_round(programs, programs, 2.0, args)
    assert found.engine_cpu_ms == (2.0, 2.0)
    # 11 ms of the worker's time per pair leave room for 80 % of 1000 / 11 pairs per second.
    loaded_hz = pytest.approx(72.727, abs=1e-3)
    assert programs.order == [
        ('engine, 7 runs', 2.0),
        ('node, 7 pairs', 2.0),
        ('engine, 7 runs', 2.0),
        ('node, 9 pairs', loaded_hz),
    ]


def test_every_round_is_written_and_medians_have_their_range():
    rounds = [made_round((90.0, 110.0), value, [10.0]) for value in (105.0, 108.0, 103.0)]
    described = describe_rounds(rounds)
    assert described['overhead'] == {'median': 0.05, 'min': 0.03, 'max': 0.08}
    assert described['tail'] == {'median': 1.0, 'min': 1.0, 'max': 1.0}
    assert [item['engine_cpu_ms'] for item in described['rounds']] == [[90.0, 110.0]] * 3
    assert described['rounds'][1]['at_low_rate']['node_cpu_ms'] == 108.0
    assert described['cpu_ms_by_thread'] == {'executor': 3.0, 'engine': 102.0}
    json.dumps(described, allow_nan=False)


def test_what_no_stage_explains_is_the_rest():
    described = describe_rounds([made_round((100.0, 100.0), 105.5, [10.0])])
    # All threads of the engine took 102, which is 2 more than alone: 105.5 - 102 - 1 - 2.
    assert described['cpu_ms_by_stage'] == {MORE: 2.0, 'receive': 1.0, 'publish': 2.0, REST: 0.5}


def test_the_rate_is_of_the_time_that_a_pair_occupies_the_worker():
    assert phase([20.0, 30.0]).worker_ms == 11.0


def test_a_stream_is_described_with_its_losses():
    described = phase([20.0, 30.0]).describe()
    assert described['BasicPerformanceMetrics.NUM_MISSED_FRAMES'] == 1
    assert described['BasicPerformanceMetrics.MEAN_LATENCY'] == 25.0
    assert described['dropped'] == {'dropped_late': 2, 'dropped_superseded': 1}
    assert described['skew_ms']['median'] == 3.0


def test_losses_are_those_since_the_phase_began():
    told = [
        {'received_ns': 1, 'counts': {'dropped_late': '2', 'rgb_frames': '5'}},
        {'received_ns': 2, 'counts': {'dropped_late': '3', 'rgb_frames': '9'}},
        {'received_ns': 5, 'counts': {'dropped_late': '4', 'rgb_frames': '20'}},
        {'received_ns': 6, 'counts': {'dropped_late': '7', 'dropped_failed': '1', 'x': 'y'}},
    ]
    assert count_dropped(told, since_ns=5) == {'dropped_late': 4, 'dropped_failed': 1}
    assert count_dropped([], since_ns=5) == {}


def test_results_of_one_camera_have_no_skew():
    alone = phase([20.0, 30.0])
    for item in alone.results:
        item['skew_ms'] = None
    assert alone.describe()['skew_ms'] is None


def test_sizes_are_height_by_width_and_refused_at_once(capsys):
    parser = build_parser()
    assert parser.parse_args(['--size', '96x128']).size == (96, 128)
    assert parser.parse_args([]).size == (480, 640)
    for text, message in (('8x64', 'too small, expected 16x16 px'), ('64', 'is not HEIGHTxWIDTH')):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            parse_image_hw(text)
        with pytest.raises(SystemExit):
            parser.parse_args(['--size', text])
    assert "'8x64' is too small" in capsys.readouterr().err


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
    assert times['threads_s']['executor'] >= 0.02


@pytest.mark.parametrize(
    ('comm', 'python_name', 'group'),
    [
        ('perception work', 'perception worker', 'perception worker'),
        ('engine', 'engine', 'engine'),
        ('engine', None, 'engine'),  # a runtime's, started by the engine's thread
        ('perception work', None, 'other threads'),  # OpenCV's, started by the worker
        ('perception job', 'perception job', 'other threads'),
        ('dds.ev.1', None, 'middleware'),
        ('python3', None, 'other threads'),
    ],
)
def test_threads_are_grouped_by_what_they_do(comm, python_name, group):
    assert group_thread(comm, python_name) == group


def wait_for_end(thread: threading.Thread) -> None:
    """Wait until the kernel has forgotten it, which is later than ``join`` returns."""
    task, deadline = TASKS / str(thread.native_id), monotonic() + 20.0
    while task.exists() and monotonic() < deadline:
        thread.join(0.01)
    assert not task.exists()


def test_the_time_of_a_thread_is_of_its_group_until_it_ends(monkeypatch):
    monkeypatch.setattr(threading.Thread, 'run', threading.Thread.run)  # put back afterwards
    name_threads()
    worked, asked = threading.Event(), threading.Event()
    comms: list[str] = []

    def work() -> None:
        Worker().work(0.05)
        comms.append((TASKS / str(threading.get_native_id()) / 'comm').read_text('utf-8'))
        worked.set()
        asked.wait(20.0)

    thread = threading.Thread(target=work, name='perception worker')
    before = read_thread_times()
    thread.start()
    assert worked.wait(20.0)
    during = read_thread_times()
    asked.set()
    wait_for_end(thread)
    after = read_thread_times()
    assert comms == ['perception work\n']  # as long as the kernel lets it be
    assert during['perception worker'] - before['perception worker'] >= 0.04
    assert during['ended threads'] - before['ended threads'] < 0.04
    assert after['perception worker'] == before['perception worker']
    assert after['ended threads'] - before['ended threads'] >= 0.04


@pytest.mark.parametrize('content', [None, '0 0 0\n'])  # as kernels say it that do not count
def test_a_kernel_that_does_not_tell_the_times_of_threads_is_refused(
    content, tmp_path, monkeypatch
):
    check_thread_times()
    monkeypatch.setattr(node_load_node, 'TASKS', tmp_path)
    task = tmp_path / str(threading.get_native_id())
    task.mkdir()
    if content is not None:
        (task / 'schedstat').write_text(content, encoding='utf-8')
    with pytest.raises(ProcessError, match=r"schedstat' is missing or says 0, .* CONFIG_SCHEDSTA"):
        node_load_node.main()


def told_by(node_name: str, num_dropped: int) -> DiagnosticStatus:
    values = [KeyValue(key='dropped_late', value=str(num_dropped))]
    return DiagnosticStatus(name=f'{node_name}: synchronisation', values=values)


@pytest.mark.parametrize(
    ('namespace', 'expected'), [('', '1'), ('rig_0', '2'), ('rig_10', '3'), ('rig_1', None)]
)
def test_every_rig_has_its_own_losses(namespace, expected):
    names = ('perception', 'rig_0/perception', 'rig_10/perception')
    rclpy.init(args=[])
    listener = Listener(namespace)
    for index, name in enumerate(names):
        listener._on_diagnostics(DiagnosticArray(status=[told_by(name, index + 1)]))
    listener.destroy_node()
    rclpy.shutdown()
    found = [item['counts']['dropped_late'] for item in listener.counts]
    assert found == ([] if expected is None else [expected])


def test_slow_cameras_are_not_missing_ones():
    settings = NodeSettings(
        side=Side(backend='onnx', precision='fp32'),
        task=Task(card='tiny', input_hw=(32, 48), device='cpu', num_threads=1, cache_dir='c'),
        folder=Path('f'),
        env={},
        rigs=('a', 'b'),
    )
    text = ' '.join(settings.arguments)
    assert '--rig a --rig b --ros-args -p model.card:=tiny' in text
    assert '-p fallback.missing_after_s:=30.0' in text
    assert '-p engine.precision:=fp32' in text


def test_the_real_node_runs_every_stage_and_is_measured(tmp_path):
    """Wraps every function that a stage names: one that was renamed or is no more used shows."""
    arguments = ['tiny', '--input', '96x128', '--backend', 'onnx', '--precision', 'fp32']
    arguments += ['--rounds', '1', '--pairs', '4', '--load-pairs', '4', '--size', '96x128']
    arguments += ['--domain', os.environ['ROS_DOMAIN_ID'], '--out', str(tmp_path)]
    main(arguments)
    results = json.loads((tmp_path / 'node_load_tiny_96x128.json').read_text('utf-8'))
    (found,) = results['rounds']
    low = found['at_low_rate']
    assert {name for name, value in low['stages_cpu_ms'].items() if value > 0.0} == set(STAGES)
    for group in ('executor', 'perception worker', 'engine'):
        assert low['threads_cpu_ms'][group] > 0.0
    assert low['BasicPerformanceMetrics.NUM_FRAMES_SENT'] == 4
    assert set(low['dropped']) == {f'dropped_{reason.value}' for reason in DropReason}
    assert results['conditions']['images'] == '96x128'
    assert results['conditions']['load_pairs_per_round'] == 4
    assert {'load_1min_at_start', 'load_1min'} <= results['conditions'].keys()
