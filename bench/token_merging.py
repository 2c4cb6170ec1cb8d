# SPDX-License-Identifier: Apache-2.0
"""What merging tokens costs in quality and saves in time.

    python -m bench.token_merging [--card CARD] [--pairs N] [--rounds N] [--write-page] [--out DIR]

Quality is that of the pipeline on rendered pairs that no training has seen (seed 5000000 and on),
each pair by itself, the network on torch in fp32. Time is the CPU time of the network alone; all
shares take turns in every round, and ratios to the first one, which merges nothing, are what is
quoted. Beside the card stands a ViT-S/16 at 480x640, whose random weights are as fast as others.
There is no bound: what a share costs is for the user to weigh.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
import sys
from time import process_time
from typing import Any

import cv2
from rich.console import Console
from rich.progress import track
import torch

from bench.conditions import mean_ap50, mean_iou
from bench.held_out import HeldOut, MIXED, render_columns, StillPool, WORK
from bench.page import build_table, describe_spread, RATIO, write_section
from bench.report import (
    add_common_arguments,
    conditions,
    format_hw,
    new_parser,
    number,
    read_load,
    write_results,
)
from rgbt_models.build import create_model, load_model, RGBTModel
from rgbt_models.card import INPUT_NAMES, load_card, ModelCard
from rgbt_models.token_merging import set_keep_tokens
from rgbt_perception.config import ModelConfig, PerceptionConfig
from rgbt_perception.datasets import load_dataset
from rgbt_perception.engine.base import collect_outputs, EngineState
from rgbt_perception.scores import Scores
from rgbt_perception.sources import with_registration
from rgbt_perception.truth import map_class_ids
from rgbt_perception.types import Batch, RawOutputs

KEEP_TOKENS = (1.0, 0.75, 0.5)
PAIRS = 160
ROUNDS = 9
LARGE_HW = (480, 640)
PAGE = Path(__file__).resolve().parent.parent / 'docs' / 'token_merging.md'
SECTION = 'token_merging'


class ModelEngine:
    """Runs a model of this process; see ``Engine`` for the attributes."""

    backend, device, precision = 'torch', 'cpu', 'fp32'

    def __init__(self, model: RGBTModel) -> None:
        """Run ``model``, which is in evaluation mode and stays the caller's."""
        self._model = model
        self.state = EngineState()

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network on one batch."""
        inputs = [torch.from_numpy(getattr(batch, name)) for name in INPUT_NAMES]
        with torch.inference_mode():
            outputs = self._model(*inputs)
        return collect_outputs({name: value.numpy() for name, value in outputs.items()})

    def close(self) -> None:
        """Do nothing: the model is the caller's."""


def score(card: ModelCard, model: RGBTModel, folder: Path) -> dict[str, Any]:
    """Return the metrics of ``Scores`` for the fused pairs of a data set."""
    dataset = load_dataset(folder)
    config = PerceptionConfig(model=ModelConfig(card=str(card.folder)))
    config = with_registration(config, dataset.registration)
    pool = StillPool(card=card, engine=ModelEngine(model), config=config)
    names = dataset.segmentation_classes or card.segmentation_classes
    scores = Scores(card)
    pairs = track(dataset.pairs(), folder.name, total=len(dataset), console=Console(stderr=True))
    for item in pairs:
        truth_map = map_class_ids(item.truth.label_map(), names, card.segmentation_classes)
        pipeline = pool.pipeline_for(item.pair.reference.size_hw)
        scores.add(item, truth_map, pipeline.run(item.pair))
    return scores.metrics()


