# SPDX-License-Identifier: Apache-2.0
"""PyTorch engine: the reference, and on CUDA the fastest that needs no build.

On CUDA the work of an input shape is captured once and replayed (``torch_runs``), and images are
prepared and outputs decoded on the device (``torch_stages``). On either device a package compiled
ahead of time is used for its input size, where ``rgbt engine build --backend torch`` has made one
(``torch_package``). It brings its own weights, so those of the model stay in host memory until an
input size without a package comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import importlib
from types import ModuleType
from typing import Any, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rgbt_models.card import INPUT_NAMES, ModelCard
from rgbt_models.errors import EncoderError
from rgbt_perception.config import EngineConfig, OutputConfig
from rgbt_perception.engine.base import collect_outputs, count_threads, EngineState, parse_device
from rgbt_perception.engine.failure import as_engine_error, lacks_memory
from rgbt_perception.engine.precision import choose_precision
from rgbt_perception.engine.stages import blank_images, Images
from rgbt_perception.engine.torch_package import BATCH_SIZE, find_package
from rgbt_perception.engine.torch_precision import lower_precision
from rgbt_perception.engine.torch_runs import CudaRunner, Inputs, Network, Outputs, T
from rgbt_perception.engine.torch_stages import TorchStages
from rgbt_perception.errors import BackendUnavailableError, ConfigError, EngineError
from rgbt_perception.types import Batch, Perceived, RawOutputs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PRECISIONS = {'torch.float32': 'fp32', 'torch.float16': 'fp16', 'torch.bfloat16': 'bf16'}


class TorchEngine:
    """Runs the card's ``model.safetensors``, also published ones; see ``Engine``."""

    backend = 'torch'

    def __init__(self, card: ModelCard, config: EngineConfig) -> None:
        """Load the model; its weights are checked against the card's hash.

        Raises:
            BackendUnavailableError: If torch, torchvision or timm is not installed.
            ConfigError: If the precision is none that torch computes the card in.
            WeightsError: If the file is missing, altered or does not fit the architecture.
            EngineError: If the device is not there, or a first run on it fails.
        """
        self._card, self._config = card, config
        self._place = find_place(config)
        self._model: Any = load_network(card, config)
        self._stages: TorchStages | None = TorchStages(self._place)
        self.device = str(self._place)
        self.precision = _PRECISIONS.get(str(next(self._model.parameters()).dtype), 'unknown')
        self.state = EngineState()
        self._runner: CpuRunner | CudaRunner | None = None
        self.takes_images = parse_device(config.device) is not None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network on one batch; see ``Engine.run``."""
        assert self._runner is not None, 'the engine is closed'
        with _name_failures((batch.rgb.shape[2], batch.rgb.shape[3])):
            outputs = self._runner([getattr(batch, name) for name in INPUT_NAMES])
        return collect_outputs(outputs)

    def perceive(self, images: Images, config: OutputConfig) -> Perceived:
        """Run the network on images; see ``ImageEngine.perceive``."""
        stages = self._stages
        assert self._runner is not None, 'the engine is closed'
        assert stages is not None, 'the engine is closed'
        with _name_failures(images.input_hw):
            return self._runner.call(lambda network: stages.perceive(network, images, config))

    def close(self) -> None:
        """Release the model."""
        if self._model is not None:
            self._model.to('meta')  # frees its weights though the traceback of an error keeps it
        self._model = self._runner = self._stages = None

    def _start(self) -> None:
        if not self.takes_images:
            self._runner = CpuRunner(self._find_network)
            return
        use_graph = self._config.cuda_graph and not self._card.is_published
        self._runner = CudaRunner(self._find_network, self.device, use_graph=use_graph)
        # CUDA loads what it has not run yet: here, where it may take its time.
        self.perceive(blank_images(self._card), OutputConfig(score_threshold=0.0))

    def _find_network(self, inputs: Inputs) -> Network:
        import torch

        batch_size, _, height, width = inputs[0].shape
        package = None
        if batch_size == BATCH_SIZE:
            package = find_package(self._card, self._config, (height, width))
        if package is not None:
            return package
        with torch.inference_mode(mode=False):  # as the model was made
            network: Network = self._model.to(self._place)
        return network


class CpuRunner:
    """Runs a network on the CPU, where its inputs already are."""

    def __init__(self, find_network: Callable[[Inputs], Network]) -> None:
        """Ask ``find_network`` for the network of the inputs when their shapes change."""
        self._find_network = find_network
        self._shapes: list[tuple[int, ...]] = []
        self._network: Network | None = None

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Run the network; the outputs belong to the caller."""
        import torch

        with torch.inference_mode():
            outputs = self._run(*map(torch.from_numpy, arrays))
        return {name: value.numpy() for name, value in outputs.items()}

    def call(self, job: Callable[[Network], T]) -> T:
        """Call a job with the network; see ``CudaRunner.call``."""
        import torch

        with torch.inference_mode():
            return job(self._run)

    def _run(self, *inputs: Tensor) -> Outputs:
        shapes = [tuple(given.shape) for given in inputs]
        if self._network is None or shapes != self._shapes:
            self._network, self._shapes = self._find_network(inputs), shapes
        return self._network(*inputs)


