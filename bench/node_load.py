# SPDX-License-Identifier: Apache-2.0
"""Measure the node with a real engine: what it costs beside the engine, and its latency at load.

    python -m bench.node_load [CARD] [--input HxW] [--backend B] [--precision P] [--rounds 5]

The real node, in a process of its own, with cameras and a listener in others, over the real
middleware. In every round the node gets pairs at a low rate, and before and after it the engine
runs alone at that rate, in yet another process: the node's processor time per pair, of its whole
process, is judged over the mean of both. What the stages take of it, each in its thread, the
engine in all of its threads, and what the groups of threads take stands beside it. Then pairs come
at 80 % of the rate that the node's worker could keep up with, from the mean time that a pair
occupied it. Latency is from the stamp of the RGB image to the arrival of ``~/mdi``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
import sys
import tempfile

from bench.node_streams import (
    ENGINE,
    IMAGE_HW,
    NodeSettings,
    NodeUnderLoad,
    parse_image_hw,
    Phase,
    round_each,
    running_node,
    WARM_UP_PAIRS,
)
from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    describe_range,
    format_hw,
    new_parser,
    number,
    parse_size_hw,
    print_bounds,
    read_load,
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
DIGITS = 4
MORE = 'engine, more than alone'
REST = 'middleware, waiting and supervision'


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What was measured in one round.

    Attributes:
        engine_cpu_ms: Mean processor time of a run of the engine alone, before and after ``low``.
        low: The phase at the low rate.
        loaded: The phase at 80 % load.
    """

    engine_cpu_ms: tuple[float, float]
    low: Phase
    loaded: Phase

    @property
    def overhead(self) -> float:
        """Processor time of the node over that of the engine, less 1."""
        return self.low.cpu_ms / mean(self.engine_cpu_ms) - 1.0

    @property
    def tail(self) -> float:
        """Latency at 80 % load, p99 over p50."""
        latency = describe(self.loaded.latencies_ms, 6)
        return latency['p99'] / latency['median']


