# SPDX-License-Identifier: Apache-2.0
"""Judge a model on real images that it was never trained on.

    python -m bench.real_images --card CARD --kaist DIR [--hit-uav DIR] [--pairs DIR] [--overlays]

--kaist is a folder of pairs with annotations.json (COCO): AP50 of persons, fused and with each
camera alone, at five input sizes and as their mean, with the standard deviation of a bootstrap
over the pairs. What the model calls a rider counts as a person, for so does KAIST. --hit-uav is a
folder of aerial thermal frames with COCO boxes: a view and a size of objects that the world does
not have, thermal alone. --pairs is a folder of unlabeled pairs (sub-folders rgb and thermal), of
which only overlays are made.

--overlays draws what the node would publish into OUT/overlays, for looking. Of the images nothing
else is kept. Mind their terms: overlays are not to be published with this project.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
import sys
from typing import Any

import cv2
from rich.console import Console
from rich.progress import track

from bench.held_out import add_arguments, config_from, StillPool
from bench.merged_classes import Classes, merge_card, MergedEngine
from bench.page import build_table, DEFAULT_MODEL_PAGE, write_section
from bench.real_sources import load_hit_uav, load_unlabeled, write_sheets
from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe_bounds,
    new_parser,
    number,
    print_bounds,
    write_results,
)
from rgbt_models.card import load_card, ModelCard
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.datasets import load_dataset
from rgbt_perception.engine import Engine, open_engine
from rgbt_perception.evaluate import as_published, Evaluation, VARIANTS, write_overlay
from rgbt_perception.multiscale import bootstrap_mean, NUM_SAMPLES, summarise_scales
from rgbt_perception.scores import Scores
from rgbt_perception.truth import TruthPair

Summary = dict[str, Any]

SCALES = (0.5, 0.625, 0.75, 0.875, 1.0)
SHOWN_SCALE = 0.75
KAIST_CLASSES: Classes = {'person': ('person', 'rider')}
HIT_UAV_CLASSES: Classes = {
    'person': ('person', 'rider'),
    'car': ('car',),
    'bicycle': ('bicycle', 'motorbike'),
}
LEAST_AP50 = 0.42
AIM = 0.55
TEXTS = {'fused': 'fused', 'rgb_only': 'RGB alone', 'thermal_only': 'thermal alone'}
SECTION = 'real_images'


class Judge:
    """A model with its engine and settings, and how a data set's classes see it."""

    def __init__(self, card: ModelCard, engine: Engine, config: PerceptionConfig) -> None:
        """Take over the parts; the engine stays the caller's."""
        self.card, self.config = card, config
        self._engine = engine

    def pool(self, scale: float, classes: Classes | None = None) -> StillPool:
        """Return pipelines for single images at an input size, with merged classes if given."""
        if classes is None:
            return StillPool(card=self.card, engine=self._engine, config=self.config, scale=scale)
        return StillPool(
            card=merge_card(self.card, classes),
            engine=MergedEngine(self._engine, self.card, classes),
            config=self.config,
            scale=scale,
        )


