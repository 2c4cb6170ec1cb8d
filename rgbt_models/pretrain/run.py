# SPDX-License-Identifier: Apache-2.0
"""Pretraining runs: the method of a configuration in the loop that training uses too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
import timm
import torch
from torch import nn, Tensor
from torch.distributed.device_mesh import DeviceMesh

from rgbt_models.errors import PretrainError
from rgbt_models.label_sets import UNLABELED
from rgbt_models.pretrain.config import PretrainConfig
from rgbt_models.pretrain.mae import build_autoencoder
from rgbt_models.pretrain.patches import TimmTokenEncoder
from rgbt_models.pretrain.task import PretrainBatch, PretrainTask
from rgbt_models.pretrain.univ import UnivTask
from rgbt_models.train.batches import open_sampler, prefetch, SampleSource, standardise_images
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
from rgbt_models.train.origin import describe_origin, describe_scenes
from rgbt_models.train.pool import Sample
from rgbt_models.train.sharding import whole
from rgbt_models.weights import save_tensors

ADAPTER_NAME = 'adapter.safetensors'
MAX_ASPECT = 4.0 / 3.0  # of a crop, either way
CROP_TRIES = 10


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DrawnPairs:
    """Pairs for pretraining, (b, 3, h, w) each, and where the sampler stands after them."""

    rgb: Tensor
    thermal: Tensor
    sampler_state: dict[str, Any]


def pretrain(config: PretrainConfig, *, pool_dir: Path, place: RunPlace) -> TrainRun:
    """Pretrain an encoder on unlabeled pairs.

    The folder of the run receives ``weights.safetensors``, the encoder alone by its own names,
    which ``init_from`` of a training file reads; and the adapter apart, where one is trained.

    Args:
        config: The run.
        pool_dir: Shards, rendered or converted, or tar shards; labels are not looked at.
        place: Folder and processes of the run.

    Raises:
        DatasetError: If the folder holds another run, or the pool is empty or lacks shards.
        PretrainError: If the method cannot be built.
        WeightsError: If the encoder to start from, or the checkpoint, does not fit.
    """
    check_place(place)
    config = settle_precision(config, place)
    fabric = launch(config, place)
    learner = PretrainLearner(build_task(config), device=fabric.device)
    loop = TrainingLoop(fabric, learner, config, place)
    seed = (config.seed, fabric.global_rank)
    pool, rng, drawn = open_sampler(
        pool_dir, seed, loop.sampler_state, num_processes=fabric.world_size
    )
    batches = iterate_pairs(pool, rng, config, drawn=drawn)
    about = describe_origin(config.init_from, pool_dir)

    def describe() -> dict[str, Any]:
        left_out = describe_left_out(fabric, loop.sampler_state, place.folder)
        scenes = describe_scenes(config.init_from, pool_dir, loop.sampler_state)
        return {'pool_pairs_read': len(pool), **left_out, **about, **scenes}

    return loop.run(batches, describe)


def build_task(config: PretrainConfig) -> PretrainTask:
    """Build the method of a configuration, its encoder as ``init_from`` says.

    Raises:
        PretrainError: If the method cannot be built.
        WeightsError: If the encoder to start from does not fit.
    """
    if config.method == 'mae':
        task = build_autoencoder(config.mae)
        if config.init_from:
            inner = task.encoder.model if isinstance(task.encoder, TimmTokenEncoder) else None
            load_encoder(inner or task.encoder, Path(config.init_from))
        return task
    settings = config.univ
    encoder = timm.create_model(
        settings.encoder, pretrained=False, num_classes=0, img_size=settings.image_size
    )
    load_encoder(encoder, Path(config.init_from))
    return UnivTask(
        encoder,
        config=settings.pccl,
        lora=settings.lora if settings.is_adapted else None,
        adapt_rgb=settings.adapt_rgb,
    )


class PretrainLearner(Learner[DrawnPairs]):
    """A pretraining method as the loop sees it."""

    def __init__(self, task: PretrainTask, *, device: torch.device) -> None:
        """Take a method."""
        self.model = task
        self._task, self._device = task, device

    @property
    def wants_losses(self) -> bool:
        """Methods balance themselves by their losses."""
        return True

    def losses(
        self, wrapped: nn.Module, batch: DrawnPairs, *, step: int, progress: float
    ) -> LossTerms:
        """Return the sum of the method's losses, and each."""
        del progress
        pairs = PretrainBatch(
            rgb=batch.rgb.to(self._device, non_blocking=True),
            thermal=batch.thermal.to(self._device, non_blocking=True),
        )
        parts: dict[str, Tensor] = wrapped(pairs, step)
        return LossTerms(total=torch.stack(list(parts.values())).sum(), parts=parts)

    def finish_step(self, losses: Mapping[str, float], *, step: int) -> None:
        """Tell the method."""
        self._task.finish_step(dict(losses), step)

    def shard(self, mesh: DeviceMesh) -> None:
        """Refuse methods that look into the parameters.

        Raises:
            PretrainError: If the method is UNIV.
        """
        del mesh
        if isinstance(self._task, UnivTask):
            raise PretrainError(
                "method is 'univ' with the strategy 'fsdp'; expected whole parameters, for the "
                "teacher and the adapter read them; use the strategy 'ddp'"
            )

    def save(self, path: Path, *, is_writer: bool) -> None:
        """Write the encoder, and the adapter where one is trained."""
        state = {name: whole(value) for name, value in self._task.encoder_state().items()}
        if not is_writer:
            return
        # Copies: safetensors refuses two names for one memory.
        save_tensors({name: value.clone() for name, value in state.items()}, path)
        if isinstance(self._task, UnivTask) and self._task.adapter is not None:
            self._task.save_adapter(path.with_name(ADAPTER_NAME))


