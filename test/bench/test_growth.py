# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from bench import growth
from rgbt_perception.benchmark import report
from rgbt_perception.benchmark.side import Side, Task, Turn

SIDE = Side(backend='openvino', precision='fp32')


class StandIn:
    """Process of an engine that notes who was opened and who ran when."""

    opened: list[tuple[tuple[int, int], int]]
    turns: list[tuple[int, int]]
    num_open = 0

    def __init__(self, _side: Side, task: Task) -> None:
        self.size = task.input_hw
        StandIn.opened.append((task.input_hw, StandIn.num_open))
        StandIn.num_open += 1

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, num_runs: int) -> Turn:
        StandIn.turns.append(self.size)
        return Turn(wall_ms=[2.0] * num_runs, cpu_ms=[1.0] * num_runs)

    def peak_memory_bytes(self) -> int:
        return 3 << 20

    def close(self) -> None:
        StandIn.num_open -= 1


@pytest.fixture(autouse=True)
def stand_in(monkeypatch) -> None:
    StandIn.opened, StandIn.turns, StandIn.num_open = [], [], 0
    monkeypatch.setattr(growth, 'SideProcess', StandIn)


def test_sizes_take_turns_and_none_pays_for_what_all_share():
    sizes = [(32, 48), (64, 96)]
    tasks = {
        size: Task(card='tiny', input_hw=size, device='cpu', num_threads=1, cache_dir='c')
        for size in sizes
    }
    rows = growth.measure_sizes(tasks, SIDE, num_rounds=2, num_runs=3)
    # One opens alone and ends before those that are measured come up.
    assert StandIn.opened == [((32, 48), 0), ((32, 48), 0), ((64, 96), 1)]
    assert StandIn.num_open == 0
    assert StandIn.turns == [(32, 48), (64, 96), (32, 48), (64, 96)]
    assert [(row['height'], row['peak_memory_mib']) for row in rows] == [(32, 3.0), (64, 3.0)]
    assert rows[0]['cpu_ms']['num'] == 2


def test_the_conditions_have_the_load_before_and_after_and_what_the_rigs_got(
    tmp_path, monkeypatch
):
    loads = iter([0.25, 1.5])
    monkeypatch.setattr(growth, 'read_load', lambda: next(loads))
    monkeypatch.setattr(report, 'read_load', lambda: next(loads))
    monkeypatch.setattr(growth, 'measure_rigs', lambda *_: [])
    monkeypatch.setattr(growth, 'plot', lambda _results, _path: None)
    arguments = ['tiny', '--sizes', '32x48', '--rounds', '1', '--runs', '1', '--rate', '1.5']
    assert growth.main([*arguments, '--out', str(tmp_path)]) == 0
    found = json.loads((tmp_path / 'growth.json').read_text('utf-8'))['conditions']
    assert (found['load_1min_at_start'], found['load_1min']) == (0.25, 1.5)
    assert (found['rig_images'], found['rig_rate_hz']) == ('480x640', 1.5)
