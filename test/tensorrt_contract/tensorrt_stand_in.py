# SPDX-License-Identifier: Apache-2.0
"""TensorRT without its libraries: a 'plan' holds the ONNX graph, and ONNX Runtime computes it."""

from __future__ import annotations

from collections.abc import Sequence
import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from rgbt_models.card import INPUT_NAMES, OUTPUT_NAMES
from rgbt_models.onnx_runtime import import_onnxruntime
from tensorrt_contract.bindings import Surface
from tensorrt_contract.cuda_stand_in import CudaWorld
from tensorrt_contract.stand_in import build_enum, Call, StandIn

PLAN_MARK = b'plan of a stand-in: '
TIMINGS = b'timings of a stand-in'


@dataclass
class Layer:
    """A layer as the parser of TensorRT 8 shows it: the type, and the type of its outputs."""

    type: Any
    dtype: Any
    precision: Any = None
    num_outputs: int = 1
    stored: dict[int, Any] = field(default_factory=dict)

    def set_output_type(self, index: int, dtype: Any) -> None:
        self.stored[index] = dtype


@dataclass
class TensorrtWorld:
    """What the libraries of TensorRT would do.

    Attributes:
        surface: The version that is stood in for.
        cuda: Where its work goes.
        calls: Every call with its arguments, in order; properties that were set, too.
        parser_errors: What the parser says; it accepts the graph when there are none.
        fails_to: What does not work: 'start', 'build', 'deserialise', 'prepare' (a context),
            'execute', 'record', 'load_timings', 'take_profile', 'take_shape', 'take_address' or
            'know_shape' (of an output).
        input_names: Inputs of the network, in its order.
        num_refused: So many plans are refused before one is taken.
        refusals: Errors that are logged then, in order.
        half_tensors: Inputs and outputs that the network has in fp16.
        odd_tensors: Name -> type of those with one that is not taken.
        layers: Layers of every network.
        logs: The loggers given, in order.
    """

    surface: Surface
    cuda: CudaWorld
    calls: list[Call] = field(default_factory=list)
    parser_errors: Sequence[str] = ()
    fails_to: str = ''
    num_refused: int = 0
    refusals: tuple[str, ...] = ('the plan was made by another version',)
    half_tensors: frozenset[str] = frozenset()
    odd_tensors: dict[str, str] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    input_names: tuple[str, ...] = INPUT_NAMES
    logs: list[Any] = field(default_factory=list)

    def module(self) -> StandIn:
        """Return the module as our code imports it."""
        return self.wrap('', _Module(self))

    def wrap(self, owner: str, behaviour: Any) -> StandIn:
        return StandIn(self.surface, owner, behaviour, self.calls)

    def enum(self, name: str) -> Any:
        return build_enum(self.surface, name)

    def say(self, text: str) -> None:
        """Log an error, as the libraries do before a call returns nothing."""
        self.logs[-1].log(self.enum('ILogger.Severity').ERROR, text)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def arguments(self, name: str) -> list[tuple[Any, ...]]:
        return [args for called, args in self.calls if called == name]


class _Module:
    """The factories of the module."""

    def __init__(self, world: TensorrtWorld) -> None:
        self._world = world
        # A class, for our code derives from it.
        self.ILogger = type('ILogger', (), {'Severity': world.enum('ILogger.Severity')})
        self.Builder = lambda log: self._start('Builder', _Builder(world), log)
        self.Runtime = lambda log: self._start('Runtime', _Runtime(world), log)
        self.OnnxParser = lambda network, log: self._start(
            'OnnxParser', _Parser(world, network._behaviour), log
        )

    def _start(self, owner: str, behaviour: Any, log: Any) -> StandIn:
        assert 'cudaSetDevice' in self._world.cuda.names(), 'TensorRT without a device: no process'
        self._world.logs.append(log)
        if self._world.fails_to == 'start':
            raise TypeError('pybind11::init(): factory function returned nullptr')
        return self._world.wrap(owner, behaviour)


class _Builder:
    def __init__(self, world: TensorrtWorld) -> None:
        self._world = world

    def create_network(self, flags: int) -> StandIn:
        return self._world.wrap('INetworkDefinition', _Network(self._world))

    def create_builder_config(self) -> StandIn:
        return self._world.wrap('IBuilderConfig', _Config(self._world))

    def create_optimization_profile(self) -> StandIn:
        profile = SimpleNamespace(set_shape=lambda name, low, best, high: None)
        return self._world.wrap('IOptimizationProfile', profile)

    def build_serialized_network(self, network: StandIn, config: StandIn) -> bytes | None:
        assert network._behaviour.graph, 'the network was not parsed'
        if self._world.fails_to == 'build':
            self._world.say('could not find any implementation for node')
            return None
        return PLAN_MARK + network._behaviour.graph


