# SPDX-License-Identifier: Apache-2.0
"""Measure stages, engines and pairing; print a table and write JSON.

    python -m bench [--rounds N] [--threads N] [--out DIR]

Everything runs on frames of the sample bag. Sides that are compared take turns in every round,
so that other load on the machine meets both alike; quote the ratios.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import sys
from time import perf_counter, perf_counter_ns, process_time

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.report import (
    add_common_arguments,
    conditions,
    describe,
    format_hw,
    number,
    write_results,
)
from rgbt_models.card import load_card
from rgbt_perception.bag import BagReader
from rgbt_perception.config import EngineConfig, FallbackConfig, PerceptionConfig, SyncConfig
from rgbt_perception.engine import open_engine
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.replay import PairStream
from rgbt_perception.share import find_share_file
from rgbt_perception.sources import load_rig, with_registration
from rgbt_perception.sync import Pairer
from rgbt_perception.types import Frame, Modality, NS_PER_S, Pair

NUM_PAIRS = 8
PAIRING_FRAMES = 6000
BACKENDS = ('onnx', 'torch')


def load_pairs(bag: Path, config: PerceptionConfig) -> list[Pair]:
    """Return the first complete pairs of a bag."""
    pairs: list[Pair] = []
    with BagReader(bag) as reader:
        for _, pair in PairStream(reader, config):
            if pair.skew_ns is not None:
                pairs.append(pair)
            if len(pairs) == NUM_PAIRS:
                break
    return pairs


def measure_pipelines(
    config: PerceptionConfig, pairs: list[Pair], *, rounds: int, threads: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Run every backend over the pairs in turn and return milliseconds per stage."""
    card = load_card(config.model.card)
    pipelines = {}
    for backend in BACKENDS:
        engine_config = EngineConfig(backend=backend, num_threads=threads)
        run_config = replace(config, engine=engine_config)
        pipelines[backend] = Pipeline(
            card=card, engine=open_engine(card, engine_config), config=run_config
        )
        pipelines[backend].run(pairs[0])  # the first run allocates
    stages: dict[str, dict[str, list[float]]] = {
        backend: {'preprocess_ms': [], 'infer_ms': [], 'postprocess_ms': [], 'cpu_ms': []}
        for backend in BACKENDS
    }
    for index in range(rounds):
        for backend, pipeline in pipelines.items():
            started = process_time()
            times = pipeline.run(pairs[index % len(pairs)]).times
            stages[backend]['cpu_ms'].append((process_time() - started) * 1e3)
            for stage in ('preprocess_ms', 'infer_ms', 'postprocess_ms'):
                stages[backend][stage].append(getattr(times, stage))
    return {
        backend: {stage: describe(samples) for stage, samples in measured.items()}
        for backend, measured in stages.items()
    }


def measure_pairing(rounds: int) -> dict[str, float]:
    """Return microseconds per frame of the Pairer on two 30 Hz streams 5 ms apart."""
    pixels = {
        Modality.RGB: np.zeros((2, 2, 3), np.uint8),
        Modality.THERMAL: np.zeros((2, 2), 'u1'),
    }
    frames = [
        Frame(
            pixels=pixels[modality],
            stamp_ns=int(index / 30 * NS_PER_S) + offset_ns,
            frame_id=modality.value,
            modality=modality,
        )
        for index in range(PAIRING_FRAMES // 2)
        for modality, offset_ns in ((Modality.RGB, 0), (Modality.THERMAL, 5_000_000))
    ]

    def pair_all() -> None:
        pairer = Pairer(SyncConfig(), FallbackConfig())
        for frame in frames:
            pairer.push(frame, frame.stamp_ns)

    return describe([_microseconds(pair_all) / len(frames) for _ in range(rounds)])


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        prog='python -m bench', description=(__doc__ or '').partition('\n')[0]
    )
    parser.add_argument(
        '--threads', type=number(int, at_least=1), default=1, help='CPU threads of each engine'
    )
    add_common_arguments(parser, rounds=24)
    args = parser.parse_args(argv)
    bag = find_share_file('bags/sample_drive')
    config = with_registration(PerceptionConfig(), load_rig(bag))
    card = load_card(config.model.card)
    started = perf_counter()
    pipelines = measure_pipelines(
        config, load_pairs(bag, config), rounds=args.rounds, threads=args.threads
    )
    results = {
        'conditions': conditions(
            card=card,
            input=format_hw(card.input_hw),
            threads=args.threads,
            rounds=args.rounds,
            pairs=NUM_PAIRS,
        ),
        'pipeline': pipelines,
        'onnx_over_torch_infer': round(
            pipelines['onnx']['infer_ms']['median'] / pipelines['torch']['infer_ms']['median'], 3
        ),
        'pairing_us_per_frame': measure_pairing(max(5, args.rounds // 4)),
    }
    path = write_results('bench', results, args.out)
    _print(results, path, perf_counter() - started)
    return 0


def _print(results: dict[str, object], path: Path, seconds: float) -> None:
    console = Console()
    table = Table(title='milliseconds per pair: median (smallest to largest)')
    pipelines = results['pipeline']
    assert isinstance(pipelines, dict)
    for column in ('stage', *pipelines):
        table.add_column(column)
    for stage in pipelines[BACKENDS[0]]:
        values = [pipelines[backend][stage] for backend in pipelines]
        texts = [f'{v["median"]:.1f} ({v["min"]:.1f} to {v["max"]:.1f})' for v in values]
        table.add_row(stage, *texts)
    console.print(table)
    console.print(f'onnx over torch, inference: {results["onnx_over_torch_infer"]}')
    console.print(f'pairing, microseconds per frame: {results["pairing_us_per_frame"]}')
    console.print(f'{results["conditions"]}')
    console.print(f'wrote {path} after {seconds:.0f} s')


def _microseconds(action: Callable[[], None]) -> float:
    started = perf_counter_ns()
    action()
    return (perf_counter_ns() - started) / 1e3


if __name__ == '__main__':
    sys.exit(main())
