# SPDX-License-Identifier: Apache-2.0
"""A machine with TensorRT and a GPU, both stood in for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
import shutil
from typing import Any

from rgbt_models.card import hash_file, ModelCard
from rgbt_models.graph_variant import GraphVariant
from rgbt_perception.config import EngineConfig
from tensorrt_contract.cuda_stand_in import CudaWorld
from tensorrt_contract.tensorrt_stand_in import TensorrtWorld


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is installed on it, a card, and a folder for built plans."""

    tensorrt: TensorrtWorld
    cuda: CudaWorld
    card: ModelCard
    cache_dir: Path

    def config(self, **settings: Any) -> EngineConfig:
        settings = {'device': 'cuda:0', 'precision': 'fp32', **settings}
        return EngineConfig(backend='tensorrt', cache_dir=str(self.cache_dir), **settings)


def add_variant(card: ModelCard, precision: str) -> ModelCard:
    """Return the card with a graph for TensorRT that says it is of this precision."""
    file = f'model.{precision}.tensorrt.onnx'
    shutil.copyfile(card.graph_path, card.folder / file)
    variant = GraphVariant(
        file=file,
        sha256=hash_file(card.folder / file),
        precision=precision,
        target='tensorrt',
        opset=17,
        is_stacked=True,
    )
    return dataclasses.replace(card, variants=(variant,))