def measure(card: ModelCard, args: argparse.Namespace, folder: Path) -> list[Round]:
    """Run the rounds.

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
        image_hw=args.size,
    )
    with SideProcess(settings.side, settings.task) as engine, running_node(settings) as node:
        engine.run(WARM_UP_PAIRS)
        rate_hz = LOW_LOAD * 1e3 / mean(engine.run(WARM_UP_PAIRS).wall_ms)
        return [run_round(engine, node, rate_hz, args) for _ in range(args.rounds)]


def run_round(
    engine: SideProcess, node: NodeUnderLoad, rate_hz: float, args: argparse.Namespace
) -> Round:
    """Measure the node at the low rate between two turns of the engine, then at load.

    Raises:
        ProcessError: If a program fails.
    """
    # At the rate of the pairs: after a pause a run takes more of the processor.
    before_ms = mean(engine.run(args.pairs, 1.0 / rate_hz).cpu_ms)
    (low,) = node.stream(rate_hz, args.pairs)
    after_ms = mean(engine.run(args.pairs, 1.0 / rate_hz).cpu_ms)
    (loaded,) = node.stream(LOAD * 1e3 / low.worker_ms, args.load_pairs)
    return Round(engine_cpu_ms=(before_ms, after_ms), low=low, loaded=loaded)


def list_bounds(rounds: Sequence[Round]) -> list[Bound]:
    """Judge the medians of the rounds."""
    return [
        Bound(
            name='processor time of the node per pair over that of the engine alone, less 1',
            value=median(item.overhead for item in rounds),
            at_most=MAX_OVERHEAD,
        ),
        Bound(
            name='end-to-end latency at 80 % load, p99 over p50',
            value=median(item.tail for item in rounds),
            at_most=MAX_TAIL_RATIO,
        ),
    ]


def describe_rounds(rounds: Sequence[Round]) -> dict[str, object]:
    """Return the figures as JSON values: medians of the rounds, and every round."""
    return {
        'engine_cpu_ms': describe_range([mean(item.engine_cpu_ms) for item in rounds], DIGITS),
        'node_cpu_ms': describe_range([item.low.cpu_ms for item in rounds], DIGITS),
        'overhead': describe_range([item.overhead for item in rounds], DIGITS),
        'tail': describe_range([item.tail for item in rounds], DIGITS),
        'cpu_ms_by_stage': split_by_stage(rounds),
        'cpu_ms_by_thread': _medians([item.low.threads_ms for item in rounds]),
        'rounds': [
            {
                'engine_cpu_ms': [round(value, 3) for value in item.engine_cpu_ms],
                'at_low_rate': item.low.describe(),
                'at_80_percent_load': item.loaded.describe(),
            }
            for item in rounds
        ],
    }


def split_by_stage(rounds: Sequence[Round]) -> dict[str, float]:
    """Return what the node takes per pair beside the engine alone, by stage, ms of processor time.

    Of the engine it is what its threads, those of the runtime as well, take more in the node than
    alone. The rest is what no stage explains: middleware, waiting and supervision.
    """
    beside = []
    for item in rounds:
        alone_ms = mean(item.engine_cpu_ms)
        stages_ms = {
            MORE if name == ENGINE else name: ms for name, ms in item.low.stages_ms.items()
        }
        stages_ms[MORE] = item.low.threads_ms[ENGINE] - alone_ms
        beside.append({**stages_ms, REST: item.low.cpu_ms - alone_ms - sum(stages_ms.values())})
    return _medians(beside)


def _medians(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return round_each({name: median(item[name] for item in values) for name in values[0]})


def build_parser() -> argparse.ArgumentParser:
    """Declare the arguments."""
    parser = new_parser('node_load', __doc__)
    positive = number(int, at_least=1)
    parser.add_argument('card', nargs='?', default='tiny', help='as of rgbt bench (default: tiny)')
    parser.add_argument('--input', type=parse_size_hw, help="network input (default: the card's)")
    parser.add_argument('--backend', default='openvino', help='(default: %(default)s)')
    parser.add_argument('--precision', default='int8', help='(default: %(default)s)')
    parser.add_argument('--threads', type=positive, default=1, help='of the engine (default: 1)')
    parser.add_argument(
        '--size', type=parse_image_hw, default=IMAGE_HW, metavar='HxW', help='of the images, px'
    )
    parser.add_argument('--pairs', type=positive, default=100, help='per round (default: 100)')
    parser.add_argument(
        '--load-pairs', type=positive, default=200, help='per round at 80 %% load (default: 200)'
    )
    parser.add_argument('--domain', type=number(int, at_least=0), help='ROS domain')
    add_common_arguments(parser, rounds=5)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status, 1 when a bound is broken."""
    args, load_at_start = build_parser().parse_args(argv), read_load()
    side = Side(backend=args.backend, precision=args.precision)
    with (
        opened_card(args.card, args.input, sides=[side]) as card,
        tempfile.TemporaryDirectory(prefix='rgbt-node-load-') as folder,
    ):
        rounds = measure(card, args, Path(folder))
    size = format_hw(args.input or card.input_hw)
    facts = conditions(
        card=card,
        load_1min_at_start=load_at_start,
        input=size,
        images=format_hw(args.size),
        backend=args.backend,
        precision=args.precision,
        threads=args.threads,
        rounds=args.rounds,
        pairs_per_round=args.pairs,
        load_pairs_per_round=args.load_pairs,
    )
    bounds, described = list_bounds(rounds), describe_rounds(rounds)
    for name, value in described['cpu_ms_by_stage'].items():  # type: ignore[attr-defined]
        print(f'{value:8.3f} ms  {name}')
    results = {'conditions': facts, **described, **describe_bounds(bounds)}
    name = f'node_load_{card.name}_{size}'
    return print_bounds(bounds, write_results(name, results, args.out))


if __name__ == '__main__':
    try:
        sys.exit(main())
    except ProcessError as error:
        sys.exit(f'error: {error}')
