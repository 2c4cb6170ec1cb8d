# SPDX-License-Identifier: Apache-2.0
"""The training loop, on Lightning Fabric: one process per CPU core or GPU."""

from __future__ import annotations

from collections.abc import Iterator
import copy
from dataclasses import asdict, dataclass
import json
import logging
import math
from pathlib import Path
import time

from lightning_fabric import Fabric
import numpy as np
import torch
from torch import nn, Tensor

from rgbt_models.build import create_model
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES
from rgbt_models.train.batches import iterate_batches, TrainBatch
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.losses import compute_losses, Losses
from rgbt_models.train.pool import SamplePool
from rgbt_models.weights import save_weights

LOG_EVERY = 20
SAVE_EVERY = 200
FINAL_RATE = 0.02  # of the peak learning rate
BETAS = (0.9, 0.98)
WEIGHTS_NAME = 'weights.safetensors'
RUN_NAME = 'run.json'
LOG_NAME = 'log.jsonl'
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRun:
    """What a finished run did."""

    steps: int
    samples: int
    seconds: float
    final_loss: float


def train(
    config: TrainConfig,
    *,
    pool_dir: Path,
    out_dir: Path,
    accelerator: str = 'cpu',
    devices: int = 1,
) -> TrainRun:
    """Train a model on a rendered pool and write its averaged weights.

    Args:
        config: The run.
        pool_dir: Rendered shards; ones that appear during the run are taken in.
        out_dir: Receives ``weights.safetensors``, ``run.json`` and ``log.jsonl``.
        accelerator: 'cpu' or 'cuda'.
        devices: Processes, one per core or GPU; more than one needs a command-line start.

    Raises:
        DatasetError: If ``out_dir`` holds a run already, or the pool is empty.
    """
    _refuse_used_folder(out_dir)
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        strategy='ddp' if devices > 1 else 'auto',
        precision=config.precision,  # type: ignore[arg-type]  # a Literal there, text in YAML
    )
    fabric.launch()
    if accelerator == 'cpu':
        torch.set_num_threads(1)
    fabric.seed_everything(config.seed, verbose=False)
    trainer = _build_trainer(fabric, config)
    rng = np.random.default_rng((config.seed, fabric.global_rank))
    pool = SamplePool(pool_dir)
    batches = iterate_batches(pool, rng, config)
    torch.manual_seed(config.seed * 1000 + fabric.global_rank)
    if fabric.is_global_zero:
        out_dir.mkdir(parents=True, exist_ok=True)
    run = _run_steps(trainer, batches, config, out_dir)
    if fabric.is_global_zero:
        save_weights(trainer.average, out_dir / WEIGHTS_NAME)
        _describe(run, fabric, config, len(pool), out_dir / RUN_NAME)
    fabric.barrier()
    return run


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Trainer:
    """What the loop moves: the model as trained, as wrapped for all processes, and averaged."""

    fabric: Fabric
    model: nn.Module
    wrapped: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer


def _build_trainer(fabric: Fabric, config: TrainConfig) -> _Trainer:
    model = create_model(
        config.architecture,
        num_detection_classes=len(DETECTION_CLASSES),
        num_segmentation_classes=len(SEGMENTATION_CLASSES),
    ).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    groups = parameter_groups(model, config.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS)
    wrapped, wrapped_optimiser = fabric.setup(model, optimiser)
    return _Trainer(
        fabric=fabric,
        model=model,
        wrapped=wrapped,
        average=average.to(fabric.device),
        optimiser=wrapped_optimiser,
    )


