# SPDX-License-Identifier: Apache-2.0
"""Training with labels: the tasks, averaged weights, modality dropout and balancing."""

from __future__ import annotations

from collections.abc import Mapping
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn, Tensor
from torch.distributed.device_mesh import DeviceMesh

from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import LabelSet, PACKAGE_LABEL_SET
from rgbt_models.train.balance import Balancer
from rgbt_models.train.batches import iterate_batches, open_sampler, TrainBatch
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.init_encoder import load_encoder
from rgbt_models.train.learner import Learner, LossTerms
from rgbt_models.train.left_out import describe_left_out
from rgbt_models.train.loop import (
    check_place,
    launch,
    RunPlace,
    settle_precision,
    TrainingLoop,
    TrainRun,
)
from rgbt_models.train.losses import BoxTargets
from rgbt_models.train.origin import check_classes_of, describe_origin, describe_scenes
from rgbt_models.train.pool import read_label_set
from rgbt_models.train.sharding import own_part, shard, whole_state
from rgbt_models.train.tasks import (
    build_loss,
    build_task_model,
    check_labels,
    find_task,
    trained_label_set,
)
from rgbt_models.train.visibility import object_labels, visibility_loss
from rgbt_models.weights import load_weights, save_tensors

DROPOUT_RAMP = 0.2  # of the run


def train(config: TrainConfig, *, pool_dir: Path, place: RunPlace) -> TrainRun:
    """Train a model and write its averaged weights.

    Args:
        config: The run.
        pool_dir: Shards, rendered or converted (ones that appear during the run are taken in), or
            tar shards.
        place: Folder and processes of the run.

    Raises:
        DatasetError: If the folder holds another run, the pool is empty or lacks shards or the
            labels of the task, or the settings do not fit its classes.
        WeightsError: If the weights to start from, or the checkpoint, do not fit.
    """
    check_place(place)
    config = settle_precision(config, place)
    label_set = read_label_set(pool_dir)
    check_labels(config.task, label_set, pool=str(pool_dir))
    if config.init_heads:
        check_classes_of(config.init_from, trained_label_set(config.task, label_set))
    if config.visibility_weight > 0.0:
        object_labels(label_set)  # there must be objects
    fabric = launch(config, place)
    learner = SupervisedLearner(config, device=fabric.device, label_set=label_set)
    loop = TrainingLoop(fabric, learner, config, place)
    seed = (config.seed, fabric.global_rank)
    pool, rng, drawn = open_sampler(
        pool_dir, seed, loop.sampler_state, num_processes=fabric.world_size
    )
    batches = iterate_batches(pool, rng, config, drawn=drawn, label_set=label_set)
    about = {**describe_origin(config.init_from, pool_dir), **label_set.to_json()}

    def describe() -> dict[str, Any]:
        left_out = describe_left_out(fabric, loop.sampler_state, place.folder)
        scenes = describe_scenes(config.init_from, pool_dir, loop.sampler_state)
        return {'pool_pairs_read': len(pool), **left_out, **about, **scenes}

    return loop.run(batches, describe)


