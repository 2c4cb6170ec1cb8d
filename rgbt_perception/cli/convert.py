# SPDX-License-Identifier: Apache-2.0
"""Convert data between forms.

pairs: a folder with annotations.json (COCO; file_name is RGB, thermal_file_name is thermal)
becomes a bag with the images as they are and the boxes on /ground_truth/detections.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rgbt_perception.cli.options import positive_float

SUMMARY = 'convert a folder of pairs to a bag'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument('what', choices=('pairs',), help='what to convert')
    parser.add_argument('folder', type=Path, help='folder with annotations.json')
    parser.add_argument('--out', type=Path, required=True, metavar='BAG', help='bag to create')
    parser.add_argument(
        '--rate',
        type=positive_float,
        default=5.0,
        metavar='HZ',
        help='pairs per second (default: 5)',
    )


def run(args: argparse.Namespace) -> int:
    """Convert; return the exit status."""
    from rgbt_perception.convert import convert_pairs
    from rgbt_perception.datasets import load_dataset

    num_pairs = convert_pairs(load_dataset(args.folder), args.out, rate_hz=args.rate)
    print(f'{num_pairs} pairs written to {args.out}')
    return 0
