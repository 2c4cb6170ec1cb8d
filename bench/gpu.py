# SPDX-License-Identifier: Apache-2.0
"""Latency, throughput and share of the roofline of torch in bf16 on one NVIDIA GPU.

    python -m bench.gpu [--rounds N] [--seconds S] [--device cuda:N] [--out DIR]

ViT-S/16 and ViT-B/16 with their heads at 480x640, random weights. 'replay' is one pair in GPU
memory to the outputs of the heads, replayed as a CUDA graph; 'eager' the same without the graph;
'host to host' from float32 images in host memory to outputs in host memory; 'batch' four pairs,
replayed. All four take turns in every round. Then 'batch' and 'host to host' run back to back for
some seconds each, 'batch' with calls queued ahead so that the GPU never waits for the host: these
are the sustained rates. The roofline is the largest bf16 matrix product of this GPU, measured in
the same run. Without a CUDA device nothing is measured: the file says 'not run' and why, and the
exit status is 0. Where a graph cannot be captured it is 1, and nothing is written.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import sys
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    format_hw,
    new_parser,
    number,
    print_bounds,
    read_load,
    write_results,
)
from rgbt_models.build import create_model, RGBTModel
from rgbt_perception.engine.torch_precision import lower_precision
from rgbt_perception.engine.torch_runs import Capture, capture_cuda_graph, Outputs, ShapeRun
from rgbt_perception.errors import EngineError

INPUT_HW = (480, 640)
PRECISION = 'bf16'
BATCH_SIZE = 4
ROUNDS = 300
NUM_CLASSES = 13
SECONDS = 5.0  # of each sustained rate
CALLS_AHEAD = 8  # that are queued before the oldest is waited for
SUSTAINED = {'batch': BATCH_SIZE, 'host to host': 1}  # pairs per call
CEILING_SIDES = (4096, 8192, 16384)  # of square matrices
CEILING_PRODUCTS = 10
MAX_REPLAY_MS = {'small': 0.9, 'base': 1.8}
MIN_EAGER_OVER_REPLAY = 2.0
MAX_HOST_OVER_REPLAY = 1.35
MIN_PAIRS_PER_S = 1000.0
NOT_RUN = 'not run'

Call: TypeAlias = Callable[[], object]
# Runs a call to its end and returns how long that took, ms.
Timer: TypeAlias = Callable[[Call], float]
# Notes how far the queue has come, and returns what waits until that is done.
Mark: TypeAlias = Callable[[], Callable[[], None]]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sides:
    """What is compared, for one model; each call queues its work, 'host to host' ends it too.

    Attributes:
        calls: 'replay', 'eager', 'host to host' and 'batch'.
        flops: Floating point operations of one pair, two per multiplication with addition.
    """

    calls: Mapping[str, Call]
    flops: int


def build_sides(
    model: RGBTModel,
    input_hw: tuple[int, int],
    *,
    capture: Capture,
    synchronise: Callable[[], None],
) -> Sides:
    """Prepare what is measured of a model.

    Args:
        model: In evaluation mode, on the device and in the precision that are measured.
        input_hw: Height and width of the images, px.
        capture: Turns a call into one that repeats its work in the same memory.
        synchronise: Waits for the work queued so far.
    """
    device = next(model.parameters()).device

    def bind(batch_size: int) -> Callable[[], Mapping[str, torch.Tensor]]:
        images = [torch.randn(batch_size, 3, *input_hw, device=device) for _ in range(2)]
        available = torch.ones(batch_size, 2, device=device)
        return lambda: model(*images, available)

    eager = bind(1)
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=(1, 3, *input_hw)).astype(np.float32) for _ in range(2)]
    arrays.append(np.ones((1, 2), np.float32))
    from_host = ShapeRun(model, arrays, device=device, capture=capture)
    with FlopCounterMode(display=False) as counter:
        eager()
    calls: dict[str, Call] = {
        'replay': capture(eager),
        'eager': eager,
        'host to host': lambda: from_host(arrays, synchronise=synchronise),
        'batch': capture(bind(BATCH_SIZE)),
    }
    return Sides(calls=calls, flops=int(counter.get_total_flops()))


def measure(sides: Sides, *, rounds: int, timer: Timer, ceiling_flops: float) -> dict[str, Any]:
    """Time every side in turn and return milliseconds, ratios and roofline share.

    Args:
        sides: What is compared.
        rounds: How often each has its turn.
        timer: Runs a call to its end and returns how long that took, ms.
        ceiling_flops: Floating point operations per second that the device can do at most.
    """
    times: dict[str, list[float]] = {name: [] for name in sides.calls}
    for _ in range(rounds):
        for name, call in sides.calls.items():
            times[name].append(timer(call))
    found = {name: describe(samples, digits=4) for name, samples in times.items()}
    replay_ms = found['replay']['median']
    return {
        'ms': found,
        'eager_over_replay': round(found['eager']['median'] / replay_ms, 3),
        'host_over_replay': round(found['host to host']['median'] / replay_ms, 3),
        'gflop_per_pair': round(sides.flops / 1e9, 1),
        'roofline_share': round(sides.flops / (replay_ms * 1e-3) / ceiling_flops, 3),
    }


def sustain(
    call: Call, *, seconds: float, mark: Mark, now_s: Callable[[], float] = perf_counter
) -> float:
    """Make calls back to back, some always queued ahead; return calls per second.

    Args:
        call: Queues its work.
        seconds: For how long calls are made; all that were made are waited for.
        mark: See ``Mark``.
        now_s: Clock, seconds.
    """
    call()
    mark()()
    ahead: deque[Callable[[], None]] = deque()
    num_calls, began_s = 0, now_s()
    while now_s() - began_s < seconds:
        call()
        num_calls += 1
        ahead.append(mark())
        if len(ahead) > CALLS_AHEAD:
            ahead.popleft()()
    for wait in ahead:
        wait()
    return num_calls / (now_s() - began_s)


def measure_sustained(sides: Sides, *, seconds: float, mark: Mark) -> dict[str, float]:
    """Return pairs per second of the sides that are measured back to back, by name."""
    return {
        name: round(num_pairs * sustain(sides.calls[name], seconds=seconds, mark=mark), 1)
        for name, num_pairs in SUSTAINED.items()
    }


def measure_ceiling(device: str, *, timer: Timer, sizes: Sequence[int] = CEILING_SIDES) -> float:
    """Return the most bf16 operations per second of large matrix products on a device.

    Args:
        device: Of torch.
        timer: Runs a call to its end and returns how long that took, ms.
        sizes: Sides of the square matrices; the best of all counts.
    """

    def measure_size(size: int) -> float:
        matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
        times_ms = [timer(lambda: matrix @ matrix) for _ in range(CEILING_PRODUCTS)]
        return 2.0 * size**3 / (min(times_ms) * 1e-3)

    return max(measure_size(size) for size in sizes)


def list_bounds(measured: Mapping[str, Mapping[str, Any]]) -> list[Bound]:
    """Return the bounds, by model; throughput is promised of the small one."""
    bounds = []
    for name, values in measured.items():
        bounds += [
            Bound(
                name=f'{name}: replay, median',
                value=values['ms']['replay']['median'],
                at_most=MAX_REPLAY_MS[name],
                unit='ms',
            ),
            Bound(
                name=f'{name}: eager over replay',
                value=values['eager_over_replay'],
                at_least=MIN_EAGER_OVER_REPLAY,
            ),
            Bound(
                name=f'{name}: host to host over replay',
                value=values['host_over_replay'],
                at_most=MAX_HOST_OVER_REPLAY,
            ),
        ]
    if 'small' in measured:
        bounds.append(
            Bound(
                name=f'small: sustained, batch {BATCH_SIZE}',
                value=measured['small']['sustained_pairs_per_s']['batch'],
                at_least=MIN_PAIRS_PER_S,
                unit='pairs/s',
            )
        )
    return bounds


def time_on_cuda(call: Call) -> float:
    """Return how long a call and the work it queues take, ms."""
    torch.cuda.synchronize()
    started = perf_counter()
    call()
    torch.cuda.synchronize()
    return (perf_counter() - started) * 1e3


def mark_on_cuda() -> Callable[[], None]:
    """Return what waits for the work queued so far."""
    event = torch.cuda.Event()
    event.record()
    wait: Callable[[], None] = event.synchronize
    return wait


def build_model(architecture: str, device: str) -> RGBTModel:
    """Return a model with random weights, prepared as ``engine.torch.load_network`` does for CUDA.

    As there, no float32 is rounded to TF32 in this process from now on.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)
    model = create_model(
        architecture, num_detection_classes=NUM_CLASSES, num_segmentation_classes=NUM_CLASSES
    ).eval()
    lower_precision(model, PRECISION)
    model.encoder.use_stacked_batch = True
    return model.to(device, memory_format=torch.channels_last)


