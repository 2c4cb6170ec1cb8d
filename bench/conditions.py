# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on rendered pairs by light and weather: fused, each camera alone, beside.

    python -m bench.conditions --card CARD [--pairs N] [--pairs-by-condition M] [--write-page]

The pairs are of scenes that no training has seen (seed 5000000 and on), and the code that
evaluates is that of ``rgbt evaluate``, every pair by itself. 'misregistered' is fused with thermal
8 RGB pixels beside where it belongs, to the right, below, left and above in turn. The bounds: both
cameras together are at least as good as the better one alone in every column, in mean AP50 and in
mIoU; and on the mixed column person, car and mIoU reach what the budget of the training promises.
The promise of mIoU was made for the eight classes of the first world's label maps, so there the
thirteen are merged into those.

What is rendered stays in --work and is used again until the world changes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
import math
from pathlib import Path
from statistics import mean
import sys
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from bench.held_out import (
    add_arguments,
    add_held_out_arguments,
    config_from,
    in_order,
    MIXED,
    plan_from,
    render_columns,
    StillPool,
)
from bench.page import build_table, Cell, DEFAULT_MODEL_PAGE, write_section
from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe_bounds,
    format_hw,
    new_parser,
    number,
    print_bounds,
    write_results,
)
from rgbt_models.card import load_card, ModelCard
from rgbt_perception.config import PerceptionConfig, RegistrationConfig
from rgbt_perception.datasets import load_dataset
from rgbt_perception.engine import Engine, open_engine
from rgbt_perception.evaluate import Evaluation
from rgbt_perception.metrics import LabelMapScorer
from rgbt_perception.scores import label_map_values, Scores
from rgbt_perception.sources import with_registration
from rgbt_perception.truth import map_class_ids

Metrics = Mapping[str, Any]

MISREGISTERED = 'misregistered'
ROWS = {
    'fused': 'fused',
    'rgb_only': 'RGB alone',
    'thermal_only': 'thermal alone',
    MISREGISTERED: 'fused, thermal 8 px beside',
}
SHIFT_PX = 8.0
SHIFTS_XY = ((SHIFT_PX, 0.0), (0.0, SHIFT_PX), (-SHIFT_PX, 0.0), (0.0, -SHIFT_PX))
# AP50 of person and car, mIoU; fused, mixed: after CPU hours, a GPU hour. The figure of mIoU comes
# from a world of eight classes: it is asked for over all of today's, and over COARSE_CLASSES.
PROMISED = {
    'cpu': {'person': 0.68, 'car': 0.60, 'mIoU': 0.66},
    'gpu': {'person': 0.75, 'car': 0.68, 'mIoU': 0.70},
}
# The label maps of the first world, and what of today's counts as which; there were no animals.
COARSE_CLASSES = {
    'sky': ('sky',),
    'road': ('road',),
    'ground': ('sidewalk',),
    'building': ('building', 'pole'),
    'vegetation': ('vegetation',),
    'person': ('person', 'rider'),
    'car': ('car', 'truck'),
    'bicycle': ('bicycle', 'motorbike'),
}
COARSE = 'coarse'
PAIRS, PAIRS_BY_CONDITION = 320, 80
SECTION = 'conditions'


def shifted(registration: RegistrationConfig, shift_xy: tuple[float, float]) -> RegistrationConfig:
    """Return the registration with thermal moved by ``shift_xy`` RGB pixels, right and down.

    Of images that are only resized ('identity'), both cameras must have the same size.
    """
    move = np.array([[1.0, 0.0, shift_xy[0]], [0.0, 1.0, shift_xy[1]], [0.0, 0.0, 1.0]])
    homography = move @ np.reshape(registration.homography_thermal_to_rgb, (3, 3))
    return replace(
        registration,
        method='homography',
        homography_thermal_to_rgb=tuple(homography.ravel().tolist()),
    )


