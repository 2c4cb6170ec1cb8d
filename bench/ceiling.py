# SPDX-License-Identifier: Apache-2.0
"""How fast this processor multiplies, and how far an engine can be ahead of torch then.

    python -m bench.ceiling [--rounds N] [--out DIR]

Nearly all that a network does is to multiply and add, in products of matrices and in convolutions.
An engine that does it densely needs about the time that the fastest of the runtimes takes for as
many operations in one large product, and in one convolution, on one thread; in int8 between
quantisation nodes, as exported graphs have them. Over the time that torch takes for the whole
network in fp32, in the same round, that is the least ratio to torch on this processor, in int8 as
if attention were in int8, too. It leaves out everything else, so engines stay above it. It is an
estimate: a runtime may be a little faster in other shapes. Times are processor times; there is no
bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
import math
from pathlib import Path
import sys
import tempfile
from time import process_time
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
from rich.progress import track
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.report import (
    add_common_arguments,
    conditions,
    describe_range,
    format_hw,
    new_parser,
    read_load,
    write_results,
)
from rgbt_models.build import load_model
from rgbt_models.card import INPUT_NAMES, ModelCard
from rgbt_models.onnx_runtime import import_onnxruntime
from rgbt_models.openvino_runtime import open_core
from rgbt_perception.benchmark.cards import opened_card
from rgbt_perception.benchmark.engines import BASELINE, MAX_CPU_RATIOS
from rgbt_perception.benchmark.side import Task
from rgbt_perception.benchmark.worker import open_side, random_batch
from rgbt_perception.memory import keep_freed_memory
from rgbt_perception.types import FloatArray

Call: TypeAlias = Callable[[], object]

CARDS = {'tiny': (256, 320), 'random:small': (480, 640)}  # by name: height and width, px
PRODUCT, CONVOLUTION = 'product', 'convolution'
SHAPES = {  # of images and weights
    PRODUCT: ((1024, 1024), (1024, 1024)),
    CONVOLUTION: ((1, 64, 64, 80), (64, 64, 3, 3)),  # as the heads of tiny have them
}
NODES: dict[str, tuple[str, dict[str, Any]]] = {
    PRODUCT: ('MatMul', {}),
    CONVOLUTION: ('Conv', {'pads': [1, 1, 1, 1]}),
}
TURN_FLOPS = 16_000_000_000  # of one operation in a turn
RUNS_AT_ONCE = 3  # of a network in a turn
ROUNDS = 5
THREADS = 1
OPSET, IR_VERSION = 18, 10  # of the graphs: what every runtime reads


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Operation:
    """One large operation in a runtime.

    Attributes:
        run: Runs it once.
        flops: Of one run: two per multiplication with addition.
        kind: 'product' or 'convolution'.
        runtime: 'torch', 'onnx' or 'openvino'.
        precision: 'fp32', 'bf16' or 'int8'.
    """

    run: Call
    flops: int
    kind: str
    runtime: str
    precision: str

    @property
    def name(self) -> str:
        """Name in tables and files."""
        return f'{self.kind}, {self.runtime} {self.precision}'


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Network:
    """A network on torch.

    Attributes:
        run: Runs it once, in fp32.
        flops: Of one run, by kind; attention counts as products.
    """

    run: Call
    flops: Mapping[str, int]


def build_operations(kind: str, folder: Path) -> list[Operation]:
    """Return an operation in every runtime and precision of this machine, all with the same data.

    Args:
        kind: 'product' or 'convolution'.
        folder: Receives graphs, which need not be kept.
    """
    rng = np.random.default_rng(0)
    x, weights = (rng.standard_normal(shape, np.float32) for shape in SHAPES[kind])
    graph = write_graph(kind, weights, x.shape, folder / f'{kind}.onnx', is_quantised=False)
    in_int8 = write_graph(kind, weights, x.shape, folder / f'{kind}8.onnx', is_quantised=True)
    tensors = torch.from_numpy(x), torch.from_numpy(weights)
    calls = {
        ('torch', 'fp32'): _bind_torch(kind, *tensors),
        ('onnx', 'fp32'): _bind_onnxruntime(graph, x),
        ('openvino', 'fp32'): _bind_openvino(graph, x, 'f32'),
        ('onnx', 'int8'): _bind_onnxruntime(in_int8, x),
        ('openvino', 'int8'): _bind_openvino(in_int8, x, 'f32'),
    }
    if 'BF16' in open_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        calls['torch', 'bf16'] = _bind_torch(kind, *(tensor.bfloat16() for tensor in tensors))
        calls['openvino', 'bf16'] = _bind_openvino(graph, x, 'bf16')
    flops = sum(count_flops(_bind_torch(kind, *tensors)).values())
    return [
        Operation(run=run, flops=flops, kind=kind, runtime=runtime, precision=precision)
        for (runtime, precision), run in calls.items()
    ]


def count_flops(run: Call) -> dict[str, int]:
    """Run something in torch; return its floating point operations by kind."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run()
    by_operator = counter.get_flop_counts()['Global']
    convolutions = by_operator.get(torch.ops.aten.convolution, 0)
    return {CONVOLUTION: convolutions, PRODUCT: counter.get_total_flops() - convolutions}


