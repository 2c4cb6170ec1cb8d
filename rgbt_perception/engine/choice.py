# SPDX-License-Identifier: Apache-2.0
"""Which backend runs a card: probed in order, without starting any runtime."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
import importlib.metadata
import importlib.util
import logging
from pathlib import Path

from rgbt_models.card import ModelCard
from rgbt_models.cpu import find_cpu_features
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine.base import Engine, parse_device
from rgbt_perception.engine.failure import as_engine_error, lacks_memory
from rgbt_perception.engine.machine import find_cuda_problem
from rgbt_perception.engine.precision import choose_graph, choose_precision
from rgbt_perception.engine.stages import blank_batch
from rgbt_perception.engine.supervised import SupervisedEngine
from rgbt_perception.errors import BackendUnavailableError, ConfigError, EngineError, RGBTError

# Without AVX-512 ONNX Runtime was measured to be as fast as OpenVINO in fp32, and faster in int8
# (bench/results, AVX2). Those that cannot use the device come last.
AVX512_ORDER = ('openvino', 'onnx', 'torch', 'tensorrt')
CPU_ORDER = ('onnx', 'openvino', 'torch', 'tensorrt')
CUDA_ORDER = ('tensorrt', 'torch', 'onnx', 'openvino')
# Modules each backend needs, the one whose version counts first.
BACKEND_MODULES = {
    'tensorrt': ('tensorrt', 'cuda'),
    'openvino': ('openvino',),
    'onnx': ('onnxruntime',),
    'torch': ('torch',),
}
# Distributions that bring the first of these modules.
_DISTRIBUTIONS = {
    'tensorrt': ('tensorrt', 'tensorrt-cu13', 'tensorrt-cu12'),
    'openvino': ('openvino',),
    'onnx': ('onnxruntime', 'onnxruntime-gpu'),
    'torch': ('torch',),
}

_MISSING_FILE = 'is missing'
_NOT_INSTALLED = 'is not installed'
_ONNX_CUDA_LIBRARY = Path('capi', 'libonnxruntime_providers_cuda.so')

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was found out about one backend, for one card and device.

    Attributes:
        backend: 'tensorrt', 'openvino', 'onnx' or 'torch'.
        is_usable: Whether it may be opened. Opening can still fail.
        reason: Why it is not usable, '' when it is.
        version: Version of its package, '' when that is not known.
    """

    backend: str
    is_usable: bool
    reason: str
    version: str


def rank_backends(card: ModelCard, config: EngineConfig) -> tuple[Probe, ...]:
    """Probe all backends for a card on the device of the settings, in the order to try them.

    On a CPU with AVX-512 backends that would run int8 come first. Without, the order stays: there
    OpenVINO gains little or nothing from int8. Looks for packages, files and devices only: no
    runtime is started, and ``config.backend`` is not read.

    Raises:
        ConfigError: If the device is neither 'cpu' nor 'cuda:N'.
    """
    order = _order_for(config.device)
    probes = []
    for backend in order:
        reason = _find_problem(card, config, backend)
        probes.append(
            Probe(
                backend=backend,
                is_usable=not reason,
                reason=reason,
                version=find_version(backend),
            )
        )
    if order is AVX512_ORDER:
        probes.sort(key=lambda probe: not _runs_int8(card, config, probe))
    return tuple(probes)


def choose_backends(card: ModelCard, config: EngineConfig) -> tuple[str, ...]:
    """Return the backends to open, in order: the one of the settings, or what 'auto' stands for.

    Raises:
        BackendUnavailableError: If none that can run the card is installed.
        ConfigError: If the device is neither 'cpu' nor 'cuda:N'.
    """
    if config.backend != 'auto':
        return (config.backend,)
    probes = rank_backends(card, config)
    usable = tuple(probe.backend for probe in probes if probe.is_usable)
    if usable:
        return usable
    if not card.is_published:
        for probe in probes:  # let the engine say what is wrong with its file
            if probe.reason.endswith(_MISSING_FILE):
                return (probe.backend,)
    needs_torch = card.is_published or parse_device(config.device) is not None
    best = 'torch' if needs_torch else probes[0].backend
    reasons = {probe.backend: probe.reason for probe in probes}
    remedy = 'correct one of these'
    if reasons[best].endswith(_NOT_INSTALLED):
        remedy = f"run: pip install 'rgbt_perception[{best}]'"
    listed = '; '.join(f'{backend}: {reason}' for backend, reason in reasons.items())
    raise BackendUnavailableError(
        f"no backend can run card '{card.name}' on '{config.device}' ({listed}); expected one; "
        f'{remedy}'
    )


