# SPDX-License-Identifier: Apache-2.0
"""Render synthetic data with exact ground truth.

drive    a bag: a street from day into night, RGB as JPEG, thermal as 16-bit PNG, with ground
         truth; the thermal camera drops out for a while by day, later the RGB lens is covered
dataset  a folder of single pairs with annotations.json (COCO) and label maps, for rgbt evaluate
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rgbt_perception.cli.options import count, positive_float

SUMMARY = 'render a synthetic drive (bag) or data set (folder)'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    drive = kinds.add_parser('drive', help='a bag')
    drive.add_argument('--duration', type=positive_float, default=24.0, metavar='S')
    drive.add_argument('--rate', type=positive_float, default=5.0, metavar='HZ')
    drive.add_argument('--no-failures', action='store_true', help='both cameras work all the time')
    drive.add_argument(
        '--camera-info', action='store_true', help='also write the model of each camera'
    )
    dataset = kinds.add_parser('dataset', help='a folder of pairs')
    dataset.add_argument('--pairs', type=count, default=300, metavar='N', help='default: 300')
    for parser_of_kind in (drive, dataset):
        parser_of_kind.add_argument('--out', type=Path, required=True, metavar='DIR')
        parser_of_kind.add_argument(
            '--seed', type=count, default=0, metavar='N', help='default: 0'
        )
        parser_of_kind.add_argument(
            '--scale', type=positive_float, default=1.0, help='size of the images (default: 1)'
        )


def run(args: argparse.Namespace) -> int:
    """Render; return the exit status."""
    try:
        return _run_drive(args) if args.kind == 'drive' else _run_dataset(args)
    except ImportError as error:
        from rgbt_perception.errors import BackendUnavailableError

        raise BackendUnavailableError(
            f"the synthetic world cannot be imported ({error}): pip install 'rgbt_perception[sim]'"
        ) from error


def _run_drive(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track

    from rgbt_perception.simulation import DriveConfig, write_drive

    config = DriveConfig(
        seed=args.seed,
        duration_s=args.duration,
        rate_hz=args.rate,
        scale=args.scale,
        has_camera_info=args.camera_info,
        has_failures=not args.no_failures,
    )
    instants = write_drive(config, args.out)
    console = Console(stderr=True)
    for _ in track(instants, 'rendering', total=config.num_instants, console=console):
        pass
    size_mb = sum(path.stat().st_size for path in args.out.iterdir()) / 1e6
    print(f'{config.num_instants} instants written to {args.out} ({size_mb:.1f} MB)')
    return 0


def _run_dataset(args: argparse.Namespace) -> int:
    from rgbt_models.synthetic import default_rig, write_dataset

    rig = default_rig()
    if args.scale != 1.0:
        rig = rig.scaled(args.scale)
    write_dataset(args.out, num_pairs=args.pairs, seed=args.seed, rig=rig)
    print(f'{args.pairs} pairs written to {args.out}')
    return 0
