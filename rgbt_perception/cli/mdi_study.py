# SPDX-License-Identifier: Apache-2.0
"""Find out which estimator of dominance tells what a camera is worth to a model.

Needs labelled pairs. Each pair is measured as it is and with one camera made worse in several
steps; every estimator is compared with the true loss change when a camera is removed (Spearman's
rank correlation). Writes study.json, measurements.csv, table.md and two pictures. The definitions
are ours, on the idea of MDACL; feature entropy is listed as a warning: it rises with noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

from rgbt_perception.cli.options import add_topic_options, count, topics_from

SUMMARY = 'compare estimators of modality dominance with the true loss change'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument('source', type=Path, help='bag, or data set folder with annotations.json')
    parser.add_argument(
        '--card', default='tiny', metavar='NAME|DIR', help='model card (default: tiny)'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='output folder')
    parser.add_argument(
        '--pairs',
        type=count,
        default=0,
        metavar='N',
        help='measure N pairs spread evenly over the data (default: 0, all)',
    )
    parser.add_argument(
        '--seed', type=count, default=0, help='of the added noise and of the bootstrap'
    )
    add_topic_options(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, summarise and write; return the exit status."""
    from rich.console import Console
    from rich.progress import track

    from rgbt_models.build import load_model
    from rgbt_models.card import load_card
    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.mdi_study import (
        choose_pairs,
        measure_source,
        StudyPlan,
        summarise,
    )
    from rgbt_perception.mdi_study_report import write_study
    from rgbt_perception.sources import open_source, with_registration

    card = load_card(args.card)
    model = load_model(card)
    config = PerceptionConfig()
    source = open_source(args.source, config, topics_from(args))
    config = with_registration(config, source.registration)
    available = len(source) if isinstance(source, Sized) else sum(1 for _ in source.pairs())
    chosen = choose_pairs(available, args.pairs)
    plan = StudyPlan(chosen=chosen, seed=args.seed)
    found = measure_source(model, card, source, config, plan)
    total = len(chosen) * len(plan.degradations)
    progress = Console(stderr=True)
    measurements = list(track(found, 'measuring', console=progress, total=total))
    summary = {
        'model': card.name,
        'model_version': card.version,
        'seed': args.seed,
        **summarise(measurements, seed=args.seed),
    }
    show_summary(summary, Console())
    write_study(args.out, summary, measurements)
    print(f'written to {args.out}')
    return 0


def show_summary(summary: Mapping[str, Any], console: Any) -> None:
    """Print the correlation of every estimator, best first."""
    from rich.table import Table

    from rgbt_perception.mdi_study import ESTIMATORS
    from rgbt_perception.mdi_study_report import ENTROPY_WARNING, format_rho

    title = f'{summary["model"]}, {summary["pairs"]} pairs: correlation with the true loss change'
    table = Table(title=title)
    for column in ('estimator', 'labels', 'cost', 'rho', '95 %'):
        table.add_column(column, justify='right' if column in {'rho', '95 %'} else 'left')
    results = summary['estimators']
    for estimator in sorted(ESTIMATORS, key=lambda item: -(results[item.name]['rho'] or 0.0)):
        found = results[estimator.name]
        low, high = (format_rho(value) for value in found['interval'])
        table.add_row(
            estimator.title,
            'yes' if estimator.needs_labels else 'no',
            estimator.cost,
            format_rho(found['rho']),
            f'{low} to {high}',
        )
    console.print(table)
    console.print(ENTROPY_WARNING)