def open_engine(card: ModelCard, config: EngineConfig) -> Engine:
    """Open the network of a card with the backend of the settings.

    Args:
        card: The model; its file hash is checked before anything is loaded.
        config: Backend, device, precision and threads. 'auto' takes the first backend of
            ``rank_backends`` that is usable and opens; an altered file is never worked around.

    Returns:
        The engine, ready to run.

    Raises:
        BackendUnavailableError: If the backend's package is not installed, or it cannot run the
            card.
        WeightsError: If the model file is missing or is not the card's.
        EngineError: If the runtime refuses the model.
        ConfigError: If the device is neither 'cpu' nor 'cuda:N', or the precision is none of the
            backend's.
    """
    parse_device(config.device)
    backends = choose_backends(card, config)
    problems = []
    for backend in backends:
        try:
            return open_backend(card, config, backend)
        except (BackendUnavailableError, EngineError) as error:  # noqa: PERF203 at most four
            if len(backends) == 1:
                raise
            _LOGGER.warning("backend '%s' cannot be opened: %s", backend, error)
            problems.append(f'{backend}: {error}')
    raise EngineError(
        f"no backend opens card '{card.name}' ({'; '.join(problems)}); expected one that does; "
        f'correct one of these'
    )


def supervise(card: ModelCard, config: EngineConfig) -> SupervisedEngine:
    """Open the network of a card under supervision.

    A backend that must first be built, which takes minutes, is built in the background while
    another one serves, also for a backend given by name, if ``config.background_build`` says so
    and another one can be opened.

    Args:
        card: The model; its file hash is checked at every opening.
        config: Backend to begin with, device, threads, and what to do on error.

    Raises:
        RGBTError: As ``open_engine`` does.
    """
    parse_device(config.device)
    first = choose_backends(card, config)[0]
    usable = [probe.backend for probe in rank_backends(card, config) if probe.is_usable]
    others = tuple(backend for backend in usable if backend != first)
    must_build = first in usable and needs_build(card, config, first)
    watch = partial(
        SupervisedEngine,
        open_backend=partial(open_backend, card, config),
        warm_up=blank_batch(card.input_hw),
    )
    if must_build and config.background_build and others:
        try:
            engine = watch(replace(config, backend='auto'), backends=others)  # any may stand in
        except (BackendUnavailableError, EngineError) as error:
            _LOGGER.warning("none can serve while '%s' is built, so wait for it: %s", first, error)
            others = ()
        else:
            engine.offer(first)
            return engine
    return watch(config, backends=(first, *others), must_build=must_build)


def open_backend(card: ModelCard, config: EngineConfig, backend: str) -> Engine:
    """Open the network of a card with one backend; ``config.backend`` only tells why this one.

    Raises:
        RGBTError: As ``open_engine`` does.
    """
    if card.is_published and backend != 'torch':
        raise BackendUnavailableError(
            f"backend '{backend}' cannot run card '{card.name}', which is of a published model "
            f"and has no graph; expected backend 'torch'; set engine.backend to 'torch' or 'auto'"
        )
    try:
        engine = _load(card, replace(config, backend=backend))
    except RGBTError:
        raise
    except Exception as error:  # a broken installation raises whatever it likes
        if lacks_memory(error):
            raise as_engine_error(error) from error
        raise EngineError(
            f"backend '{backend}' cannot be opened ({type(error).__name__}: {error}), expected a "
            f'working installation; install its package again, or set engine.backend to another'
        ) from error
    _LOGGER.info(
        "model '%s' version %s runs on %s (%s, %s, backend %s%s)",
        card.name,
        card.version,
        engine.device,
        engine.precision,
        'synthetic training data only' if card.synthetic_only else card.training_data,
        backend,
        _say_why(card, config, backend) if config.backend == 'auto' else '',
    )
    for graph in card.variants:
        if graph.target == backend and not graph.takes(card.input_hw):
            _LOGGER.info(
                "graph '%s' is not used: it takes images of %s px only, not of %s",
                graph.file,
                graph.input_hw,
                card.input_hw,
            )
    return engine


