# SPDX-License-Identifier: Apache-2.0
"""Measure the engines of this machine beside each other, and judge them by the promises made.

CARD is a shipped card, a folder, or random:ARCHITECTURE for random weights. Without one: the tiny
card at its own size, and random:small at 480x640. Every engine has a process of its own; all take
turns in every round, torch in fp32 first and last. What is quoted is processor time over that of
torch, on CUDA wall time. Quantised graphs are those of the card; those it lacks are made for the
measurement (this takes minutes, and needs what rgbt export needs) and say nothing about accuracy.
What a machine cannot run is left out and named; without torch there are no ratios. Exit status 1
when a promise is broken or was not measured. Promises are made for CPUs; without torch only that
of the start is judged, but a torch that was asked for and is installed has to be measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
import tempfile
from typing import Any, TYPE_CHECKING

from rgbt_perception.cli.options import format_hw, number, parse_size_hw

if TYPE_CHECKING:
    from rgbt_perception.benchmark.side import Side

SUMMARY = 'measure the engines of this machine'
DEFAULT_CARDS = ('tiny', 'random:small')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        'cards', nargs='*', metavar='CARD', help='(default: tiny and random:small)'
    )
    parser.add_argument(
        '--backends',
        nargs='+',
        choices=('torch', 'onnx', 'openvino', 'tensorrt'),
        help='only these (default: all of the table)',
    )
    parser.add_argument(
        '--precisions',
        nargs='+',
        choices=('fp32', 'bf16', 'fp16', 'int8'),
        help='only these (default: all of the table)',
    )
    parser.add_argument('--input', type=parse_size_hw, metavar='HxW', help="(default: the card's)")
    positive = number(int, at_least=1)
    parser.add_argument('--rounds', type=positive, default=5, help='(default: 5)')
    parser.add_argument(
        '--runs', type=positive, default=10, help='per engine and round (default: 10)'
    )
    parser.add_argument('--threads', type=positive, default=1, help='of each engine (default: 1)')
    parser.add_argument('--device', default='cpu', help="'cpu' or 'cuda:N' (default: cpu)")
    parser.add_argument(
        '--out', type=Path, default=Path('bench_out'), help='folder of the JSON files'
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print and write; return the exit status, 1 when a promise is broken."""
    statuses = [_run_card(args, name) for name in args.cards or _default_cards()]
    return max(statuses)


def _default_cards() -> tuple[str, ...]:
    """Return the cards that can be opened here: random weights are made with torch."""
    if find_spec('torch') is not None:
        return DEFAULT_CARDS
    *_, left_out = DEFAULT_CARDS
    print(
        f'{left_out}: not measured: torch is not installed; '
        f"run: pip install 'rgbt_perception[train]'"
    )
    return DEFAULT_CARDS[:1]


def _run_card(args: argparse.Namespace, name: str) -> int:
    from rich.console import Console

    from rgbt_perception.benchmark.cards import opened_card, RANDOM_PREFIX
    from rgbt_perception.benchmark.engines import (
        compare_engines,
        describe_comparison,
        list_bounds,
    )
    from rgbt_perception.benchmark.report import (
        conditions,
        describe_bounds,
        print_bounds,
        read_load,
        write_results,
    )
    from rgbt_perception.benchmark.side import Task

    sides, load_at_start = choose_sides(args.backends, args.precisions), read_load()
    refused: dict[str, str] = {}
    with (
        opened_card(name, args.input, sides=sides, refused=refused) as card,
        tempfile.TemporaryDirectory(prefix='rgbt-bench-') as cache_dir,
        Console(stderr=True).status(card.name) as status,
    ):
        input_hw = args.input or card.input_hw
        comparison = compare_engines(
            Task(
                card=str(card.folder),
                input_hw=input_hw,
                device=args.device,
                num_threads=args.threads,
                cache_dir=cache_dir,
            ),
            sides,
            num_rounds=args.rounds,
            num_runs=args.runs,
            refused=refused,
            note=lambda text: status.update(f'{card.name}: {text}'),
        )
    described = describe_comparison(comparison)
    size = format_hw(input_hw)
    show(described, f'{card.name} at {size}')
    bounds = list_bounds(card.name, described, sides)
    facts = conditions(
        card=card,
        load_1min_at_start=load_at_start,
        input=size,
        weights='random' if name.startswith(RANDOM_PREFIX) else 'trained',
        threads=args.threads,
        device=args.device,
        rounds=args.rounds,
        runs_per_round=args.runs,
    )
    results = {'conditions': facts, **described, **describe_bounds(bounds)}
    file_name = name_results(card.name, input_hw, args.device)
    return print_bounds(bounds, write_results(file_name, results, args.out))


