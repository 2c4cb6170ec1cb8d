# SPDX-License-Identifier: Apache-2.0
"""CUDA without a GPU: memory is memory of the host, and a stream is a list of things to do."""

from __future__ import annotations

from collections.abc import Callable
import ctypes
import re
from types import SimpleNamespace
from typing import Any

from rgbt_perception.engine.cuda_runtime import CAPTURE_LOCK
from tensorrt_contract.bindings import Surface
from tensorrt_contract.stand_in import Call, StandIn

SUCCESS, OUT_OF_MEMORY, NO_DRIVER, LAUNCH_FAILURE, CAPTURE_INVALID = 0, 2, 35, 719, 901
NON_BLOCKING = 1
TEXTS = {
    OUT_OF_MEMORY: b'out of memory',
    NO_DRIVER: b'CUDA driver version is insufficient for CUDA runtime version',
    LAUNCH_FAILURE: b'unspecified launch failure',
    CAPTURE_INVALID: b'operation failed due to a previous error during capture',
}
Work = Callable[[], None]


class CudaWorld:
    """State of the GPU that is not there.

    Work on a stream is done when somebody waits for it, not before; while a stream is recorded,
    its work only goes into the graph.

    Attributes:
        calls: Every call of the runtime with its arguments, in order.
        failures: Name of a function -> error code it returns.
        num_devices: GPUs that CUDA sees.
        memory: Allocated blocks by address.
        streams: Open streams.
        graphs: Recorded graphs, and executable ones, that were not destroyed.
        recording: What is being recorded, None when nothing is.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.failures: dict[str, int] = {}
        self.num_devices = 1
        self.memory: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.graphs: dict[int, list[Work]] = {}
        self.recording: list[Work] | None = None
        self._queue: list[Work] = []
        self._next_handle = 100

    def module(self, surface: Surface) -> StandIn:
        """Return the module of the runtime as our code imports it."""
        return StandIn(surface, '', self, self.calls)

    def submit(self, work: Work) -> None:
        """Put work on the stream, or into the graph that is being recorded."""
        (self._queue if self.recording is None else self.recording).append(work)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def __getattr__(self, name: str) -> Any:
        """Give the functions of the runtime, each with its error code before its value."""
        if not name.startswith('cuda'):
            raise AttributeError(name)
        words = re.findall('[A-Z][a-z]*', name)  # cudaGetDeviceCount is _get_device_count here
        work = getattr(self, '_' + '_'.join(words).lower())

        def call(*args: Any) -> tuple[Any, ...]:
            if name in self.failures:
                if name == 'cudaStreamEndCapture':
                    self.recording = None  # it ends, and gives nothing
                return (self.failures[name], None)
            value = work(*args)
            return (SUCCESS,) if value is None else (SUCCESS, value)

        return call

    def _get_device_count(self) -> int:
        return self.num_devices

    def _set_device(self, index: int) -> None:
        assert index < self.num_devices

    def _get_device_properties(self, index: int) -> Any:
        return SimpleNamespace(name=b'Orin', major=8, minor=7)

    def _driver_get_version(self) -> int:
        return 12060

    def _get_error_string(self, code: int) -> bytes:
        return TEXTS[code]

    def _malloc(self, num_bytes: int) -> int:
        assert num_bytes > 0
        block = (ctypes.c_uint8 * num_bytes)()
        self.memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    _malloc_host = _malloc

    def _free(self, address: int) -> None:
        assert not self._queue, 'memory is freed while work on the stream may use it'
        del self.memory[address]

    _free_host = _free

    def _memcpy_async(
        self, target: int, source: int, num_bytes: int, kind: Any, stream: int
    ) -> None:
        assert {target, source} <= set(self.memory), 'a copy of memory that is not allocated'
        assert stream in self.streams
        self.submit(lambda: ctypes.memmove(target, source, num_bytes) and None)

    def _stream_create_with_flags(self, flags: int) -> int:
        assert flags == NON_BLOCKING
        self.streams.add(self._new_handle())
        return self._next_handle

    def _stream_destroy(self, stream: int) -> None:
        self.streams.remove(stream)

    def _stream_synchronize(self, stream: int) -> None:
        assert self.recording is None, 'waiting cannot be recorded'
        while self._queue:
            self._queue.pop(0)()

    def _stream_begin_capture(self, stream: int, mode: Any) -> None:
        assert self.recording is None
        assert CAPTURE_LOCK.locked()
        self.recording = []

    def _stream_end_capture(self, stream: int) -> int:
        assert self.recording is not None
        assert CAPTURE_LOCK.locked()
        self.graphs[self._new_handle()] = self.recording
        self.recording = None
        return self._next_handle

    def _graph_instantiate_with_flags(self, graph: int, flags: int) -> int:
        self.graphs[self._new_handle()] = list(self.graphs[graph])
        return self._next_handle

    def _graph_launch(self, executable: int, stream: int) -> None:
        self._queue += self.graphs[executable]

    def _graph_destroy(self, graph: int) -> None:
        del self.graphs[graph]

    _graph_exec_destroy = _graph_destroy

    def _new_handle(self) -> int:
        self._next_handle += 1
        return self._next_handle
