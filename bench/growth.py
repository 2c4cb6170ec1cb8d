# SPDX-License-Identifier: Apache-2.0
"""Measure how latency and memory grow with the size of the network input and with more rigs.

    python -m bench.growth [CARD] [--backend B] [--precision P] [--sizes HxW ...] [--rigs N ...]

Sizes: the engine alone, a process for each size, in turns. Rigs: the real node with so many pairs
of cameras in one process, each at the same rate, over the real middleware; a node for each number
of rigs, one after the other. Writes JSON and a plot.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
import io
from pathlib import Path
from statistics import median
import sys
import tempfile
from typing import Any

from bench.node_streams import IMAGE_HW, NodeSettings, running_node
from bench.report import (
    add_common_arguments,
    conditions,
    describe,
    format_hw,
    new_parser,
    number,
    parse_size_hw,
    read_load,
    write_results,
)
from rgbt_models.card import ModelCard
from rgbt_perception.benchmark.cards import opened_card
from rgbt_perception.benchmark.ros2_benchmark import latency_percentiles
from rgbt_perception.benchmark.side import Side, SideProcess, Task
from rgbt_perception.demo import ros_environment
from rgbt_perception.errors import ProcessError

SIZES = ((192, 256), (288, 384), (384, 512), (480, 640))
RIGS = (1, 2, 4)
MIB = 1 << 20
ROOM_ABOVE = 1.3  # of the plots
LICENCE_LINE = '<!-- SPDX-License-Identifier: Apache-2.0 -->'


def measure_sizes(
    tasks: Mapping[tuple[int, int], Task], side: Side, *, num_rounds: int, num_runs: int
) -> list[dict[str, Any]]:
    """Return latency, processor time and peak memory of the engine at every size.

    It is opened once before, for all sizes share what is compiled and kept: the first one would
    pay for it with memory that the others do not need.

    Raises:
        ProcessError: If the engine fails.
    """
    SideProcess(side, next(iter(tasks.values()))).close()
    with ExitStack() as stack:
        processes = {
            size: stack.enter_context(SideProcess(side, task)) for size, task in tasks.items()
        }
        turns = [
            {size: process.run(num_runs) for size, process in processes.items()}
            for _ in range(num_rounds)
        ]
        memory = {size: process.peak_memory_bytes() for size, process in processes.items()}
    return [
        {
            'height': size[0],
            'width': size[1],
            'cpu_ms': describe([median(turn[size].cpu_ms) for turn in turns]),
            'wall_ms': describe([median(turn[size].wall_ms) for turn in turns]),
            **latency_percentiles([value for turn in turns for value in turn[size].wall_ms]),
            'peak_memory_mib': round(memory[size] / MIB, 1),
        }
        for size in tasks
    ]


def measure_rigs(
    task: Task, side: Side, args: argparse.Namespace, folder: Path
) -> list[dict[str, Any]]:
    """Return latency, processor time and peak memory of the node for every number of rigs.

    Raises:
        ProcessError: If a program fails.
    """
    rows = []
    for num_rigs in args.rigs:
        settings = NodeSettings(
            side=side,
            task=task,
            folder=folder,
            env=ros_environment(args.domain),
            image_hw=IMAGE_HW,
            rigs=tuple(f'rig_{index}' for index in range(num_rigs)),
        )
        with running_node(settings) as node:
            phases = node.stream(args.rate, args.pairs)
            memory_bytes = node.peak_memory_bytes()
        latencies_ms = [value for phase in phases for value in phase.latencies_ms]
        num_sent = sum(len(phase.sent_ns) for phase in phases)
        rows.append(
            {
                'rigs': num_rigs,
                'rate_hz': args.rate,
                'results_per_pair': round(len(latencies_ms) / num_sent, 4),
                'node_cpu_ms_per_pair': round(phases[0].cpu_ms, 3),
                **latency_percentiles(latencies_ms),
                'peak_memory_mib': round(memory_bytes / MIB, 1),
            }
        )
    return rows


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw latency and memory against pixels, and against rigs."""
    import matplotlib as mpl

    mpl.use('Agg')
    mpl.rcParams['svg.hashsalt'] = 'growth'  # the same figures give the same file
    from matplotlib import pyplot as plt

    sizes, rigs = results['sizes'], results['rigs']
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.4), layout='constrained')
    panels = (
        (
            axes[0],
            [row['height'] * row['width'] / 1e3 for row in sizes],
            [format_hw((row['height'], row['width'])) for row in sizes],
            sizes,
            'Engine: network input, px',
        ),
        (
            axes[1],
            [row['rigs'] for row in rigs],
            [str(row['rigs']) for row in rigs],
            rigs,
            'Node: rigs in one process',
        ),
    )
    for latency_axis, places, labels, rows, title in panels:
        memory_axis = latency_axis.twinx()
        for key, style in (('latency_p50_ms', 'o-'), ('latency_p99_ms', 'o:')):
            name = key.removeprefix('latency_').removesuffix('_ms')
            values = [row[key] for row in rows]
            latency_axis.plot(places, values, style, color='tab:blue', label=f'latency {name}')
        memory = [row['peak_memory_mib'] for row in rows]
        memory_axis.plot(places, memory, 's-', color='tab:orange', label='peak memory')
        latency_axis.set_xticks(places, labels)
        latency_axis.set_xlabel(title)
        latency_axis.set_ylabel('latency, ms', color='tab:blue')
        memory_axis.set_ylabel('peak memory, MiB', color='tab:orange')
        for axis in (latency_axis, memory_axis):  # with room for the legend
            axis.set_ylim(0.0, ROOM_ABOVE * axis.get_ylim()[1])
        lines = [*latency_axis.get_lines(), *memory_axis.get_lines()]
        latency_axis.legend(handles=lines, loc='upper left', frameon=False)
    drawing = io.StringIO()
    figure.savefig(drawing, format='svg', metadata={'Date': None})
    declaration, _, rest = drawing.getvalue().partition('\n')
    path.write_text(f'{declaration}\n{LICENCE_LINE}\n{rest}', encoding='utf-8')
    plt.close(figure)


