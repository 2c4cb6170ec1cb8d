# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from made_models import random_painted_samples, small_model, write_shard
import pytest
import torch

from rgbt_models.build import ARCHITECTURES
from rgbt_models.errors import DatasetError
from rgbt_models.train import loop
from rgbt_models.train.batches import collate
from rgbt_models.train.config import TASK_NAMES, TrainConfig
from rgbt_models.train.loop import RunPlace
from rgbt_models.train.supervised import train
from rgbt_models.train.tasks import (
    build_task_model,
    find_task,
    salient_masks,
    TASKS,
)

CPU = torch.device('cpu')
PARTS = {
    'both': {'classification', 'box', 'segmentation'},
    'detection': {'classification', 'box'},
    'segmentation': {'segmentation'},
    'saliency': {'saliency'},
    'matching': {'matching', 'fine_matching'},
}


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, 'made', lambda **_: small_model().train())


def config_of(task, **changes):
    return TrainConfig(architecture='made', task=task, **changes)


def test_the_names_of_settings_are_the_tasks():
    assert tuple(TASKS) == TASK_NAMES


def test_an_unknown_task_is_said():
    with pytest.raises(DatasetError, match="unknown task 'depth'; expected one of both, det"):
        find_task('depth')
    with pytest.raises(DatasetError, match="task is 'depth'; expected one of both, detection"):
        TrainConfig(task='depth')


@pytest.mark.parametrize('task', TASK_NAMES)
def test_every_trained_parameter_gets_a_gradient_and_no_other(task):
    torch.manual_seed(0)
    config = config_of(task)
    model = build_task_model(config).train()
    batch = collate(random_painted_samples(2, seed=1), config)
    outputs = model(batch.rgb, batch.thermal, torch.ones(2, 2))
    terms = find_task(task).loss(outputs, batch, torch.ones(8))
    assert set(terms.parts) == PARTS[task]
    terms.total.backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    frozen = {n.split('.')[0] for n, p in model.named_parameters() if not p.requires_grad}
    assert not missing
    assert frozen == {'detection': {'segmentation'}, 'segmentation': {'detection'}}.get(
        task, set()
    )


@pytest.mark.parametrize('task', ['segmentation', 'saliency', 'matching'])
def test_the_loss_of_a_task_falls(task, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, 'LOG_EVERY', 1)
    write_shard(tmp_path / 'pool', 'shard_0', random_painted_samples(8, seed=3))
    config = config_of(
        task,
        max_steps=40,
        size_hws=((64, 96),),
        pixels_per_step=3 * 64 * 96,
        learning_rate=3e-3,
        warmup_steps=4,
        modality_dropout=0.0,
        precision='32-true',
    )
    train(config, pool_dir=tmp_path / 'pool', place=RunPlace(folder=tmp_path / 'run'))
    lines = (tmp_path / 'run' / 'log.jsonl').read_text().splitlines()
    losses = [json.loads(line)[task] for line in lines]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_salient_are_person_car_and_bicycle():
    labels = torch.tensor([[[0, 1, 5, 6, 7, 255]]], dtype=torch.uint8)
    assert salient_masks(labels).tolist() == [[[0, 0, 1, 1, 1, 255]]]