def evaluate_column(
    card: ModelCard, engine: Engine, config: PerceptionConfig, folder: Path, scale: float | None
) -> dict[str, Any]:
    """Evaluate the pairs of a folder in all four ways.

    Args:
        card: Of the model.
        engine: Runs it.
        config: Settings of the product.
        folder: Data set with boxes and label maps; its registration is used.
        scale: Network input as a fraction of the image; None = that of the card.

    Returns:
        Metrics of ``Evaluation``, 'misregistered' beside its variants, and 'coarse': what
        ``label_map_values`` says of the fused label maps in ``COARSE_CLASSES``.
    """
    dataset = load_dataset(folder)
    config = with_registration(config, dataset.registration)
    config = replace(config, registration=replace(config.registration, score_every=0))
    pool = StillPool(card=card, engine=engine, config=config, scale=scale)
    beside = [
        StillPool(
            card=card,
            engine=engine,
            config=replace(config, registration=shifted(config.registration, shift_xy)),
            scale=scale,
        )
        for shift_xy in SHIFTS_XY
    ]
    evaluation = Evaluation(pool, dataset.segmentation_classes)
    names = dataset.segmentation_classes or card.segmentation_classes
    scores = Scores(card)
    pairs = track(dataset.pairs(), folder.name, total=len(dataset), console=Console(stderr=True))
    for index, item in enumerate(pairs):
        evaluation.add(item)
        pipeline = beside[index % len(beside)].pipeline_for(item.pair.reference.size_hw)
        truth_map = map_class_ids(item.truth.label_map(), names, card.segmentation_classes)
        scores.add(item, truth_map, pipeline.run(item.pair))
    return {
        **evaluation.metrics(),
        MISREGISTERED: scores.metrics(),
        COARSE: _score_coarsely(evaluation.label_maps('fused'), card.segmentation_classes),
    }


def _score_coarsely(scorer: LabelMapScorer, names: Sequence[str]) -> dict[str, Any]:
    groups = {
        coarse: [index for index, name in enumerate(names) if name in parts]
        for coarse, parts in COARSE_CLASSES.items()
    }
    return label_map_values(scorer.merged(list(groups.values())), list(groups))


def mean_ap50(values: Metrics) -> float:
    """Return the mean of AP50 over the classes with ground truth; NaN without any."""
    by_class = values['AP50']
    return mean(by_class.values()) if by_class else math.nan


def mean_iou(values: Metrics) -> float:
    """Return mIoU; NaN without label maps."""
    found = values['mIoU']
    return math.nan if found is None else float(found)


def list_bounds(by_column: Mapping[str, Metrics], budget: str) -> list[Bound]:
    """Return the bounds: what is promised on the mixed column, and fused against each camera.

    Args:
        by_column: Metrics of ``evaluate_column``.
        budget: Of the training, 'cpu' or 'gpu'.
    """
    bounds = []
    if MIXED in by_column:
        fused = by_column[MIXED]['fused']
        promised = PROMISED[budget]
        bounds += [
            Bound(
                name=f'AP50 {name}',
                value=fused['AP50'].get(name, math.nan),
                at_least=promised[name],
            )
            for name in ('person', 'car')
        ]
        bounds += [
            Bound(name=name, value=mean_iou(metrics), at_least=promised['mIoU'])
            for name, metrics in (
                ('mIoU', fused),
                ('mIoU over eight classes', by_column[MIXED][COARSE]),
            )
        ]
    for column, metrics in by_column.items():
        for name, measure in (('mean AP50', mean_ap50), ('mIoU', mean_iou)):
            alone = [measure(metrics[variant]) for variant in ('rgb_only', 'thermal_only')]
            bounds.append(
                Bound(
                    name=f'{column}: {name} fused less the better camera',
                    value=measure(metrics['fused']) - max(alone),
                    at_least=0.0,
                )
            )
    return bounds