def write_graph(
    kind: str, weights: FloatArray, x_shape: tuple[int, ...], path: Path, *, is_quantised: bool
) -> Path:
    """Write an operation as an ONNX graph with the input x; return the path.

    Args:
        kind: 'product' or 'convolution'.
        weights: Float32.
        x_shape: Of the input.
        path: The file to write.
        is_quantised: Inputs and outputs of the operation pass through int8, weights of 7 bits as
            in exported graphs.
    """
    operator, attributes = NODES[kind]
    constants: dict[str, Any] = {'weights': weights}
    if is_quantised:
        num_terms = math.prod(weights.shape) // weights.shape[1 if kind == PRODUCT else 0]
        scale = np.float32(np.abs(weights).max() / 63)
        constants = {
            'weights': np.rint(weights / scale).astype(np.int8),
            'scale': scale,
            'zero': np.int8(0),
            'x_scale': np.float32(5 / 127),
            'y_scale': np.float32(5 / 127 * math.sqrt(num_terms)),
            'middle': np.uint8(128),
        }
        nodes = [
            helper.make_node('QuantizeLinear', ['x', 'x_scale', 'middle'], ['x8']),
            helper.make_node('DequantizeLinear', ['x8', 'x_scale', 'middle'], ['x_again']),
            helper.make_node('DequantizeLinear', ['weights', 'scale', 'zero'], ['w_again']),
            helper.make_node(operator, ['x_again', 'w_again'], ['found'], **attributes),
            helper.make_node('QuantizeLinear', ['found', 'y_scale', 'middle'], ['y8']),
            helper.make_node('DequantizeLinear', ['y8', 'y_scale', 'middle'], ['y']),
        ]
    else:
        nodes = [helper.make_node(operator, ['x', 'weights'], ['y'], **attributes)]
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, x_shape)],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid('', OPSET)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION), path)
    return path


def _bind_torch(kind: str, x: torch.Tensor, weights: torch.Tensor) -> Call:
    if kind == PRODUCT:
        return lambda: torch.mm(x, weights)
    return lambda: torch.nn.functional.conv2d(x, weights, padding=1)


def _bind_onnxruntime(graph: Path, x: FloatArray) -> Call:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(graph, options, providers=['CPUExecutionProvider'])
    return lambda: session.run(None, {'x': x})


def _bind_openvino(graph: Path, x: FloatArray, precision: str) -> Call:
    properties = {'INFERENCE_NUM_THREADS': THREADS, 'INFERENCE_PRECISION_HINT': precision}
    request = open_core().compile_model(graph, 'CPU', properties).create_infer_request()
    return lambda: request.infer({'x': x}, share_inputs=True, share_outputs=True)


