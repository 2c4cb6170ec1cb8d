# SPDX-License-Identifier: Apache-2.0
"""Render the training pool where it is missing, then train.

A run is set by a YAML file; config/train/tiny.yaml is the recipe of the shipped model. The pool
may also be rendered first with --render-only, on as many cores as there are, or not at all: with
--on-the-fly every pair is rendered when it is needed and seen once. A run that was
interrupted goes on from its newest checkpoint with --resume, on one CPU core to the same weights.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from rgbt_perception.cli.options import add_rendering_options, prepare_pool

SUMMARY = 'train a model on a pool of pairs, rendered or converted'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument('config', type=Path, help='training YAML, e.g. config/train/tiny.yaml')
    parser.add_argument(
        '--pool',
        type=Path,
        required=True,
        help='folder of the pairs: rendered, converted, or tar shards',
    )
    parser.add_argument('--out', type=Path, required=True, help='folder of the run')
    parser.add_argument('--accelerator', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--devices', type=int, default=1, help='processes: CPU cores or GPUs')
    parser.add_argument('--nodes', type=int, default=1, help='machines, under torchrun')
    parser.add_argument(
        '--strategy',
        choices=('ddp', 'fsdp'),
        default='ddp',
        help='whole parameters in every process, or a part in each',
    )
    parser.add_argument('--resume', action='store_true', help='go on from the newest checkpoint')
    add_rendering_options(parser)
    parser.add_argument('--render-only', action='store_true', help='stop after rendering')


def run(args: argparse.Namespace) -> int:
    """Render and train."""
    from rgbt_models.train.config import load_train_config
    from rgbt_perception.cli.run_progress import RunProgress

    config = load_train_config(args.config)
    progress = RunProgress()
    if not progress.is_shown:
        logging.getLogger('rgbt_models').setLevel(logging.INFO)
    prepare_pool(args, config)
    if args.render_only:
        return 0
    from rgbt_models.train.loop import RunPlace
    from rgbt_models.train.supervised import train

    with progress:
        train(
            config,
            pool_dir=args.pool,
            place=RunPlace(
                folder=args.out,
                accelerator=args.accelerator,
                devices=args.devices,
                nodes=args.nodes,
                strategy=args.strategy,
                resume=args.resume,
                on_step=progress.show if progress.is_shown else None,
            ),
        )
    return 0
