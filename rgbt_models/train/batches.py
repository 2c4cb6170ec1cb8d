# SPDX-License-Identifier: Apache-2.0
"""Batches of augmented samples, normalised by the same code as on the robot.

One difference: the thermal stretch is taken on the registered crop, on the robot on the whole
thermal image; the random tone curves cover far more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
import itertools
from pathlib import Path
from queue import Queue
import threading
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
from numpy.random import Generator
import torch
from torch import Tensor

from rgbt_models.data.shard_index import is_sharded
from rgbt_models.label_sets import LabelSet, PACKAGE_LABEL_SET
from rgbt_models.normalise import standardise, ThermalNormaliser
from rgbt_models.train.augment import augment
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.losses import BoxTargets
from rgbt_models.train.pool import Sample, SamplePool
from rgbt_models.train.shard_stream import ShardStream
from rgbt_models.train.synthetic_stream import is_stream, open_stream
from rgbt_models.train.visibility import measure_advantage, object_labels

QUEUE_BATCHES = 3
REFRESH_EVERY = 100  # batches between two looks for newly rendered shards
Drawn = TypeVar('Drawn')


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainBatch:
    """Standardised images (b, 3, h, w) float32, label maps (b, h, w) uint8, boxes per image.

    ``advantages``, (b,) float32, says how much better RGB shows the objects than thermal: see
    ``visibility``; NaN = no object; None where it was not asked for. ``sampler_state`` is where
    the sampler stands after this batch, JSON values.
    """

    rgb: Tensor
    thermal: Tensor
    label_maps: Tensor
    targets: list[BoxTargets]
    advantages: Tensor | None = None
    sampler_state: dict[str, Any] = field(default_factory=dict)


class SampleSource(Protocol):
    """Where batches draw their samples: a pool, tar shards, or the world itself."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        ...

    def draw(self, rng: Generator) -> Sample:
        """Return the next sample."""
        ...

    def refresh(self) -> None:
        """Take in what was written since the last call."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what the next draws depend on beside ``rng``, JSON values."""
        ...


class Normalisation(Protocol):
    """How images become network inputs, as settings and cards carry it."""

    @property
    def rgb_mean(self) -> tuple[float, float, float]: ...  # noqa: D102
    @property
    def rgb_std(self) -> tuple[float, float, float]: ...  # noqa: D102
    @property
    def thermal_mean(self) -> float: ...  # noqa: D102
    @property
    def thermal_std(self) -> float: ...  # noqa: D102
    @property
    def thermal_normaliser(self) -> ThermalNormaliser: ...  # noqa: D102


def standardise_images(samples: list[Sample], config: Normalisation) -> tuple[Tensor, Tensor]:
    """Normalise samples of one size: rgb and thermal, each (b, 3, h, w) float32."""
    rgb, thermal = [], []
    for sample in samples:
        rgb.append(
            standardise(sample.rgb.astype(np.float32) / 255.0, config.rgb_mean, config.rgb_std)
        )
        stretched = config.thermal_normaliser(sample.thermal)[..., None].repeat(3, axis=2)
        thermal.append(
            standardise(stretched, (config.thermal_mean,) * 3, (config.thermal_std,) * 3)
        )
    last = torch.channels_last
    return (
        torch.from_numpy(np.stack(rgb)).contiguous(memory_format=last),
        torch.from_numpy(np.stack(thermal)).contiguous(memory_format=last),
    )


def collate(
    samples: list[Sample], config: TrainConfig, *, label_set: LabelSet = PACKAGE_LABEL_SET
) -> TrainBatch:
    """Normalise samples of one size and stack them; measure what each camera shows if asked for.

    Args:
        samples: As cameras deliver them.
        config: Of the run.
        label_set: Of the samples.
    """
    rgb, thermal = standardise_images(samples, config)
    advantages = None
    if config.visibility_weight > 0.0:
        labels = object_labels(label_set)
        advantages = torch.tensor(
            [measure_advantage(sample, labels, config.thermal_normaliser) for sample in samples]
        )
    return TrainBatch(
        rgb=rgb,
        thermal=thermal,
        label_maps=torch.from_numpy(np.stack([sample.label_map for sample in samples])),
        targets=[
            BoxTargets(
                boxes_xyxy=torch.from_numpy(sample.boxes_xyxy.astype(np.float32)),
                class_ids=torch.from_numpy(sample.class_ids),
                ignore=torch.from_numpy(sample.ignore),
            )
            for sample in samples
        ],
        advantages=advantages,
    )