def _run_steps(
    trainer: _Trainer, batches: Iterator[TrainBatch], config: TrainConfig, out_dir: Path
) -> TrainRun:
    fabric, optimiser = trainer.fabric, trainer.optimiser
    start, samples, step, losses = time.monotonic(), 0, 0, None
    class_weights = torch.tensor(config.segmentation_weights, device=fabric.device)
    while (progress := _progress(fabric, config, step, time.monotonic() - start)) < 1.0:
        for group in optimiser.param_groups:
            group['lr'] = config.learning_rate * rate_factor(step, progress, config.warmup_steps)
        batch = _to_device(next(batches), fabric.device)
        available = draw_available(
            len(batch.rgb), dropout=dropout_at(progress, config), device=fabric.device
        )
        outputs = trainer.wrapped(batch.rgb, batch.thermal, available)
        losses = compute_losses(outputs, batch.targets, batch.label_maps, class_weights)
        optimiser.zero_grad(set_to_none=True)
        fabric.backward(losses.total)
        nn.utils.clip_grad_norm_(trainer.model.parameters(), config.clip_norm)
        optimiser.step()
        decay = min(config.ema_decay, (1 + step) / (10 + step))
        update_average(trainer.average, trainer.model, decay=decay)
        step += 1
        samples += len(batch.rgb) * fabric.world_size
        if fabric.is_global_zero and step % LOG_EVERY == 0:
            _log(out_dir, step, samples, progress, time.monotonic() - start, losses)
        if fabric.is_global_zero and step % SAVE_EVERY == 0:
            save_weights(trainer.average, out_dir / WEIGHTS_NAME)
    return TrainRun(
        steps=step,
        samples=samples,
        seconds=round(time.monotonic() - start, 1),
        final_loss=losses.total.item() if losses else math.nan,
    )


def _refuse_used_folder(out_dir: Path) -> None:
    used = [name for name in (RUN_NAME, LOG_NAME) if (out_dir / name).exists()]
    if used:
        raise DatasetError(
            f"'{out_dir}' holds {' and '.join(used)} of another run; expected an empty folder, so "
            f'that two runs never mix; name another one'
        )


def _describe(
    run: TrainRun, fabric: Fabric, config: TrainConfig, pool_pairs: int, path: Path
) -> None:
    description = {
        **asdict(run),
        'processes': fabric.world_size,
        'accelerator': fabric.device.type,
        'pool_pairs_read': pool_pairs,
        'config': asdict(config),
    }
    path.write_text(json.dumps(description, indent=2) + '\n', encoding='utf-8')


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Split parameters into decayed (matrices, kernels) and not decayed (vectors, embeddings)."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_vector = parameter.ndim < 2 or name.endswith('embedding')
        (plain if is_vector else decayed).append(parameter)
    return [
        {'params': decayed, 'weight_decay': weight_decay},
        {'params': plain, 'weight_decay': 0.0},
    ]


def rate_factor(step: int, progress: float, warmup_steps: int) -> float:
    """Return the learning rate relative to its peak: linear warm-up, then cosine."""
    warm = min(1.0, (step + 1) / max(warmup_steps, 1))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return warm * (FINAL_RATE + (1.0 - FINAL_RATE) * cosine)


def dropout_at(progress: float, config: TrainConfig) -> float:
    """Return the modality dropout at this point of the run; early dropout costs accuracy."""
    ramp = (progress - config.dropout_start) / 0.2
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
        value = state[name]
        if mean.is_floating_point():
            mean.lerp_(value.to(mean.dtype), 1.0 - decay)
        else:
            mean.copy_(value)


def _progress(fabric: Fabric, config: TrainConfig, step: int, seconds: float) -> float:
    progress = step / config.max_steps
    if config.max_hours > 0:
        progress = max(progress, seconds / (config.max_hours * 3600.0))
        progress = float(fabric.broadcast(progress))  # all processes stop at the same step
    return progress


def _to_device(batch: TrainBatch, device: torch.device) -> TrainBatch:
    if device.type == 'cpu':
        return batch
    moved = [
        type(t)(
            boxes_xyxy=t.boxes_xyxy.to(device),
            class_ids=t.class_ids.to(device),
            ignore=t.ignore.to(device),
        )
        for t in batch.targets
    ]
    return TrainBatch(
        rgb=batch.rgb.to(device, non_blocking=True),
        thermal=batch.thermal.to(device, non_blocking=True),
        label_maps=batch.label_maps.to(device, non_blocking=True),
        targets=moved,
    )


def _log(
    out_dir: Path, step: int, samples: int, progress: float, seconds: float, losses: Losses
) -> None:
    entry = {
        'step': step,
        'samples': samples,
        'progress': round(progress, 4),
        'samples_per_s': round(samples / seconds, 2),
        'classification': round(losses.classification.item(), 4),
        'box': round(losses.box.item(), 4),
        'segmentation': round(losses.segmentation.item(), 4),
    }
    with (out_dir / LOG_NAME).open('a', encoding='utf-8') as file:
        file.write(json.dumps(entry) + '\n')
    _LOGGER.info('%s', entry)
