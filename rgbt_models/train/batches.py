# SPDX-License-Identifier: Apache-2.0
"""Batches of augmented samples, normalised by the same code as on the robot.

One difference: the thermal stretch is taken on the registered crop, on the robot on the whole
thermal image; the random tone curves cover far more than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from queue import Queue
import threading

import cv2
import numpy as np
from numpy.random import Generator
import torch
from torch import Tensor

from rgbt_models.normalise import standardise
from rgbt_models.train.augment import augment
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.losses import BoxTargets
from rgbt_models.train.pool import Sample, SamplePool

QUEUE_BATCHES = 3
REFRESH_EVERY = 100  # batches between two looks for newly rendered shards


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainBatch:
    """Standardised images (b, 3, h, w) float32, label maps (b, h, w) uint8, boxes per image."""

    rgb: Tensor
    thermal: Tensor
    label_maps: Tensor
    targets: list[BoxTargets]


def collate(samples: list[Sample], config: TrainConfig) -> TrainBatch:
    """Normalise samples of one size and stack them."""
    rgb, thermal = [], []
    for sample in samples:
        rgb.append(
            standardise(sample.rgb.astype(np.float32) / 255.0, config.rgb_mean, config.rgb_std)
        )
        stretched = config.thermal_normaliser(sample.thermal)[..., None].repeat(3, axis=2)
        thermal.append(
            standardise(stretched, (config.thermal_mean,) * 3, (config.thermal_std,) * 3)
        )
    return TrainBatch(
        rgb=torch.from_numpy(np.stack(rgb)).contiguous(memory_format=torch.channels_last),
        thermal=torch.from_numpy(np.stack(thermal)).contiguous(memory_format=torch.channels_last),
        label_maps=torch.from_numpy(np.stack([sample.label_map for sample in samples])),
        targets=[
            BoxTargets(
                boxes_xyxy=torch.from_numpy(sample.boxes_xyxy.astype(np.float32)),
                class_ids=torch.from_numpy(sample.class_ids),
                ignore=torch.from_numpy(sample.ignore),
            )
            for sample in samples
        ],
    )


def draw_batch(pool: SamplePool, rng: Generator, config: TrainConfig) -> TrainBatch:
    """Draw one augmented batch of one crop size."""
    size_hw = config.size_hws[rng.integers(len(config.size_hws))]
    count = max(1, round(config.pixels_per_step / (size_hw[0] * size_hw[1])))
    samples = [
        augment(pool[int(rng.integers(len(pool)))], rng, size_hw=size_hw, config=config.augment)
        for _ in range(count)
    ]
    return collate(samples, config)


def iterate_batches(pool: SamplePool, rng: Generator, config: TrainConfig) -> Iterator[TrainBatch]:
    """Yield batches for ever; one thread prepares the next while the network works."""
    cv2.setNumThreads(1)
    queue: Queue[TrainBatch | BaseException] = Queue(QUEUE_BATCHES)

    def fill() -> None:
        try:
            count = 0
            while True:
                if count % REFRESH_EVERY == 0:
                    pool.refresh()
                queue.put(draw_batch(pool, rng, config))
                count += 1
        except BaseException as error:  # noqa: BLE001 handed to the consumer, which raises it
            queue.put(error)

    threading.Thread(target=fill, daemon=True, name='batches').start()
    while True:
        item = queue.get()
        if isinstance(item, BaseException):
            raise item
        yield item
