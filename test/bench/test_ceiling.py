# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from bench import ceiling
from bench.ceiling import build_products, describe_rounds, Network, Round, time_round
from rgbt_models.card import load_card

FLOPS = 2 * ceiling.SIZE**3


def test_every_product_is_that_of_the_same_matrices(tmp_path, monkeypatch):
    monkeypatch.setattr(ceiling, 'SIZE', 64)

    products = build_products(tmp_path)

    assert {'fp32', 'int8'} <= set(products)
    expected = np.asarray(products['fp32']['torch']())
    for precision, calls in products.items():
        for name, call in calls.items():
            actual = call().float().numpy() if name == 'torch' else call()[0]
            error = np.abs(actual - expected).max() / np.abs(expected).max()
            assert error < {'fp32': 1e-5, 'bf16': 0.02, 'int8': 0.05}[precision]


def test_graphs_in_int8_are_no_other_product(tmp_path):
    weights = np.eye(4, dtype=np.float32)
    graph = ceiling.write_graph(weights, tmp_path / 'int8.onnx', is_quantised=True)
    kinds = [node.op_type for node in ceiling.onnx.load(graph).graph.node]
    assert kinds == ['QuantizeLinear', 'DequantizeLinear', 'DequantizeLinear', 'MatMul']


def test_rates_and_times_are_those_of_one_call():
    elapsed_s = 0.0

    def spend(seconds):
        nonlocal elapsed_s
        elapsed_s += seconds

    found = time_round(
        {'fp32': {'onnx': lambda: spend(0.5)}},
        {'tiny': Network(run=lambda: spend(0.25), flops=7)},
        now_s=lambda: elapsed_s,
    )
    assert found == Round(rates={'fp32': {'onnx': FLOPS / 0.5}}, times_s={'tiny': 0.25})


def test_the_least_ratio_is_that_of_the_fastest_runtime_in_the_same_round():
    rates = [{'fp32': {'onnx': 50e9, 'torch': 40e9}}, {'fp32': {'onnx': 50e9, 'torch': 100e9}}]
    rounds = [Round(rates=item, times_s={'tiny': 0.25}) for item in rates]
    network = Network(run=lambda: None, flops=10_000_000_000)

    found = describe_rounds(rounds, {'tiny': network})

    assert found['networks']['tiny'] == {
        'gflop': 10.0,
        'torch_cpu_ms': {'median': 250.0, 'min': 250.0, 'max': 250.0},
        'least_ratio': {'fp32': {'median': 0.6, 'min': 0.4, 'max': 0.8}},
    }
    assert found['gflop_per_s']['torch fp32'] == {'median': 70.0, 'min': 40.0, 'max': 100.0}
    assert found['asked_ratio'] == {'fp32': {'openvino': 0.5, 'onnx': 0.6}}


def test_operations_are_those_of_the_card_at_this_size():
    small, large = (ceiling.open_network(load_card('tiny'), hw) for hw in ((96, 128), (192, 256)))
    assert 4 < large.flops / small.flops < 5  # attention grows faster than the image
    small.run()