def open_network(card: ModelCard, input_hw: tuple[int, int]) -> Network:
    """Open the engine that all others are compared with, and count its operations."""
    task = Task(
        card=str(card.folder), input_hw=input_hw, device='cpu', num_threads=THREADS, cache_dir=''
    )
    engine, batch = open_side({**asdict(task), **asdict(BASELINE)}), random_batch(input_hw)
    inputs = [torch.from_numpy(getattr(batch, name)) for name in INPUT_NAMES]
    model = load_model(card)
    return Network(run=lambda: engine.run(batch), flops=count_flops(lambda: model(*inputs)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round gave.

    Attributes:
        rates: Operations per second, one of each operation.
        times_s: Of one run of each network.
    """

    rates: list[float]
    times_s: dict[str, float]


def time_round(
    operations: Sequence[Operation],
    networks: Mapping[str, Network],
    now_s: Callable[[], float] = process_time,
) -> Round:
    """Give every operation and every network its turn.

    Args:
        operations: What sets the ceiling.
        networks: By name.
        now_s: Clock, seconds.
    """

    def time_s(call: Call, times: int) -> float:
        began_s = now_s()
        for _ in range(times):
            call()
        return (now_s() - began_s) / times

    return Round(
        rates=[
            item.flops / time_s(item.run, math.ceil(TURN_FLOPS / item.flops))
            for item in operations
        ],
        times_s={name: time_s(network.run, RUNS_AT_ONCE) for name, network in networks.items()},
    )


def find_least_s(
    network: Network, operations: Sequence[Operation], rates: Sequence[float], precision: str
) -> float:
    """Return the time of a network's operations at the best rate of their kind, seconds."""
    best: dict[str, float] = {}
    for item, rate in zip(operations, rates, strict=True):
        if item.precision == precision:
            best[item.kind] = max(best.get(item.kind, 0.0), rate)
    return sum(flops / best[kind] for kind, flops in network.flops.items())


def describe_rounds(
    rounds: Sequence[Round], operations: Sequence[Operation], networks: Mapping[str, Network]
) -> dict[str, dict[str, Any]]:
    """Return rates, and by network its time on torch and least ratios, as JSON values."""
    asked = _asked_ratios()
    precisions = list(dict.fromkeys(item.precision for item in operations))
    return {
        'gflop_per_s': {
            item.name: describe_range([of.rates[index] / 1e9 for of in rounds])
            for index, item in enumerate(operations)
        },
        'asked_ratio': {precision: asked[precision] for precision in precisions},
        'networks': {
            name: {
                'gflop': round(sum(network.flops.values()) / 1e9, 2),
                'torch_cpu_ms': describe_range([of.times_s[name] * 1e3 for of in rounds]),
                'least_ratio': {
                    precision: describe_range(
                        [
                            find_least_s(network, operations, of.rates, precision)
                            / of.times_s[name]
                            for of in rounds
                        ]
                    )
                    for precision in precisions
                },
            }
            for name, network in networks.items()
        },
    }


def _asked_ratios() -> dict[str, dict[str, float]]:
    """Return what ``rgbt bench`` asks of every runtime, by precision."""
    asked: dict[str, dict[str, float]] = {}
    for side, ratio in MAX_CPU_RATIOS.items():
        runtime, precision = side.split()
        asked.setdefault(precision, {})[runtime] = ratio
    return asked


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = new_parser('ceiling', __doc__)
    add_common_arguments(parser, rounds=ROUNDS)
    args, load_at_start = parser.parse_args(argv), read_load()
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        networks = {
            f'{name.removeprefix("random:")} at {format_hw(input_hw)}': open_network(
                stack.enter_context(opened_card(name, input_hw)), input_hw
            )
            for name, input_hw in CARDS.items()
        }
        operations = [*build_operations(PRODUCT, folder), *build_operations(CONVOLUTION, folder)]
        time_round(operations, networks)  # the first run allocates
        rounds = [time_round(operations, networks) for _ in track(range(args.rounds), 'rounds')]
    facts = conditions(load_1min_at_start=load_at_start, threads=THREADS, rounds=args.rounds)
    found = describe_rounds(rounds, operations, networks)
    path = write_results('ceiling', {'conditions': facts, **found}, args.out)
    for name, network in found['networks'].items():
        for precision, ratio in network['least_ratio'].items():
            print(f'{name}, {precision}: at least about {ratio["median"]:.3f} of torch fp32')
    print(f'wrote {path}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
