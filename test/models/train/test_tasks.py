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
from rgbt_models.train.matching_loss import warp_points
from rgbt_models.train.supervised import train
from rgbt_models.train.tasks import (
    build_task_model,
    draw_homographies,
    find_task,
    MatchingModel,
    salient_masks,
    TASKS,
    warp,
)

CPU = torch.device('cpu')
PARTS = {
    'both': {'classification', 'box', 'segmentation'},
    'detection': {'classification', 'box'},
    'segmentation': {'segmentation'},
    'saliency': {'saliency'},
    'matching': {'matching'},
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


def test_homographies_move_corners_as_far_as_they_say():
    torch.manual_seed(3)
    homographies = draw_homographies(200, (48, 80), device=CPU)
    corners = torch.tensor([[0.0, 0], [79, 0], [79, 47], [0, 47]])
    moved = (warp_points(corners, homographies) - corners).abs()
    assert (moved <= torch.tensor([12.0, 7.2]) + 1e-2).all()
    assert moved[..., 0].max() > 11.0
    assert moved[..., 1].max() > 6.5


def test_a_warped_image_shows_what_the_homography_points_at():
    image = torch.zeros(1, 3, 32, 48)
    image[:, :, 20, 30] = 1.0
    homography = torch.eye(3)[None].clone()
    homography[0, 0, 2], homography[0, 1, 2] = 5.0, -3.0  # thermal + (5, -3) = RGB
    warped = warp(image, homography)
    assert float(warped[0, 0, 23, 25]) == pytest.approx(1.0, abs=1e-4)
    assert float(warped.sum()) == pytest.approx(3.0, abs=1e-3)


def test_a_pair_without_a_camera_teaches_no_matching():
    model = build_task_model(config_of('matching')).train()
    assert isinstance(model, MatchingModel)
    available = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    images = torch.rand(2, 3, 64, 96)
    targets = model(images, images, available)['matching_targets']
    assert targets[0].any()
    assert not targets[1].any()
    assert set(model.eval()(images, images, available)) == {'matching_logits'}
