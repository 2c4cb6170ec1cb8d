# SPDX-License-Identifier: Apache-2.0
"""PyTorch engine: the reference, for machines that train or export."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from rgbt_models.card import INPUT_NAMES, ModelCard
from rgbt_models.errors import EncoderError
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine.base import collect_outputs, count_threads, EngineState, parse_device
from rgbt_perception.errors import BackendUnavailableError, EngineError
from rgbt_perception.types import Batch, RawOutputs

_PRECISIONS = {'torch.float32': 'fp32', 'torch.float16': 'fp16', 'torch.bfloat16': 'bf16'}


class TorchEngine:
    """Runs the card's ``model.safetensors``, also published ones; see ``Engine``."""

    backend = 'torch'

    def __init__(self, card: ModelCard, config: EngineConfig) -> None:
        """Load the model; its weights are checked against the card's hash.

        Raises:
            BackendUnavailableError: If torch, torchvision or timm is not installed.
            WeightsError: If the file is missing, altered or does not fit the architecture.
            EngineError: If the device is not there.
        """
        self._torch = _import('torch')
        if card.is_published:
            load = _import('rgbt_models.published.runtime').load_runtime
        else:
            load = _import('rgbt_models.build').load_model
        cuda_index = parse_device(config.device)
        if cuda_index is not None and cuda_index >= self._torch.cuda.device_count():
            raise EngineError(
                f"device '{config.device}' is not there, torch sees "
                f'{self._torch.cuda.device_count()} CUDA devices; check the driver, or set '
                f"engine.device to 'cpu'"
            )
        if cuda_index is None:
            self._torch.set_num_threads(count_threads(config.num_threads))
        device = 'cpu' if cuda_index is None else f'cuda:{cuda_index}'
        self._model: Any = load(card).eval().to(device)
        parameter = next(self._model.parameters())
        self.device = str(parameter.device)
        self.precision = _PRECISIONS.get(str(parameter.dtype), 'unknown')
        self.state = EngineState()

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network on one batch; see ``Engine.run``."""
        torch = self._torch
        inputs = [torch.from_numpy(getattr(batch, name)).to(self.device) for name in INPUT_NAMES]
        try:
            with torch.inference_mode():
                outputs = self._model(*inputs)
        except (RuntimeError, EncoderError) as error:
            raise EngineError(
                f'torch failed on an input of {batch.rgb.shape[2:]} px ({error}); expected a size '
                f'the model accepts; check model.input_height and model.input_width'
            ) from error
        return collect_outputs({name: value.cpu().numpy() for name, value in outputs.items()})

    def close(self) -> None:
        """Release the model."""
        self._model = None


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendUnavailableError(
            f"backend 'torch' needs the package {error.name}, which cannot be imported; run: "
            f"pip install 'rgbt_perception[torch]'"
        ) from error
