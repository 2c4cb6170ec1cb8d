# SPDX-License-Identifier: Apache-2.0
"""Measure a model against ground truth: fused, and with each camera alone.

The source is a bag with ground truth topics, or a folder with annotations.json (COCO; each image
has file_name for RGB and thermal_file_name for thermal). Boxes: COCO average precision over all
scores above 0.01. Masks: mean IoU over all pixels of all pairs. The same input gives the same
metrics.json, byte for byte.
"""

from __future__ import annotations

import argparse
from collections.abc import Sized
from pathlib import Path
from typing import Any, TYPE_CHECKING

from rgbt_perception.cli.options import (
    add_pipeline_options,
    add_topic_options,
    count,
    load_pipeline_config,
    positive_float,
    topics_from,
)

if TYPE_CHECKING:
    from rich.table import Table

    from rgbt_models.card import ModelCard
    from rgbt_perception.evaluate import Evaluation
    from rgbt_perception.failures import FailureRuns
    from rgbt_perception.sources import PairSource

SUMMARY = 'measure a model against ground truth'
VARIANTS = ('fused', 'rgb_only', 'thermal_only')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument('source', type=Path, help='bag, or data set folder with annotations.json')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='output folder')
    parser.add_argument(
        '--scale',
        type=positive_float,
        nargs='+',
        metavar='S',
        help="network input as a fraction of the RGB image (default: the card's input size); "
        'several: a folder each, and scales.json with the mean AP50 and its bootstrap interval',
    )
    parser.add_argument(
        '--overlays',
        type=count,
        default=0,
        metavar='N',
        help='draw the first N pairs',
    )
    parser.add_argument(
        '--failures',
        action='store_true',
        help='let each camera fail after half of the pairs, and compare the second half with the '
        'single-camera modes (takes twice as long)',
    )
    add_pipeline_options(parser)
    add_topic_options(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate; return the exit status."""
    from rich.console import Console

    scales: list[float | None] = args.scale or [None]
    if len(scales) == 1:
        show_metrics(_evaluate(args, scales[0], args.out)[1], Console())
    else:
        from rgbt_perception.multiscale import SCALES_FILE, summarise_scales
        from rgbt_perception.replay import write_json

        runs = [_evaluate(args, scale, args.out / f'scale_{scale:g}') for scale in scales]
        summary = summarise_scales([evaluation for evaluation, _ in runs])
        write_json(args.out / SCALES_FILE, {'scales': scales, **summary})
        show_scales(summary, Console())
    print(f'written to {args.out}')
    return 0


def _evaluate(
    args: argparse.Namespace, scale: float | None, out_dir: Path
) -> tuple[Evaluation, dict[str, Any]]:
    from rich.console import Console
    from rich.progress import track

    from rgbt_perception.evaluate import evaluate_pairs, Evaluation, PipelinePool
    from rgbt_perception.sources import open_source, with_registration

    config = load_pipeline_config(args)
    source = open_source(args.source, config, topics_from(args))
    config = with_registration(config, source.registration)
    pool = PipelinePool.open(config, scale=scale, cameras=source.cameras)
    progress = Console(stderr=True)
    num_pairs = len(source) if isinstance(source, Sized) else None
    try:
        failures = build_failures(source, pool.card) if args.failures else None
        evaluation = Evaluation(pool, source.segmentation_classes, failures)
        metrics = evaluate_pairs(
            track(source.pairs(), 'evaluating', console=progress, total=num_pairs),
            evaluation,
            out_dir=out_dir,
            num_overlays=args.overlays,
        )
    finally:
        pool.close()
    return evaluation, metrics


def build_failures(source: PairSource, card: ModelCard) -> FailureRuns:
    """Prepare the runs with failing cameras; a bag is read once to count its pairs."""
    from rgbt_perception.failures import FailureRuns, STEP_NS

    if isinstance(source, Sized):  # a folder of pairs, which has no stamps
        return FailureRuns(card, num_pairs=len(source), step_ns=STEP_NS)
    return FailureRuns(card, num_pairs=sum(1 for _ in source.pairs()))


def show_scales(summary: dict[str, Any], console: Any) -> None:
    """Print mean AP50 over the scales with its interval as a table."""
    from rich.table import Table

    table = Table(title='AP50, mean over the scales [95 % bootstrap interval over the pairs]')
    for column in ('', *summary):
        table.add_column(column, justify='left' if not column else 'right')
    names = dict.fromkeys(name for variant in summary.values() for name in variant)
    for name in names:
        cells = []
        for variant in summary.values():
            low, high = variant[name]['interval']
            cells.append(f'{variant[name]["mean"]:.3f} [{low:.3f}, {high:.3f}]')
        table.add_row(name, *cells)
    console.print(table)


def show_metrics(metrics: dict[str, Any], console: Any) -> None:
    """Print the metrics as tables: of all pairs, and of each slice of them."""
    for part, values in {'': metrics, **metrics['slices']}.items():
        title = f'{metrics["model"]}, {values["pairs"]} pairs{part and f" by {part}"}'
        console.print(_metrics_table(title, {variant: values[variant] for variant in VARIANTS}))
    show_miss_rates(metrics, console)
    if 'failures' in metrics:
        show_failures(metrics, console)
    if metrics['classes_left_out']:
        print(f'classes the model lacks, left out: {", ".join(metrics["classes_left_out"])}')
    for kind, missing in metrics['classes_without_truth'].items():
        if missing:
            print(f'{kind} classes without ground truth, not counted: {", ".join(missing)}')


def show_miss_rates(metrics: dict[str, Any], console: Any) -> None:
    """Print MR^-2 in its settings, where the boxes say their occlusion."""
    if 'MR-2' not in metrics['fused']:
        return
    from rich.table import Table

    table = Table(title='log-average miss rate MR-2 of persons (lower is better)')
    for column in ('setting', *VARIANTS):
        table.add_column(column, justify='left' if column == 'setting' else 'right')
    for setting in metrics['fused']['MR-2']:
        rates = [metrics[variant]['MR-2'][setting] for variant in VARIANTS]
        table.add_row(setting, *_cells(rates))
    console.print(table)


def show_failures(metrics: dict[str, Any], console: Any) -> None:
    """Print what is left when a camera fails half-way, right of the mode it is compared with."""
    failures = metrics['failures']
    rows = {name: row for name, row in failures.items() if isinstance(row, dict)}
    columns = {}
    for variant in VARIANTS:
        columns[variant] = rows[variant]
        failing = [row for row in rows.values() if row.get('compared_with') == variant]
        columns.update({row['text']: row for row in failing})
    title = f'cameras failing half-way: the last {failures["pairs"]} pairs'
    console.print(_metrics_table(title, columns))
    for row in rows.values():
        if row.get('unnoticed_pairs'):
            print(f'{row["text"]}: noticed after {row["unnoticed_pairs"]} pairs')


def _metrics_table(title: str, columns: dict[str, dict[str, Any]]) -> Table:
    """Return a table with a line for each class, which stays narrow however many there are."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column('AP50')
    for label in columns:
        table.add_column(label.replace('_', ' '), justify='right')
    results = list(columns.values())
    for name in results[0]['AP50']:
        table.add_row(name, *_cells([row['AP50'].get(name) for row in results]))
    table.add_section()
    for name in ('mAP', 'mIoU'):
        if any(name in row for row in results):
            table.add_row(name, *_cells([row.get(name) for row in results]))
    return table


def _cells(values: list[float | None]) -> list[str]:
    return ['' if value is None else f'{value:.3f}' for value in values]
