# SPDX-License-Identifier: Apache-2.0
"""OpenVINO engine: a CPU in fp32, bf16 and int8."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from rgbt_models.card import INPUT_NAMES, ModelCard, OUTPUT_NAMES, verify_file
from rgbt_models.cpu import find_cpu_features
from rgbt_models.graph_variant import Graph
from rgbt_models.openvino_runtime import import_openvino, open_core
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine.base import (
    check_names,
    collect_outputs,
    count_threads,
    EngineState,
    parse_device,
)
from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.cache_folder import find_cache_folder
from rgbt_perception.engine.cache_key import CacheKey
from rgbt_perception.engine.precision import choose_graph, choose_precision
from rgbt_perception.errors import BackendUnavailableError, EngineError
from rgbt_perception.types import Batch, RawOutputs

_DEVICE = 'CPU'
# Layers that the precision of a network is about, and the types of one in int8.
_HEAVY_LAYERS = ('Convolution', 'FullyConnected', 'MatMul')
_INT8_TYPES = ('i8', 'u8')
_PRECISIONS = {'f32': 'fp32', 'bf16': 'bf16', 'f16': 'fp16'}

_LOGGER = logging.getLogger(__name__)


class OpenvinoEngine:
    """Runs a graph of the card on the CPU; see ``Engine`` for the attributes."""

    backend = 'openvino'
    device = 'cpu'

    def __init__(self, card: ModelCard, config: EngineConfig) -> None:
        """Check the file's hash, then load it compiled from the engine cache, or compile it.

        A precision that the CPU does not have is computed in the next one that it has:
        ``precision`` says what was compiled.

        Raises:
            BackendUnavailableError: If OpenVINO is not installed, or the device is not the CPU.
            ConfigError: If the card has no graph for the precision of the settings.
            WeightsError: If the file is missing or altered.
            EngineError: If OpenVINO refuses the file, or its inputs or outputs differ.
        """
        openvino = _import_openvino()
        if parse_device(config.device) is not None:
            raise BackendUnavailableError(
                f"backend 'openvino' cannot run on '{config.device}', expected 'cpu'; set "
                f"engine.device to 'cpu', or engine.backend to 'auto'"
            )
        asked = choose_precision(card, config, self.backend)
        graph = choose_graph(card, self.backend, asked)
        verify_file(graph.path, graph.sha256)
        compiled = _open_compiled(openvino, card, graph, asked, config)
        check_names(
            graph.path,
            [name for port in compiled.inputs for name in port.names],
            [name for port in compiled.outputs for name in port.names],
        )
        self.precision = _read_precision(compiled, graph)
        if self.precision != asked:
            _LOGGER.warning(
                "this CPU does not compute in %s, card '%s' runs in %s",
                asked,
                card.name,
                self.precision,
            )
        self._outputs = {name: compiled.output(name) for name in OUTPUT_NAMES}
        self._request: Any = compiled.create_infer_request()
        self.state = EngineState()

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network on one batch; see ``Engine.run``.

        The inputs are read where they lie, the outputs are copies of their own.
        """
        inputs = {name: getattr(batch, name) for name in INPUT_NAMES}
        try:
            found = self._request.infer(inputs, share_inputs=True)
        except (RuntimeError, TypeError, ValueError) as error:
            raise EngineError(
                f'OpenVINO failed on an input of {batch.rgb.shape[2:]} px ({error}); expected '
                f'a size the graph accepts; check model.input_height and model.input_width'
            ) from error
        return collect_outputs({name: found[port] for name, port in self._outputs.items()})

    def close(self) -> None:
        """Release the network."""
        self._outputs, self._request = {}, None


def _import_openvino() -> ModuleType:
    try:
        return import_openvino()
    except ImportError as error:
        raise BackendUnavailableError(
            "backend 'openvino' needs the package openvino, which cannot be imported; run: "
            "pip install 'rgbt_perception[openvino]'"
        ) from error


def _open_compiled(
    openvino: ModuleType, card: ModelCard, graph: Graph, precision: str, config: EngineConfig
) -> Any:
    """Return the compiled graph from the cache, where it is put when it was not there."""
    core = open_core()
    properties = {
        'PERFORMANCE_HINT': 'LATENCY',
        'INFERENCE_PRECISION_HINT': _choose_hint(core, precision),
        'INFERENCE_NUM_THREADS': count_threads(config.num_threads),
        'ENABLE_CPU_PINNING': False,  # other nodes want these cores too
    }
    cpu_name = core.get_property(_DEVICE, 'FULL_DEVICE_NAME')
    key = CacheKey(
        model=f'{card.name} {card.version}',
        graph_sha256=graph.sha256,
        weights_sha256=card.weights_sha256,
        backend='openvino',
        backend_version=openvino.__version__,
        device=f'{cpu_name}: {" ".join(find_cpu_features())}',
        precision=precision,
        shapes='any',
    )
    cache = EngineCache(find_cache_folder(config.cache_dir))
    path = cache.find(key)
    if path is not None:
        try:
            return core.import_model(path.read_bytes(), _DEVICE, properties)
        except (OSError, RuntimeError) as error:
            _LOGGER.warning("OpenVINO refuses '%s' (%s): it is compiled anew", path, error)
            cache.discard(key)
    compiled = _compile(core, graph, properties)
    try:
        cache.keep(key, lambda path: _export(compiled, path))
    except (MemoryError, RuntimeError) as error:
        _LOGGER.warning(
            "the compiled graph of card '%s' cannot be kept (%s): it is compiled again at the "
            'next start',
            card.name,
            error,
        )
    return compiled


def _choose_hint(core: Any, precision: str) -> str:
    """Return what the layers that are not in int8 are to be computed in.

    Where the CPU has no bf16, OpenVINO may imitate it, slowly: that is left to who asks for it.
    """
    has_bf16 = 'BF16' in core.get_property(_DEVICE, 'OPTIMIZATION_CAPABILITIES')
    is_bf16 = precision == 'bf16' or (precision == 'int8' and has_bf16)
    return 'bf16' if is_bf16 else 'f32'


def _compile(core: Any, graph: Graph, properties: dict[str, Any]) -> Any:
    try:
        return core.compile_model(str(graph.path), _DEVICE, properties)
    except RuntimeError as error:
        raise EngineError(
            f"OpenVINO cannot open '{graph.path}' ({error}); expected the "
            f'{graph.path.name} of this card; export it again or update openvino'
        ) from error


def _export(compiled: Any, path: Path) -> None:
    path.write_bytes(compiled.export_model().getvalue())


def _read_precision(compiled: Any, graph: Graph) -> str:
    """Return what the network is computed in, by its layers and the hint that was granted."""
    if graph.precision == 'int8' and _has_int8_layer(compiled):
        return 'int8'
    granted = compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name()
    return _PRECISIONS.get(granted, 'unknown')


def _has_int8_layer(compiled: Any) -> bool:
    for node in compiled.get_runtime_model().get_ops():
        details = node.get_rt_info()
        if (
            details['layerType'].astype(str) in _HEAVY_LAYERS
            and details['runtimePrecision'].astype(str) in _INT8_TYPES
        ):
            return True
    return False