def draw_batch(
    pool: SampleSource,
    rng: Generator,
    config: TrainConfig,
    *,
    label_set: LabelSet = PACKAGE_LABEL_SET,
) -> TrainBatch:
    """Draw one augmented batch of one crop size."""
    size_hw = config.size_hws[rng.integers(len(config.size_hws))]
    count = max(1, round(config.pixels_per_step / (size_hw[0] * size_hw[1])))
    samples = [
        augment(pool.draw(rng), rng, size_hw=size_hw, config=config.augment) for _ in range(count)
    ]
    return collate(samples, config, label_set=label_set)


def open_sampler(
    pool_dir: Path,
    seed: tuple[int, int],
    state: dict[str, Any] | None,
    *,
    num_processes: int = 1,
) -> tuple[SampleSource, Generator, int]:
    """Open the pool and the source of draws, at the start of a run or where one stood.

    Args:
        pool_dir: Shards, rendered or converted, tar shards, or pairs rendered on the fly.
        seed: Of the draws: of the run, and the number of this process.
        state: ``TrainBatch.sampler_state`` to go on from, None = from the start.
        num_processes: Processes that share the pairs of tar shards, or the scenes rendered on the
            fly.

    Returns:
        The pool, the generator and the number of batches drawn before.

    Raises:
        DatasetError: If the folder holds no finished shard, or lacks one that was read before, or
            names a world that is gone.
    """
    rng = np.random.default_rng(seed)
    if state is not None:
        rng.bit_generator.state = state['rng']
    pool: SampleSource
    if is_stream(pool_dir):
        pool = open_stream(pool_dir, rank=seed[1], num_processes=num_processes, state=state)
    elif is_sharded(pool_dir):
        pool = ShardStream(
            pool_dir, seed=seed[0], rank=seed[1], num_processes=num_processes, state=state
        )
    else:
        pool = SamplePool(pool_dir, shards=state['shards'] if state else ())
    return pool, rng, int(state['drawn']) if state else 0


def iterate_batches(
    pool: SampleSource,
    rng: Generator,
    config: TrainConfig,
    *,
    drawn: int = 0,
    label_set: LabelSet = PACKAGE_LABEL_SET,
) -> Iterator[TrainBatch]:
    """Yield augmented batches for ever; one thread prepares the next while the network works.

    Args:
        pool: Looked through for new shards now and then.
        rng: Source of the draws.
        config: Of the run.
        drawn: Batches drawn before, in a run that goes on.
        label_set: Of the pool.
    """

    def draw(state: Callable[[], dict[str, Any]]) -> TrainBatch:
        batch = draw_batch(pool, rng, config, label_set=label_set)
        return replace(batch, sampler_state=state())

    return prefetch(pool, rng, draw, drawn=drawn)


def prefetch(
    pool: SampleSource,
    rng: Generator,
    draw: Callable[[Callable[[], dict[str, Any]]], Drawn],
    *,
    drawn: int,
) -> Iterator[Drawn]:
    """Yield what ``draw`` makes, for ever, made in a thread.

    Args:
        pool: What is drawn from; looked through for new shards now and then.
        rng: Source of the draws.
        draw: Makes a batch; given a function that tells where the sampler stands, to be called
            after the draws.
        drawn: Batches drawn before, in a run that goes on.
    """
    cv2.setNumThreads(1)
    queue: Queue[Drawn | BaseException] = Queue(QUEUE_BATCHES)

    def fill() -> None:
        try:
            for count in itertools.count(drawn):
                if count % REFRESH_EVERY == 0:
                    pool.refresh()
                queue.put(draw(partial(_sampler_state, pool, rng, count + 1)))
        except BaseException as error:  # noqa: BLE001 handed to the consumer, which raises it
            queue.put(error)

    threading.Thread(target=fill, daemon=True, name='batches').start()
    while True:
        item = queue.get()
        if isinstance(item, BaseException):
            raise item
        yield item


def _sampler_state(pool: SampleSource, rng: Generator, drawn: int) -> dict[str, Any]:
    return {'rng': rng.bit_generator.state, 'drawn': drawn, **pool.state()}
