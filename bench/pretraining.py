# SPDX-License-Identifier: Apache-2.0
"""Measure what choosing the visible patches costs, beside a training step.

    python -m bench.pretraining [--rounds N] [--encoder NAME] [--batch N] [--threads N] [--out DIR]

The sampler is measured against one written patch by patch as the M-SpecGene release does it (two
sorts of every row per visible patch), both on the same tokens of the published size, in turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import resource
import sys
from time import perf_counter, process_time

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    number,
    print_bounds,
    write_results,
)
from rgbt_models.pretrain.mae import build_autoencoder, MaeConfig
from rgbt_models.pretrain.masking import GmmCmssMasker, MaskingConfig
from rgbt_models.pretrain.patches import sincos_grid
from rgbt_models.pretrain.task import PretrainBatch

PATCHES, DIM, VISIBLE = 196, 768, 19
SAMPLER_BATCH = 32  # what the release's cost was first measured at
MIN_SPEED_UP, MAX_STEP_SHARE = 10.0, 0.1
STEP_ROUNDS = 3
BYTES_PER_MIB = 1024.0**2


def draw_tokens(batch: int) -> tuple[Tensor, Tensor]:
    """Return embedded patches of both modalities, (b, 196, 768), of mixed contrast."""
    generator = torch.Generator().manual_seed(0)
    contrast = 0.2 + 2.0 * torch.rand(batch, PATCHES, 1, generator=generator)
    positions = sincos_grid(14, 14, DIM)
    rgb, thermal = (
        contrast * torch.randn(batch, PATCHES, DIM, generator=generator) + positions
        for _ in range(2)
    )
    return rgb, thermal


def sample_by_patch(rgb: Tensor, thermal: Tensor, means: NDArray[np.float64]) -> None:
    """Choose patches the slow way: every value copied to NumPy, every draw sorts all rows."""
    b = len(rgb)
    flat_rgb, flat_thermal = rgb.reshape(-1, DIM), thermal.reshape(-1, DIM)
    unit_rgb = flat_rgb / flat_rgb.norm(dim=1, keepdim=True)
    unit_thermal = flat_thermal / flat_thermal.norm(dim=1, keepdim=True)
    cosine = (unit_rgb * unit_thermal).sum(1)
    values = ((cosine + 1) / 2).sqrt() / (flat_rgb.var(1) * flat_thermal.var(1))
    values = values / values.max()
    x = values.numpy().astype(np.float64)
    density = np.stack([np.exp(-0.5 * (x - mean) ** 2 / 0.1) for mean in means], axis=1)
    share = density / density.sum(1, keepdims=True)
    _ = (share * x[:, None]).sum(0) / share.sum(0)
    table = values.view(b, PATCHES).clone()
    rows = torch.arange(b)
    for _ in range(2):
        targets = 0.1 * torch.randn(b, PATCHES)
        order = torch.zeros(b, PATCHES)
        for column in range(VISIBLE):
            nearest = torch.argsort((targets[:, column, None] - table).abs())[:, 0]
            order[:, column] = nearest
            table[rows, nearest] = 1e5
        order[:, VISIBLE:] = torch.argsort((targets - table).abs())[:, : PATCHES - VISIBLE]
        torch.argsort(order.long(), dim=1)


def measure_sampler(rounds: int) -> dict[str, dict[str, float]]:
    """Return milliseconds of processor time per batch of 32 of both ways, in turns."""
    rgb, thermal = draw_tokens(SAMPLER_BATCH)
    masker = GmmCmssMasker(MaskingConfig(), num_patches=PATCHES)
    means = masker.mixture.means.numpy()
    ways = {
        'vectorised': lambda: masker.draw(rgb, thermal),
        'by_patch': lambda: sample_by_patch(rgb, thermal, means),
    }
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for round_index in range(rounds + 1):
        for name, way in ways.items():
            milliseconds = _time_ms(way)
            if round_index:  # the first round allocates
                samples[name].append(milliseconds)
    return {name: describe(values) for name, values in samples.items()}


def measure_step(encoder: str, batch: int) -> dict[str, float]:
    """Return milliseconds of a training step and of its sampling, and memory, on the CPU."""
    model = build_autoencoder(MaeConfig(encoder=encoder))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, batch, 3, 224, 224, generator=generator)
    pairs = PretrainBatch(rgb=images[0], thermal=images[1])
    sampling: list[float] = []
    steps: list[float] = []
    draw = model.masker.draw

    def timed_draw(rgb: Tensor, thermal: Tensor) -> object:
        started = perf_counter()
        visible = draw(rgb, thermal)
        sampling.append((perf_counter() - started) * 1e3)
        return visible

    model.masker.draw = timed_draw  # type: ignore[method-assign, assignment]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(STEP_ROUNDS + 1):
        started = perf_counter()
        losses = model(pairs, index)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
        steps.append((perf_counter() - started) * 1e3)
    step_ms, sampling_ms = float(np.median(steps[1:])), float(np.median(sampling[1:]))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        'step_ms': round(step_ms, 1),
        'sampling_ms': round(sampling_ms, 3),
        'sampling_share': round(sampling_ms / step_ms, 5),
        'pairs_per_s': round(batch / step_ms * 1e3, 3),
        'peak_growth_mib_per_pair': round(grown_kib * 1024 / BYTES_PER_MIB / batch, 1),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print the bounds and write."""
    parser = argparse.ArgumentParser(
        prog='python -m bench.pretraining', description=(__doc__ or '').partition('\n')[0]
    )
    parser.add_argument('--encoder', default='vit_base_patch16_224', help='a timm ViT')
    parser.add_argument(
        '--batch', type=number(int, at_least=1), default=SAMPLER_BATCH, help='pairs per step'
    )
    parser.add_argument(
        '--threads', type=number(int, at_least=1), default=1, help='CPU threads of torch'
    )
    add_common_arguments(parser, rounds=10)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    sampler = measure_sampler(args.rounds)
    step = measure_step(args.encoder, args.batch)
    speed_up = sampler['by_patch']['median'] / sampler['vectorised']['median']
    bounds = [
        Bound(name='sampler, times faster', value=speed_up, at_least=MIN_SPEED_UP),
        Bound(
            name='sampler, share of a step', value=step['sampling_share'], at_most=MAX_STEP_SHARE
        ),
    ]
    facts = conditions(
        rounds=args.rounds, encoder=args.encoder, batch=args.batch, threads=args.threads
    )
    results = {'conditions': facts, 'sampler_ms': sampler, 'step': step}
    path = write_results('pretraining', {**results, **describe_bounds(bounds)}, args.out)
    print(f'sampler, processor ms per batch of {SAMPLER_BATCH}: {sampler}')
    print(f'training step with {args.encoder}: {step}')
    return print_bounds(bounds, path)


def _time_ms(action: Callable[[], object]) -> float:
    started = process_time()
    action()
    return (process_time() - started) * 1e3


if __name__ == '__main__':
    sys.exit(main())
