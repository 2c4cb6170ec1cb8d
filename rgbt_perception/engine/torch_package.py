# SPDX-License-Identifier: Apache-2.0
"""Networks that torch compiled ahead of time (AOTInductor) for this machine and one input size.

A package is a library with the weights in it, so loading one runs code: it is taken only from the
engine cache, which is private to the user and checks the hash. It is used for the batch and input
size that it was built for, and only where everything else in its key is the same.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import inspect
import logging
from pathlib import Path
from typing import Any, TYPE_CHECKING
import warnings

from rgbt_models.card import ModelCard
from rgbt_models.cpu import find_cpu_features, find_cpu_name
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine.base import parse_device
from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.cache_folder import find_cache_folder
from rgbt_perception.engine.cache_key import CacheKey
from rgbt_perception.engine.failure import lacks_memory
from rgbt_perception.engine.machine import CUDA_DRIVER
from rgbt_perception.engine.precision import choose_precision
from rgbt_perception.errors import BackendUnavailableError, EngineError

if TYPE_CHECKING:
    from rgbt_models.build import RGBTModel
    from rgbt_perception.engine.torch_runs import Network

BATCH_SIZE = 1
# Their code becomes part of a package.
_PACKAGED = ('rgbt_perception', 'timm')

_LOGGER = logging.getLogger(__name__)


def prepare_package(card: ModelCard, config: EngineConfig, input_hw: tuple[int, int]) -> Path:
    """Build the package of a card for this machine, unless it is in the engine cache.

    Args:
        card: Of the model; not a published one.
        config: Device, precision, threads and folder of the cache.
        input_hw: Height and width of the network input, px.

    Returns:
        The package, which ``find_package`` gives to engines that are opened from now on. One that
        has already run on this size does not use it.

    Raises:
        BackendUnavailableError: If torch is not installed, or the model is a published one.
        EngineError: If torch cannot compile it, e.g. without a C++ compiler.
    """
    from rgbt_perception.engine.torch import find_place, load_network

    place = find_place(config)
    if card.is_published:
        raise BackendUnavailableError(
            f"card '{card.name}' is of a published model, whose work depends on what it sees; "
            f'expected a card that rgbt export wrote; leave the package out'
        )

    def build(path: Path) -> None:
        build_package(load_network(card, config).to(place), input_hw, path)

    return _open_cache(config).fetch(package_key(card, config, input_hw), build)


def find_package(
    card: ModelCard, config: EngineConfig, input_hw: tuple[int, int]
) -> Network | None:
    """Load the package of a card from the engine cache; None when there is none.

    One that torch refuses is left out with a warning, and removed, unless memory is lacking. One
    that cannot be captured as a CUDA graph, where the settings want that, is left out, too.
    """
    if card.is_published:
        return None
    cache, key = _open_cache(config), package_key(card, config, input_hw)
    path = cache.find(key)
    if path is None:
        return None
    if not _can_run(config):
        _LOGGER.warning(
            "package '%s' is left out: this version of torch makes none that can be captured as "
            'a CUDA graph, expected 2.7 or newer; install it, or set engine.cuda_graph to false',
            path,
        )
        return None
    try:
        return load_package(path, config.device)
    except EngineError as error:
        _LOGGER.warning('%s; the model runs without it', error)
        if not lacks_memory(error.__cause__ or error):
            cache.discard(key)
        return None


def package_key(card: ModelCard, config: EngineConfig, input_hw: tuple[int, int]) -> CacheKey:
    """Return what the package of a card depends on."""
    import torch

    index = parse_device(config.device)
    if index is None:
        device = f'{find_cpu_name()}: {" ".join(find_cpu_features())}'
    else:
        major, minor = torch.cuda.get_device_capability(index)
        name = torch.cuda.get_device_name(index)
        device = f'{name}, sm_{major}{minor}, CUDA {_find_driver()}'
    return CacheKey(
        model=f'{card.name} {card.version}',
        graph_sha256='',
        weights_sha256=card.weights_sha256,
        backend='torch',
        backend_version=str(torch.__version__),
        device=device,
        precision=choose_precision(card, config, 'torch'),
        shapes=f'{BATCH_SIZE}x{input_hw[0]}x{input_hw[1]}',
        options=', '.join(f'{name} {_find_version(name)}' for name in _PACKAGED),
    )


def build_package(model: RGBTModel, input_hw: tuple[int, int], path: Path) -> None:
    """Compile a model for one pair of images of one size.

    Args:
        model: In evaluation mode, on the device and in the precision that the package is for.
        input_hw: Height and width of the images, px.
        path: The file to write; its name ends in '.pt2'.

    Raises:
        EngineError: If torch cannot compile the model.
    """
    import torch

    device = next(model.parameters()).device
    image = torch.zeros(BATCH_SIZE, 3, *input_hw, device=device)
    inputs = image, torch.ones_like(image), torch.ones(BATCH_SIZE, 2, device=device)
    # The threads are those of the process that runs it, not of the one that built it.
    settings = {'cpp.dynamic_threads': True}
    try:
        from torch._inductor import aoti_compile_and_package
        from torch._inductor.utils import fresh_inductor_cache

        # Its own cache is a folder in /tmp that anyone may have made: one of this build instead.
        with torch.no_grad(), fresh_inductor_cache(), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the compiler warns about its own internals
            program = torch.export.export(model, inputs)
            aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)
    except Exception as error:  # what a compiler may raise is not documented
        raise EngineError(
            f'torch cannot compile the model ahead of time ({error}); expected a C++ compiler, '
            f'and for CUDA its toolkit; install them, or use the backend without a package'
        ) from error


def load_package(path: Path, device: str = 'cpu') -> Network:
    """Load a package that the engine cache has checked.

    Raises:
        EngineError: If torch refuses the file.
    """
    from torch._inductor import aoti_load_package

    index = parse_device(device)
    # Single-threaded: what lets several threads share a package asks CUDA for the state of earlier
    # runs, which is forbidden while a graph is captured.
    wanted: dict[str, Any] = {
        'run_single_threaded': True,
        'device_index': -1 if index is None else index,
    }
    # torch 2.6 has neither, 2.7 only the first; without an index it is the current device.
    known = inspect.signature(aoti_load_package).parameters
    options = {name: value for name, value in wanted.items() if name in known}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # as above
            loaded: Any = aoti_load_package(str(path), **options)
    except Exception as error:  # what a loader may raise is not documented
        raise EngineError(
            f"torch refuses the package '{path}' ({error}); expected one built on this machine; "
            f'run: rgbt engine build --backend torch'
        ) from error
    network: Network = loaded
    return network


def _can_run(config: EngineConfig) -> bool:
    """Whether packages can be run with these settings: torch 2.6 makes none that is captured."""
    from torch._inductor import aoti_load_package

    is_captured = config.cuda_graph and parse_device(config.device) is not None
    known = inspect.signature(aoti_load_package).parameters
    return not is_captured or 'run_single_threaded' in known


def _find_driver() -> str:
    """Return the version of CUDA that the driver has, '' without a driver."""
    version = ctypes.c_int(0)
    try:
        ctypes.CDLL(CUDA_DRIVER).cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return ''
    return f'{version.value // 1000}.{version.value % 1000 // 10}'


def _find_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return 'unknown'


def _open_cache(config: EngineConfig) -> EngineCache:
    return EngineCache(find_cache_folder(config.cache_dir))
