# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import pytest

from bench.label_efficiency import (
    BATCH_SIZE,
    claim_work,
    GMM_CMSS,
    HALF_WAY,
    link_labeled,
    METHODS,
    Plan,
    pretrain_stages,
    RANDOM,
    read_scores,
    SCRATCH,
    summarise,
    train_config,
    WITH_PCCL,
)
from rgbt_perception.errors import ConfigError


@pytest.fixture
def plan(tmp_path):
    return Plan(
        pool_dir=tmp_path / 'pool',
        test_dir=tmp_path / 'test',
        work_dir=tmp_path / 'work',
        pretrain_steps=960,
        train_steps=300,
        num_seeds=2,
    )


@pytest.mark.parametrize('method', METHODS[1:])
def test_every_pretraining_reads_as_many_pairs(plan, method):
    stages = pretrain_stages(method, plan)
    assert sum(config.max_steps * config.batch_size for _, config in stages) == 960 * BATCH_SIZE


def test_a_work_folder_with_runs_of_other_settings_is_refused(plan):
    claim_work(plan)
    claim_work(replace(plan, num_seeds=5))  # more seeds go on
    with pytest.raises(ConfigError, match=r"holds runs of .*'train_steps': 300.*another --work"):
        claim_work(replace(plan, train_steps=200))


def test_the_methods_differ_in_masks_and_in_what_follows(plan):
    assert pretrain_stages(SCRATCH, plan) == []
    ((_, random),) = pretrain_stages(RANDOM, plan)
    ((_, gmm),) = pretrain_stages(GMM_CMSS, plan)
    assert (random.mae.masking.method, gmm.mae.masking.method) == ('random', 'gmm_cmss')
    masking = replace(gmm.mae.masking, method='random')
    assert replace(gmm, mae=replace(gmm.mae, masking=masking)) == random
    ((_, half),) = pretrain_stages(HALF_WAY, plan)
    masking = replace(half.mae.masking, steps_per_epoch=gmm.mae.masking.steps_per_epoch)
    assert replace(half, mae=replace(half.mae, masking=masking)) == gmm
    (_, mae), (_, univ) = pretrain_stages(WITH_PCCL, plan)
    assert (mae.mae.masking.method, univ.method) == ('gmm_cmss', 'univ')
    assert Path(univ.init_from) == plan.run_dir(WITH_PCCL, 'mae') / 'weights.safetensors'


@pytest.mark.parametrize('method', METHODS[1:])
def test_the_masking_schedule_ends_with_its_run_or_half_way(plan, method):
    _, mae = pretrain_stages(method, plan)[0]
    masking = mae.mae.masking
    shown = 2 if method == HALF_WAY else 1
    assert masking.num_epochs * masking.steps_per_epoch == shown * mae.max_steps


@pytest.mark.parametrize('method', METHODS[1:])
def test_fine_tuning_differs_from_scratch_by_the_encoder_alone(plan, method):
    scratch, other = (train_config(name, plan, seed=1) for name in (SCRATCH, method))
    assert scratch.init_from == ''
    assert Path(other.init_from).is_relative_to(plan.run_dir(method, ''))
    assert replace(other, init_from='') == scratch


def test_every_twentieth_shard_is_labeled(plan):
    for index in range(41):
        (plan.pool_dir / f'shard_{index:03d}').mkdir(parents=True)
    assert link_labeled(plan) == link_labeled(plan) == 3
    names = sorted(path.name for path in plan.labeled_dir.iterdir())
    assert names == ['shard_000', 'shard_020', 'shard_040']


def test_scores_are_those_of_both_cameras_and_gains_those_over_scratch(plan):
    values = {SCRATCH: (0.25, 0.75), RANDOM: (0.5, 0.5), GMM_CMSS: (0.5, 1.0)}
    values |= dict.fromkeys((HALF_WAY, WITH_PCCL), (0.0, 0.0))
    for method, seeds in values.items():
        for seed, value in enumerate(seeds):
            folder = plan.run_dir(method, f'seed_{seed}')
            folder.mkdir(parents=True)
            fused = {'mIoU': value, 'AP50': {'person': value, 'car': 0.0}}
            metrics = {'fused': fused, 'rgb_only': {'mIoU': 9.0, 'AP50': {'person': 9.0}}}
            (folder / 'metrics.json').write_text(json.dumps(metrics))
    summary = summarise(read_scores(plan))
    assert summary[GMM_CMSS]['mIoU'] == {
        'mean': 0.75,
        'std': 0.3536,  # 0.5 / sqrt(2)
        'gain': 0.25,
        'seeds': [0.5, 1.0],
    }
    assert summary[RANDOM]['mean AP50']['gain'] == 0.0
    assert summary[SCRATCH]['mean AP50']['mean'] == 0.25