def needs_build(card: ModelCard, config: EngineConfig, backend: str) -> bool:
    """Whether a backend must first build what it runs, which takes minutes.

    False where that cannot be told: opening the backend says what is wrong.
    """
    if backend != 'tensorrt':
        return False
    try:
        from rgbt_perception.engine.tensorrt import needs_build as needs_plan

        return needs_plan(card, config)
    except Exception:  # a broken installation raises whatever it likes
        _LOGGER.debug("cannot tell whether '%s' must be built", backend, exc_info=True)
        return False


def find_version(backend: str) -> str:
    """Return the version of a backend's package, '' when it is not installed."""
    distributions = importlib.metadata.distributions
    found = (item for name in _DISTRIBUTIONS[backend] for item in distributions(name=name))
    return next((item.version for item in found), '')


def _load(card: ModelCard, config: EngineConfig) -> Engine:
    if config.backend == 'tensorrt':
        from rgbt_perception.engine.tensorrt import TensorrtEngine

        return TensorrtEngine(card, config)
    if config.backend == 'openvino':
        from rgbt_perception.engine.openvino import OpenvinoEngine

        return OpenvinoEngine(card, config)
    if config.backend == 'onnx':
        from rgbt_perception.engine.onnx import OnnxEngine

        return OnnxEngine(card, config)
    from rgbt_perception.engine.torch import TorchEngine

    return TorchEngine(card, config)


def _say_why(card: ModelCard, config: EngineConfig, backend: str) -> str:
    before = []
    for probe in rank_backends(card, config):
        if probe.backend == backend:
            break
        before.append(f'{probe.backend}: {probe.reason or "not open"}')  # failed, or being built
    passed_over = f' ({"; ".join(before)})' if before else ''
    return f', the first that is usable{passed_over}'


def _order_for(device: str) -> tuple[str, ...]:
    if parse_device(device) is not None:
        return CUDA_ORDER
    return AVX512_ORDER if 'avx512f' in find_cpu_features() else CPU_ORDER


def _runs_int8(card: ModelCard, config: EngineConfig, probe: Probe) -> bool:
    return probe.is_usable and choose_precision(card, config, probe.backend) == 'int8'


def _find_problem(card: ModelCard, config: EngineConfig, backend: str) -> str:
    """Return why a backend cannot run a card, '' when nothing speaks against it."""
    if card.is_published and backend != 'torch':
        return 'it needs a graph, and a published model has none'
    for module in BACKEND_MODULES[backend]:
        if importlib.util.find_spec(module) is None:
            return f'package {module} {_NOT_INSTALLED}'
    return _find_device_problem(config.device, backend) or _find_file_problem(
        card, config, backend
    )


def _find_device_problem(device: str, backend: str) -> str:
    if parse_device(device) is None:
        return f"it needs a CUDA device, not '{device}'" if backend == 'tensorrt' else ''
    if backend == 'openvino':
        return 'it runs on the CPU only'
    if backend == 'onnx':
        spec = importlib.util.find_spec('onnxruntime')
        folders = spec.submodule_search_locations if spec else None
        if not any(Path(folder, _ONNX_CUDA_LIBRARY).is_file() for folder in folders or ()):
            return 'the installed ONNX Runtime runs on the CPU only'
    return find_cuda_problem()


def _find_file_problem(card: ModelCard, config: EngineConfig, backend: str) -> str:
    try:
        precision = choose_precision(card, config, backend)
        is_torch = backend == 'torch'
        path = card.weights_path if is_torch else choose_graph(card, backend, precision).path
    except ConfigError as error:
        return str(error)
    return '' if path.is_file() else f"'{path.name}' {_MISSING_FILE}"