class SupervisedLearner(Learner[TrainBatch]):
    """The model of a task, its loss, and its averaged weights."""

    def __init__(
        self,
        config: TrainConfig,
        *,
        device: torch.device,
        label_set: LabelSet = PACKAGE_LABEL_SET,
    ) -> None:
        """Build the model for the classes of a pool.

        Raises:
            DatasetError: If class weights or salient classes do not fit the pool.
            WeightsError: If the weights to start from do not fit.
        """
        self._config, self._device = config, device
        self._loss = build_loss(config, label_set, device=device)
        model = build_task_model(config, label_set)
        if config.init_heads:
            load_weights(model, Path(config.init_from))
        elif config.init_from:
            encoder = model.encoder
            assert isinstance(encoder, nn.Module)
            load_encoder(encoder, Path(config.init_from))
        self.model = model.to(memory_format=torch.channels_last)
        average = copy.deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        self.average = average.to(device)
        self._balancer: Balancer | None = None
        if config.is_balanced:  # after the copy, which is not to be watched
            heads = find_task(config.task).heads
            self._balancer = Balancer(self.model, config.balance, heads=heads).to(device)

    @property
    def extra_modules(self) -> Mapping[str, nn.Module]:
        """The averaged model, and the balancer where there is one."""
        modules: dict[str, nn.Module] = {'average': self.average}
        return modules if self._balancer is None else {**modules, 'balancer': self._balancer}

    def losses(
        self, wrapped: nn.Module, batch: TrainBatch, *, step: int, progress: float
    ) -> LossTerms:
        """Run the model with some cameras taken away, and compare with the ground truth."""
        del step
        batch = to_device(batch, self._device)
        dropout = dropout_at(progress, self._config)
        available = draw_available(len(batch.rgb), dropout=dropout, device=self._device)
        if self._balancer is not None:
            self._balancer.begin_batch(progress)
        outputs = wrapped(batch.rgb, batch.thermal, available)
        terms = self._loss(outputs, batch)
        extra = {} if self._balancer is None else self._balancer.extra_losses()
        if batch.advantages is not None:
            # The balancer's shares: gradients of the outputs would count as dominance.
            balancer = self._balancer
            shares = outputs['rgb_shares'] if balancer is None else balancer.rgb_shares()
            has_both = available.min(dim=1).values > 0.5
            loss = visibility_loss(shares, batch.advantages, has_both)
            extra = {**extra, 'visibility': self._config.visibility_weight * loss}
        if not extra:
            return terms
        total = torch.stack([terms.total, *extra.values()]).sum()
        return LossTerms(total=total, parts={**terms.parts, **extra})

    def finish_backward(self, *, is_last: bool) -> None:
        """Let the balancer measure what the backward pass showed."""
        if self._balancer is None:
            return
        self._balancer.end_batch()
        if is_last:
            self._balancer.end_step()

    def finish_step(self, losses: Mapping[str, float], *, step: int) -> None:
        """Move the averaged weights."""
        del losses
        decay = min(self._config.ema_decay, (1 + step) / (10 + step))
        update_average(self.average, self.model, decay=decay)

    def shard(self, mesh: DeviceMesh) -> None:
        """Split the averaged weights as the model is split.

        Raises:
            DatasetError: If the run balances cameras.
        """
        if self._balancer is not None:
            raise DatasetError(
                "is_balanced is on with the strategy 'fsdp'; expected whole parameters, for the "
                "balancer runs parts of the network on their own; use the strategy 'ddp'"
            )
        shard(self.average, mesh)

    def save(self, path: Path, *, is_writer: bool) -> None:
        """Write the averaged weights."""
        state = whole_state(self.average)
        if is_writer:
            save_tensors(state, path)


def dropout_at(progress: float, config: TrainConfig) -> float:
    """Return the modality dropout at this point of the run; early dropout costs accuracy."""
    ramp = (progress - config.dropout_start) / DROPOUT_RAMP
    return config.modality_dropout * min(1.0, max(0.0, ramp))


def draw_available(batch_size: int, *, dropout: float, device: torch.device) -> Tensor:
    """Draw which cameras each sample keeps, shape (b, 2) in {0, 1}; never takes both away."""
    draw = torch.rand(batch_size, device=device)
    available = torch.ones(batch_size, 2, device=device)
    available[draw < dropout / 2, 0] = 0.0
    available[draw > 1.0 - dropout / 2, 1] = 0.0
    return available


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, *, decay: float) -> None:
    """Move the averaged weights towards the model's; integer buffers are copied."""
    state = model.state_dict()
    for name, mean in average.state_dict().items():
        mean, value = own_part(mean), own_part(state[name])  # noqa: PLW2901
        if mean.is_floating_point():
            mean.lerp_(value.to(mean.dtype), 1.0 - decay)
        else:
            mean.copy_(value)


def to_device(batch: TrainBatch, device: torch.device) -> TrainBatch:
    """Bring a batch to the device of the run."""
    if device.type == 'cpu':
        return batch
    moved = [
        BoxTargets(
            boxes_xyxy=t.boxes_xyxy.to(device),
            class_ids=t.class_ids.to(device),
            ignore=t.ignore.to(device),
        )
        for t in batch.targets
    ]
    return replace(
        batch,
        rgb=batch.rgb.to(device, non_blocking=True),
        thermal=batch.thermal.to(device, non_blocking=True),
        label_maps=batch.label_maps.to(device, non_blocking=True),
        targets=moved,
        advantages=None if batch.advantages is None else batch.advantages.to(device),
    )
