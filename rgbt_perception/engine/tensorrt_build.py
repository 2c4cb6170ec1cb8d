# SPDX-License-Identifier: Apache-2.0
"""Builds TensorRT plans from ONNX graphs, with TensorRT 8.6 to 11.

Precision lives in the graph: casts for fp16, Q/DQ nodes for int8. Where TensorRT knows strongly
typed networks (9 and newer) it keeps to them; 8.6 has to be told which precisions it may use.

Checked against NVIDIA's bindings 8.6, 10.3, 10.16 and 11.4 and run over stand-ins made from them,
never executed with TensorRT itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
import logging
import os
from pathlib import Path
import threading
from types import ModuleType
from typing import Any, TYPE_CHECKING

from rgbt_models.card import INPUT_NAMES, verify_file
from rgbt_models.graph_variant import Graph
from rgbt_perception.engine.base import check_names
from rgbt_perception.engine.cache_folder import find_file_problem
from rgbt_perception.engine.failure import lacks_memory
from rgbt_perception.errors import EngineError

if TYPE_CHECKING:
    import tensorrt

# Of the memory that the builder may try for one layer; also the limit when the plan runs.
WORKSPACE_BYTES = 1 << 30
MAX_SHOWN_ERRORS = 3
_PRIVATE_FILE = 0o600

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What a plan is built for.

    Attributes:
        graph: The ONNX file.
        input_hw: Height and width of the network input, px; the plan takes no other.
        is_version_compatible: Whether later versions of the same major version may run the plan.
    """

    graph: Graph
    input_hw: tuple[int, int]
    is_version_compatible: bool


def shape_inputs(input_hw: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every input by name, for one pair.

    Args:
        input_hw: Height and width of the network input, px.
    """
    image = (1, 3, *input_hw)
    return dict(zip(INPUT_NAMES, (image, image, (1, 2)), strict=True))


def build_plan(trt: ModuleType, options: PlanOptions, path: Path) -> None:
    """Build the plan of a graph, which takes minutes.

    What TensorRT has timed on this GPU is kept beside ``path`` and used by the next build.

    Args:
        trt: The module tensorrt. A CUDA device must be active: without one TensorRT ends the
            process.
        options: What to build.
        path: The file to write.

    Raises:
        WeightsError: If the graph is missing or not the card's.
        EngineError: If TensorRT does not understand the graph or cannot build it.
        OSError: If the plan cannot be written.
    """
    graph = options.graph
    verify_file(graph.path, graph.sha256)
    log = open_log(trt)
    builder: tensorrt.Builder = create_or_fail(trt.Builder, log)
    network: tensorrt.INetworkDefinition = builder.create_network(_choose_network_flags(trt))
    _parse_graph(trt, network, graph, log)
    config: tensorrt.IBuilderConfig = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(trt.BuilderFlag.TF32)  # rounds what the graph computes in fp32
    if options.is_version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if not _has_strong_types(trt):
        _allow_precisions(trt, network, config, graph.precision)
    _add_profile(builder, config, options)
    timings = path.parent / f'tensorrt-{trt.__version__}.timings'
    _load_timings(config, timings)
    log.clear()
    plan: tensorrt.IHostMemory | None = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"TensorRT {trt.__version__} cannot build '{graph.path}' ({log.describe_problem()}), "
            f'expected a plan; free GPU memory, or set engine.backend to another one'
        )
    path.write_bytes(plan)
    _save_timings(config, timings)


class _Errors(threading.local):
    """What went wrong on the calling thread, in order."""

    def __init__(self) -> None:
        self.texts: list[str] = []


@cache
def open_log(trt: ModuleType) -> Any:
    """Return the ``ILogger`` of this process: it forwards to logging and remembers errors.

    There is one, and it stays: TensorRT keeps the first it is given, beyond what it was given for.
    ``clear`` comes before a step of which ``describe_problem`` and ``lacks_memory`` are to tell.

    Errors are remembered by thread, so that a build, which takes minutes, and what other threads
    do meanwhile are told apart without waiting. TensorRT works on the thread that calls it unless
    ``max_threads`` is set, which we leave at 1; should it start a thread of its own all the same,
    what that says is logged, but neither described nor taken for a lack of memory.
    """
    levels = {
        trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.Severity.ERROR: logging.ERROR,
        trt.ILogger.Severity.WARNING: logging.WARNING,
        trt.ILogger.Severity.INFO: logging.DEBUG,  # a page for every build
    }

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]  # known at run time only
        def __init__(self) -> None:
            super().__init__()
            self._errors = _Errors()

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            level = levels.get(severity)
            if level is None:
                return
            _LOGGER.log(level, 'TensorRT: %s', msg)
            if level == logging.ERROR:
                self._errors.texts.append(msg)

        def clear(self) -> None:
            self._errors.texts.clear()

        def describe_problem(self) -> str:
            texts = self._errors.texts
            return texts[-1] if texts else 'it gives no reason'

        def lacks_memory(self) -> bool:
            return any(map(lacks_memory, self._errors.texts))

    return Log()


def create_or_fail(kind: Any, log: Any) -> Any:
    """Return a new ``Builder`` or ``Runtime``.

    Raises:
        EngineError: If TensorRT makes none.
    """
    log.clear()
    try:
        return kind(log)
    except (TypeError, RuntimeError) as error:  # its constructor returned nothing
        raise EngineError(
            f'TensorRT cannot start ({log.describe_problem()}), expected it to use this GPU; '
            f'check that the driver, CUDA and TensorRT belong together, or set engine.backend to '
            f'another one'
        ) from error


def _has_strong_types(trt: ModuleType) -> bool:
    return hasattr(trt.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED')


def _choose_network_flags(trt: ModuleType) -> int:
    """Return the bits of the network's flags; their numbers differ between versions."""
    if _has_strong_types(trt):
        return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return _explicit_batch(trt)


def _explicit_batch(trt: ModuleType) -> int:
    """Return the bits that 8.6 needs for an ONNX graph."""
    return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def _parse_graph(
    trt: ModuleType, network: tensorrt.INetworkDefinition, graph: Graph, log: Any
) -> None:
    log.clear()
    parser: tensorrt.OnnxParser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph.path)):
        count = parser.num_errors
        shown = range(min(count, MAX_SHOWN_ERRORS))
        errors = [parser.get_error(index).desc() for index in shown] or [log.describe_problem()]
        raise EngineError(
            f"TensorRT {trt.__version__} does not understand '{graph.path}' ({max(count, 1)} "
            f'errors: {"; ".join(errors)}), expected an operator set it knows; run: rgbt export '
            f'--target tensorrt'
        )
    inputs = [network.get_input(index).name for index in range(network.num_inputs)]
    outputs = [network.get_output(index).name for index in range(network.num_outputs)]
    check_names(graph.path, inputs, outputs)


