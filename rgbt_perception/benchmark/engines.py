# SPDX-License-Identifier: Apache-2.0
"""Engines of one card beside each other, every one in a process of its own.

All processes are started once and take turns in every round; torch in fp32, which the others are
compared with, has the first and the last turn, so that drift of the machine shows. How long an
engine takes to come up is measured before, with processes that end after their first result.

Ratios are of processor time, on CUDA of wall time: what a processor does while it waits for a GPU
says nothing. Promises are made for CPUs. Those of ratios need torch: without it only the start is
judged, and where it was asked for, is installed and could not be measured, that is judged broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
import math
from statistics import mean, median
from types import MappingProxyType
from typing import Any

from rgbt_perception.benchmark.report import Bound, describe_range
from rgbt_perception.benchmark.ros2_benchmark import back_to_back, performance_metrics
from rgbt_perception.benchmark.side import Opening, Side, SideProcess, Task, Turn
from rgbt_perception.errors import ProcessError

BASELINE = Side(backend='torch', precision='fp32')
SIDES = (
    BASELINE,
    Side(backend='onnx', precision='fp32'),
    Side(backend='onnx', precision='int8'),
    Side(backend='openvino', precision='fp32'),
    Side(backend='openvino', precision='bf16'),
    Side(backend='openvino', precision='int8'),
)
# Largest processor time over that of torch in fp32.
MAX_CPU_RATIOS = {
    'openvino fp32': 0.50,
    'openvino bf16': 0.28,
    'openvino int8': 0.20,
    'onnx fp32': 0.60,
    'onnx int8': 0.40,
}
# Largest peak memory over that of torch in fp32.
MAX_MEMORY_RATIOS = dict.fromkeys(MAX_CPU_RATIOS, 0.6)
# Longest time from the start of the process to its first result, s.
MAX_LOADS_S = dict.fromkeys(MAX_CPU_RATIOS, 2.0)
# What is promised: key of the value, its name, the limits by side, the unit.
RATIO_PROMISES = (
    ('cpu_ratio', 'processor time over torch fp32', MAX_CPU_RATIOS, ''),
    ('memory_ratio', 'peak memory over torch fp32', MAX_MEMORY_RATIOS, ''),
)
START_PROMISE = ('start_s', 'start to first result, cold or usual', MAX_LOADS_S, 's')
CPU = 'cpu'
MIB = 1 << 20
DIGITS = 3


@dataclass(slots=True, kw_only=True)
class Measured:
    """What was measured of one side.

    Attributes:
        openings: How it came up, one per process; the first found no compiled engine.
        turns: One per round.
        reference_turns: The last turn of the baseline in every round; empty for other sides.
        peak_memory_bytes: Largest resident memory of the process that took the turns.
    """

    openings: list[Opening] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    reference_turns: list[Turn] = field(default_factory=list)
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was measured of one card.

    Attributes:
        device: 'cpu' or 'cuda:N'.
        measured: By side, the baseline first where it could be measured.
        refused: Sentence by name of a side that could not be measured.
    """

    device: str
    measured: dict[Side, Measured]
    refused: dict[str, str]

    @property
    def clock(self) -> str:
        """Time that is compared: 'cpu' or 'wall'."""
        return 'cpu' if self.device == CPU else 'wall'


