# SPDX-License-Identifier: Apache-2.0
"""Convert data and weights between forms.

pairs: a folder with annotations.json (COCO; file_name is RGB, thermal_file_name is thermal)
becomes a bag with the images as they are and the boxes on /ground_truth/detections.

dataset: a published RGB-thermal data set, as its authors' archives unpack, becomes such a folder,
a manifest or tar shards.

checkpoint: a .pth file released with M-SpecGene becomes a card folder: safetensors and a card
with the normalisation, the classes and what is known of the licence. Every tensor must be there
with its released shape; what is missing, unexpected or mismatched is printed. Nothing in the
file is run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rgbt_perception.cli import convert_dataset
from rgbt_perception.cli.options import positive_float

SUMMARY = 'convert pairs to a bag, a published data set to pairs, or a checkpoint to a card'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the forms that this subcommand converts, each with its options."""
    forms = parser.add_subparsers(dest='what', required=True, metavar='WHAT')
    _add_pairs(forms.add_parser('pairs', help='a folder of image pairs to a bag'))
    convert_dataset.add_parser(forms)
    _add_checkpoint(forms.add_parser('checkpoint', help='a published checkpoint to a card'))


def run(args: argparse.Namespace) -> int:
    """Convert; return the exit status."""
    status: int = args.convert(args)
    return status


def _add_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', type=Path, help='folder with annotations.json')
    parser.add_argument('--out', type=Path, required=True, metavar='BAG', help='bag to create')
    parser.add_argument(
        '--rate',
        type=positive_float,
        default=5.0,
        metavar='HZ',
        help='pairs per second (default: 5)',
    )
    parser.set_defaults(convert=_convert_pairs)


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('file', type=Path, help='the .pth file as the authors publish it')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='CARD_DIR', help='folder to write'
    )
    parser.add_argument(
        '--classes',
        type=_names,
        default=(),
        metavar='A,B,...',
        help='class names in the order of their ids (default: those noted in the file)',
    )
    parser.set_defaults(convert=_convert_checkpoint)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(',') if name.strip())


def _convert_pairs(args: argparse.Namespace) -> int:
    from rgbt_perception.convert import convert_pairs
    from rgbt_perception.datasets import load_dataset

    num_pairs = convert_pairs(load_dataset(args.folder), args.out, rate_hz=args.rate)
    print(f'{num_pairs} pairs written to {args.out}')
    return 0


def _convert_checkpoint(args: argparse.Namespace) -> int:
    from rgbt_models.published import convert_checkpoint

    conversion = convert_checkpoint(args.file, args.out, class_names=args.classes)
    card = conversion.card
    print(f'{args.file.name}: {card.layout} ({card.architecture})')
    for line in conversion.report.lines():
        print(line)
    if card.classes:
        print(f'classes: {", ".join(card.classes)}')
    print(f'licence: {card.licence}')
    print(f'{conversion.num_tensors} tensors written to {args.out}')
    return 0
