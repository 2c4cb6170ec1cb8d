# SPDX-License-Identifier: Apache-2.0
"""Plans of TensorRT: found in the cache of engines, else built; loaded for the runner.

Checked against NVIDIA's bindings 8.6, 10.3, 10.16 and 11.4 and run over stand-ins made from them,
never executed with TensorRT itself.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from rgbt_models.card import ModelCard
from rgbt_models.export_targets import OPSET
from rgbt_models.graph_variant import Graph
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine.base import parse_device
from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.cache_folder import find_cache_folder
from rgbt_perception.engine.cache_key import CacheKey
from rgbt_perception.engine.cuda_runtime import CudaDevice
from rgbt_perception.engine.precision import choose_graph, choose_precision
from rgbt_perception.engine.tensorrt_build import (
    build_plan,
    create_or_fail,
    open_log,
    PlanOptions,
    WORKSPACE_BYTES,
)
from rgbt_perception.errors import BackendUnavailableError, ConfigError, EngineError

if TYPE_CHECKING:
    import tensorrt

# From this version on operator set 18 is read; before, the one here.
_FIRST_MODERN_MAJOR, _OLD_OPSET = 10, 17

_LOGGER = logging.getLogger(__name__)


class PlanLoader:
    """Loads the plans of one card on one GPU, one plan for each size of the network input.

    Attributes:
        graph: The ONNX file the plans are built from.
    """

    def __init__(
        self, trt: ModuleType, card: ModelCard, config: EngineConfig, device: CudaDevice
    ) -> None:
        """Choose the graph; nothing of TensorRT is started.

        Raises:
            ConfigError: If the card has no graph for the precision of the settings.
            EngineError: If this TensorRT cannot read the operator set of the graph.
        """
        self._trt, self._card, self._config, self._device = trt, card, config, device
        self.graph = choose_graph(card, 'tensorrt', choose_precision(card, config, 'tensorrt'))
        _check_opset(trt, card, self.graph)
        self._log = open_log(trt)
        self._cache = EngineCache(find_cache_folder(config.cache_dir))
        self._runtime: tensorrt.Runtime | None = None

    def is_built(self, input_hw: tuple[int, int]) -> bool:
        """Whether the plan for a size of the network input is in the cache."""
        return self._cache.find(self._key(self._options(input_hw))) is not None

    def load(self, input_hw: tuple[int, int]) -> tensorrt.ICudaEngine:
        """Return the network for a size of its input, built first if it must be.

        Raises:
            WeightsError: If the graph is missing or not the card's.
            EngineError: If TensorRT cannot build the plan, or refuses it.
        """
        options = self._options(input_hw)
        key = self._key(options)
        engine = self._deserialise(self._fetch(key, options))
        if engine is None and not self._log.lacks_memory():  # with it, the plan may be good
            _LOGGER.warning('TensorRT refuses its plan (%s), it is built again', self._problem())
            self._cache.discard(key)
            engine = self._deserialise(self._fetch(key, options))
        if engine is None:
            raise EngineError(
                f"TensorRT {self._trt.__version__} cannot load the plan of '{self.graph.path}' "
                f'({self._problem()}), expected one that was built here to load here; free GPU '
                f'memory, or set engine.backend to another one'
            )
        return engine

    def close(self) -> None:
        """Release the runtime, after everything that was loaded."""
        self._runtime = None

    def _options(self, input_hw: tuple[int, int]) -> PlanOptions:
        return PlanOptions(
            graph=self.graph,
            input_hw=input_hw,
            is_version_compatible=self._config.version_compatible,
        )

    def _key(self, options: PlanOptions) -> CacheKey:
        height, width = options.input_hw
        version, compatible = self._trt.__version__, ''
        if options.is_version_compatible:  # holds for later versions of the same major version
            version, compatible = str(_major_version(self._trt)), ', version compatible'
        return CacheKey(
            model=f'{self._card.name} {self._card.version}',
            graph_sha256=self.graph.sha256,
            weights_sha256=self._card.weights_sha256,
            backend='tensorrt',
            backend_version=version,
            device=self._device.identity,
            precision=self.graph.precision,
            shapes=f'1x{height}x{width}',
            options=f'workspace {WORKSPACE_BYTES >> 20} MiB{compatible}',
        )

    def _fetch(self, key: CacheKey, options: PlanOptions) -> Path:
        def build(path: Path) -> None:
            _LOGGER.info(
                "building the TensorRT plan of model '%s' for %s px, which takes minutes",
                key.model,
                key.shapes,
            )
            build_plan(self._trt, options, path)

        return self._cache.fetch(key, build)

    def _deserialise(self, path: Path) -> tensorrt.ICudaEngine | None:
        if self._runtime is None:
            self._runtime = create_or_fail(self._trt.Runtime, self._log)
            if self._config.version_compatible:  # such a plan holds a small runtime of its own
                self._runtime.engine_host_code_allowed = True
        self._log.clear()
        engine: tensorrt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(
            path.read_bytes()
        )
        return engine

    def _problem(self) -> str:
        return str(self._log.describe_problem())


def needs_build(card: ModelCard, config: EngineConfig) -> bool:
    """Whether the plan for the card's input size must be built before it can run.

    Starts nothing of TensorRT.

    Raises:
        RGBTError: If that cannot be told, without a GPU or for lack of a graph.
    """
    loader = PlanLoader(import_tensorrt(), card, config, open_device(config))
    return not loader.is_built(card.input_hw)


def import_tensorrt() -> ModuleType:
    """Import TensorRT.

    Raises:
        BackendUnavailableError: If it is not installed, or its installation is broken.
    """
    try:
        return importlib.import_module('tensorrt')
    except (ImportError, OSError) as error:  # OSError: a library of it cannot be loaded
        raise BackendUnavailableError(
            f"backend 'tensorrt' needs the package tensorrt, which cannot be imported ({error}); "
            f"run: pip install 'rgbt_perception[tensorrt]', on a Jetson install TensorRT from "
            f'JetPack'
        ) from error


def open_device(config: EngineConfig) -> CudaDevice:
    """Open the GPU of the settings, which must be there before TensorRT is started.

    Raises:
        ConfigError: If the device of the settings is no GPU.
        BackendUnavailableError: If the bindings of CUDA are not installed.
        EngineError: If the GPU or its driver is not there.
    """
    index = parse_device(config.device)
    if index is None:
        raise ConfigError(
            f"engine.device is '{config.device}', backend 'tensorrt' runs on a GPU only; set "
            f"engine.device to 'cuda:0', or engine.backend to another one"
        )
    return CudaDevice(index)


def _check_opset(trt: ModuleType, card: ModelCard, graph: Graph) -> None:
    """Refuse a graph that TensorRT 8 would misread: it looks for the axes of 17 in vain.

    Raises:
        EngineError: If the graph is of a newer operator set.
    """
    opsets = [item.opset for item in card.variants if item.file == graph.path.name]
    opset = opsets[0] if opsets else OPSET
    if _major_version(trt) < _FIRST_MODERN_MAJOR and opset > _OLD_OPSET:
        raise EngineError(
            f"graph '{graph.path}' is of operator set {opset}, TensorRT {trt.__version__} reads "
            f'none above {_OLD_OPSET}; run: rgbt export --target tensorrt --opset {_OLD_OPSET} '
            f'--precision {graph.precision} {card.name}'
        )


def _major_version(trt: ModuleType) -> int:
    return int(trt.__version__.partition('.')[0])