class _Network:
    def __init__(self, world: TensorrtWorld) -> None:
        self.graph = b''
        self.num_inputs = len(world.input_names)
        self.num_outputs = len(OUTPUT_NAMES)
        self.num_layers = len(world.layers)
        self._world = world

    def get_input(self, index: int) -> StandIn:
        return self._world.wrap('ITensor', SimpleNamespace(name=self._world.input_names[index]))

    def get_output(self, index: int) -> StandIn:
        return self._world.wrap('ITensor', SimpleNamespace(name=OUTPUT_NAMES[index]))

    def get_layer(self, index: int) -> StandIn:
        layer = self._world.layers[index]
        output = self._world.wrap('ITensor', SimpleNamespace(dtype=layer.dtype))
        layer.get_output = lambda index: output  # type: ignore[attr-defined]  # only here
        return self._world.wrap('ILayer', layer)


class _Parser:
    def __init__(self, world: TensorrtWorld, network: _Network) -> None:
        self._world, self._network = world, network

    @property
    def num_errors(self) -> int:
        return len(self._world.parser_errors)

    def parse_from_file(self, path: str) -> bool:
        self._network.graph = Path(path).read_bytes()
        return not self._world.parser_errors

    def get_error(self, index: int) -> StandIn:
        text = self._world.parser_errors[index]
        return self._world.wrap('ParserError', SimpleNamespace(desc=lambda: text))


class _Config:
    def __init__(self, world: TensorrtWorld) -> None:
        self._world = world

    def set_flag(self, flag: Any) -> None: ...

    def clear_flag(self, flag: Any) -> None: ...

    def set_memory_pool_limit(self, pool: Any, num_bytes: int) -> None: ...

    def add_optimization_profile(self, profile: StandIn) -> int:
        return -1 if self._world.fails_to == 'take_profile' else 0

    def create_timing_cache(self, saved: bytes) -> StandIn:
        timings = SimpleNamespace(saved=saved, serialize=lambda: TIMINGS)
        return self._world.wrap('ITimingCache', timings)

    def set_timing_cache(self, cache: StandIn, ignore_mismatch: bool) -> bool:
        return not (self._world.fails_to == 'load_timings' and cache._behaviour.saved)

    def get_timing_cache(self) -> StandIn:
        return self.create_timing_cache(b'')


class _Runtime:
    engine_host_code_allowed = False

    def __init__(self, world: TensorrtWorld) -> None:
        self._world = world

    def deserialize_cuda_engine(self, plan: bytes) -> StandIn | None:
        if self._world.fails_to == 'deserialise' or self._world.num_refused > 0:
            self._world.num_refused -= 1
            for text in self._world.refusals:
                self._world.say(text)
            return None
        assert plan.startswith(PLAN_MARK)
        return self._world.wrap('ICudaEngine', _Engine(self._world, plan[len(PLAN_MARK) :]))


class _Engine:
    def __init__(self, world: TensorrtWorld, graph: bytes) -> None:
        self._world, self._graph = world, graph
        self.names = [*OUTPUT_NAMES, *world.input_names]  # the order is TensorRT's own
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Any:
        mode = self._world.enum('TensorIOMode')
        return mode.INPUT if name in self._world.input_names else mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        kind = self._world.odd_tensors.get(name)
        return self._world.enum('DataType')[
            kind or ('HALF' if name in self._world.half_tensors else 'FLOAT')
        ]

    def create_execution_context(self) -> StandIn | None:
        if self._world.fails_to == 'prepare':
            self._world.say('CUDA: out of memory')
            return None
        return self._world.wrap('IExecutionContext', _Context(self._world, self._graph))


class _Context:
    def __init__(self, world: TensorrtWorld, graph: bytes) -> None:
        self._world = world
        self._session = import_onnxruntime().InferenceSession(graph)
        self._inputs: dict[str, np.ndarray] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        if set(self._shapes) == set(INPUT_NAMES):
            self._shapes |= {name: value.shape for name, value in self._compute({}).items()}
        return self._world.fails_to != 'take_shape'

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if self._world.fails_to == 'know_shape' and name in OUTPUT_NAMES:
            return (1, -1)
        return self._shapes[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return self._world.fails_to != 'take_address'

    def execute_async_v3(self, stream: int) -> bool:
        assert stream in self._world.cuda.streams
        is_recorded = self._world.cuda.recording is not None
        if self._world.fails_to == ('record' if is_recorded else 'execute'):
            self._world.say('the launch failed')
            return False
        self._world.cuda.submit(self._execute)
        return True

    def _execute(self) -> None:
        inputs = {name: self._memory(name).astype(np.float32) for name in INPUT_NAMES}
        for name, value in self._compute(inputs).items():
            self._memory(name)[...] = value

    def _compute(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        zeros = {name: np.zeros(self._shapes[name], np.float32) for name in INPUT_NAMES}
        values = self._session.run(OUTPUT_NAMES, zeros | inputs)
        return dict(zip(OUTPUT_NAMES, values, strict=True))

    def _memory(self, name: str) -> np.ndarray:
        """The GPU's memory of a tensor; it must still be allocated."""
        address = self._addresses[name]
        assert address in self._world.cuda.memory, f'memory of {name} was freed'
        dtype = np.dtype(np.float16 if name in self._world.half_tensors else np.float32)
        size = int(np.prod(self._shapes[name]))
        block = (ctypes.c_uint8 * (size * dtype.itemsize)).from_address(address)
        return np.frombuffer(block, dtype).reshape(self._shapes[name])
