# SPDX-License-Identifier: Apache-2.0
"""Measure the engines of this machine beside each other, and judge them by the promises made.

CARD is a shipped card, a folder, or random:ARCHITECTURE for random weights. Without one: the tiny
card at its own size, and random:small at 480x640. Every engine has a process of its own; all take
turns in every round, torch in fp32 first and last. What is quoted is processor time over that of
torch. Quantised graphs are those of the card; those it lacks are made for the measurement (this
takes minutes, and needs what rgbt export needs) and say nothing about accuracy. What a machine
cannot run is left out and named. Exit status 1 when a promise is broken or was not measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
import tempfile
from typing import Any, TYPE_CHECKING

from rgbt_perception.cli.options import number, parse_size_hw

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
    statuses = [_run_card(args, name) for name in args.cards or DEFAULT_CARDS]
    return max(statuses)


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
        write_results,
    )
    from rgbt_perception.benchmark.side import Task

    sides = choose_sides(args.backends, args.precisions)
    with (
        opened_card(name, args.input, int8_targets=_int8_targets(sides)) as card,
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
            note=lambda text: status.update(f'{card.name}: {text}'),
        )
    described = describe_comparison(comparison)
    show(described, f'{card.name} at {input_hw[0]}x{input_hw[1]}')
    bounds = list_bounds(card.name, described, sides)
    facts = conditions(
        card=card,
        input=f'{input_hw[0]}x{input_hw[1]}',
        weights='random' if name.startswith(RANDOM_PREFIX) else 'trained',
        threads=args.threads,
        device=args.device,
        rounds=args.rounds,
        runs_per_round=args.runs,
    )
    results = {'conditions': facts, **described, **describe_bounds(bounds)}
    return print_bounds(bounds, write_results(f'engines_{card.name}', results, args.out))


def choose_sides(
    backends: Sequence[str] | None, precisions: Sequence[str] | None
) -> tuple[Side, ...]:
    """Return the engines that are asked for: those of the table, or every combination named.

    Args:
        backends: Only these; None = those of the table.
        precisions: Only these; None = those of the table.
    """
    from rgbt_perception.benchmark.engines import SIDES
    from rgbt_perception.benchmark.side import Side

    if backends and precisions:
        return tuple(Side(backend=b, precision=p) for b in backends for p in precisions)
    return tuple(
        side
        for side in SIDES
        if side.backend in (backends or (side.backend,))
        and side.precision in (precisions or (side.precision,))
    )


def _int8_targets(sides: Sequence[Side]) -> list[str]:
    return [side.backend for side in sides if side.precision == 'int8' and side.backend != 'torch']


def show(described: Mapping[str, Any], title: str) -> None:
    """Print one row per engine, and why others were not measured."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f'{title}: median of the rounds')
    for column in ('engine', 'CPU ms', '/ torch', 'range', 'p50', 'p99', 'MiB', 'start'):
        table.add_column(column, justify='left' if column == 'engine' else 'right', no_wrap=True)
    for name, engine in described['engines'].items():
        ratio = engine['cpu_ratio']
        table.add_row(
            name,
            f'{engine["cpu_ms"]["median"]:.1f}',
            f'{ratio["median"]:.3f}',
            f'{ratio["min"]:.2f} to {ratio["max"]:.2f}',
            f'{engine["latency_p50_ms"]:.0f}',
            f'{engine["latency_p99_ms"]:.0f}',
            f'{engine["peak_memory_mib"]:.0f}',
            f'{engine["load_s"]["median"]:.1f} s',
        )
    console = Console()
    console.print(table)
    for name, reason in described['not_measured'].items():
        console.print(f'{name}: not measured: {reason}', markup=False, soft_wrap=True)
