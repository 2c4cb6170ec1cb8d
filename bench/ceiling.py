# SPDX-License-Identifier: Apache-2.0
"""How fast this processor multiplies matrices, and how far an engine can be ahead of torch then.

    python -m bench.ceiling [--rounds N] [--out DIR]

Nearly all that a network does is to multiply and add. An engine that does it densely needs at
least the time which the fastest of the runtimes takes for as many operations in one large product
of matrices, on one thread; in int8 between quantisation nodes, as exported graphs have them. Over
the time that torch takes for the whole network in fp32, in the same round, that is the least ratio
to torch on this processor, in int8 as if attention were in int8, too. It leaves out everything but
the products, so engines stay above it. Times are processor times; there is no bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
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
SIZE = 1024  # of the square matrices
PRODUCTS_AT_ONCE, RUNS_AT_ONCE = 8, 3  # in a turn
ROUNDS = 5
THREADS = 1
OPSET, IR_VERSION = 18, 10  # of the graphs: what every runtime reads


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Network:
    """A network on torch.

    Attributes:
        run: Runs it once, in fp32.
        flops: Of one run: two per multiplication with addition.
    """

    run: Call
    flops: int


def build_products(folder: Path) -> dict[str, dict[str, Call]]:
    """Return the product of two matrices by precision, then by runtime.

    Args:
        folder: Receives graphs, which need not be kept.
    """
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((SIZE, SIZE), np.float32) for _ in range(2))
    graphs = {
        'fp32': write_graph(second, folder / 'fp32.onnx', is_quantised=False),
        'int8': write_graph(second, folder / 'int8.onnx', is_quantised=True),
    }
    tensors = torch.from_numpy(first), torch.from_numpy(second)
    products: dict[str, dict[str, Call]] = {
        'fp32': {'torch': lambda: torch.mm(*tensors)},
        'bf16': {},
        'int8': {},
    }
    for precision, graph in graphs.items():
        products[precision]['onnx'] = _bind_onnxruntime(graph, first)
        products[precision]['openvino'] = _bind_openvino(graph, first, 'f32')
    if 'BF16' in open_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        low = tuple(tensor.bfloat16() for tensor in tensors)
        products['bf16']['torch'] = lambda: torch.mm(*low)
        products['bf16']['openvino'] = _bind_openvino(graphs['fp32'], first, 'bf16')
    return {precision: calls for precision, calls in products.items() if calls}


def write_graph(weights: FloatArray, path: Path, *, is_quantised: bool) -> Path:
    """Write ``y = x @ weights`` as an ONNX graph; return the path.

    Args:
        weights: Shape (n, n), float32.
        path: The file to write.
        is_quantised: Inputs of the product pass through int8, weights of 7 bits as in exported
            graphs.
    """
    constants = {'weights': weights}
    nodes = [helper.make_node('MatMul', ['x', 'weights'], ['y'])]
    if is_quantised:
        scales = {'x_scale': np.float32(4 / 127), 'scale': np.float32(np.abs(weights).max() / 63)}
        constants = {
            'weights': np.rint(weights / scales['scale']).astype(np.int8),
            'x_zero': np.uint8(128),
            'zero': np.int8(0),
            **scales,
        }
        nodes = [
            helper.make_node('QuantizeLinear', ['x', 'x_scale', 'x_zero'], ['x_int8']),
            helper.make_node('DequantizeLinear', ['x_int8', 'x_scale', 'x_zero'], ['x_again']),
            helper.make_node('DequantizeLinear', ['weights', 'scale', 'zero'], ['w_again']),
            helper.make_node('MatMul', ['x_again', 'w_again'], ['y']),
        ]
    shape = list(weights.shape)
    graph = helper.make_graph(
        nodes,
        'product',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid('', OPSET)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION), path)
    return path


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
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        load_model(card)(*inputs)
    return Network(run=lambda: engine.run(batch), flops=int(counter.get_total_flops()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round gave.

    Attributes:
        rates: Operations per second, by precision and runtime.
        times_s: Of one run of each network.
    """

    rates: dict[str, dict[str, float]]
    times_s: dict[str, float]

    def least_ratio(self, name: str, network: Network, precision: str) -> float:
        """Return the least time of a network over that on torch in fp32."""
        return network.flops / max(self.rates[precision].values()) / self.times_s[name]


def time_round(
    products: Mapping[str, Mapping[str, Call]],
    networks: Mapping[str, Network],
    now_s: Callable[[], float] = process_time,
) -> Round:
    """Give every product and every network its turn.

    Args:
        products: By precision and runtime.
        networks: By name.
        now_s: Clock, seconds.
    """

    def time_s(call: Call, times: int) -> float:
        began_s = now_s()
        for _ in range(times):
            call()
        return (now_s() - began_s) / times

    return Round(
        rates={
            precision: {
                runtime: 2 * SIZE**3 / time_s(call, PRODUCTS_AT_ONCE)
                for runtime, call in calls.items()
            }
            for precision, calls in products.items()
        },
        times_s={name: time_s(network.run, RUNS_AT_ONCE) for name, network in networks.items()},
    )


def describe_rounds(
    rounds: Sequence[Round], networks: Mapping[str, Network]
) -> dict[str, dict[str, Any]]:
    """Return rates, and by network its time on torch and least ratios, as JSON values."""
    rates, asked = rounds[0].rates, _asked_ratios()
    return {
        'gflop_per_s': {
            f'{runtime} {precision}': describe_range(
                [item.rates[precision][runtime] / 1e9 for item in rounds]
            )
            for precision, by_runtime in rates.items()
            for runtime in by_runtime
        },
        'asked_ratio': {precision: asked[precision] for precision in rates},
        'networks': {
            name: {
                'gflop': round(network.flops / 1e9, 2),
                'torch_cpu_ms': describe_range([item.times_s[name] * 1e3 for item in rounds]),
                'least_ratio': {
                    precision: describe_range(
                        [item.least_ratio(name, network, precision) for item in rounds]
                    )
                    for precision in rates
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
        products = build_products(folder)
        time_round(products, networks)  # the first run allocates
        rounds = [time_round(products, networks) for _ in track(range(args.rounds), 'rounds')]
    facts = conditions(
        load_1min_at_start=load_at_start, threads=THREADS, matrices=SIZE, rounds=args.rounds
    )
    found = describe_rounds(rounds, networks)
    path = write_results('ceiling', {'conditions': facts, **found}, args.out)
    for name, network in found['networks'].items():
        for precision, ratio in network['least_ratio'].items():
            print(f'{name}, {precision}: at least {ratio["median"]:.3f} of torch fp32')
    print(f'wrote {path}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
