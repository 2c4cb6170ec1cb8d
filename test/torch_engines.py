# SPDX-License-Identifier: Apache-2.0
"""Cards, settings and inputs of the torch engine; import as ``from torch_engines import ...``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import dataclasses
from pathlib import Path
from typing import Any

from fakes import build_card
import numpy as np

from rgbt_models.card import hash_file, ModelCard
from rgbt_perception.config import EngineConfig
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.types import Batch

HW = (64, 80)


def build_torch_card(folder: Path) -> ModelCard:
    """Card in ``folder`` with random weights of the tiny architecture."""
    import torch

    from rgbt_models.build import create_model
    from rgbt_models.weights import save_weights

    torch.manual_seed(0)
    card = build_card(folder)
    model = create_model('tiny', num_detection_classes=7, num_segmentation_classes=13)
    save_weights(model, card.weights_path)
    return dataclasses.replace(card, weights_sha256=hash_file(card.weights_path))


def torch_config(folder: Path, **settings: Any) -> EngineConfig:
    """Settings of one thread, with an engine cache below ``folder``."""
    cache_dir = str(folder / 'cache')
    return EngineConfig(backend='torch', num_threads=1, cache_dir=cache_dir, **settings)


def noise_batch(input_hw: tuple[int, int] = HW) -> Batch:
    """Network input of noise, both cameras available."""
    rng = np.random.default_rng(0)
    return Batch(
        rgb=rng.normal(size=(1, 3, *input_hw)).astype(np.float32),
        thermal=rng.normal(size=(1, 3, *input_hw)).astype(np.float32),
        available=np.ones((1, 2), np.float32),
        letterbox=letterbox_transform(input_hw, input_hw),
        source_hw=input_hw,
    )


@contextmanager
def tf32_allowed() -> Iterator[None]:
    """Let torch round float32 to TF32 at first, whatever it is told inside the block."""
    import torch

    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = True
    try:
        yield
    finally:
        for backend, is_allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = is_allowed