def judge_kaist(
    judge: Judge, folder: Path, scales: Sequence[float]
) -> tuple[dict[str, Summary], list[Summary]]:
    """Evaluate labeled pairs at several input sizes.

    Returns:
        By variant the summary of persons (see ``summarise_scales``), and one row by pair: boxes
        to find, right and wrong detections that the node would publish, at the middle size.
    """
    dataset = load_dataset(folder)
    evaluations = []
    for scale in scales:
        evaluation = Evaluation(judge.pool(scale, KAIST_CLASSES), ())
        for item in _watch(dataset.pairs(), f'KAIST {scale:g}', len(dataset)):
            evaluation.add(item)
        evaluations.append(evaluation)
    summary = summarise_scales(evaluations)
    threshold = judge.config.output.score_threshold
    names = [entry.rgb_path.stem for entry in dataset.entries]
    by_pair = []
    middle = evaluations[len(evaluations) // 2].matches('fused', 'person')
    for name, found in zip(names, middle, strict=True):
        is_shown = found.scores >= threshold
        num_right = int((found.is_right & is_shown).sum())
        by_pair.append(
            {
                'pair': name,
                'boxes': found.num_truth,
                'right': num_right,
                'wrong': int(is_shown.sum()) - num_right,
            }
        )
    return {variant: of_variant['person'] for variant, of_variant in summary.items()}, by_pair


def judge_hit_uav(
    judge: Judge, folder: Path, scales: Sequence[float], limit: int
) -> dict[str, Summary]:
    """Evaluate thermal frames; return the summary of each class.

    Args:
        judge: The model.
        folder: Of HIT-UAV.
        scales: Network input as fractions of the image.
        limit: Images, 0 = all.
    """
    classes = merge_card(judge.card, HIT_UAV_CLASSES).detection_classes
    by_scale = []
    for scale in scales:
        pool = judge.pool(scale, HIT_UAV_CLASSES)
        scores = Scores(pool.card)
        for item in _watch(load_hit_uav(folder, limit), f'HIT-UAV {scale:g}', limit or None):
            result = pool.pipeline_for(item.pair.reference.size_hw).run(item.pair)
            scores.add(item, None, result)
        by_scale.append(scores)
    return {
        name: bootstrap_mean([scores.boxes.matches(name) for scores in by_scale], NUM_SAMPLES)
        for name in classes
        if any(image.num_truth for image in by_scale[0].boxes.matches(name))
    }


def draw_overlays(judge: Judge, pairs: Iterable[TruthPair], out_dir: Path) -> list[Path]:
    """Draw what the node would publish of every pair, and sheets of them; return the sheets."""
    out_dir.mkdir(parents=True, exist_ok=True)
    pool = judge.pool(SHOWN_SCALE)
    pictures = []
    for item in _watch(pairs, 'overlays', None):
        pipeline = pool.pipeline_for(item.pair.reference.size_hw)
        result = as_published(pipeline.run(item.pair), pool.published)
        path = out_dir / f'{item.name}.png'
        write_overlay(path, result, item, pool.card, pipeline.registration)
        pictures.append((item.name, path))
    return write_sheets(out_dir, pictures)


def build_kaist_table(summary: Mapping[str, Summary], scales: Sequence[float]) -> str:
    """Return AP50 of persons as Markdown: by input size, mean and standard deviation."""
    header = ['person AP50', *(f'{scale:g}' for scale in scales), 'mean', 'bootstrap sd']
    rows = [
        [
            TEXTS[variant],
            *summary[variant]['by_scale'],
            summary[variant]['mean'],
            summary[variant]['standard_deviation'],
        ]
        for variant in VARIANTS
    ]
    return build_table(header, rows)


def build_hit_uav_table(summary: Mapping[str, Summary], scales: Sequence[float]) -> str:
    """Return AP50 by class as Markdown: by input size, mean and standard deviation."""
    header = ['thermal alone', *(f'{scale:g}' for scale in scales), 'mean', 'bootstrap sd']
    rows = [
        [name, *found['by_scale'], found['mean'], found['standard_deviation']]
        for name, found in summary.items()
    ]
    return build_table(header, rows)


def build_parser() -> argparse.ArgumentParser:
    """Declare the arguments."""
    parser = new_parser('real_images', __doc__)
    add_arguments(parser)
    scale = number(float, at_least=0.05)
    parser.add_argument('--kaist', type=Path, required=True, metavar='DIR', help='labeled pairs')
    parser.add_argument('--hit-uav', type=Path, metavar='DIR', help='labeled thermal frames')
    parser.add_argument('--pairs', type=Path, metavar='DIR', help='unlabeled pairs, for overlays')
    parser.add_argument(
        '--scales', type=scale, nargs='+', default=list(SCALES), metavar='S', help='of KAIST'
    )
    parser.add_argument(
        '--hit-uav-scales', type=scale, nargs='+', default=[1.0], metavar='S', help='of HIT-UAV'
    )
    parser.add_argument(
        '--hit-uav-images',
        type=number(int, at_least=0),
        default=0,
        metavar='N',
        help='images of HIT-UAV, spread evenly; 0 = all',
    )
    parser.add_argument('--overlays', action='store_true', help='draw what is found')
    add_common_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, print and write; return the exit status, 1 when the bound is broken."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.pairs is not None and not args.overlays:
        parser.error('--pairs has no labels, so only overlays can be made; add --overlays')
    cv2.setNumThreads(args.threads)
    config = config_from(args)
    card = load_card(config.model.card)
    engine = open_engine(card, config.engine)
    judge = Judge(card, engine, config)
    kaist, by_pair = judge_kaist(judge, args.kaist, args.scales)
    facts = conditions(card=card, score_threshold=config.output.score_threshold)
    results: Summary = {'conditions': {**facts, 'scales': args.scales}}
    results |= {'kaist': kaist, 'kaist_by_pair': by_pair}
    tables = ['KAIST sample, by input size as a fraction of 640x512.']
    tables.append(build_kaist_table(kaist, args.scales))
    if args.hit_uav is not None:
        found = judge_hit_uav(judge, args.hit_uav, args.hit_uav_scales, args.hit_uav_images)
        results |= {'hit_uav': found, 'hit_uav_scales': args.hit_uav_scales}
        tables.append('HIT-UAV test (aerial): AP50 by input size as a fraction of 640x512.')
        tables.append(build_hit_uav_table(found, args.hit_uav_scales))
    print('\n\n'.join(tables))
    for row in by_pair:
        print(f'{row["pair"]}: {row["boxes"]} boxes, {row["right"]} right, {row["wrong"]} wrong')
    if args.overlays:
        _draw_all(judge, args)
    engine.close()
    if args.write_page:
        text = '\n\n'.join([f'Card {card.name} {card.version}.', *tables])
        write_section(DEFAULT_MODEL_PAGE, SECTION, text)
    bounds = [
        Bound(
            name=f'KAIST person AP50 fused, mean over {len(args.scales)} sizes (aim {AIM})',
            value=kaist['fused']['mean'],
            at_least=LEAST_AP50,
        )
    ]
    results |= describe_bounds(bounds)
    return print_bounds(bounds, write_results('real_images', results, args.out))


def _draw_all(judge: Judge, args: argparse.Namespace) -> None:
    folder = args.out / 'overlays'
    sheets = draw_overlays(judge, load_dataset(args.kaist).pairs(), folder)
    if args.pairs is not None:
        sheets += draw_overlays(judge, load_unlabeled(args.pairs), folder)
    if args.hit_uav is not None:
        sheets += draw_overlays(judge, load_hit_uav(args.hit_uav, limit=8), folder)
    print(f'drew {len(sheets)} sheets: {", ".join(str(sheet) for sheet in sheets)}')


def _watch(pairs: Iterable[TruthPair], title: str, total: int | None) -> Iterable[TruthPair]:
    return track(pairs, title, total=total, console=Console(stderr=True))


if __name__ == '__main__':
    sys.exit(main())
