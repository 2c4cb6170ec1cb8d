# SPDX-License-Identifier: Apache-2.0
"""The contract of an engine, and how one is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import importlib.util
import logging
import os
import re
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rgbt_models.card import ModelCard, OUTPUT_NAMES
from rgbt_perception.config import EngineConfig
from rgbt_perception.errors import BackendUnavailableError, ConfigError, EngineError
from rgbt_perception.types import Batch, RawOutputs

# Module each backend needs, in the order 'auto' tries them.
BACKEND_MODULES = {'onnx': 'onnxruntime', 'torch': 'torch'}

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """How an engine is doing, for diagnostics.

    Attributes:
        status: 'running', 'reopening' or 'given_up'.
        num_timeouts: Runs that were given up as hanging.
        num_failures: Runs that failed, hanging ones included.
        num_reopened: How often the network was opened again.
        fallback_from: Backend that failed and was replaced by another one, '' when none was.
        last_problem: Sentence of the last failure, '' without any.
    """

    status: str = 'running'
    num_timeouts: int = 0
    num_failures: int = 0
    num_reopened: int = 0
    fallback_from: str = ''
    last_problem: str = ''


class Engine(Protocol):
    """Runs one network.

    Attributes:
        backend: 'onnx' or 'torch'.
        device: 'cpu' or 'cuda:N', as the runtime reports it, not as it was asked for.
        precision: 'fp32', 'fp16' or 'bf16', read back from the network.
        state: How it is doing; a plain engine is always running.
    """

    backend: str
    device: str
    precision: str
    state: EngineState

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network on one batch.

        Raises:
            EngineError: If the runtime fails, or a logit or box is not finite.
        """

    def close(self) -> None:
        """Release the network; the engine cannot be used afterwards."""


def open_engine(card: ModelCard, config: EngineConfig) -> Engine:
    """Open the network of a card with the backend of the settings.

    Args:
        card: The model; its file hash is checked before anything is loaded.
        config: Backend, device and threads. 'auto' takes ONNX Runtime when it is installed and
            the card has a graph, else torch; a published model has none.

    Returns:
        The engine, ready to run.

    Raises:
        BackendUnavailableError: If the backend's package is not installed, or it cannot run the
            card.
        WeightsError: If the model file is missing or is not the card's.
        EngineError: If the runtime refuses the model.
        ConfigError: If the device is neither 'cpu' nor 'cuda:N'.
    """
    parse_device(config.device)
    backend = choose_backend(card) if config.backend == 'auto' else config.backend
    if backend not in backends_of(card):
        raise BackendUnavailableError(
            f"backend '{backend}' cannot run card '{card.name}', which is of a published model "
            f"and has no graph; expected backend 'torch'; set engine.backend to 'torch' or 'auto'"
        )
    engine: Engine
    if backend == 'onnx':
        from rgbt_perception.engine.onnx import OnnxEngine

        engine = OnnxEngine(card, config)
    else:
        from rgbt_perception.engine.torch import TorchEngine

        engine = TorchEngine(card, config)
    _LOGGER.info(
        "model '%s' version %s runs on %s (%s, %s, backend %s)",
        card.name,
        card.version,
        engine.device,
        engine.precision,
        'synthetic training data only' if card.synthetic_only else card.training_data,
        f'{backend}, chosen because it is installed' if config.backend == 'auto' else backend,
    )
    return engine


def parse_device(device: str) -> int | None:
    """Return the index of a CUDA device, None for the CPU.

    Raises:
        ConfigError: If it is neither 'cpu' nor 'cuda' nor 'cuda:N'.
    """
    match = re.fullmatch(r'cpu|cuda(?::(\d+))?', device)
    if match is None:
        raise ConfigError(f"engine.device is '{device}', expected 'cpu' or 'cuda:N'; correct it")
    return None if device == 'cpu' else int(match.group(1) or 0)


def count_threads(num_threads: int) -> int:
    """Return the CPU threads to use; 0 means all usable cores but one, at least one."""
    return num_threads or max(1, len(os.sched_getaffinity(0)) - 1)


def collect_outputs(outputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
    """Check the named outputs of a network and put them into their noun.

    The dominance outputs may be NaN (the share of a feature that is zero everywhere); the
    dominance of that pair is then not valid, but its detections are.

    Raises:
        EngineError: If a logit or box is not finite.
    """
    for name in ('class_logits', 'boxes_xyxy', 'segmentation_logits'):
        if not np.isfinite(outputs[name]).all():
            raise EngineError(
                f"output '{name}' of the network has non-finite values, expected finite numbers; "
                f'check the weights and the precision of the engine'
            )
    return RawOutputs(**{name: np.asarray(outputs[name], np.float32) for name in OUTPUT_NAMES})


def backends_of(card: ModelCard) -> tuple[str, ...]:
    """Return the backends that can run the kind of model that a card is of, best first."""
    return ('torch',) if card.is_published else tuple(BACKEND_MODULES)


def usable_backends(card: ModelCard) -> tuple[str, ...]:
    """Return the backends that are installed and whose model file the card has, best first."""
    has_file = {'onnx': card.graph_path.is_file(), 'torch': card.weights_path.is_file()}
    return tuple(
        backend for backend in backends_of(card) if _is_installed(backend) and has_file[backend]
    )


def choose_backend(card: ModelCard) -> str:
    """Return the backend that 'auto' stands for.

    Raises:
        BackendUnavailableError: If none that can run the card is installed.
    """
    for backend in usable_backends(card):
        return backend
    for backend in backends_of(card):  # let the engine say what is wrong with the file
        if _is_installed(backend):
            return backend
    if card.is_published:
        raise BackendUnavailableError(
            f"card '{card.name}' is of a published model, which runs on torch only, and torch is "
            f"not installed; run: pip install 'rgbt_perception[torch]'"
        )
    raise BackendUnavailableError(
        'no backend is installed, expected ONNX Runtime or torch; run: '
        "pip install 'rgbt_perception[onnx]'"
    )


def _is_installed(backend: str) -> bool:
    return importlib.util.find_spec(BACKEND_MODULES[backend]) is not None
