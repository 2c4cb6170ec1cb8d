# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bench.ceiling import (
    build_operations,
    CONVOLUTION,
    count_flops,
    describe_rounds,
    find_least_s,
    Network,
    open_network,
    Operation,
    PRODUCT,
    Round,
    time_round,
    TURN_FLOPS,
)
from rgbt_models.card import load_card

LARGEST_ERRORS = {'fp32': 1e-5, 'bf16': 0.02, 'int8': 0.05}


def operation(kind, runtime, precision, run=lambda: None):
    return Operation(run=run, flops=TURN_FLOPS, kind=kind, runtime=runtime, precision=precision)


@pytest.mark.parametrize('kind', [PRODUCT, CONVOLUTION])
def test_all_runtimes_compute_the_same(tmp_path, kind):
    operations = build_operations(kind, tmp_path)

    first, *others = operations
    expected = first.run().numpy()
    assert {'fp32', 'int8'} <= {item.precision for item in operations}
    for item in others:
        actual = item.run()
        actual = actual.float().numpy() if item.runtime == 'torch' else actual[0]
        error = np.abs(actual - expected).max() / np.abs(expected).max()
        assert error < LARGEST_ERRORS[item.precision], item.name
        assert bool(error > 1e-3) is (item.precision != 'fp32'), item.name


@pytest.mark.parametrize(
    ('kind', 'flops'), [(PRODUCT, 2 * 1024**3), (CONVOLUTION, 2 * 64 * 80 * 64 * 64 * 9)]
)
def test_operations_count_as_their_kind(tmp_path, kind, flops):
    first = build_operations(kind, tmp_path)[0]
    assert first.flops == flops
    assert count_flops(first.run) == {PRODUCT: 0, CONVOLUTION: 0} | {kind: flops}


def test_rates_and_times_are_those_of_one_call():
    elapsed_s = 0.0

    def spend(seconds):
        nonlocal elapsed_s
        elapsed_s += seconds

    found = time_round(
        [operation(PRODUCT, 'onnx', 'fp32', run=lambda: spend(0.5))],
        {'tiny': Network(run=lambda: spend(0.25), flops={})},
        now_s=lambda: elapsed_s,
    )
    assert found == Round(rates=[TURN_FLOPS / 0.5], times_s={'tiny': 0.25})


def test_the_least_time_is_that_at_the_best_rate_of_each_kind():
    operations = [
        operation(PRODUCT, 'onnx', 'fp32'),
        operation(PRODUCT, 'torch', 'fp32'),
        operation(CONVOLUTION, 'onnx', 'fp32'),
        operation(CONVOLUTION, 'onnx', 'int8'),
    ]
    network = Network(run=lambda: None, flops={PRODUCT: 12, CONVOLUTION: 30})
    assert find_least_s(network, operations, [4.0, 6.0, 10.0, 99.0], 'fp32') == 5.0


def test_the_least_ratio_is_of_the_same_round():
    operations = [operation(PRODUCT, 'onnx', 'fp32'), operation(CONVOLUTION, 'onnx', 'fp32')]
    rounds = [Round(rates=[rate, rate], times_s={'tiny': 0.25}) for rate in (50e9, 100e9)]
    flops = {PRODUCT: 4_000_000_000, CONVOLUTION: 6_000_000_000}

    found = describe_rounds(rounds, operations, {'tiny': Network(run=lambda: None, flops=flops)})

    assert found['networks']['tiny'] == {
        'gflop': 10.0,
        'torch_cpu_ms': {'median': 250.0, 'min': 250.0, 'max': 250.0},
        'least_ratio': {'fp32': {'median': 0.6, 'min': 0.4, 'max': 0.8}},
    }
    assert found['gflop_per_s']['product, onnx fp32'] == {
        'median': 75.0,
        'min': 50.0,
        'max': 100.0,
    }
    assert found['asked_ratio'] == {'fp32': {'openvino': 0.5, 'onnx': 0.6}}


def test_operations_are_those_of_the_card_at_this_size():
    small, large = (open_network(load_card('tiny'), hw) for hw in ((96, 128), (192, 256)))
    assert large.flops[CONVOLUTION] == 4 * small.flops[CONVOLUTION] > 0
    # Attention grows faster than the image.
    assert 4 < large.flops[PRODUCT] / small.flops[PRODUCT] < 6
    small.run()
