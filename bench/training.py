# SPDX-License-Identifier: Apache-2.0
"""Measure training: pairs per second and peak memory per pair, forward, backward and step.

    python -m bench.training [--rounds N] [--device cpu] [--size 256x320] [--precision P]

Each architecture trains on random images at two batch sizes. Memory per pair is the difference of
the two peaks over the difference of the batches: parameters and optimiser state fall out. On the
CPU the peak is that of the process (Linux), on CUDA that of torch's allocator.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
import gc
from pathlib import Path
import sys
from time import perf_counter

from rich.console import Console
from rich.table import Table
import torch

from bench.report import (
    add_common_arguments,
    conditions,
    describe,
    format_hw,
    number,
    parse_size_hw,
    write_results,
)
from rgbt_models.label_sets import SEGMENTATION_CLASSES
from rgbt_models.train.batches import TrainBatch
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.losses import BoxTargets
from rgbt_models.train.precision import AUTO, choose_precision, MIXED, PRECISIONS
from rgbt_models.train.schedule import parameter_groups
from rgbt_models.train.supervised import SupervisedLearner, to_device, update_average

ARCHITECTURES = ('tiny', 'small')
BATCHES = (2, 6)
CLEAR_PEAK = '5'  # for /proc/self/clear_refs: forget the peak of the resident set
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds of each step, and the peak of memory in bytes, of one batch size."""

    seconds: list[float]
    peak_bytes: int


def draw_batch(count: int, size_hw: tuple[int, int]) -> TrainBatch:
    """Return random images with two boxes each."""
    generator = torch.Generator().manual_seed(count)
    h, w = size_hw
    targets = BoxTargets(
        boxes_xyxy=torch.tensor([[8.0, 8, 40, 72], [60.0, 40, 180, 110]]),
        class_ids=torch.tensor([0, 1]),
        ignore=torch.zeros(2, dtype=torch.bool),
    )
    labels = torch.randint(
        len(SEGMENTATION_CLASSES), (count, h, w), generator=generator, dtype=torch.uint8
    )
    return TrainBatch(
        rgb=torch.rand(count, 3, h, w, generator=generator),
        thermal=torch.rand(count, 3, h, w, generator=generator),
        label_maps=labels,
        targets=[targets] * count,
    )


def measure(config: TrainConfig, batch: TrainBatch, device: torch.device, rounds: int) -> Measured:
    """Train one model on one batch again and again; the first step allocates and is left out."""
    learner = SupervisedLearner(config, device=device)
    model = learner.model.to(device).train()
    optimiser = torch.optim.AdamW(parameter_groups(model, config.weight_decay), lr=1e-4)
    batch = to_device(batch, device)
    seconds = []
    for index in range(rounds + 1):
        if index == 1:
            _forget_peak(device)
        started = perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == MIXED):
            terms = learner.losses(model, batch, step=index, progress=0.0)
        optimiser.zero_grad(set_to_none=True)
        terms.total.backward()
        optimiser.step()
        update_average(learner.average, model, decay=0.99)
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        seconds.append(perf_counter() - started)
    return Measured(seconds=seconds[1:], peak_bytes=_peak_bytes(device))


def measure_architecture(
    name: str, *, size_hw: tuple[int, int], device: torch.device, precision: str, rounds: int
) -> dict[str, object]:
    """Return throughput at the larger batch, and the memory of one more pair."""
    config = TrainConfig(architecture=name, precision=precision)
    peaks, results = [], Measured(seconds=[], peak_bytes=0)
    for count in BATCHES:
        gc.collect()
        results = measure(config, draw_batch(count, size_hw), device, rounds)
        peaks.append(results.peak_bytes)
    step_ms = describe([second * 1e3 for second in results.seconds])
    return {
        'step_ms': step_ms,
        'pairs_per_s': round(BATCHES[-1] / step_ms['median'] * 1e3, 2),
        'peak_mib': round(peaks[-1] / MIB, 1),
        'mib_per_pair': round((peaks[-1] - peaks[0]) / (BATCHES[-1] - BATCHES[0]) / MIB, 1),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        prog='python -m bench.training', description=(__doc__ or '').partition('\n')[0]
    )
    parser.add_argument('--device', default='cpu', help='cpu or cuda:0')
    parser.add_argument(
        '--size', type=parse_size_hw, default=(256, 320), metavar='HxW', help='input, px'
    )
    parser.add_argument(
        '--threads', type=number(int, at_least=1), default=1, help='CPU threads of torch'
    )
    parser.add_argument('--precision', choices=PRECISIONS, default=AUTO, help='of the training')
    add_common_arguments(parser, rounds=5)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    precision = choose_precision(args.precision, device.type)
    measured = {
        name: measure_architecture(
            name, size_hw=args.size, device=device, precision=precision, rounds=args.rounds
        )
        for name in ARCHITECTURES
    }
    results = {
        'conditions': conditions(
            device=args.device,
            input_hw=list(args.size),
            threads=args.threads,
            rounds=args.rounds,
            batches=BATCHES,
            precision=precision,
        ),
        'training': measured,
    }
    path = write_results('training', results, args.out)
    table = Table(title=f'training at {format_hw(args.size)}, batch {BATCHES[-1]}, {precision}')
    for column in ('architecture', 'pairs/s', 'peak MiB', 'MiB per pair'):
        table.add_column(column)
    for name, row in measured.items():
        table.add_row(name, *(str(row[k]) for k in ('pairs_per_s', 'peak_mib', 'mib_per_pair')))
    Console().print(table)
    Console().print(f'wrote {path}')
    return 0


def _forget_peak(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        return
    Path('/proc/self/clear_refs').write_text(CLEAR_PEAK, encoding='ascii')


def _peak_bytes(device: torch.device) -> int:
    if device.type == 'cuda':
        return int(torch.cuda.max_memory_allocated(device))
    status = Path('/proc/self/status').read_text(encoding='ascii')
    line = next(line for line in status.splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024


if __name__ == '__main__':
    sys.exit(main())