def time_shares(
    model: RGBTModel,
    input_hw: tuple[int, int],
    *,
    rounds: int,
    now_s: Callable[[], float] = process_time,
) -> dict[float, list[float]]:
    """Return the CPU time of the network by share, milliseconds, one value per round.

    Args:
        model: In evaluation mode.
        input_hw: Height and width of the images, px.
        rounds: How often every share has its turn.
        now_s: Clock, seconds.
    """
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 3, *input_hw, generator=generator) for _ in range(2)]
    found: dict[float, list[float]] = {keep: [] for keep in KEEP_TOKENS}
    with torch.inference_mode():
        for keep in found:
            set_keep_tokens(model.encoder, keep)
            model(*images, torch.ones(1, 2))  # the first run allocates
        for _ in range(rounds):
            for keep, times in found.items():
                set_keep_tokens(model.encoder, keep)
                started = now_s()
                model(*images, torch.ones(1, 2))
                times.append((now_s() - started) * 1e3)
    return found


def describe_times(found: Mapping[float, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return the median time of each share, and the median and range of its ratios by round."""
    whole = found[KEEP_TOKENS[0]]
    described = {}
    for keep, times in found.items():
        ratios = [time / full for time, full in zip(times, whole, strict=True)]
        described[f'{keep:g}'] = {
            'cpu_ms': round(median(times), 3),
            'ratio': round(median(ratios), 3),
            'smallest_ratio': round(min(ratios), 3),
            'largest_ratio': round(max(ratios), 3),
        }
    return described


def build_parser() -> argparse.ArgumentParser:
    """Declare the arguments."""
    parser = new_parser('token_merging', __doc__)
    parser.add_argument('--card', default='tiny', help='name or folder (default: %(default)s)')
    positive = number(int, at_least=1)
    parser.add_argument('--threads', type=positive, default=1, help='CPU threads of torch')
    parser.add_argument(
        '--pairs', type=positive, default=PAIRS, help='held-out pairs (default: %(default)s)'
    )
    parser.add_argument(
        '--work', type=Path, default=WORK, help='rendered pairs are kept here (%(default)s)'
    )
    parser.add_argument('--write-page', action='store_true', help=f'write docs/{PAGE.name}')
    add_common_arguments(parser, rounds=ROUNDS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Render, evaluate, time, print and write."""
    args, load_at_start = build_parser().parse_args(arguments), read_load()
    cv2.setNumThreads(args.threads)
    torch.set_num_threads(args.threads)
    plan, card = HeldOut(work=args.work), load_card(args.card)
    folder = render_columns(plan, {MIXED: args.pairs})[MIXED]
    large = create_model('small', num_detection_classes=1, num_segmentation_classes=1).eval()
    card_model = load_model(card)
    times = {
        f'{card.name} at {format_hw(card.input_hw)}': describe_times(
            time_shares(card_model, card.input_hw, rounds=args.rounds)
        ),
        f'small at {format_hw(LARGE_HW)}': describe_times(
            time_shares(large, LARGE_HW, rounds=args.rounds)
        ),
    }
    metrics = {}
    for keep in KEEP_TOKENS:
        set_keep_tokens(card_model.encoder, keep)
        metrics[f'{keep:g}'] = score(card, card_model, folder)
    tables = build_tables(metrics, times)
    print(tables)
    if args.write_page:
        write_section(PAGE, SECTION, tables)
    facts = conditions(
        card=card,
        load_1min_at_start=load_at_start,
        **plan.describe(),
        pairs=args.pairs,
        rounds=args.rounds,
        threads=args.threads,
    )
    results = {'conditions': facts, 'times': times, 'metrics': metrics}
    print(f'wrote {write_results("token_merging", results, args.out)}')
    return 0


def build_tables(
    metrics: Mapping[str, Mapping[str, Any]], times: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return one Markdown table: quality and the ratios of time by share, with their range."""
    header = ['tokens kept', 'mean AP50', 'mIoU', *(f'time, {name}' for name in times)]
    rows = [
        [
            keep,
            mean_ap50(values),
            mean_iou(values),
            *(describe_spread(by_share[keep], RATIO) for by_share in times.values()),
        ]
        for keep, values in metrics.items()
    ]
    return build_table(header, rows)


if __name__ == '__main__':
    sys.exit(main())
