# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from made_models import random_painted_samples, small_model, write_shard
import pytest
import torch

from rgbt_models.build import ARCHITECTURES
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import PACKAGE_LABEL_SET
from rgbt_models.train import loop
from rgbt_models.train.batches import collate, TrainBatch
from rgbt_models.train.config import TASK_NAMES, TrainConfig
from rgbt_models.train.loop import RunPlace
from rgbt_models.train.losses import lovasz_loss
from rgbt_models.train.saliency_loss import saliency_loss
from rgbt_models.train.supervised import train
from rgbt_models.train.tasks import (
    build_loss,
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


@pytest.mark.parametrize('task', ['both', 'segmentation'])
def test_the_lovasz_loss_is_added_to_that_of_the_task(task):
    torch.manual_seed(0)
    config = config_of(task)
    batch = collate(random_painted_samples(2, seed=1), config)
    outputs = build_task_model(config).train()(batch.rgb, batch.thermal, torch.ones(2, 2))
    plain, weighted = (
        build_loss(
            config_of(task, lovasz_weight=weight), PACKAGE_LABEL_SET, device=torch.device('cpu')
        )(outputs, batch)
        for weight in (0.0, 0.5)
    )
    wanted = 0.5 * lovasz_loss(outputs['segmentation_logits'], batch.label_maps).item()
    assert wanted > 0.0
    assert set(plain.parts) == PARTS[task]
    assert set(weighted.parts) == {*PARTS[task], 'lovasz'}
    assert weighted.parts['lovasz'].item() == pytest.approx(wanted, rel=1e-6)
    assert weighted.total.item() == pytest.approx(plain.total.item() + wanted, rel=1e-6)


@pytest.mark.parametrize('task', TASK_NAMES)
def test_every_trained_parameter_gets_a_gradient_and_no_other(task):
    torch.manual_seed(0)
    config = config_of(task)
    model = build_task_model(config).train()
    batch = collate(random_painted_samples(2, seed=1), config)
    outputs = model(batch.rgb, batch.thermal, torch.ones(2, 2))
    terms = find_task(task).loss(
        outputs, batch, torch.ones(len(PACKAGE_LABEL_SET.segmentation_classes))
    )
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


def test_masks_are_of_the_named_ids_and_keep_what_is_unlabeled():
    labels = torch.tensor([[[0, 1, 5, 6, 7, 255]]], dtype=torch.uint8)
    assert salient_masks(labels, (5, 6, 7)).tolist() == [[[0, 0, 1, 1, 1, 255]]]


VIT = 'encoder: vit_tiny_patch16_224'


def test_encoder_settings_reach_its_blocks():
    config = TrainConfig(architecture=VIT, drop_path=0.22, gradient_checkpointing=True)
    encoder = build_task_model(config).encoder
    assert encoder.use_checkpointing
    rates = [block.drop_path1.drop_prob for block in encoder.vit.blocks]
    assert rates == pytest.approx([0.02 * index for index in range(12)])
    plain = build_task_model(TrainConfig(architecture=VIT)).encoder
    assert not plain.use_checkpointing
    assert not any(type(module).__name__ == 'DropPath' for module in plain.modules())


def test_checkpointing_with_drop_path_gives_the_same_gradients():
    gradients = []
    batch = collate(random_painted_samples(2, seed=1), TrainConfig())
    for is_on in (False, True):
        config = TrainConfig(architecture=VIT, drop_path=0.3, gradient_checkpointing=is_on)
        torch.manual_seed(0)
        model = build_task_model(config).train()
        torch.manual_seed(1)
        outputs = model(batch.rgb, batch.thermal, torch.ones(2, 2))
        find_task('both').loss(
            outputs, batch, torch.ones(len(PACKAGE_LABEL_SET.segmentation_classes))
        ).total.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert list(gradients[0]) == list(gradients[1])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_the_exported_graph_has_neither():
    graphs = []
    for drop_path, is_on in ((0.0, False), (0.3, True)):
        config = TrainConfig(architecture=VIT, drop_path=drop_path, gradient_checkpointing=is_on)
        model = build_task_model(config).eval()
        images = torch.zeros(1, 3, 64, 96)
        program = torch.export.export(model, (images, images, torch.ones(1, 2)))
        graphs.append([(node.op, str(node.target)) for node in program.graph.nodes])
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize('setting', [{'drop_path': 0.1}, {'gradient_checkpointing': True}])
@pytest.mark.parametrize('architecture', ['tiny', 'made'])
def test_encoder_settings_are_refused_where_the_encoder_has_neither(architecture, setting):
    with pytest.raises(DatasetError, match=f"architecture '{architecture}'; expected False and 0"):
        build_task_model(TrainConfig(architecture=architecture, **setting))


def test_what_is_salient_reaches_the_loss_of_a_run():
    logits = torch.zeros(1, 1, 2, 2)
    logits[..., 0, 0] = 4.0
    label_maps = torch.zeros(1, 8, 8, dtype=torch.uint8)
    label_maps[:, :4, :4] = 1  # road
    batch = TrainBatch(rgb=logits, thermal=logits, label_maps=label_maps, targets=[])
    outputs = {'saliency_logits': logits}
    of_road, of_cars = (
        build_loss(config_of('saliency', salient_classes=names), PACKAGE_LABEL_SET, device=CPU)(
            outputs, batch
        ).total
        for names in (('road',), ('car',))
    )
    masks = salient_masks(label_maps, (1,))
    assert of_road == saliency_loss(logits, masks)
    assert of_cars == saliency_loss(logits, torch.zeros_like(masks))
    assert of_road < of_cars