def _add_profile(
    builder: tensorrt.Builder, config: tensorrt.IBuilderConfig, options: PlanOptions
) -> None:
    profile: tensorrt.IOptimizationProfile = builder.create_optimization_profile()
    shapes = shape_inputs(options.input_hw)
    for name, shape in shapes.items():
        profile.set_shape(name, shape, shape, shape)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(
            f"graph '{options.graph.path}' cannot take inputs of {shapes}, expected "
            f'free height and width; export the model again'
        )


def _allow_precisions(
    trt: ModuleType,
    network: tensorrt.INetworkDefinition,
    config: tensorrt.IBuilderConfig,
    precision: str,
) -> None:
    """Let TensorRT 8 use the precision of the graph, and hold it to what the graph keeps fp32."""
    if precision == 'int8':
        config.set_flag(trt.BuilderFlag.INT8)
    if precision != 'fp16':
        return
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    without_arithmetic = {
        trt.LayerType.CONSTANT,
        trt.LayerType.CONCATENATION,
        trt.LayerType.SHAPE,
        trt.LayerType.CAST,
    }
    for index in range(network.num_layers):
        layer: tensorrt.ILayer = network.get_layer(index)
        if layer.type not in without_arithmetic:
            _pin_float32(trt, layer)


def _pin_float32(trt: ModuleType, layer: tensorrt.ILayer) -> None:
    """Let TensorRT 8 compute a layer in fp32, and store what it gives in fp32, if the graph does.

    The precision of a layer says nothing of the type in which its outputs are stored.
    """
    if layer.get_output(0).dtype != trt.DataType.FLOAT:
        return
    layer.precision = trt.DataType.FLOAT
    for index in range(layer.num_outputs):
        if layer.get_output(index).dtype == trt.DataType.FLOAT:
            layer.set_output_type(index, trt.DataType.FLOAT)


def _load_timings(config: tensorrt.IBuilderConfig, path: Path) -> None:
    """Begin with what earlier builds have timed; those of another GPU or driver are refused."""
    try:
        saved = b'' if find_file_problem(path) else path.read_bytes()
    except OSError:  # there is none yet
        saved = b''
    timings: tensorrt.ITimingCache | None = config.create_timing_cache(saved)
    if timings is None or not config.set_timing_cache(timings, ignore_mismatch=False):
        _LOGGER.info("timings '%s' are not of this machine, all are taken anew", path)
        config.set_timing_cache(config.create_timing_cache(b''), ignore_mismatch=False)


def _save_timings(config: tensorrt.IBuilderConfig, path: Path) -> None:
    timings: tensorrt.ITimingCache | None = config.get_timing_cache()
    if timings is None:
        return
    draft = path.with_name(f'{path.name}.{os.getpid()}')
    try:
        draft.touch(_PRIVATE_FILE)  # whatever the umask is: only such a one is loaded again
        draft.write_bytes(timings.serialize())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        _LOGGER.info("timings '%s' cannot be kept (%s), the next build is slower", path, error)
