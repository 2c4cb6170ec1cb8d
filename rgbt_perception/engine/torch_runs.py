# SPDX-License-Identifier: Apache-2.0
"""How a torch network is run on CUDA: fixed buffers by input shape, and a graph that is replayed.

A launch from Python costs several microseconds, and a small transformer has two hundred of them
per pair. So the work of one shape is captured once as a CUDA graph and replayed with one launch.
A graph reads and writes always the same memory: inputs are copied into it, from the host through
pinned memory, and what comes back is copied.

No CUDA device has run this code: its tests run it on the CPU, with stand-ins for what captures.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
import logging
import threading
from typing import Any, TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from rgbt_perception.engine.cuda_runtime import CAPTURE_LOCK

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Arrays: TypeAlias = 'Sequence[NDArray[Any]]'
Inputs: TypeAlias = 'Sequence[NDArray[Any] | Tensor]'  # in host memory, or on the device
Outputs: TypeAlias = 'Mapping[str, Tensor]'
Network: TypeAlias = 'Callable[..., Outputs]'
Capture: TypeAlias = 'Callable[[Callable[[], Outputs]], Callable[[], Outputs]]'
Shapes: TypeAlias = 'tuple[tuple[int, ...], ...]'

T = TypeVar('T')

MAX_SHAPES = 4
# Runs before the capture, in which libraries choose their kernels and allocate their workspaces.
_NUM_WARM_UPS = 3
# Set by a capture that failed. Before version 2.12 torch's allocator does not recover from one:
# nothing more is captured in this process.
_HAS_FAILED = threading.Event()

_LOGGER = logging.getLogger(__name__)


class ShapeRun:
    """The buffers of one input shape, and the network captured on them."""

    def __init__(
        self, network: Network, inputs: Inputs, *, device: torch.device, capture: Capture
    ) -> None:
        """Allocate the inputs and capture the network on them.

        Args:
            network: Takes the inputs by position, on ``device``.
            inputs: The first ones, float32.
            device: Where the network is.
            capture: Turns a call into one that repeats its work in the same memory.
        """
        import torch

        self._mirrors: dict[str, Tensor] = {}
        own = [torch.zeros(given.shape, dtype=torch.float32, device=device) for given in inputs]
        self._inputs = own
        self._load(inputs)
        # Not of self: a cycle would keep the memory until the garbage is collected.
        self._replay = capture(lambda: network(*own))

    def __call__(
        self, arrays: Arrays, *, synchronise: Callable[[], None]
    ) -> dict[str, NDArray[np.float32]]:
        """Run the network.

        Args:
            arrays: Inputs of the shape this was made for.
            synchronise: Waits for the work queued so far.

        Returns:
            The outputs, float32; they belong to the caller.
        """
        outputs = self.replay(arrays)
        hosts = {name: self._mirror(name, value) for name, value in outputs.items()}
        for name, value in outputs.items():
            hosts[name].copy_(value, non_blocking=True)
        synchronise()
        return {name: host.numpy().copy() for name, host in hosts.items()}

    def replay(self, inputs: Inputs) -> Outputs:
        """Queue the work of the network; its outputs are overwritten by the next run."""
        self._load(inputs)
        return self._replay()

    def _load(self, inputs: Inputs) -> None:
        for index, (own, given) in enumerate(zip(self._inputs, inputs, strict=True)):
            if isinstance(given, np.ndarray):
                host = self._mirror(f'input {index}', own)
                np.copyto(host.numpy(), given)
                own.copy_(host, non_blocking=True)
            else:
                own.copy_(given)

    def _mirror(self, name: str, value: Tensor) -> Tensor:
        """Return the float32 host memory of an input or output, made when it is first needed."""
        import torch

        if name not in self._mirrors:
            self._mirrors[name] = torch.zeros(
                value.shape, dtype=torch.float32, pin_memory=value.is_cuda
            )
        return self._mirrors[name]


class ShapeRuns:
    """The runs of the shapes used last; the one unused for longest makes room for another."""

    def __init__(self, prepare: Callable[[Inputs], ShapeRun], *, max_shapes: int = MAX_SHAPES):
        """Prepare a run with ``prepare`` when its shape comes for the first time."""
        self._prepare = prepare
        self._max_shapes = max_shapes
        self._by_shapes: OrderedDict[Shapes, ShapeRun] = OrderedDict()

    def find(self, inputs: Inputs) -> ShapeRun:
        """Return the run for the shapes of the inputs."""
        shapes = tuple(tuple(given.shape) for given in inputs)
        if shapes not in self._by_shapes:
            while len(self._by_shapes) >= self._max_shapes:
                self._by_shapes.popitem(last=False)  # first, so that its memory can be used again
            self._by_shapes[shapes] = self._prepare(inputs)
        self._by_shapes.move_to_end(shapes)
        return self._by_shapes[shapes]


class CudaRunner:
    """Runs a network on one CUDA device, on a stream of its own."""

    def __init__(
        self, find_network: Callable[[Inputs], Network], device: str, *, use_graph: bool
    ) -> None:
        """Make the stream.

        Args:
            find_network: Returns the network for the shapes of the first inputs.
            device: 'cuda:N'.
            use_graph: Capture and replay; without, every run launches kernel by kernel.
        """
        import torch

        place = torch.device(device)
        self._stream: Any = torch.cuda.Stream(place)  # type: ignore[no-untyped-call] # torch's
        capture = capture_cuda_graph if use_graph else repeat
        self._runs = ShapeRuns(
            lambda inputs: ShapeRun(find_network(inputs), inputs, device=place, capture=capture)
        )

    def __call__(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        """Run the network on inputs in host memory; the outputs belong to the caller."""
        import torch

        with torch.cuda.stream(self._stream), torch.inference_mode():
            return self._runs.find(arrays)(arrays, synchronise=self._stream.synchronize)

    def call(self, job: Callable[[Network], T]) -> T:
        """Call a job with the network, which takes and gives tensors on the device.

        The job runs on the stream of the runner. It waits for what it returns, and may keep
        nothing that the network gave: the next run overwrites it.
        """
        import torch

        with torch.cuda.stream(self._stream), torch.inference_mode():
            return job(lambda *inputs: self._runs.find(inputs).replay(inputs))


def repeat(call: Callable[[], Outputs]) -> Callable[[], Outputs]:
    """Return the call itself: the capture where nothing is captured."""
    return call


def capture_cuda_graph(call: Callable[[], Outputs]) -> Callable[[], Outputs]:
    """Capture a call as a CUDA graph; what cannot be captured is launched kernel by kernel.

    Args:
        call: Queues its work on the current stream, which is not the default one, always on the
            same inputs.

    Returns:
        Queues the same work and returns the outputs of the capture, always the same memory.

    Raises:
        OutOfMemoryError: Of torch, if the GPU has too little memory for the capture.
    """
    import torch

    if _HAS_FAILED.is_set():
        _LOGGER.info('a network runs without a CUDA graph, as the capture of another one failed')
        return call
    for _ in range(_NUM_WARM_UPS):
        call()
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream()
    try:
        # What is forbidden during a capture is forbidden to this thread only.
        with (
            CAPTURE_LOCK,
            torch.cuda.graph(graph, stream=stream, capture_error_mode='thread_local'),
        ):
            outputs = call()
    except torch.cuda.OutOfMemoryError:
        _HAS_FAILED.set()
        raise
    except RuntimeError as error:
        _HAS_FAILED.set()
        _LOGGER.warning(
            'the network cannot be captured as a CUDA graph (%s), it runs without; expected a '
            'network of fixed shapes; set engine.cuda_graph to false to leave this out',
            str(error).partition('\n')[0],
        )
        return call

    def replay() -> Outputs:
        graph.replay()
        return outputs

    return replay
