# SPDX-License-Identifier: Apache-2.0
"""Compare simulated pairs with real images, by numbers and by eye.

    python -m bench.realism --real DIR[:PREFIX] [DIR[:PREFIX] ...] [--pairs N] [--out DIR]
    python -m bench.realism --sheet FILE.png [--pairs N] [--conditions] [--beside DIR[:PREFIX]]

DIR is a folder of real images, in sub-folders rgb and thermal; each DIR, or each DIR:PREFIX of
images whose names begin with PREFIX, is one source. A statistic of the simulated images is within
the real ones where its mean lies between the smallest and the largest mean of a source, 10 % of
that span added at either end. It needs no trained network, so it cannot tell that something looks
odd: --sheet draws pairs to be looked at, RGB over thermal, with --beside among real ones.

Of the real images nothing is kept but the two ends of each range. Sheets with --beside show them:
mind their terms.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
import sys

import cv2
import numpy as np

from bench.image_statistics import average, measure_image, ranges, Statistics
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
from bench.world_sheet import (
    choose_files,
    draw_sheet,
    load_image,
    load_real_pairs,
    parse_source,
    RealSource,
    render_shown,
    ShownPair,
    shuffle_in,
    write_sheet,
)
from rgbt_models.synthetic import WORLD_VERSION
from rgbt_models.synthetic.environment import Condition

MODALITIES = ('rgb', 'thermal')
SLACK = 0.1
PAIRS, IMAGES_PER_SOURCE = 120, 60
SHEET_PAIRS, COLUMNS = 24, 6
FIRST_SEED = 7_000_000  # of no pool
LEAST_SOURCES = 2


def main(arguments: list[str] | None = None) -> int:
    """Compare or draw; return the exit status, 1 when a statistic is outside."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    if bool(args.real) == (args.sheet is not None):
        parser.error('expected either --real, to compare, or --sheet, to draw; give one of them')
    cv2.setNumThreads(1)
    if args.real:
        return compare(args)
    write_sheet(args.sheet, build_sheet(args, args.pairs or SHEET_PAIRS))
    print(f'wrote {args.sheet}')
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Declare the arguments."""
    parser = new_parser('realism', __doc__)
    add_common_arguments(parser)
    for name, use in (('--real', 'to compare with'), ('--beside', 'to show on the sheet')):
        parser.add_argument(
            name,
            nargs='+',
            type=parse_source,
            default=[],
            metavar='DIR[:PREFIX]',
            help=f'real sources {use}',
        )
    parser.add_argument('--sheet', type=Path, metavar='FILE', help='PNG to draw pairs on')
    parser.add_argument(
        '--conditions', action='store_true', help='on the sheet, every condition in turn'
    )
    parser.add_argument(
        '--pairs',
        type=number(int, at_least=1),
        help=f'simulated pairs (default: {PAIRS}, on a sheet {SHEET_PAIRS})',
    )
    parser.add_argument('--columns', type=number(int, at_least=1), default=COLUMNS)
    parser.add_argument(
        '--images',
        type=number(int, at_least=1),
        default=IMAGES_PER_SOURCE,
        help='images per real source and modality (default: %(default)s)',
    )
    parser.add_argument('--seed', type=number(int, at_least=0), default=FIRST_SEED)
    return parser


def build_sheet(args: argparse.Namespace, count: int) -> np.ndarray:
    """Draw simulated pairs, and as many real ones where they are asked for."""
    kinds: Sequence[Condition | None] = tuple(Condition) if args.conditions else (None,)
    pairs = [render_shown(args.seed + i, kinds[i % len(kinds)]) for i in range(count)]
    real: list[ShownPair] = []
    for source in args.beside:
        real += load_real_pairs(source, -(-count // len(args.beside)))
    mixed = shuffle_in(pairs, real, np.random.default_rng(args.seed))
    return draw_sheet(mixed, columns=args.columns)


def compare(args: argparse.Namespace) -> int:
    """Compare simulated with real images, print and write; return the exit status."""
    count = args.pairs or PAIRS
    simulated = measure_simulated(range(args.seed, args.seed + count))
    bounds: list[Bound] = []
    described = {}
    for modality in MODALITIES:
        sources = measure_sources(args.real, modality, args.images)
        limits = ranges(sources, slack=SLACK)
        described[modality] = {
            'sources': len(sources),
            'simulated': {name: round(value, 4) for name, value in simulated[modality].items()},
            'range': {name: [round(end, 4) for end in ends] for name, ends in limits.items()},
        }
        bounds += [
            Bound(
                name=f'{modality} {name}',
                value=value,
                at_least=limits[name][0],
                at_most=limits[name][1],
            )
            for name, value in simulated[modality].items()
        ]
    results = {
        'conditions': conditions(
            pairs=count, seed=args.seed, slack=SLACK, world_version=WORLD_VERSION
        ),
        **described,
        **describe_bounds(bounds),
    }
    return print_bounds(bounds, write_results('realism', results, args.out))


def measure_simulated(seeds: Iterable[int]) -> dict[str, Statistics]:
    """Return the means over simulated pairs by modality."""
    measured: dict[str, list[Statistics]] = {modality: [] for modality in MODALITIES}
    for seed in seeds:
        pair = render_shown(seed)
        for modality, image in (('rgb', pair.rgb), ('thermal', pair.thermal)):
            assert image is not None
            measured[modality].append(measure_image(image))
    return {modality: average(values) for modality, values in measured.items()}


def measure_sources(
    sources: Sequence[RealSource], modality: str, num_images: int
) -> list[Statistics]:
    """Return the means of each source that has images of a modality.

    Raises:
        SystemExit: If fewer than two have: a range needs two ends.
    """
    measured = []
    for source in sources:
        files = choose_files(source.files(modality), num_images)
        images = (load_image(path, is_grey=modality == 'thermal') for path in files)
        values = [measure_image(image) for image in islice(images, num_images)]
        if values:
            measured.append(average(values))
    if len(measured) < LEAST_SOURCES:
        raise SystemExit(
            f'{len(measured)} of {len(sources)} real sources have {modality} images; expected '
            f"{LEAST_SOURCES} or more with images in a folder '{modality}'; name more after --real"
        )
    return measured


if __name__ == '__main__':
    sys.exit(main())
