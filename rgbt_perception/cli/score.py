# SPDX-License-Identifier: Apache-2.0
"""Score a training run over the pairs of a pool: fused, and with each camera alone.

RUN is the folder of a finished rgbt train run of any task; no card is needed. Give a pool whose
pairs were not trained on. Nothing is drawn but the homographies of matching, from a fixed seed, so
the same input gives the same score.json. rgbt evaluate measures what the node gives instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rgbt_perception.cli.options import count

SUMMARY = 'score a training run of any task, without a card'
TITLES = {'fused': 'fused', 'rgb_only': 'RGB only', 'thermal_only': 'thermal only'}
NOT_MEASURED = 'needs both'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument('run_dir', type=Path, metavar='RUN', help='folder of a finished run')
    parser.add_argument(
        '--pool', type=Path, required=True, help='folder of the pairs, rendered or converted'
    )
    parser.add_argument(
        '--pairs',
        type=count,
        default=0,
        metavar='N',
        help='score N pairs spread evenly over the pool (default: 0, all)',
    )
    parser.add_argument(
        '--without',
        nargs='+',
        default=[],
        metavar='CLASS',
        help='segmentation classes that mIoU and mAcc leave out, such as a background',
    )
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='folder of score.json (default: RUN)'
    )
    parser.add_argument('--device', default='cpu', help="of torch: 'cpu' or 'cuda:0'")


def run(args: argparse.Namespace) -> int:
    """Score, print and write; return the exit status."""
    from rich.console import Console
    from rich.progress import track

    from rgbt_models.train.finished_run import load_run
    from rgbt_models.train.pool import read_label_set, SamplePool
    from rgbt_perception.mdi_study import choose_pairs
    from rgbt_perception.replay import write_json
    from rgbt_perception.run_scores import describe_run, SCORE_FILE, score_run

    found = load_run(args.run_dir, device=args.device)
    pool = SamplePool(args.pool)
    chosen = sorted(choose_pairs(len(pool), args.pairs))
    progress = Console(stderr=True)
    samples = ((i, pool[i]) for i in track(chosen, 'scoring', console=progress))
    label_set = read_label_set(args.pool)
    scores = score_run(found, samples, label_set=label_set, without=args.without)
    document = {**describe_run(found, args.pool), **scores}
    out_dir = args.out or args.run_dir
    out_dir.mkdir(parents=True, exist_ok=True)
    write_json(out_dir / SCORE_FILE, document)
    show_scores(document, Console())
    print(f'written to {out_dir / SCORE_FILE}')
    return 0


def show_scores(document: Mapping[str, Any], console: Any) -> None:
    """Print one row per metric, one column per variant."""
    from rich.table import Table

    from rgbt_perception.run_scores import flatten

    title = f'{document["run"]}, {document["task"]}, {document["pairs"]} pairs'
    table = Table(title=title)
    for column in ('', *TITLES.values()):
        table.add_column(column, justify='right' if column else 'left')
    rows = {variant: flatten(document[variant]) for variant in TITLES if variant in document}
    for name in rows['fused']:
        cells = [
            _cell(rows[variant].get(name)) if variant in rows else NOT_MEASURED
            for variant in TITLES
        ]
        table.add_row(name, *cells)
    console.print(table)
    without = document['conditions'].get('without')
    if without:
        print(f'mIoU and mAcc leave out: {", ".join(without)}')
    if document.get('classes_left_out'):
        print(
            f'classes the run does not tell, left out: {", ".join(document["classes_left_out"])}'
        )
    if document['is_trained_on_pool']:
        print('the run was trained on scenes of this pool: the figures say nothing about others')


def _cell(value: int | float | None) -> str:
    if isinstance(value, int):
        return str(value)
    return '' if value is None else f'{value:.3f}'