def capture_or_fail(call: Callable[[], Outputs]) -> Callable[[], Outputs]:
    """Capture a call as a CUDA graph, see ``capture_cuda_graph``.

    Raises:
        EngineError: If it is not captured: what is called a replay would be none.
    """
    replay = capture_cuda_graph(call)
    if replay is call:
        raise EngineError(
            'a CUDA graph cannot be captured, or one before it could not be in this process; '
            'expected graphs to replay; see the messages above'
        )
    return replay


def measure_on_cuda(device: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure the roofline and both models on a CUDA device; return JSON values."""
    place = torch.device(device)
    with (
        torch.cuda.device(place),
        torch.cuda.stream(torch.cuda.Stream(place)),
        torch.inference_mode(),
    ):
        ceiling_flops = measure_ceiling(device, timer=time_on_cuda)
        models = {}
        for name in MAX_REPLAY_MS:
            sides = build_sides(
                build_model(name, device),
                INPUT_HW,
                capture=capture_or_fail,
                synchronise=torch.cuda.synchronize,
            )
            models[name] = {
                **measure(sides, rounds=rounds, timer=time_on_cuda, ceiling_flops=ceiling_flops),
                'sustained_pairs_per_s': measure_sustained(
                    sides, seconds=seconds, mark=mark_on_cuda
                ),
            }
    ceiling = {
        'tflops': round(ceiling_flops / 1e12, 1),
        'gpu': torch.cuda.get_device_name(device),
        'source': f'largest {PRECISION} matrix product of this run',
    }
    return {'ceiling': ceiling, 'models': models}


def build_parser() -> argparse.ArgumentParser:
    """Declare the arguments."""
    parser = new_parser('gpu', __doc__)
    parser.add_argument('--device', default='cuda:0', help='(default: %(default)s)')
    parser.add_argument(
        '--seconds',
        type=number(float, at_least=1.0),
        default=SECONDS,
        help='of each sustained rate (default: %(default)s)',
    )
    add_common_arguments(parser, rounds=ROUNDS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status, 1 when a bound is broken."""
    args, load_at_start = build_parser().parse_args(arguments), read_load()
    facts = {
        'load_1min_at_start': load_at_start,
        'input': format_hw(INPUT_HW),
        'precision': PRECISION,
        'batch': BATCH_SIZE,
        'rounds': args.rounds,
        'seconds_sustained': args.seconds,
    }
    if not torch.cuda.is_available():
        reason = 'torch sees no CUDA device, expected an NVIDIA GPU'
        results = {'conditions': conditions(**facts), 'status': NOT_RUN, 'reason': reason}
        path = write_results('gpu', results, args.out)
        print(f'{NOT_RUN}: {reason}; wrote {path}')
        return 0
    measured = measure_on_cuda(args.device, rounds=args.rounds, seconds=args.seconds)
    bounds = list_bounds(measured['models'])
    results = {
        'conditions': conditions(**facts),
        'status': 'run',
        **measured,
        **describe_bounds(bounds),
    }
    return print_bounds(bounds, write_results('gpu', results, args.out))


if __name__ == '__main__':
    try:
        sys.exit(main())
    except EngineError as error:
        sys.exit(f'error: {error}')
