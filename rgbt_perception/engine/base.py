# SPDX-License-Identifier: Apache-2.0
"""The contract of an engine, and what every engine needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import re
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rgbt_models.card import INPUT_NAMES, OUTPUT_NAMES
from rgbt_perception.errors import ConfigError, EngineError
from rgbt_perception.types import Batch, RawOutputs

# Outputs that detections and label map are made of: they must be finite.
CHECKED_OUTPUTS = ('class_logits', 'boxes_xyxy', 'segmentation_logits')


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """How an engine is doing, for diagnostics.

    Attributes:
        status: 'running', 'reopening' or 'given_up'.
        num_timeouts: Runs that were given up as hanging.
        num_failures: Runs that failed, hanging ones included.
        num_reopened: How often the network was opened again.
        fallback_from: Backend that failed, or could not be opened or built, and was replaced by
            another one; '' when none was.
        fallback_reason: Why it was replaced, '' when none was.
        last_problem: Sentence of the last failure, '' without any.
        building: Better backend that is being opened while this one serves, '' when none is.
    """

    status: str = 'running'
    num_timeouts: int = 0
    num_failures: int = 0
    num_reopened: int = 0
    fallback_from: str = ''
    fallback_reason: str = ''
    last_problem: str = ''
    building: str = ''


class Engine(Protocol):
    """Runs one network.

    Attributes:
        backend: 'tensorrt', 'openvino', 'onnx' or 'torch'.
        device: 'cpu' or 'cuda:N', as the runtime reports it, not as it was asked for.
        precision: 'fp32', 'bf16', 'fp16' or 'int8', read back from the network where the runtime
            says it, never as it was asked for.
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


def check_names(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Check that a graph is a network of this project.

    Raises:
        EngineError: If it has other inputs, or lacks an output.
    """
    if set(inputs) != set(INPUT_NAMES) or not set(OUTPUT_NAMES) <= set(outputs):
        raise EngineError(
            f"graph '{path}' has inputs {list(inputs)} and outputs {list(outputs)}, expected "
            f'inputs {list(INPUT_NAMES)} and outputs {list(OUTPUT_NAMES)}; export the model again'
        )


def collect_outputs(outputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
    """Check the named outputs of a network and put them into their noun.

    The dominance outputs may be NaN (the share of a feature that is zero everywhere); the
    dominance of that pair is then not valid, but its detections are.

    Raises:
        EngineError: If a logit or box is not finite.
    """
    check_finite({name: bool(np.isfinite(outputs[name]).all()) for name in CHECKED_OUTPUTS})
    return RawOutputs(**{name: np.asarray(outputs[name], np.float32) for name in OUTPUT_NAMES})


def check_finite(is_finite: Mapping[str, bool]) -> None:
    """Refuse outputs, by name, that are not finite.

    Raises:
        EngineError: If one is not.
    """
    for name, holds in is_finite.items():
        if not holds:
            raise EngineError(
                f"output '{name}' of the network has non-finite values, expected finite numbers; "
                f'check the weights and the precision of the engine'
            )
