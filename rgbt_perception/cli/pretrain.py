# SPDX-License-Identifier: Apache-2.0
"""Pretrain an encoder on pairs without labels.

A run is set by a YAML file, see config/pretrain/. Its weights.safetensors is the encoder, which a
training file starts from with `init_from`. A run that was interrupted goes on from its newest
checkpoint with --resume.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from rgbt_perception.cli.options import add_rendering_options, prepare_pool

SUMMARY = 'pretrain an encoder on pairs without labels'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument('config', type=Path, help='YAML, e.g. config/pretrain/m_specgene.yaml')
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


def run(args: argparse.Namespace) -> int:
    """Render what is missing and pretrain."""
    from rgbt_models.pretrain.config import load_pretrain_config
    from rgbt_models.pretrain.run import pretrain
    from rgbt_models.train.loop import RunPlace
    from rgbt_perception.cli.run_progress import RunProgress

    config = load_pretrain_config(args.config)
    progress = RunProgress()
    if not progress.is_shown:
        logging.getLogger('rgbt_models').setLevel(logging.INFO)
    prepare_pool(args, config)
    with progress:
        pretrain(
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
