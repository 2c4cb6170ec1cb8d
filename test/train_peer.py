# SPDX-License-Identifier: Apache-2.0
"""Train a small model in a process of its own, which may be killed; run by the tests.

python train_peer.py POOL RUN [--kill-at STEP | --kill-at-write N]
python train_peer.py POOL RUN --first-batches [--few-steps] [--devices 2] [--strategy fsdp]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import count
import os
from pathlib import Path
import signal

from made_models import random_painted_samples, small_model
import numpy as np

from rgbt_models import encoder
from rgbt_models.build import ARCHITECTURES
from rgbt_models.train import checkpoint, supervised
from rgbt_models.train.augment import AugmentConfig
from rgbt_models.train.balance import BalanceConfig
from rgbt_models.train.batches import collate
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.loop import RunPlace

ARCHITECTURE = 'made'
CONFIG = TrainConfig(
    architecture=ARCHITECTURE,
    max_steps=14,
    size_hws=((64, 96), (96, 64)),
    pixels_per_step=2 * 64 * 96,
    accumulate=2,
    layer_decay=0.7,
    learning_rate=3e-3,
    warmup_steps=4,
    ema_decay=0.9,
    modality_dropout=0.5,
    dropout_start=0.1,
    precision='32-true',
    checkpoint_every=3,
    augment=AugmentConfig(heavy_sensor=0.5),
    is_balanced=True,
    balance=BalanceConfig(start=0.1, full=0.3, anneal=0.5, end=0.9),
)
ONE_STEP = replace(
    CONFIG,
    max_steps=1,
    checkpoint_every=1,
    accumulate=1,
    modality_dropout=0.0,
    clip_norm=0.0,
    weight_decay=0.0,
    is_balanced=False,
)

# The same settings for any strategy; the rate is small, for AdamW divides by gradients near 0.
FEW_STEPS = replace(
    CONFIG,
    max_steps=4,
    checkpoint_every=2,
    learning_rate=1e-5,
    warmup_steps=0,
    modality_dropout=0.0,
    is_balanced=False,
)


def register() -> None:
    """Make the small model known under its name."""
    ARCHITECTURES[ARCHITECTURE] = lambda **_: small_model().train()


def give_fixed_batches(num_processes: int) -> None:
    """Give process r the batches r, r + n, ... of a fixed list, and no random positions."""
    encoder.MAX_POSITION_SHIFT = 0

    def open_sampler(_pool, seed, state, **_):
        return (), np.random.default_rng(seed), seed[1] if state is None else state['drawn']

    def iterate_batches(_pool, _rng, config, *, drawn, label_set):
        for index in count(drawn, num_processes):
            batch = collate(random_painted_samples(3, seed=100 + index), config)
            yield replace(batch, sampler_state={'drawn': index + num_processes})

    supervised.open_sampler = open_sampler
    supervised.iterate_batches = iterate_batches


def kill_at_step(step: int) -> None:
    """Kill this process as the optimiser ends its ``step``."""
    finish = supervised.SupervisedLearner.finish_step

    def finish_step(self, losses, **keywords):
        finish(self, losses, **keywords)
        if keywords['step'] + 1 == step:
            os.kill(os.getpid(), signal.SIGKILL)

    supervised.SupervisedLearner.finish_step = finish_step


def kill_at_write(number: int) -> None:
    """Kill this process in the middle of writing the given file of all checkpoints."""
    numbers = count(1)
    write = checkpoint._write

    def write_or_die(path, content):
        if next(numbers) == number:
            write(path, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, content)

    checkpoint._write = write_or_die


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument('pool', type=Path)
    parser.add_argument('run', type=Path)
    parser.add_argument('--kill-at', type=int)
    parser.add_argument('--kill-at-write', type=int)
    parser.add_argument('--devices', type=int, default=1)
    parser.add_argument('--first-batches', action='store_true')
    parser.add_argument('--few-steps', action='store_true')
    parser.add_argument('--strategy', default='ddp')
    args = parser.parse_args()
    register()
    if args.kill_at:
        kill_at_step(args.kill_at)
    if args.kill_at_write:
        kill_at_write(args.kill_at_write)
    if args.first_batches:
        give_fixed_batches(args.devices)
    config = ONE_STEP if args.first_batches else CONFIG
    supervised.train(
        FEW_STEPS if args.few_steps else config,
        pool_dir=args.pool,
        place=RunPlace(
            folder=args.run,
            devices=args.devices,
            strategy=args.strategy,
            resume=args.few_steps or not args.first_batches,
        ),
    )


if __name__ == '__main__':
    main()
