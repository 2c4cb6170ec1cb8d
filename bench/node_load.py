# SPDX-License-Identifier: Apache-2.0
"""Measure the node with a real engine: what it costs beside the engine, and its latency at load.

    python -m bench.node_load [CARD] [--input HxW] [--backend B] [--precision P] [--rounds 3]

The real node, in a process of its own, with cameras and a listener in others, over the real
middleware. In every round the engine runs alone, in yet another process, then the node gets pairs
at a low rate: from the second comes the processor time of the node's whole process per pair, and
what its stages take of it. Then pairs come at 80 % of the rate that the mean latency at the low
rate allows. Latency is from the stamp of the RGB image to the arrival of ``~/mdi``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
import sys
import tempfile

from bench.node_streams import NodeSettings, Phase, running_node, WARM_UP_PAIRS
from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    new_parser,
    number,
    parse_size_hw,
    print_bounds,
    write_results,
)
from rgbt_models.card import ModelCard
from rgbt_perception.benchmark.cards import opened_card
from rgbt_perception.benchmark.side import Side, SideProcess, Task
from rgbt_perception.demo import ros_environment
from rgbt_perception.errors import ProcessError

MAX_OVERHEAD = 0.05
MAX_TAIL_RATIO = 1.5
LOW_LOAD, LOAD = 0.4, 0.8


@dataclass(slots=True, kw_only=True)
class Run:
    """What was measured.

    Attributes:
        engine_cpu_ms: Median processor time of the engine alone, by round.
        low: Phases at the low rate, by round.
        loaded: The phase at 80 % load.
    """

    engine_cpu_ms: list[float] = field(default_factory=list)
    low: list[Phase] = field(default_factory=list)
    loaded: Phase | None = None

    @property
    def overhead(self) -> float:
        """Processor time of the node over that of the engine, less 1: median of the rounds."""
        pairs = zip(self.low, self.engine_cpu_ms, strict=True)
        return median(phase.cpu_ms / engine_ms for phase, engine_ms in pairs) - 1.0


def measure(card: ModelCard, args: argparse.Namespace, folder: Path) -> Run:
    """Run the rounds, then the load.

    Raises:
        ProcessError: If a program fails.
    """
    settings = NodeSettings(
        side=Side(backend=args.backend, precision=args.precision),
        task=Task(
            card=str(card.folder),
            input_hw=args.input or card.input_hw,
            device='cpu',
            num_threads=args.threads,
            cache_dir=str(folder / 'cache'),
        ),
        folder=folder,
        env=ros_environment(args.domain),
        image_size=args.size,
    )
    run = Run()
    with SideProcess(settings.side, settings.task) as engine, running_node(settings) as node:
        engine.run(WARM_UP_PAIRS)
        rate_hz = LOW_LOAD * 1e3 / median(engine.run(WARM_UP_PAIRS).wall_ms)
        for _ in range(args.rounds):
            turn = engine.run(args.pairs)
            run.engine_cpu_ms.append(median(turn.cpu_ms))
            run.low += node.stream(rate_hz, args.pairs)
        mean_ms = mean(value for phase in run.low for value in phase.latencies_ms)
        (run.loaded,) = node.stream(LOAD * 1e3 / mean_ms, args.load_pairs)
    return run


def list_bounds(run: Run) -> list[Bound]:
    """Judge a run."""
    assert run.loaded is not None
    latency = describe(run.loaded.latencies_ms, 6)
    return [
        Bound(
            name='processor time of the node per pair over that of the engine alone, less 1',
            value=run.overhead,
            at_most=MAX_OVERHEAD,
        ),
        Bound(
            name='end-to-end latency at 80 % load, p99 over p50',
            value=latency['p99'] / latency['median'],
            at_most=MAX_TAIL_RATIO,
        ),
    ]


def describe_run(run: Run) -> dict[str, object]:
    """Return the figures as JSON values."""
    assert run.loaded is not None
    engine_ms, node_ms = median(run.engine_cpu_ms), median(phase.cpu_ms for phase in run.low)
    stages_ms = {
        name: median(phase.stages_ms[name] for phase in run.low) for name in run.low[0].stages_ms
    }
    rest_ms = node_ms - engine_ms - sum(stages_ms.values())
    return {
        'engine_cpu_ms': round(engine_ms, 3),
        'node_cpu_ms': round(node_ms, 3),
        'overhead': round(run.overhead, 4),
        'cpu_ms_by_stage': {
            **{name: round(value, 3) for name, value in stages_ms.items()},
            'middleware, waiting, supervision and what the engine takes more': round(rest_ms, 3),
        },
        'at_low_rate': [phase.describe() for phase in run.low],
        'at_80_percent_load': run.loaded.describe(),
    }


def build_parser() -> argparse.ArgumentParser:
    """Declare the arguments."""
    parser = new_parser('node_load', __doc__)
    positive = number(int, at_least=1)
    parser.add_argument('card', nargs='?', default='tiny', help='as of rgbt bench (default: tiny)')
    parser.add_argument('--input', type=parse_size_hw, help="network input (default: the card's)")
    parser.add_argument('--backend', default='openvino', help='(default: %(default)s)')
    parser.add_argument('--precision', default='int8', help='(default: %(default)s)')
    parser.add_argument('--threads', type=positive, default=1, help='of the engine (default: 1)')
    parser.add_argument('--size', default='640x480', help='images, WxH px (default: %(default)s)')
    parser.add_argument('--pairs', type=positive, default=100, help='per round (default: 100)')
    parser.add_argument(
        '--load-pairs', type=positive, default=300, help='at 80 %% load (default: 300)'
    )
    parser.add_argument('--domain', type=number(int, at_least=0), help='ROS domain')
    add_common_arguments(parser, rounds=3)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status, 1 when a bound is broken."""
    args = build_parser().parse_args(argv)
    int8_targets = [args.backend] if args.precision == 'int8' else []
    with (
        opened_card(args.card, args.input, int8_targets=int8_targets) as card,
        tempfile.TemporaryDirectory(prefix='rgbt-node-load-') as folder,
    ):
        run = measure(card, args, Path(folder))
        input_hw = args.input or card.input_hw
        facts = conditions(
            card=card,
            input=f'{input_hw[0]}x{input_hw[1]}',
            images=args.size,
            backend=args.backend,
            precision=args.precision,
            threads=args.threads,
            rounds=args.rounds,
            pairs_per_round=args.pairs,
        )
    bounds = list_bounds(run)
    described = describe_run(run)
    for name, value in described['cpu_ms_by_stage'].items():  # type: ignore[attr-defined]
        print(f'{value:8.3f} ms  {name}')
    results = {'conditions': facts, **described, **describe_bounds(bounds)}
    name = f'node_load_{card.name}'
    return print_bounds(bounds, write_results(name, results, args.out))


if __name__ == '__main__':
    try:
        sys.exit(main())
    except ProcessError as error:
        sys.exit(f'error: {error}')
