# SPDX-License-Identifier: Apache-2.0
"""The OpenVINO engine: same numbers, own outputs, honest precision, quick second start."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace

from engine_opener import BATCH, build_batch
from fakes import build_onnx_card
import numpy as np
import pytest

from rgbt_models.card import hash_file, ModelCard, OUTPUT_NAMES
from rgbt_models.cpu import find_cpu_features
from rgbt_models.graph_variant import GraphVariant
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine import open_engine
from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.openvino import _read_precision, OpenvinoEngine
from rgbt_perception.engine.precision import choose_graph
from rgbt_perception.errors import (
    BackendUnavailableError,
    ConfigError,
    EngineError,
    WeightsError,
)


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return build_onnx_card(tmp_path / 'card')


@pytest.fixture
def config(tmp_path: Path) -> EngineConfig:
    return EngineConfig(backend='openvino', num_threads=1, cache_dir=str(tmp_path / 'cache'))


def with_int8_graph(card: ModelCard, target: str = 'openvino') -> ModelCard:
    """Add a variant whose convolutions are quantised, by what onnxruntime has."""
    from onnxruntime import quantization

    path = card.folder / f'model.int8.{target}.onnx'

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter([build_batch(value) for value in (-1.0, 1.0)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            names = ('rgb', 'thermal', 'available')
            return None if batch is None else {name: getattr(batch, name) for name in names}

    quantization.quantize_static(
        card.graph_path,
        path,
        Reader(),
        op_types_to_quantize=['Conv'],
        activation_type=quantization.QuantType.QInt8,
        extra_options={'ActivationSymmetric': True},
    )
    variant = GraphVariant(
        file=path.name,
        sha256=hash_file(path),
        precision='int8',
        target=target,
        opset=18,
        is_stacked=False,
        gate={'passed': True},
    )
    return dataclasses.replace(card, variants=(variant,))


def test_outputs_are_those_of_onnx_runtime(card, config):
    batch = dataclasses.replace(build_batch(0.5), available=np.array([[1, 0]], np.float32))
    engine = open_engine(card, config)
    wanted = open_engine(card, dataclasses.replace(config, backend='onnx')).run(batch)
    found = engine.run(batch)
    for name in OUTPUT_NAMES:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-5)
    assert (engine.backend, engine.device, engine.precision) == ('openvino', 'cpu', 'fp32')


def test_outputs_are_not_overwritten_by_the_next_run(card, config):
    engine = open_engine(card, config)
    first = engine.run(build_batch(0.25))
    kept = {name: getattr(first, name).copy() for name in OUTPUT_NAMES}
    engine.run(build_batch(-3.0))
    for name, value in kept.items():
        np.testing.assert_array_equal(getattr(first, name), value)
    assert first.share_map.max() == pytest.approx(0.25)


def test_inputs_of_any_size_follow_each_other(card, config):
    engine = open_engine(card, config)
    assert engine.run(BATCH).segmentation_logits.shape[2:] == (8, 12)
    wide = np.zeros((1, 3, 32, 96), np.float32)
    outputs = engine.run(dataclasses.replace(BATCH, rgb=wide, thermal=wide))
    assert outputs.segmentation_logits.shape[2:] == (8, 24)


def test_the_second_opening_reads_the_compiled_graph(card, config, monkeypatch, caplog):
    wanted = open_engine(card, config).run(BATCH)
    cache = EngineCache(Path(config.cache_dir))
    assert [item.problem for item in cache.verify()] == ['']

    def compile_again(*_):
        raise AssertionError('the graph was compiled again')

    monkeypatch.setattr('rgbt_perception.engine.openvino._compile', compile_again)
    found = open_engine(card, dataclasses.replace(config, num_threads=2)).run(BATCH)
    np.testing.assert_array_equal(found.share_map, wanted.share_map)
    assert not caplog.messages


def test_a_compiled_graph_that_openvino_refuses_is_made_anew(card, config, monkeypatch, caplog):
    monkeypatch.setattr(
        'rgbt_perception.engine.openvino._export', lambda _, path: path.write_bytes(b'of another')
    )
    open_engine(card, config)
    monkeypatch.undo()
    engine = open_engine(card, config)
    assert engine.run(BATCH).share_map.shape == (1, 1, 2, 3)
    assert 'it is compiled anew' in caplog.text
    caplog.clear()
    open_engine(card, config)
    assert not caplog.messages


@pytest.mark.parametrize('error', [RuntimeError('not implemented'), MemoryError('no memory')])
def test_a_compiled_graph_that_cannot_be_exported_runs(card, config, monkeypatch, caplog, error):
    def fail(*_):
        raise error

    monkeypatch.setattr('rgbt_perception.engine.openvino._export', fail)
    engine = open_engine(card, config)
    assert engine.run(BATCH).share_map.shape == (1, 1, 2, 3)
    (message,) = caplog.messages
    assert message.startswith(f"the compiled graph of card 'fake' cannot be kept ({error}): ")
    assert not list(Path(config.cache_dir).iterdir())


def test_without_a_place_for_the_cache_it_runs(card, config, tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    engine = open_engine(card, dataclasses.replace(config, cache_dir=str(tmp_path / 'file')))
    assert engine.run(BATCH).share_map.shape == (1, 1, 2, 3)


def test_bf16_is_reported_only_where_the_cpu_has_it(card, config, caplog):
    from rgbt_models.openvino_runtime import open_core

    capabilities = open_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    engine = open_engine(card, dataclasses.replace(config, precision='bf16'))
    if 'BF16' in capabilities or engine.precision == 'bf16':
        assert 'avx512f' in find_cpu_features() or 'bf16' in find_cpu_features()
        assert engine.precision == 'bf16'
        assert not caplog.messages
    else:
        assert engine.precision == 'fp32'
        assert caplog.messages == ["this CPU does not compute in bf16, card 'fake' runs in fp32"]


@pytest.mark.parametrize(
    ('granted', 'precision'),
    [('f32', 'fp32'), ('bf16', 'bf16'), ('f16', 'fp16'), ('f64', 'unknown')],
)
def test_precision_is_what_openvino_has_granted(card, monkeypatch, granted, precision):
    # As numbers of NumPy, bf16 and f16 of OpenVINO are the same.
    from rgbt_models.openvino_runtime import import_openvino

    type_of = getattr(import_openvino().Type, granted)
    compiled = SimpleNamespace(get_property={'INFERENCE_PRECISION_HINT': type_of}.get)
    assert _read_precision(compiled, choose_graph(card, 'openvino', 'fp32')) == precision


def test_an_int8_graph_that_passed_its_gate_is_taken_and_read_back(card, config):
    card = with_int8_graph(card)
    engine = open_engine(card, config)
    assert engine.precision == 'int8'
    # Not the share map: of its quantised layer OpenVINO 2026.4 adds up one channel of three, the
    # kind of error that the gate of an exported graph is there for.
    np.testing.assert_array_equal(engine.run(BATCH).segmentation_logits.argmax(1), 1)
    fp32 = open_engine(card, dataclasses.replace(config, precision='fp32'))
    assert fp32.precision == 'fp32'
    np.testing.assert_allclose(fp32.run(build_batch(0.5)).share_map, 0.5, atol=1e-6)


def test_precision_is_that_of_the_layers_not_of_the_card(card, config, caplog):
    card = with_int8_graph(card)
    variant = dataclasses.replace(
        card.variants[0], file=card.graph_path.name, sha256=card.graph_sha256
    )
    engine = open_engine(dataclasses.replace(card, variants=(variant,)), config)
    assert engine.precision != 'int8'
    assert 'does not compute in int8' in caplog.text


def test_an_int8_graph_of_another_backend_is_refused(card, config):
    card = with_int8_graph(card, target='onnx')
    wanted = (
        r"card 'fake' has no int8 graph for backend 'openvino' \(one for onnx\), expected one "
        r'made for it; run: rgbt export fake --precision int8 --target openvino'
    )
    with pytest.raises(ConfigError, match=wanted):
        open_engine(card, dataclasses.replace(config, precision='int8'))
    assert open_engine(card, config).precision == 'fp32'


def test_a_precision_it_does_not_have_is_refused(card, config):
    with pytest.raises(
        ConfigError, match=r"'fp16', backend 'openvino' computes in fp32, bf16, int8; choose one"
    ):
        open_engine(card, dataclasses.replace(config, precision='fp16'))


def test_a_device_that_is_no_cpu_is_refused(card, config):
    with pytest.raises(BackendUnavailableError, match="'openvino' cannot run on 'cuda:0'"):
        open_engine(card, dataclasses.replace(config, device='cuda:0'))


def test_missing_openvino_names_the_command(card, config, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(
        BackendUnavailableError, match=r"run: pip install 'rgbt_perception\[openvino\]'"
    ):
        open_engine(card, config)


def test_an_altered_graph_is_refused_though_its_compiled_one_is_there(card, config):
    open_engine(card, config)
    card.graph_path.write_bytes(card.graph_path.read_bytes() + b'x')
    with pytest.raises(WeightsError, match=r'model\.onnx. has SHA-256 .* the card expects'):
        open_engine(card, config)


def test_garbage_with_the_right_hash_is_refused(card, config):
    card.graph_path.write_bytes(b'garbage')
    card = dataclasses.replace(card, graph_sha256=hash_file(card.graph_path))
    with pytest.raises(EngineError, match=r"OpenVINO cannot open '.*model\.onnx'"):
        open_engine(card, config)


def test_an_input_it_cannot_take_is_named(card, config):
    engine = open_engine(card, config)
    wrong = dataclasses.replace(BATCH, available=np.ones((1, 3), np.float32))
    with pytest.raises(EngineError, match=r'OpenVINO failed on an input of \(32, 48\) px'):
        engine.run(wrong)


def test_a_closed_engine_holds_nothing(card, config):
    engine = OpenvinoEngine(card, config)
    engine.close()
    with pytest.raises(AttributeError):
        engine.run(BATCH)


def test_openvino_does_not_report_to_its_vendor(card, config, tmp_path):
    # By default the mere import sends an event and leaves an identifier in ~/intel.
    code = (
        'import sys\n'
        'from rgbt_models.card import load_card\n'
        'from rgbt_perception.config import EngineConfig\n'
        'from rgbt_perception.engine import open_engine\n'
        'config = EngineConfig(backend="openvino", num_threads=1, cache_dir=sys.argv[2])\n'
        'open_engine(load_card(sys.argv[1]), config)\n'
        'print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry.")))\n'
    )
    home = tmp_path / 'home'
    home.mkdir()
    command = [sys.executable, '-c', code, str(card.folder), config.cache_dir]
    environment = {**os.environ, 'HOME': str(home)}
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert result.stdout.strip() == '[]'
    assert not list(home.iterdir())


def test_a_signal_after_the_engine_was_released_by_another_thread_is_handled(card, config):
    code = (
        'import signal, sys, threading\n'
        'from rgbt_models.card import load_card\n'
        'from rgbt_perception.config import EngineConfig\n'
        'from rgbt_perception.engine import open_engine\n'
        'config = EngineConfig(backend="openvino", num_threads=1, cache_dir=sys.argv[2])\n'
        'engines = [open_engine(load_card(sys.argv[1]), config)]\n'
        'thread = threading.Thread(target=engines.clear)\n'
        'thread.start()\n'
        'thread.join()\n'
        'signal.signal(signal.SIGUSR1, lambda *_: print("handled"))\n'
        'signal.raise_signal(signal.SIGUSR1)\n'
    )
    command = [sys.executable, '-c', code, str(card.folder), config.cache_dir]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert result.stdout.strip() == 'handled'


@pytest.fixture(autouse=True)
def _log_warnings(caplog):
    caplog.set_level(logging.WARNING, 'rgbt_perception')
