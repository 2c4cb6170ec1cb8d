# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime engine: small, and on every machine a robot has."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from rgbt_models.card import INPUT_NAMES, ModelCard, OUTPUT_NAMES, verify_file
from rgbt_models.graph_variant import Graph
from rgbt_models.onnx_runtime import import_onnxruntime
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine.base import (
    check_names,
    collect_outputs,
    count_threads,
    EngineState,
    parse_device,
)
from rgbt_perception.engine.precision import choose_graph, choose_precision
from rgbt_perception.errors import BackendUnavailableError, EngineError
from rgbt_perception.types import Batch, RawOutputs

_CUDA_PROVIDER = 'CUDAExecutionProvider'
_LOG_ERRORS_ONLY = 3


class OnnxEngine:
    """Runs a graph of the card; see ``Engine`` for the attributes."""

    backend = 'onnx'

    def __init__(self, card: ModelCard, config: EngineConfig) -> None:
        """Check the file's hash, open it and check that it is a network of this project.

        Raises:
            BackendUnavailableError: If onnxruntime, or its CUDA provider, is not installed.
            ConfigError: If the card has no graph for the precision of the settings.
            WeightsError: If the file is missing or altered.
            EngineError: If onnxruntime refuses the file, or its inputs or outputs differ.
        """
        onnxruntime = _import_onnxruntime()
        graph = choose_graph(card, self.backend, choose_precision(card, config, self.backend))
        verify_file(graph.path, graph.sha256)
        self._session: Any = _open_session(onnxruntime, graph, config)
        check_names(
            graph.path,
            [item.name for item in self._session.get_inputs()],
            [item.name for item in self._session.get_outputs()],
        )
        cuda_index = parse_device(config.device)
        is_on_cuda = self._session.get_providers()[0] == _CUDA_PROVIDER
        if cuda_index is not None and not is_on_cuda:
            raise EngineError(
                f"device '{config.device}' could not be opened by ONNX Runtime, which fell back "
                f"to the CPU; check the driver and CUDA, or set engine.device to 'cpu'"
            )
        self.device = f'cuda:{cuda_index}' if is_on_cuda else 'cpu'
        self.precision = graph.precision  # that of the graph: the runtime computes as it says
        self.state = EngineState()

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network on one batch; see ``Engine.run``."""
        inputs = {name: getattr(batch, name) for name in INPUT_NAMES}
        try:
            outputs = self._session.run(OUTPUT_NAMES, inputs)
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            raise EngineError(
                f'ONNX Runtime failed on an input of {batch.rgb.shape[2:]} px ({error}); expected '
                f'a size the graph accepts; check model.input_height and model.input_width'
            ) from error
        return collect_outputs(dict(zip(OUTPUT_NAMES, outputs, strict=True)))

    def close(self) -> None:
        """Release the session."""
        self._session = None


def _import_onnxruntime() -> ModuleType:
    try:
        return import_onnxruntime()
    except ImportError as error:
        raise BackendUnavailableError(
            "backend 'onnx' needs the package onnxruntime, which cannot be imported; run: "
            "pip install 'rgbt_perception[onnx]'"
        ) from error


def _open_session(onnxruntime: ModuleType, graph: Graph, config: EngineConfig) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_threads(config.num_threads)
    options.inter_op_num_threads = 1
    # A plan of memory for each input size would take as much again as the values need, and saves
    # no time (docs/engines.md).
    options.enable_mem_pattern = False
    options.log_severity_level = _LOG_ERRORS_ONLY
    # Threads that wait would take as much CPU time again as the network needs (docs/engines.md).
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    providers: list[Any] = ['CPUExecutionProvider']
    cuda_index = parse_device(config.device)
    if cuda_index is not None:
        if _CUDA_PROVIDER not in onnxruntime.get_available_providers():
            raise BackendUnavailableError(
                f"device '{config.device}' needs ONNX Runtime with CUDA, the installed one runs "
                f'on the CPU only; run: pip install onnxruntime-gpu'
            )
        providers.insert(0, (_CUDA_PROVIDER, {'device_id': cuda_index}))
    try:
        return onnxruntime.InferenceSession(
            str(graph.path), sess_options=options, providers=providers
        )
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise EngineError(
            f"ONNX Runtime cannot open '{graph.path}' ({error}); expected the "
            f'{graph.path.name} of this card; export it again or update onnxruntime'
        ) from error
