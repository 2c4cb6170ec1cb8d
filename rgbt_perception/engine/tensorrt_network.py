# SPDX-License-Identifier: Apache-2.0
"""A loaded plan of TensorRT with the memory of its inputs and outputs, ready to run.

Checked against NVIDIA's bindings 8.6, 10.3, 10.16 and 11.4 and run over stand-ins made from them,
never executed with TensorRT itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import logging
from pathlib import Path
from types import ModuleType
from typing import Any, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rgbt_perception.engine.base import check_names
from rgbt_perception.engine.cuda_runtime import CudaDevice, CudaGraph
from rgbt_perception.engine.tensorrt_build import open_log, shape_inputs
from rgbt_perception.errors import EngineError

if TYPE_CHECKING:
    import tensorrt

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Tensor:
    """One input or output: page-locked memory of the host, and memory of the GPU."""

    name: str
    host: NDArray[Any]
    address: int


class TensorrtNetwork:
    """Runs one plan on inputs of one size.

    With a CUDA graph the copies to the GPU, the network and the copies back are recorded once and
    then started as one; a network that cannot be recorded runs without.

    Attributes:
        input_hw: Height and width of its input, px.
    """

    def __init__(
        self,
        trt: ModuleType,
        engine: tensorrt.ICudaEngine,
        device: CudaDevice,
        *,
        input_hw: tuple[int, int],
        graph_path: Path,
        uses_cuda_graph: bool,
    ) -> None:
        """Take a loaded plan and allocate its memory.

        Args:
            trt: The module tensorrt.
            engine: The loaded plan.
            device: Where it was loaded.
            input_hw: Height and width of its input, px.
            graph_path: What it was built from.
            uses_cuda_graph: Whether its work may be recorded.

        Raises:
            EngineError: If it is of another network, or the GPU has too little memory.
        """
        self.input_hw = input_hw
        self._trt, self._device, self._log = trt, device, open_log(trt)
        self._engine: tensorrt.ICudaEngine | None = engine
        self._graph: CudaGraph | None = None
        self._may_record = uses_cuda_graph
        self._inputs: list[_Tensor] = []
        self._outputs: list[_Tensor] = []
        self._log.clear()
        self._context: tensorrt.IExecutionContext | None = engine.create_execution_context()
        if self._context is None:
            raise EngineError(
                f'TensorRT cannot prepare the network ({self._log.describe_problem()}), expected '
                f'it to have memory for it; free GPU memory, or set a smaller model.input_height '
                f'and model.input_width'
            )
        try:
            self._allocate(engine, graph_path)
        except EngineError:
            self.close()
            raise

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run the network.

        Args:
            inputs: By name, of the size of this network.

        Returns:
            Outputs by name, in memory of their own.

        Raises:
            EngineError: If an input has another shape, or TensorRT or CUDA fails.
        """
        for tensor in self._inputs:
            value = inputs[tensor.name]
            if value.shape != tensor.host.shape:
                raise EngineError(
                    f"input '{tensor.name}' is {value.shape}, the network takes "
                    f'{tensor.host.shape}; check model.input_height and model.input_width'
                )
            np.copyto(tensor.host, value, casting='same_kind')
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()
        self._device.synchronize()
        if self._may_record:  # not before a run, in which TensorRT prepares what it can put off
            self._record()
        return {tensor.name: tensor.host.astype(np.float32) for tensor in self._outputs}

    def close(self) -> None:
        """Release the recorded work, the network and its memory, in this order."""
        self._device.settle()
        if self._graph is not None:
            self._graph.destroy()
            self._graph = None
        self._context = self._engine = None
        self._inputs, self._outputs = [], []  # arrays over the memory that is freed next
        self._device.free_memory()

    def _allocate(self, engine: tensorrt.ICudaEngine, graph_path: Path) -> None:
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = {
            name: engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT for name in names
        }
        inputs = [name for name in names if is_input[name]]
        outputs = [name for name in names if not is_input[name]]
        check_names(graph_path, inputs, outputs)
        shapes = shape_inputs(self.input_hw)
        context = self._open_context()
        for name in inputs:
            if not context.set_input_shape(name, shapes[name]):
                raise self._refused(f"input '{name}' of {shapes[name]}")
        self._inputs = [self._allocate_tensor(engine, name) for name in inputs]
        self._outputs = [self._allocate_tensor(engine, name) for name in outputs]

    def _allocate_tensor(self, engine: tensorrt.ICudaEngine, name: str) -> _Tensor:
        context = self._open_context()
        shape = tuple(context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise self._refused(f"tensor '{name}' of {shape}")
        host = self._device.allocate_pinned(shape, self._find_type(engine, name))
        address = self._device.allocate(max(1, host.nbytes))
        if not context.set_tensor_address(name, address):
            raise self._refused(f"memory for tensor '{name}'")
        return _Tensor(name=name, host=host, address=address)

    def _find_type(self, engine: tensorrt.ICudaEngine, name: str) -> type[np.generic]:
        dtype = engine.get_tensor_dtype(name)
        types = {self._trt.DataType.FLOAT: np.float32, self._trt.DataType.HALF: np.float16}
        if dtype not in types:
            raise EngineError(
                f"tensor '{name}' of the TensorRT plan is {dtype}, expected FLOAT or HALF; export "
                f'the model again'
            )
        return types[dtype]

    def _enqueue(self) -> None:
        for tensor in self._inputs:
            self._device.upload(tensor.host, tensor.address)
        self._log.clear()
        if not self._open_context().execute_async_v3(self._device.stream_handle):
            raise EngineError(
                f'TensorRT failed to run the network ({self._log.describe_problem()}), expected '
                f'outputs; see what else uses the GPU, or set engine.backend to another one'
            )
        for tensor in self._outputs:
            self._device.download(tensor.address, tensor.host)

    def _record(self) -> None:
        self._may_record = False
        try:
            self._graph = self._device.record(self._enqueue)
        except EngineError as error:
            _LOGGER.info('the network runs without a CUDA graph, it cannot be recorded: %s', error)

    def _open_context(self) -> tensorrt.IExecutionContext:
        assert self._context is not None
        return self._context

    def _refused(self, what: str) -> EngineError:
        return EngineError(
            f'TensorRT refuses {what} ({self._log.describe_problem()}), expected what its plan '
            f'was built for; run: rgbt engine clear'
        )