def iterate_pairs(
    pool: SampleSource, rng: Generator, config: PretrainConfig, *, drawn: int = 0
) -> Iterator[DrawnPairs]:
    """Yield batches of the same random crop of both images, for ever, made in a thread."""

    def draw(state: Callable[[], dict[str, Any]]) -> DrawnPairs:
        samples = [crop_pair(pool.draw(rng), rng, config) for _ in range(config.batch_size)]
        rgb, thermal = standardise_images(samples, config)
        return DrawnPairs(rgb=rgb, thermal=thermal, sampler_state=state())

    return prefetch(pool, rng, draw, drawn=drawn)


def crop_pair(sample: Sample, rng: Generator, config: PretrainConfig) -> Sample:
    """Cut the same window from both images, resize it to the input, mirror both or neither.

    Area and aspect are drawn as in random resized cropping (bicubic). Labels and boxes do not
    follow: the result is for pretraining only.
    """
    x, y, w, h = draw_window(sample.thermal.shape, rng, (config.min_area, config.max_area))
    flip = rng.random() < config.flip
    side = config.image_size

    def cut(image: NDArray[Any]) -> NDArray[Any]:
        window = image[y : y + h, x : x + w]
        method = cv2.INTER_AREA if w > side else cv2.INTER_CUBIC
        resized = cv2.resize(window, (side, side), interpolation=method)
        return np.ascontiguousarray(resized[:, ::-1] if flip else resized)

    return Sample(
        rgb=cut(sample.rgb),
        thermal=cut(sample.thermal),
        label_map=np.full((side, side), UNLABELED, np.uint8),
        boxes_xyxy=np.zeros((0, 4), np.float32),
        class_ids=np.zeros(0, np.int64),
        ignore=np.zeros(0, np.bool_),
        is_night=sample.is_night,
    )


def draw_window(
    size_hw: tuple[int, ...], rng: Generator, areas: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draw x, y, width and height of a window, px; the largest centred square where none fits."""
    height, width = size_hw
    for _ in range(CROP_TRIES):
        area = rng.uniform(*areas) * height * width
        aspect = np.exp(rng.uniform(-np.log(MAX_ASPECT), np.log(MAX_ASPECT)))
        w, h = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    side = min(height, width)
    return (width - side) // 2, (height - side) // 2, side, side
