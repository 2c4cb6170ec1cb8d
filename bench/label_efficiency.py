# SPDX-License-Identifier: Apache-2.0
"""Measure what pretraining is worth when only a few pairs are labeled.

    python -m bench.label_efficiency --pool POOL --test DATASET [--work DIR] [--jobs N] [--out DIR]

One encoder (ViT-Ti/16) starts five ways: from scratch; masked autoencoding with random masks; with
GMM-CMSS masks; with those of a schedule that only gets half-way; and GMM-CMSS followed by PCCL,
all pretrainings reading the same number of pairs of the pool without labels. Each is fine-tuned on
every twentieth shard (5 % of the pairs), once per seed and with the same steps, and evaluated on
the test set, fused, at half the image size.

Finished runs in the work folder are kept, so an interrupted measurement goes on where it was; runs
of other settings are refused. The bound: GMM-CMSS is better than scratch by 3 points of mIoU or of
mean AP50.
"""

from __future__ import annotations

import argparse
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
import json
import multiprocessing
import os
from pathlib import Path
from statistics import mean, stdev
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe_bounds,
    number,
    print_bounds,
    write_results,
)
from rgbt_models.pretrain.config import PretrainConfig, UnivConfig
from rgbt_models.pretrain.mae import MaeConfig
from rgbt_models.pretrain.masking import MaskingConfig
from rgbt_models.train.config import TrainConfig
from rgbt_perception.errors import ConfigError
from rgbt_perception.evaluate import METRICS_FILE

