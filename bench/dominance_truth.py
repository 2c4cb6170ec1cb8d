# SPDX-License-Identifier: Apache-2.0
"""Compare the published dominance with what each camera really sees.

    python -m bench.dominance_truth --card CARD [--pairs N] [--scenarios S ...] [--kaist DIR]

The truth of a rendered pair is its contrast advantage: how much better the objects stand out
against their surroundings in RGB than in thermal, -1..1 (docs/synthetic.md). Spearman's rank
correlation with it is measured for ``mdi`` as the node publishes it, by both methods (the shares
and the contrast of what was found), and for two estimators that run the network again: the KL
divergence of the detections when a camera is dropped, and the Shapley value with pseudo-labels.
The contrast is measured as the truth is, with what was found in the place of what is there. Single
pairs are run each by itself, the sequences of --scenarios in order, with the filter over time.

Then RGB is darkened in ten steps, on rendered pairs and on the real ones of --kaist: the index
by shares must fall.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
import math
from pathlib import Path
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.held_out import (
    add_arguments,
    add_held_out_arguments,
    config_from,
    HeldOut,
    in_order,
    MIXED,
    plan_from,
    render_columns,
    render_sequence_of,
)
from bench.mdi_probe import (
    ESTIMATORS,
    measure_column,
    measure_sequence,
    Measured,
    Prober,
    PUBLISHED,
    still_settings,
)
from bench.page import build_table, Cell, DEFAULT_MODEL_PAGE, write_section
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
from rgbt_perception.degradations import Degradation, degrade
from rgbt_perception.engine import Engine, open_engine
from rgbt_perception.mdi_study import spearman
from rgbt_perception.types import Pair

Curves = NDArray[np.float64]

# Asked for of tier 0, the shares, and of tier 1, the divergence; and of the contrast, which the
# node can publish instead of tier 1, as much.
LEAST = {'linear_share': 0.7, 'contrast': 0.8, 'drop_kl_detection': 0.8}
TITLES = {
    'linear_share': 'published mdi by shares',
    'contrast': 'published mdi by contrast',
    'drop_kl_detection': 'KL of the detections when a camera is dropped',
    'shapley_pseudo': 'Shapley, pseudo-labels',
}
PAIRS = 40
# One seed says little: how hard the six drives are to rank differs more than estimators do.
DRIVES, SEED_STEP = 4, 100_000
SCENARIOS = ('dusk_to_night', 'day_drive', 'city_mix', 'car_park', 'crossover', 'fog')
RATE_HZ = 2.0
SINGLE, SEQUENCES = 'single pairs', 'sequences'
DARK_PAIRS = 16
DARK_STEPS = 10
DARKEST = 0.02  # part of the RGB signal that is left at the last step
MAX_RISE = 0.02  # of one real pair, from one step to the next; noise of the darkened image
BOOTSTRAP_DRAWS, BOOTSTRAP_SEED = 400, 0
SECTION = 'dominance'


def correlate(measured: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """Return by estimator the rank correlation with the truth, in all and by condition.

    A correlation is None where one side is constant or not a number. The bootstrap draws scenes,
    or whole drives: pairs of one of them are alike.
    """
    truth = np.array([item.advantage for item in measured])
    columns = list(dict.fromkeys(item.column for item in measured))
    sources = np.array([item.source for item in measured])
    rows_of = [np.flatnonzero(sources == source) for source in dict.fromkeys(sources.tolist())]
    random = np.random.default_rng(BOOTSTRAP_SEED)
    draws = [
        np.concatenate([rows_of[source] for source in drawn])
        for drawn in random.integers(len(rows_of), size=(BOOTSTRAP_DRAWS, len(rows_of)))
    ]
    found: dict[str, dict[str, Any]] = {}
    for estimator in ESTIMATORS:
        values = np.array([item.indices[estimator] for item in measured])
        drawn = np.array([spearman(values[rows], truth[rows]) for rows in draws])
        by_column = {}
        for column in columns:
            chosen = np.array([item.column == column for item in measured])
            by_column[column] = {
                'pairs': int(chosen.sum()),
                'rho': _number(spearman(values[chosen], truth[chosen])),
                'mean': _number(values[chosen].mean()),
                'mean_advantage': _number(truth[chosen].mean()),
            }
        found[estimator] = {
            'rho': _number(spearman(values, truth)),
            'standard_deviation': _number(np.std(drawn)),
            'by_condition': by_column,
        }
    return found


def darken(prober: Prober, pairs: Iterable[Pair]) -> dict[str, Curves]:
    """Return by estimator the index of every pair (rows) as RGB gets darker (columns).

    The noise of a pair is the same at every step.
    """
    steps = [Degradation()]
    steps += [
        Degradation(kind='rgb_dark', amount=float(amount))
        for amount in np.geomspace(1.0, DARKEST, DARK_STEPS + 1)[1:]
    ]
    curves: dict[str, list[list[float]]] = {estimator: [] for estimator in ESTIMATORS}
    for index, pair in enumerate(pairs):
        rows = [prober(degrade(pair, step, np.random.default_rng(index))) for step in steps]
        for estimator in ESTIMATORS:
            curves[estimator].append([row[estimator] for row in rows])
    return {estimator: np.array(values) for estimator, values in curves.items()}


def describe_curves(curves: Mapping[str, Curves]) -> dict[str, Any]:
    """Return by estimator the mean curve, its largest rise, and the largest rise of each pair."""
    return {
        estimator: {
            'mean': [_number(value) for value in values.mean(axis=0)],
            'largest_rise_of_mean': _number(np.diff(values.mean(axis=0)).max()),
            'largest_rises': [_number(value) for value in np.diff(values, axis=1).max(axis=1)],
        }
        for estimator, values in curves.items()
    }


def list_bounds(
    correlations: Mapping[str, Mapping[str, Any]], curves: Mapping[str, Mapping[str, Any]]
) -> list[Bound]:
    """Return the bounds: rank correlations, and that the index falls as RGB gets darker.

    Args:
        correlations: As of ``correlate``, by name of the pairs.
        curves: As of ``describe_curves``, by name of the pairs.
    """
    bounds = [
        Bound(
            name=f'rank correlation with the contrast advantage, {name}, {TITLES[estimator]}',
            value=_or_nan(by_estimator[estimator]['rho']),
            at_least=least,
        )
        for name, by_estimator in correlations.items()
        for estimator, least in LEAST.items()
    ]
    for name, by_estimator in curves.items():
        of_published = by_estimator[PUBLISHED[0]]
        bounds.append(
            Bound(
                name=f'largest rise of the mean mdi as RGB darkens, {name}',
                value=_or_nan(of_published['largest_rise_of_mean']),
                at_most=0.0,
            )
        )
        if name == 'KAIST':
            bounds.append(
                Bound(
                    name='largest rise of mdi of one pair as RGB darkens, KAIST',
                    value=float(np.max([_or_nan(rise) for rise in of_published['largest_rises']])),
                    at_most=MAX_RISE,
                )
            )
    return bounds


def build_tables(
    correlations: Mapping[str, Mapping[str, Any]],
    curves: Mapping[str, Mapping[str, Any]],
    by_seed: Mapping[int, Mapping[str, Any]],
) -> str:
    """Return the tables as Markdown.

    Args:
        correlations: As of ``correlate``, by name of the pairs.
        curves: As of ``describe_curves``, by name of the pairs.
        by_seed: As of ``correlate``, of the sequences by seed.
    """
    parts = [
        part for name, found in correlations.items() for part in _correlation_tables(name, found)
    ]
    if by_seed:
        parts.append(f'Rank correlation with the contrast advantage, {SEQUENCES} by seed.')
        parts.append(
            build_table(
                ['', *map(str, by_seed)],
                [
                    [TITLES[estimator], *(found[estimator]['rho'] for found in by_seed.values())]
                    for estimator in ESTIMATORS
                ],
            )
        )
    for name, by_estimator in curves.items():
        steps = [str(step) for step in range(DARK_STEPS + 1)]
        parts.append(f'Mean index as RGB darkens step by step to {DARKEST:g}, {name}.')
        parts.append(
            build_table(
                ['step', *steps],
                [
                    [TITLES[estimator], *by_estimator[estimator]['mean']]
                    for estimator in ESTIMATORS
                ],
            )
        )
    return '\n\n'.join(parts)


def _correlation_tables(name: str, correlations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    columns = list(correlations[PUBLISHED[0]]['by_condition'])
    rows: list[list[Cell]] = []
    means: list[list[Cell]] = []
    for estimator, found in correlations.items():
        of_columns = found['by_condition']
        deviation = found['standard_deviation']
        rows.append(
            [TITLES[estimator], found['rho'], deviation, *(of_columns[c]['rho'] for c in columns)]
        )
        means.append([TITLES[estimator], *(of_columns[c]['mean'] for c in columns)])
    of_columns = correlations[PUBLISHED[0]]['by_condition']
    truth = ['contrast advantage (truth)', *(of_columns[c]['mean_advantage'] for c in columns)]
    counted = [f'{column} ({of_columns[column]["pairs"]})' for column in columns]
    return [
        f'Rank correlation with the contrast advantage, {name}; in brackets the number of pairs.',
        build_table(['', 'all', 'bootstrap sd', *counted], rows),
        f'Mean, {name}.',
        build_table(['', *columns], [truth, *means]),
    ]


def build_parser() -> argparse.ArgumentParser:
    """Declare the arguments."""
    parser = new_parser('dominance_truth', __doc__)
    add_arguments(parser)
    add_held_out_arguments(parser)
    parser.add_argument(
        '--pairs',
        type=number(int, at_least=3),
        default=PAIRS,
        help='of every condition (default: %(default)s)',
    )
    parser.add_argument(
        '--dark-pairs',
        type=number(int, at_least=1),
        default=DARK_PAIRS,
        help='rendered pairs to darken (default: %(default)s)',
    )
    parser.add_argument(
        '--scenarios',
        nargs='*',
        default=list(SCENARIOS),
        metavar='S',
        help=f'sequences, names or YAML files (default: {" ".join(SCENARIOS)})',
    )
    parser.add_argument(
        '--drives',
        type=number(int, at_least=1),
        default=DRIVES,
        help=f'of every scenario, seeds {SEED_STEP} apart (default: %(default)s)',
    )
    parser.add_argument(
        '--rate',
        type=number(float, at_least=0.1),
        default=RATE_HZ,
        help='pairs of a sequence per second (default: %(default)s)',
    )
    parser.add_argument('--kaist', type=Path, metavar='DIR', help='real pairs to darken')
    add_common_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Render, measure, print and write; return the exit status, 1 when a bound is broken."""
    args = build_parser().parse_args(arguments)
    cv2.setNumThreads(args.threads)
    plan, config = plan_from(args), config_from(args)
    columns = [column for column in in_order(args.columns) if column != MIXED] or [MIXED]
    folders = render_columns(plan, dict.fromkeys(columns, args.pairs), jobs=args.jobs)
    card = load_card(config.model.card)
    engine = open_engine(card, config.engine)
    single = [
        item
        for folder in folders.values()
        for item in measure_column(card, engine, config, folder)
    ]
    correlations = {SINGLE: correlate(single)}
    by_seed = {}
    if args.scenarios:
        drives = _measure_drives(card, engine, config, plan, args)
        correlations[SEQUENCES] = correlate(list(chain.from_iterable(drives.values())))
        by_seed = {seed: correlate(of_seed) for seed, of_seed in drives.items()}
    curves = _darken_all(card, engine, config, next(iter(folders.values())), args)
    engine.close()
    bounds = list_bounds(correlations, curves)
    tables = build_tables(correlations, curves, by_seed)
    print(tables)
    facts = conditions(card=card, **plan.describe(), pairs_by_condition=args.pairs)
    if args.write_page:
        intro = (
            f'Card {card.name} {card.version}; world {facts["world_version"]}, scenes from seed '
            f'{facts["seed"]} on.'
        )
        write_section(DEFAULT_MODEL_PAGE, SECTION, f'{intro}\n\n{tables}')
    results = {
        'conditions': facts,
        'indices': correlations,
        'sequences_by_seed': by_seed,
        'darkened': curves,
        **describe_bounds(bounds),
    }
    return print_bounds(bounds, write_results('dominance_truth', results, args.out))