def compare_engines(
    task: Task,
    sides: Sequence[Side],
    *,
    num_rounds: int,
    num_runs: int,
    refused: Mapping[str, str] = MappingProxyType({}),
    note: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Measure the sides in turns; a side that cannot be opened is left out and says why.

    Args:
        task: What they run; with an empty ``cache_dir`` folder, their first opening is a cold one.
        sides: Engines; the baseline is measured in any case.
        num_rounds: Rounds, also the number of processes that are started to time the opening.
        num_runs: Runs of the network per turn.
        refused: Sides that are known not to open, see ``Comparison``.
        note: Told what happens, for a progress display.

    Raises:
        ProcessError: If none of the sides can be opened, or one fails while it is measured.
    """
    comparison = Comparison(device=task.device, measured={}, refused=dict(refused))
    in_order = (BASELINE, *(side for side in sides if side != BASELINE))
    for _ in range(num_rounds - 1):
        for process in _open_each(in_order, task, comparison, note):
            process.close()
    with ExitStack() as stack:
        processes = {
            process.side: stack.enter_context(process)
            for process in _open_each(in_order, task, comparison, note)
        }
        _check_any(sides, comparison)
        for index in range(num_rounds):
            for side, process in processes.items():
                note(f'round {index + 1} of {num_rounds}: {side.name}')
                comparison.measured[side].turns.append(process.run(num_runs))
            if BASELINE in processes:
                turn = processes[BASELINE].run(num_runs)
                comparison.measured[BASELINE].reference_turns.append(turn)
        for side, process in processes.items():
            comparison.measured[side].peak_memory_bytes = process.peak_memory_bytes()
    return comparison


def _check_any(sides: Sequence[Side], comparison: Comparison) -> None:
    if not any(side in comparison.measured for side in sides):
        reasons = '; '.join(f'{name}: {text}' for name, text in comparison.refused.items())
        raise ProcessError(
            f'no engine that was asked for can be measured ({reasons}), expected one or more; '
            f'install what is missing, or name others'
        )


def _open_each(
    sides: Sequence[Side], task: Task, comparison: Comparison, note: Callable[[str], None]
) -> Iterator[SideProcess]:
    """Open one side after the other, and note how it came up or why it did not."""
    for side in sides:
        if side.name in comparison.refused:
            continue
        note(f'opening {side.name}')
        try:
            process = SideProcess(side, task)
        except ProcessError as error:
            comparison.refused[side.name] = str(error)
            comparison.measured.pop(side, None)
            continue
        comparison.measured.setdefault(side, Measured()).openings.append(process.opening)
        yield process


def describe_comparison(comparison: Comparison) -> dict[str, object]:
    """Return the figures of every side as JSON values; ratios only where torch was measured."""
    baseline = comparison.measured.get(BASELINE)
    described: dict[str, object] = {
        'clock': comparison.clock,
        'engines': {
            side.name: _describe_side(measured)
            | ({} if baseline is None else _describe_ratios(measured, baseline))
            for side, measured in comparison.measured.items()
        },
        'not_measured': comparison.refused,
    }
    if baseline is not None:
        described['drift'] = _describe_drift(baseline, comparison.clock)
    return described


def _describe_side(measured: Measured) -> dict[str, object]:
    wall_ms = [value for turn in measured.turns for value in turn.wall_ms]
    first, loads_s = measured.openings[0], [item.load_s for item in measured.openings]
    return {
        'device': first.device,
        'precision': first.precision,
        'cpu_ms': describe_range([median(turn.cpu_ms) for turn in measured.turns]),
        'wall_ms': describe_range([median(turn.wall_ms) for turn in measured.turns]),
        'peak_memory_mib': round(measured.peak_memory_bytes / MIB, 1),
        'load_s': describe_range(loads_s),
        'first_load_s': _round(first.load_s),
        'open_s': describe_range([item.open_s for item in measured.openings]),
        'num_runs': len(wall_ms),
        **performance_metrics(*back_to_back(wall_ms)),
    }


def _describe_ratios(measured: Measured, baseline: Measured) -> dict[str, object]:
    return {
        'cpu_ratio': describe_range(_ratios(measured, baseline, 'cpu_ms')),
        'wall_ratio': describe_range(_ratios(measured, baseline, 'wall_ms')),
        'memory_ratio': _round(measured.peak_memory_bytes / baseline.peak_memory_bytes),
    }


def _describe_drift(baseline: Measured, clock: str) -> dict[str, object]:
    turns = zip(baseline.turns, baseline.reference_turns, strict=True)
    name = f'{clock}_ms'
    return {
        'what': f'last over first turn of torch fp32 in a round, {clock} time',
        **describe_range([median(getattr(b, name)) / median(getattr(a, name)) for a, b in turns]),
    }


def _ratios(measured: Measured, baseline: Measured, name: str) -> list[float]:
    """Return the median of each round over the mean of both turns of the baseline around it."""
    return [
        median(getattr(turn, name)) / mean((median(getattr(a, name)), median(getattr(b, name))))
        for turn, a, b in zip(
            measured.turns, baseline.turns, baseline.reference_turns, strict=True
        )
    ]


def list_bounds(
    card_name: str, described: Mapping[str, Any], sides: Sequence[Side]
) -> list[Bound]:
    """Return the promises for the sides that were asked for; one not measured breaks them.

    On CUDA there are none. Without torch there is only that of the start; a torch that was asked
    for, is installed and was not measured is a broken bound of its own.

    Args:
        card_name: Name of the card, for the text.
        described: What ``describe_comparison`` gave.
        sides: What was asked for.
    """
    if described['clock'] != 'cpu':
        return []
    engines = described['engines']
    promises = (*RATIO_PROMISES, START_PROMISE) if BASELINE.name in engines else (START_PROMISE,)
    bounds = [
        Bound(
            name=f'{card_name}, {side.name}: {what}',
            value=_judged_values(engines.get(side.name)).get(key, math.nan),
            at_most=limits[side.name],
            unit=unit,
        )
        for side in sides
        for key, what, limits, unit in promises
        if side.name in limits
    ]
    if BASELINE in sides and BASELINE.name in described['not_measured'] and find_spec('torch'):
        name = f'{card_name}, {BASELINE.name}: rounds measured'
        bounds.append(Bound(name=name, value=0.0, at_least=1.0))
    return bounds


def _judged_values(engine: Mapping[str, Any] | None) -> dict[str, float]:
    """Return by key what is promised of an engine, as far as it was measured."""
    if engine is None:
        return {}
    values = {'start_s': max(engine['first_load_s'], engine['load_s']['median'])}
    if 'cpu_ratio' in engine:
        values['cpu_ratio'] = engine['cpu_ratio']['median']
        values['memory_ratio'] = engine['memory_ratio']
    return values


def _round(value: float) -> float:
    return round(value, DIGITS)