SCRATCH, RANDOM, GMM_CMSS, WITH_PCCL = 'scratch', 'random masks', 'GMM-CMSS', 'GMM-CMSS + PCCL'
HALF_WAY = 'GMM-CMSS to half-way'
PLAN_FILE = 'plan.json'
METHODS = (SCRATCH, RANDOM, GMM_CMSS, HALF_WAY, WITH_PCCL)
METRICS = ('mIoU', 'mean AP50')
MIN_GAIN = 0.03
EVERY_SHARD = 20  # labeled: 5 %
NUM_EPOCHS = 24  # of the masking schedule
PCCL_SHARE = 0.2  # of the pairs read by GMM-CMSS + PCCL
TEST_SCALE = 0.5
CALIBRATION_PAIRS = 8  # of the dominance index, which is not measured here
ENCODER, IMAGE_SIZE, BATCH_SIZE = 'vit_tiny_patch16_224', 192, 32
CROP_HW, CROPS_PER_STEP = (192, 256), 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run, and where.

    Attributes:
        pool_dir: Shards of the pairs.
        test_dir: Data set with ground truth.
        work_dir: Receives every run.
        pretrain_steps: Steps of each pretraining, 32 pairs each.
        train_steps: Steps of each fine-tuning, 16 crops each.
        num_seeds: Fine-tunings per method.
    """

    pool_dir: Path
    test_dir: Path
    work_dir: Path
    pretrain_steps: int
    train_steps: int
    num_seeds: int

    @property
    def labeled_dir(self) -> Path:
        """The part of the pool whose labels are used."""
        return self.work_dir / 'labeled'

    def run_dir(self, method: str, stage: str) -> Path:
        """Return the folder of one run of a method."""
        return self.work_dir / method.replace(' ', '_') / stage


def pretrain_stages(method: str, plan: Plan) -> list[tuple[str, PretrainConfig]]:
    """Return the pretrainings of a method in order, by name; none for scratch."""
    if method == SCRATCH:
        return []
    if method != WITH_PCCL:
        kind = 'random' if method == RANDOM else 'gmm_cmss'
        share = 0.5 if method == HALF_WAY else 1.0
        return [('mae', _mae_config(kind, plan.pretrain_steps, schedule_share=share))]
    pccl_steps = round(PCCL_SHARE * plan.pretrain_steps)
    univ = replace(
        _mae_config('gmm_cmss', pccl_steps),
        method='univ',
        init_from=str(plan.run_dir(method, 'mae') / 'weights.safetensors'),
        learning_rate=1e-4,
        min_area=0.4,
        clip_norm=3.0,
        univ=UnivConfig(encoder=ENCODER, image_size=IMAGE_SIZE, is_adapted=False),
    )
    return [('mae', _mae_config('gmm_cmss', plan.pretrain_steps - pccl_steps)), ('univ', univ)]


def train_config(method: str, plan: Plan, *, seed: int) -> TrainConfig:
    """Return the fine-tuning of a method: nothing but the encoder it starts from differs."""
    stages = pretrain_stages(method, plan)
    init = plan.run_dir(method, stages[-1][0]) / 'weights.safetensors' if stages else ''
    return TrainConfig(
        architecture=f'encoder: {ENCODER}',
        init_from=str(init),
        seed=seed,
        max_steps=plan.train_steps,
        learning_rate=5e-4,
        betas=(0.9, 0.999),
        warmup_steps=plan.train_steps // 10,
        size_hws=(CROP_HW,),
        pixels_per_step=CROPS_PER_STEP * CROP_HW[0] * CROP_HW[1],
        ema_decay=0.99,
        checkpoint_every=50,
        rgb_mean=PretrainConfig().rgb_mean,
        rgb_std=PretrainConfig().rgb_std,
        thermal_mean=PretrainConfig().thermal_mean,
        thermal_std=PretrainConfig().thermal_std,
    )


def claim_work(plan: Plan) -> None:
    """Note the settings in the work folder, unless it holds runs of others.

    Raises:
        ConfigError: If it does.
    """
    settings = {
        'pool': str(plan.pool_dir.resolve()),
        'test': str(plan.test_dir.resolve()),
        'pretrain_steps': plan.pretrain_steps,
        'train_steps': plan.train_steps,
    }
    path = plan.work_dir / PLAN_FILE
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=2), encoding='utf-8')
    found = json.loads(path.read_text(encoding='utf-8'))
    if found != settings:
        raise ConfigError(
            f"the work folder '{plan.work_dir}' holds runs of {found}; expected {settings}; name "
            f'another --work'
        )


def link_labeled(plan: Plan) -> int:
    """Make the labeled part of the pool, links to its shards; return the number of shards."""
    plan.labeled_dir.mkdir(parents=True, exist_ok=True)
    shards = sorted(plan.pool_dir.glob('shard_*'))[::EVERY_SHARD]
    for shard in shards:
        link = plan.labeled_dir / shard.name
        if not link.exists():
            link.symlink_to(shard.resolve(), target_is_directory=True)
    return len(shards)


def pretrain_method(method: str, plan: Plan) -> str:
    """Run the pretrainings of a method that are not finished; return the method."""
    from rgbt_models.pretrain.run import pretrain
    from rgbt_models.train.loop import RUN_NAME, RunPlace

    for stage, config in pretrain_stages(method, plan):
        folder = plan.run_dir(method, stage)
        if not (folder / RUN_NAME).exists():
            pretrain(config, pool_dir=plan.pool_dir, place=RunPlace(folder=folder, resume=True))
    return method


def fine_tune(method: str, plan: Plan, seed: int) -> None:
    """Train on the labeled pairs and evaluate, unless that is done."""
    from rgbt_models.publish import publish_run
    from rgbt_models.train.loop import RUN_NAME, RunPlace
    from rgbt_models.train.supervised import train

    folder = plan.run_dir(method, f'seed_{seed}')
    if (folder / METRICS_FILE).exists():
        return
    if not (folder / RUN_NAME).exists():
        config = train_config(method, plan, seed=seed)
        train(config, pool_dir=plan.labeled_dir, place=RunPlace(folder=folder, resume=True))
    publish_run(
        run_dir=folder,
        card_dir=folder / 'card',
        version='1',
        calibration_pairs=CALIBRATION_PAIRS,
    )
    _evaluate(folder / 'card', plan.test_dir, folder)


def run_all(plan: Plan, *, num_jobs: int, console: Console) -> None:
    """Run everything that is not finished, each job on one core."""
    os.environ['OMP_NUM_THREADS'] = '1'  # of the jobs, which start afresh
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(num_jobs, mp_context=context) as executor:

        def submit(method: str) -> set[Future[Any]]:
            seeds = range(plan.num_seeds)
            return {executor.submit(fine_tune, method, plan, seed) for seed in seeds}

        waiting: set[Future[Any]] = {
            executor.submit(pretrain_method, method, plan) for method in METHODS[1:]
        }
        waiting |= submit(SCRATCH)
        while waiting:
            done, waiting = wait(waiting, return_when='FIRST_COMPLETED')
            for future in done:
                method = future.result()
                if method is not None:
                    console.print(f'pretrained: {method}')
                    waiting |= submit(method)


def read_scores(plan: Plan) -> dict[str, dict[str, list[float]]]:
    """Return, by method and metric, the values of all seeds, fused."""
    scores: dict[str, dict[str, list[float]]] = {}
    for method in METHODS:
        files = [
            plan.run_dir(method, f'seed_{seed}') / METRICS_FILE for seed in range(plan.num_seeds)
        ]
        fused = [json.loads(file.read_text(encoding='utf-8'))['fused'] for file in files]
        scores[method] = {
            'mIoU': [values['mIoU'] for values in fused],
            'mean AP50': [mean(values['AP50'].values()) for values in fused],
        }
    return scores


def summarise(scores: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Return mean and standard deviation over the seeds, and the gain over scratch."""
    return {
        method: {
            metric: {
                'mean': round(mean(values), 4),
                'std': round(stdev(values), 4) if len(values) > 1 else None,
                'gain': round(mean(values) - mean(scores[SCRATCH][metric]), 4),
                'seeds': [round(value, 4) for value in values],
            }
            for metric, values in by_metric.items()
        }
        for method, by_metric in scores.items()
    }


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print one row per method."""
    table = Table(title='5 % of the labels: mean and standard deviation over the seeds')
    for column in ('encoder', 'mIoU', 'gain', 'mean AP50', 'gain'):
        table.add_column(column, justify='left' if column == 'encoder' else 'right')
    for method, by_metric in summary.items():
        cells = []
        for metric in METRICS:
            row = by_metric[metric]
            spread = '' if row['std'] is None else f' ± {row["std"]:.3f}'
            cells += [f'{row["mean"]:.3f}{spread}', f'{row["gain"]:+.3f}']
        table.add_row(method, *cells)
    console.print(table)


def main() -> int:
    """Run, print, write; exit status 1 when the bound is broken."""
    parser = argparse.ArgumentParser(
        prog='python -m bench.label_efficiency', description=(__doc__ or '').partition('\n')[0]
    )
    parser.add_argument('--pool', type=Path, required=True, help='pool of rgbt train')
    parser.add_argument('--test', type=Path, required=True, help='data set with ground truth')
    parser.add_argument('--work', type=Path, default=Path('bench_out/label_efficiency'))
    parser.add_argument('--jobs', type=number(int, at_least=1), default=1, help='cores to use')
    parser.add_argument('--pretrain-steps', type=number(int, at_least=10), default=960)
    parser.add_argument('--train-steps', type=number(int, at_least=10), default=200)
    parser.add_argument('--seeds', type=number(int, at_least=1), default=3)
    add_common_arguments(parser)
    options = parser.parse_args()
    console = Console()
    plan = Plan(
        pool_dir=options.pool,
        test_dir=options.test,
        work_dir=options.work,
        pretrain_steps=options.pretrain_steps,
        train_steps=options.train_steps,
        num_seeds=options.seeds,
    )
    try:
        claim_work(plan)
    except ConfigError as error:
        parser.error(str(error))
    num_shards = link_labeled(plan)
    run_all(plan, num_jobs=options.jobs, console=console)
    summary = summarise(read_scores(plan))
    print_summary(summary, console)
    gains = summary[GMM_CMSS]
    bounds = [
        Bound(
            name='gain of GMM-CMSS over scratch, mIoU or mean AP50',
            value=max(gains[metric]['gain'] for metric in METRICS),
            at_least=MIN_GAIN,
        )
    ]
    facts = conditions(
        encoder=ENCODER,
        pretrain_pairs=plan.pretrain_steps * BATCH_SIZE,
        labeled_shards=num_shards,
        train_crops=plan.train_steps * CROPS_PER_STEP,
        seeds=plan.num_seeds,
        test_scale=TEST_SCALE,
    )
    results = {'conditions': facts, 'methods': summary, **describe_bounds(bounds)}
    return print_bounds(bounds, write_results('label_efficiency', results, options.out))


def _mae_config(kind: str, steps: int, *, schedule_share: float = 1.0) -> PretrainConfig:
    masking = MaskingConfig(
        method=kind,
        mask_ratio=0.75,
        max_mask_ratio=0.85,
        num_epochs=NUM_EPOCHS,
        steps_per_epoch=max(1, int(steps / (schedule_share * NUM_EPOCHS))),
    )
    return PretrainConfig(
        batch_size=BATCH_SIZE,
        max_steps=steps,
        warmup_steps=steps // 10,
        learning_rate=6e-4,
        betas=(0.9, 0.95),
        checkpoint_every=100,
        mae=MaeConfig(
            encoder=ENCODER,
            image_size=IMAGE_SIZE,
            decoder_dim=128,
            decoder_depth=2,
            decoder_heads=4,
            masking=masking,
        ),
    )


def _evaluate(card_dir: Path, test_dir: Path, out_dir: Path) -> None:
    from rgbt_perception.config import EngineConfig, ModelConfig, PerceptionConfig
    from rgbt_perception.evaluate import evaluate_pairs, Evaluation, PipelinePool
    from rgbt_perception.sources import open_source, with_registration

    config = PerceptionConfig(
        model=ModelConfig(card=str(card_dir)), engine=EngineConfig(num_threads=1)
    )
    source = open_source(test_dir, config, None)
    pool = PipelinePool.open(with_registration(config, source.registration), scale=TEST_SCALE)
    try:
        evaluation = Evaluation(pool, source.segmentation_classes, None)
        evaluate_pairs(source.pairs(), evaluation, out_dir=out_dir)
    finally:
        pool.close()


if __name__ == '__main__':
    sys.exit(main())