def _measure_drives(
    card: ModelCard,
    engine: Engine,
    config: PerceptionConfig,
    plan: HeldOut,
    args: argparse.Namespace,
) -> dict[int, list[Measured]]:
    """Return the pairs of all drives by seed."""
    plans = [replace(plan, seed=plan.seed + index * SEED_STEP) for index in range(args.drives)]
    return {
        seeded.seed: [
            item
            for name in args.scenarios
            for item in measure_sequence(
                card, engine, config, render_sequence_of(seeded, name, args.rate), args.rate
            )
        ]
        for seeded in plans
    }


def _darken_all(
    card: ModelCard,
    engine: Engine,
    config: PerceptionConfig,
    rendered: Path,
    args: argparse.Namespace,
) -> dict[str, dict[str, Any]]:
    sources = {'rendered': rendered}
    if args.kaist is not None:
        sources['KAIST'] = args.kaist
    curves = {}
    for name, folder in sources.items():
        dataset = load_dataset(folder)
        prober = Prober(card, engine, still_settings(config, dataset.registration))
        limit = args.dark_pairs if name == 'rendered' else None
        pairs = (item.pair for item in islice(dataset.pairs(), limit))
        curves[name] = describe_curves(darken(prober, pairs))
    return curves


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


if __name__ == '__main__':
    sys.exit(main())