def build_parser() -> argparse.ArgumentParser:
    """Declare the arguments."""
    parser = new_parser('growth', __doc__)
    positive = number(int, at_least=1)
    parser.add_argument('card', nargs='?', default='tiny', help='as of rgbt bench (default: tiny)')
    parser.add_argument('--backend', default='openvino', help='(default: %(default)s)')
    parser.add_argument('--precision', default='fp32', help='(default: %(default)s)')
    parser.add_argument('--sizes', nargs='+', type=parse_size_hw, default=SIZES, metavar='HxW')
    parser.add_argument('--runs', type=positive, default=20, help='per round (default: 20)')
    parser.add_argument('--rigs', nargs='+', type=positive, default=RIGS, metavar='N')
    parser.add_argument(
        '--rate', type=number(float, at_least=0.1), default=2.0, help='Hz per rig (default: 2)'
    )
    parser.add_argument('--pairs', type=positive, default=100, help='per rig (default: 100)')
    parser.add_argument('--threads', type=positive, default=1, help='of each engine (default: 1)')
    parser.add_argument('--domain', type=number(int, at_least=0), help='ROS domain')
    add_common_arguments(parser, rounds=5)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write and plot."""
    args, load_at_start = build_parser().parse_args(argv), read_load()
    side = Side(backend=args.backend, precision=args.precision)
    with (
        opened_card(args.card, sides=[side]) as card,
        tempfile.TemporaryDirectory(prefix='rgbt-growth-') as folder,
    ):
        tasks = {size: _task(card, size, args.threads, folder) for size in args.sizes}
        own = _task(card, card.input_hw, args.threads, folder)
        sizes = measure_sizes(tasks, side, num_rounds=args.rounds, num_runs=args.runs)
        rigs = measure_rigs(own, side, args, Path(folder))
    facts = conditions(
        card=card,
        load_1min_at_start=load_at_start,
        backend=side.backend,
        precision=side.precision,
        threads=args.threads,
        rounds=args.rounds,
        runs_per_round=args.runs,
        rig_input=format_hw(card.input_hw),
        rig_images=format_hw(IMAGE_HW),
        rig_rate_hz=args.rate,
        pairs_per_rig=args.pairs,
    )
    results: dict[str, Any] = {'conditions': facts, 'sizes': sizes, 'rigs': rigs}
    path = write_results('growth', results, args.out)
    plot(results, path.with_suffix('.svg'))
    print(f'wrote {path} and {path.with_suffix(".svg")}')
    return 0


def _task(card: ModelCard, input_hw: tuple[int, int], num_threads: int, folder: str) -> Task:
    return Task(
        card=str(card.folder),
        input_hw=input_hw,
        device='cpu',
        num_threads=num_threads,
        cache_dir=str(Path(folder, 'cache')),
    )


if __name__ == '__main__':
    try:
        sys.exit(main())
    except ProcessError as error:
        sys.exit(f'error: {error}')
