# SPDX-License-Identifier: Apache-2.0
"""Render the training pool where it is missing, then train both heads.

A run is set by a YAML file; config/train/tiny.yaml is the recipe of the shipped model. The pool
may also be rendered first with --render-only, on as many cores as there are.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

SUMMARY = 'train a model on the synthetic world'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument('config', type=Path, help='training YAML, e.g. config/train/tiny.yaml')
    parser.add_argument('--pool', type=Path, required=True, help='folder of the rendered pairs')
    parser.add_argument('--out', type=Path, required=True, help='folder of the run')
    parser.add_argument('--accelerator', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--devices', type=int, default=1, help='processes: CPU cores or GPUs')
    parser.add_argument('--workers', type=int, default=1, help='cores that render the pool')
    parser.add_argument('--render-only', action='store_true', help='stop after rendering')


def run(args: argparse.Namespace) -> int:
    """Render and train."""
    from rgbt_models.train.config import load_train_config
    from rgbt_models.train.pool import render_pool

    logging.getLogger('rgbt_models').setLevel(logging.INFO)
    config = load_train_config(args.config)
    render_pool(
        args.pool,
        num_pairs=config.pool_pairs,
        seed=config.pool_seed,
        scale=config.pool_scale,
        num_workers=args.workers,
    )
    if not args.render_only:
        from rgbt_models.train.loop import train

        train(
            config,
            pool_dir=args.pool,
            out_dir=args.out,
            accelerator=args.accelerator,
            devices=args.devices,
        )
    return 0