def build_tables(by_column: Mapping[str, Metrics]) -> str:
    """Return the tables as Markdown: both means by column, then AP50 and IoU by class."""
    parts = []
    columns = list(by_column)
    for title, measure in (('Mean AP50', mean_ap50), ('mIoU', mean_iou)):
        rows: list[list[Cell]] = [
            [text, *(measure(by_column[column][variant]) for column in columns)]
            for variant, text in ROWS.items()
        ]
        pairs = [f'{column} ({by_column[column]["pairs"]})' for column in columns]
        parts.append(f'{title}; in brackets the number of pairs.')
        parts.append(build_table(['', *pairs], rows))
    for variant, key, title in (
        ('fused', 'AP50', 'AP50 by class, fused.'),
        ('fused', 'IoU', 'IoU by class, fused.'),
        (COARSE, 'IoU', 'IoU by class, fused, in the eight classes of the first world.'),
    ):
        of_columns = [by_column[column][variant][key] for column in columns]
        classes = dict.fromkeys(name for found in of_columns for name in found)
        rows = [[name, *(found.get(name) for found in of_columns)] for name in classes]
        if variant == COARSE:
            rows.append(['mIoU', *(mean_iou(by_column[column][COARSE]) for column in columns)])
        parts += [title, build_table(['', *columns], rows)]
    if MIXED in by_column:
        mixed = by_column[MIXED]
        names = list(mixed['fused']['AP50'])
        rows = [[text, *(mixed[v]['AP50'][n] for n in names)] for v, text in ROWS.items()]
        parts += ['AP50 by class, mixed.', build_table(['', *names], rows)]
    return '\n\n'.join(parts)


def build_parser() -> argparse.ArgumentParser:
    """Declare the arguments."""
    parser = new_parser('conditions', __doc__)
    add_arguments(parser)
    add_held_out_arguments(parser)
    positive = number(int, at_least=1)
    parser.add_argument(
        '--pairs', type=positive, default=PAIRS, help='of the mixed column (default: %(default)s)'
    )
    parser.add_argument(
        '--pairs-by-condition',
        type=positive,
        default=PAIRS_BY_CONDITION,
        help='of every other column (default: %(default)s)',
    )
    parser.add_argument(
        '--scale',
        type=number(float, at_least=0.05),
        help="network input as a fraction of the image (default: the card's input size)",
    )
    parser.add_argument(
        '--budget', choices=tuple(PROMISED), default='cpu', help='of the training (%(default)s)'
    )
    add_common_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Render, evaluate, print and write; return the exit status, 1 when a bound is broken."""
    args = build_parser().parse_args(arguments)
    cv2.setNumThreads(args.threads)
    plan, config = plan_from(args), config_from(args)
    counts = {
        column: args.pairs if column == MIXED else args.pairs_by_condition
        for column in in_order(args.columns)
    }
    folders = render_columns(plan, counts, jobs=args.jobs)
    card = load_card(config.model.card)
    engine = open_engine(card, config.engine)
    by_column = {
        column: evaluate_column(card, engine, config, folder, args.scale)
        for column, folder in folders.items()
    }
    engine.close()
    bounds = list_bounds(by_column, args.budget)
    facts = conditions(card=card, **plan.describe(), scale=args.scale, shift_px=SHIFT_PX)
    tables = build_tables(by_column)
    print(tables)
    if args.write_page:
        intro = _introduce(card, facts)
        write_section(DEFAULT_MODEL_PAGE, SECTION, f'{intro}\n\n{tables}')
    results = {'conditions': facts, 'columns': by_column, **describe_bounds(bounds)}
    return print_bounds(bounds, write_results('conditions', results, args.out))


def _introduce(card: ModelCard, facts: Mapping[str, object]) -> str:
    size = format_hw(card.input_hw)
    input_text = f'input {size}' if facts['scale'] is None else f'scale {facts["scale"]:g}'
    return (
        f'Card {card.name} {card.version}, {input_text}; world {facts["world_version"]}, scenes '
        f'from seed {facts["seed"]} on, {facts["sensors"]} sensors.'
    )


if __name__ == '__main__':
    sys.exit(main())