def find_place(config: EngineConfig) -> torch.device:
    """Return the device of the settings.

    Raises:
        RGBTError: As ``TorchEngine`` does.
    """
    _import('torch')
    import torch

    index = parse_device(config.device)
    if index is None:
        return torch.device('cpu')
    if index >= torch.cuda.device_count():
        raise EngineError(
            f"device '{config.device}' is not there, torch sees {torch.cuda.device_count()} CUDA "
            f"devices; check the driver, or set engine.device to 'cpu'"
        )
    return torch.device('cuda', index)


def load_network(card: ModelCard, config: EngineConfig) -> Any:
    """Load the model of a card for the device and in the precision of the settings.

    Returns:
        The model, in host memory.

    Raises:
        RGBTError: As ``TorchEngine`` does.
    """
    torch = _import('torch')
    if card.is_published:
        load = _import('rgbt_models.published.runtime').load_runtime
    else:
        load = _import('rgbt_models.build').load_model
    precision = choose_precision(card, config, 'torch')
    if card.is_published and precision != 'fp32':
        raise ConfigError(
            f"engine.precision is '{precision}', card '{card.name}' of a published model is "
            f"computed in fp32, as its metrics were measured; set it to 'fp32' or 'auto'"
        )
    model = load(card).eval()
    if precision != 'fp32':
        lower_precision(model, precision)
    if parse_device(config.device) is None:
        torch.set_num_threads(count_threads(config.num_threads))
        return model
    # Convolutions of float32 are rounded to TF32 by default; what is called fp32 is fp32. It holds
    # for the whole process, as torch has it.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if not card.is_published:
        model.encoder.use_stacked_batch = True  # fills a GPU better
    if precision != 'fp32':
        model.to(memory_format=torch.channels_last)  # what tensor cores convolve without copies
    return model


@contextmanager
def _name_failures(input_hw: tuple[int, int]) -> Iterator[None]:
    try:
        yield
    except EngineError:
        raise
    except (RuntimeError, MemoryError, EncoderError) as error:
        if lacks_memory(error):
            raise as_engine_error(error) from error
        raise EngineError(
            f'torch failed on an input of {input_hw} px ({error}); {_find_remedy(error)}'
        ) from error


def _find_remedy(error: Exception) -> str:
    text = str(error).lower()
    if 'torchvision::' in text:  # of another build than torch: it has no operators for the device
        return (
            'expected torchvision with its operators for this device; install the torchvision '
            'that belongs to this torch'
        )
    if isinstance(error, EncoderError) or 'size' in text or 'shape' in text:
        return 'expected a size the model accepts; check model.input_height and model.input_width'
    return 'expected outputs; see what else uses the device, or set engine.backend to another one'


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendUnavailableError(
            f"backend 'torch' needs the package {error.name}, which cannot be imported; run: "
            f"pip install 'rgbt_perception[torch]'"
        ) from error
