# SPDX-License-Identifier: Apache-2.0
"""One NVIDIA GPU through NVIDIA's Python bindings of the CUDA runtime; no torch.

Checked against those bindings and run over a stand-in for them, never executed on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import ctypes
from dataclasses import dataclass
import importlib
import math
import threading
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgbt_perception.errors import BackendUnavailableError, EngineError

# The module of CUDA 12.8 and newer, and that of older bindings (JetPack 5 and 6).
_MODULES = ('cuda.bindings.runtime', 'cuda.cudart')
_NO_FLAGS = 0
# Held by whoever captures the work of a stream, with these bindings or with torch. Other threads
# may launch work meanwhile, but not capture: torch can follow only one capture in a process.
CAPTURE_LOCK = threading.Lock()


class CudaDevice:
    """One GPU with one stream: its memory, copies on the stream, and recorded work.

    Everything it hands out is released by ``close``. Only the thread that called ``activate``
    last may use it.

    Attributes:
        name: 'cuda:N'.
        identity: Name, compute capability and CUDA version of the driver: what code built for
            this GPU depends on.
    """

    def __init__(self, index: int) -> None:
        """Take a GPU.

        Raises:
            BackendUnavailableError: If the bindings are not installed.
            EngineError: If there is no driver or no such GPU.
        """
        self._cudart = _import_cudart()
        self._index = index
        self.name = f'cuda:{index}'
        self._device_memory: list[int] = []
        self._pinned_memory: list[int] = []
        self._stream: Any = None
        self._check_presence()
        self.activate()
        self.identity = self._identify()

    @property
    def stream_handle(self) -> int:
        """The stream as a number, for other libraries; made at the first use."""
        return int(self._open_stream())

    def activate(self) -> None:
        """Make it the GPU of the calling thread.

        Raises:
            EngineError: As every other method, if CUDA reports an error.
        """
        self._check(self._cudart.cudaSetDevice(self._index), 'be selected')

    def allocate(self, num_bytes: int) -> int:
        """Return the address of new memory on the GPU."""
        answer = self._cudart.cudaMalloc(num_bytes)
        address = int(self._check(answer, f'provide {num_bytes} bytes of memory'))
        self._device_memory.append(address)
        return address

    def allocate_pinned(self, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """Return a new array in page-locked memory of the host, not initialised.

        It must not be touched after ``free_memory``.
        """
        num_bytes = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
        answer = self._cudart.cudaMallocHost(num_bytes)
        address = int(self._check(answer, f'provide {num_bytes} bytes of page-locked memory'))
        self._pinned_memory.append(address)
        memory = memoryview((ctypes.c_uint8 * num_bytes).from_address(address))
        array: NDArray[Any] = np.ndarray(shape, dtype, buffer=memory)
        return array

    def upload(self, source: NDArray[Any], address: int) -> None:
        """Copy an array to the GPU, on the stream."""
        self._copy(
            address,
            source.ctypes.data,
            source.nbytes,
            self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice,
        )

    def download(self, address: int, target: NDArray[Any]) -> None:
        """Copy memory of the GPU into an array, on the stream."""
        self._copy(
            target.ctypes.data,
            address,
            target.nbytes,
            self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost,
        )

    def synchronize(self) -> None:
        """Wait until all work on the stream is done; its errors come to light here."""
        self._check(self._cudart.cudaStreamSynchronize(self._open_stream()), 'finish its work')

    def record(self, enqueue: Callable[[], None]) -> CudaGraph:
        """Record what a function puts on the stream, without executing it.

        Raises:
            EngineError: If something in it cannot be recorded; the stream is usable again.
        """
        with CAPTURE_LOCK:
            graph = self._capture(enqueue)
        try:
            answer = self._cudart.cudaGraphInstantiateWithFlags(graph, _NO_FLAGS)
            executable = self._check(answer, 'prepare the recorded inference')
        finally:
            self._cudart.cudaGraphDestroy(graph)
        return CudaGraph(
            launch=lambda: self._launch(executable), destroy=lambda: self._destroy(executable)
        )

    def settle(self) -> None:
        """Wait until the stream is at rest, before what it works on is released."""
        self._cudart.cudaSetDevice(self._index)
        if self._stream is not None:
            self._cudart.cudaStreamSynchronize(self._stream)

    def free_memory(self) -> None:
        """Release all memory that was handed out; the stream must be at rest."""
        while self._device_memory:
            self._cudart.cudaFree(self._device_memory.pop())
        while self._pinned_memory:
            self._cudart.cudaFreeHost(self._pinned_memory.pop())

    def close(self) -> None:
        """Release the memory and the stream; errors are of no use to anybody by now."""
        self.settle()
        self.free_memory()
        if self._stream is not None:
            self._cudart.cudaStreamDestroy(self._stream)
            self._stream = None

    def _open_stream(self) -> Any:
        if self._stream is None:
            # Waits for nothing that others do: their work would spoil a recording.
            answer = self._cudart.cudaStreamCreateWithFlags(self._cudart.cudaStreamNonBlocking)
            self._stream = self._check(answer, 'open a stream')
        return self._stream

    def _capture(self, enqueue: Callable[[], None]) -> Any:
        stream = self._open_stream()
        # What is forbidden during a capture is forbidden to this thread only.
        mode = self._cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._check(self._cudart.cudaStreamBeginCapture(stream, mode), 'begin to record')
        try:
            enqueue()
        except EngineError:
            code, unfinished = self._cudart.cudaStreamEndCapture(stream)
            if not int(code):
                self._cudart.cudaGraphDestroy(unfinished)
            raise
        return self._check(self._cudart.cudaStreamEndCapture(stream), 'record an inference')

    def _copy(self, target: int, source: int, num_bytes: int, kind: Any) -> None:
        stream = self._open_stream()
        answer = self._cudart.cudaMemcpyAsync(target, source, num_bytes, kind, stream)
        self._check(answer, f'copy {num_bytes} bytes')

    def _launch(self, executable: Any) -> None:
        answer = self._cudart.cudaGraphLaunch(executable, self._open_stream())
        self._check(answer, 'start the recorded inference')

    def _destroy(self, executable: Any) -> None:
        self._cudart.cudaGraphExecDestroy(executable)

    def _check_presence(self) -> None:
        try:
            code, count = self._cudart.cudaGetDeviceCount()
        except RuntimeError as error:  # older bindings, without a driver
            raise self._absent(str(error)) from error
        if int(code):
            raise self._absent(self._describe(code))
        if self._index >= count:
            raise self._absent(f'CUDA sees {count} devices')

    def _absent(self, reason: str) -> EngineError:
        return EngineError(
            f"device '{self.name}' is not there ({reason}), expected an NVIDIA GPU with its "
            f"driver; check them with nvidia-smi, or set engine.device to 'cpu'"
        )

    def _identify(self) -> str:
        properties = self._check(self._cudart.cudaGetDeviceProperties(self._index), 'be described')
        version = self._check(
            self._cudart.cudaDriverGetVersion(), 'tell the version of its driver'
        )
        name = properties.name.decode() if isinstance(properties.name, bytes) else properties.name
        major, minor = version // 1000, version % 1000 // 10
        return f'{name}, compute {properties.major}.{properties.minor}, CUDA {major}.{minor}'

    def _check(self, answer: tuple[Any, ...], doing: str) -> Any:
        """Return the value of an answer of CUDA, None when it has only its error code."""
        code, *values = answer
        if int(code):
            raise EngineError(
                f"device '{self.name}' could not {doing} ({self._describe(code)}), expected it "
                f'to; see what else uses it with nvidia-smi, on a Jetson with tegrastats'
            )
        return values[0] if values else None

    def _describe(self, code: Any) -> str:
        _, text = self._cudart.cudaGetErrorString(code)
        return text.decode() if isinstance(text, bytes) else str(text)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CudaGraph:
    """Recorded work of a stream.

    Attributes:
        launch: Puts all of it on the stream at once.
        destroy: Releases it; it cannot be launched afterwards.
    """

    launch: Callable[[], None]
    destroy: Callable[[], None]


def _import_cudart() -> ModuleType:
    for name in _MODULES:
        with suppress(ImportError):
            return importlib.import_module(name)
    raise BackendUnavailableError(
        "backend 'tensorrt' needs the package cuda-python, which cannot be imported; run: "
        "pip install 'rgbt_perception[tensorrt]'"
    )
