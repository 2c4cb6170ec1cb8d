# SPDX-License-Identifier: Apache-2.0
"""Small random models, cards and pools of painted pairs, made by hand and without rendering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rgbt_models.build import RGBTModel
from rgbt_models.card import MdiCalibration, ModelCard
from rgbt_models.encoder import SiameseEncoder
from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES
from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.train.losses import BoxTargets
from rgbt_models.train.pool import Sample

NUM_DETECTION_CLASSES = len(DETECTION_CLASSES)
NUM_SEGMENTATION_CLASSES = len(SEGMENTATION_CLASSES)
ROAD, PERSON_LABEL = (SEGMENTATION_CLASSES.index(name) for name in ('road', 'person'))
COLD, HOT = 28_000, 31_000  # counts of 0.01 K: 7 and 37 degrees C


def small_model(*, seed: int = 0, dim: int = 32, depth: int = 1) -> RGBTModel:
    """Build the whole network with few channels; random weights, batch statistics and means."""
    torch.manual_seed(seed)
    model = RGBTModel(
        encoder=SiameseEncoder(dim=dim, depth=depth, num_heads=2),
        channels=(16, 24, 32),
        num_detection_classes=NUM_DETECTION_CLASSES,
        num_segmentation_classes=NUM_SEGMENTATION_CLASSES,
    )
    with torch.no_grad():  # as after training: nothing is at its neutral start value
        for name, buffer in model.named_buffers():
            if name.endswith(('running_mean', 'rgb_mean', 'thermal_mean')):
                buffer.normal_(std=0.3)
            elif name.endswith('running_var'):
                buffer.uniform_(0.5, 2.0)
        for predictor in (*model.detection.classifiers, *model.detection.regressors):
            predictor.weight.normal_(std=0.3)
    return model.eval()


def card_fields(**changes: Any) -> dict[str, Any]:
    """Return the arguments of a valid card; no two values are alike where order matters."""
    return {
        'name': 'made',
        'version': '7',
        'architecture': 'tiny',
        'input_hw': (96, 160),
        'size_multiple': 16,
        'rgb_mean': (0.1, 0.2, 0.3),
        'rgb_std': (0.4, 0.5, 0.6),
        'thermal_mean': 0.45,
        'thermal_std': 0.25,
        'thermal_normaliser': ThermalNormaliser(
            low_percentile=2.0, high_percentile=98.0, min_value=-0.2, max_value=1.2
        ),
        'detection_classes': ('person', 'car', 'bicycle'),
        'segmentation_classes': ('sky', 'road'),
        'mdi_calibration': MdiCalibration(weights=(1.5, -2.5, 3.5), bias=-0.125),
        'weights_sha256': '0' * 64,
        'graph_sha256': 'f' * 64,
        'licence': 'Apache-2.0',
        'training_data': 'Nothing; made for a test of the grüne card.',
        'synthetic_only': True,
        'training': {'steps': 3},
        'metrics': {'set': {'AP50': {'person': 0.5}}},
        **changes,
    }


def make_card(**changes: Any) -> ModelCard:
    return ModelCard(**card_fields(**changes))


def box_targets(
    *boxes: tuple[float, ...], class_ids: Any = None, ignore: Any = None
) -> BoxTargets:
    """Return targets; class 0 and not ignored unless said."""
    count = len(boxes)
    return BoxTargets(
        boxes_xyxy=torch.tensor(boxes, dtype=torch.float32).reshape(count, 4),
        class_ids=torch.tensor(class_ids or [0] * count, dtype=torch.int64),
        ignore=torch.tensor(ignore or [False] * count, dtype=torch.bool),
    )


def painted_sample(
    *boxes: tuple[int, int, int, int], size_hw: tuple[int, int] = (96, 128), is_night: bool = False
) -> Sample:
    """Paint bright, hot rectangles labeled person on a dark, cold road."""
    rgb = np.full((*size_hw, 3), 40, np.uint8)
    thermal = np.full(size_hw, COLD, np.uint16)
    label_map = np.full(size_hw, ROAD, np.uint8)
    for x_min, y_min, x_max, y_max in boxes:
        inside = np.s_[y_min:y_max, x_min:x_max]
        rgb[inside], thermal[inside], label_map[inside] = 230, HOT, PERSON_LABEL
    return Sample(
        rgb=rgb,
        thermal=thermal,
        label_map=label_map,
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        class_ids=np.zeros(len(boxes), np.int64),
        ignore=np.zeros(len(boxes), np.bool_),
        is_night=is_night,
    )


def write_shard(folder: Path, name: str, samples: list[Sample]) -> None:
    """Write one shard of a pool in the format that training reads."""
    path = folder / name
    path.mkdir(parents=True)
    rows = [
        [position, sample.class_ids[k], sample.ignore[k], *sample.boxes_xyxy[k]]
        for position, sample in enumerate(samples)
        for k in range(len(sample.class_ids))
    ]
    np.save(path / 'rgb.npy', np.stack([s.rgb for s in samples]))
    np.save(path / 'thermal.npy', np.stack([s.thermal for s in samples]))
    np.save(path / 'label_map.npy', np.stack([s.label_map for s in samples]))
    np.save(path / 'objects.npy', np.array(rows, np.float32).reshape(-1, 7))
    np.save(path / 'is_night.npy', np.array([s.is_night for s in samples]))


def random_painted_samples(count: int, *, seed: int) -> list[Sample]:
    """Paint pairs with one rectangle each, of random place and size."""
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        w, h = int(rng.integers(14, 30)), int(rng.integers(24, 50))
        x, y = int(rng.integers(0, 128 - w)), int(rng.integers(0, 96 - h))
        samples.append(painted_sample((x, y, x + w, y + h), is_night=bool(rng.random() < 0.5)))
    return samples