def name_results(card_name: str, input_hw: tuple[int, int], device: str) -> str:
    """Return the name of the results file; one of CUDA does not replace that of the CPU."""
    name = f'engines_{card_name}_{format_hw(input_hw)}'
    return name if device == 'cpu' else f'{name}_{device.replace(":", "")}'


def choose_sides(
    backends: Sequence[str] | None, precisions: Sequence[str] | None
) -> tuple[Side, ...]:
    """Return the engines that are asked for: those of the table, or every combination named.

    Args:
        backends: Only these, one that is not in the table in all its precisions; None = those of
            the table.
        precisions: Only these; None = those of the table.

    Raises:
        ConfigError: If that leaves none.
    """
    from rgbt_perception.benchmark.engines import SIDES
    from rgbt_perception.benchmark.side import Side
    from rgbt_perception.engine.precision import PRECISIONS
    from rgbt_perception.errors import ConfigError

    table: dict[str, list[str]] = {}
    for side in SIDES:
        table.setdefault(side.backend, []).append(side.precision)
    chosen = tuple(
        Side(backend=backend, precision=precision)
        for backend in backends or table
        for precision in _choose_precisions(
            precisions, table.get(backend, PRECISIONS[backend]), is_backend_named=bool(backends)
        )
    )
    if not chosen:
        raise ConfigError(
            f'no engine of the table computes in {" or ".join(precisions or ())}, expected one or '
            f'more; name what is to compute in it with --backends'
        )
    return chosen


def _choose_precisions(
    asked: Sequence[str] | None, usual: Sequence[str], *, is_backend_named: bool
) -> Sequence[str]:
    """Return the precisions of a backend; what nobody named is left out where it is unusual."""
    if asked is None:
        return usual
    return asked if is_backend_named else [item for item in asked if item in usual]


def show(described: Mapping[str, Any], title: str) -> None:
    """Print one row per engine, and why others were not measured. Memory is that of the host."""
    from rich.console import Console
    from rich.table import Table

    clock = described['clock']
    table = Table(title=f'{title}: median of the rounds')
    memory = 'host MiB' if clock == 'wall' else 'MiB'  # that of a GPU is not measured
    for column in ('engine', f'{clock} ms', '/ torch', 'range', 'p50', 'p99', memory, 'start'):
        table.add_column(column, justify='left' if column == 'engine' else 'right', no_wrap=True)
    for name, engine in described['engines'].items():
        ratio = engine.get(f'{clock}_ratio')
        table.add_row(
            name,
            f'{engine[f"{clock}_ms"]["median"]:.1f}',
            '' if ratio is None else f'{ratio["median"]:.3f}',
            '' if ratio is None else f'{ratio["min"]:.2f} to {ratio["max"]:.2f}',
            f'{engine["latency_p50_ms"]:.0f}',
            f'{engine["latency_p99_ms"]:.0f}',
            f'{engine["peak_memory_mib"]:.0f}',
            f'{engine["load_s"]["median"]:.1f} s',
        )
    console = Console()
    console.print(table)
    for name, reason in described['not_measured'].items():
        console.print(f'{name}: not measured: {reason}', markup=False, soft_wrap=True)
    if 'drift' not in described:
        console.print('no ratios: torch fp32 was not measured', soft_wrap=True)
