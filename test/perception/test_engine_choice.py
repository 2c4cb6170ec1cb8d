# SPDX-License-Identifier: Apache-2.0
"""Which backend and which precision run a card, and what is said about it."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from pathlib import Path
import sys

from fakes import build_card, build_onnx_card, FakeEngine
import pytest

from rgbt_models.card import ModelCard
from rgbt_models.graph_variant import GraphVariant
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine import choice, machine, open_engine, supervise
from rgbt_perception.engine.choice import choose_backends, rank_backends
from rgbt_perception.engine.precision import choose_graph, choose_precision
from rgbt_perception.errors import (
    BackendUnavailableError,
    ConfigError,
    EngineError,
    WeightsError,
)

CUDA = EngineConfig(device='cuda:0')


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    """Card with a graph and weights, neither of which is ever read."""
    card = build_onnx_card(tmp_path / 'card')
    card.weights_path.write_bytes(b'')
    return card


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Give a function that says which packages are installed."""

    def install(*modules: str) -> None:
        spec = importlib.util.find_spec('json')
        monkeypatch.setattr(
            'importlib.util.find_spec', lambda name: spec if name in modules else None
        )

    return install


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch):
    """Replace the engines by fakes; an exception is raised instead. Gives what was opened."""
    engines: dict[str, FakeEngine | Exception] = {}
    names: list[str] = []

    def load(_, config: EngineConfig) -> FakeEngine:
        names.append(config.backend)
        engine = engines.get(config.backend, FakeEngine())
        if isinstance(engine, Exception):
            raise engine
        engine.backend = config.backend
        return engine

    monkeypatch.setattr(choice, '_load', load)
    return engines, names


def has_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, 'find_cuda_problem', lambda: '')


def with_variant(card: ModelCard, target: str, precision: str, **gate: object) -> ModelCard:
    name = f'model.{precision}.{target}.onnx'
    (card.folder / name).write_bytes(b'')
    variant = GraphVariant(
        file=name,
        sha256='0' * 64,
        precision=precision,
        target=target,
        opset=18,
        is_stacked=False,
        gate=gate,
    )
    return dataclasses.replace(card, variants=(*card.variants, variant))


def reasons(card: ModelCard, config: EngineConfig) -> dict[str, str]:
    return {probe.backend: probe.reason for probe in rank_backends(card, config)}


def test_on_the_cpu_openvino_comes_first(card, installed):
    installed('openvino', 'onnxruntime', 'torch', 'tensorrt', 'cuda')
    probes = rank_backends(card, EngineConfig())
    assert [(probe.backend, probe.is_usable) for probe in probes] == [
        ('openvino', True),
        ('onnx', True),
        ('torch', True),
        ('tensorrt', False),
    ]
    assert probes[3].reason == "it needs a CUDA device, not 'cpu'"
    assert choose_backends(card, EngineConfig()) == ('openvino', 'onnx', 'torch')


def test_on_the_cpu_a_gated_int8_graph_goes_before_the_order(card, installed):
    installed('openvino', 'onnxruntime', 'torch')
    gated = with_variant(card, 'onnx', 'int8', passed=True)
    assert choose_backends(gated, EngineConfig()) == ('onnx', 'openvino', 'torch')
    assert choose_backends(gated, EngineConfig(precision='fp32'))[0] == 'openvino'
    both = with_variant(gated, 'openvino', 'int8', passed=True)
    assert choose_backends(both, EngineConfig()) == ('openvino', 'onnx', 'torch')


def test_on_cuda_tensorrt_comes_first(card, installed, monkeypatch):
    installed('openvino', 'torch', 'tensorrt', 'cuda')
    has_cuda(monkeypatch)
    assert choose_backends(card, CUDA) == ('tensorrt', 'torch')
    assert reasons(card, CUDA) == {
        'tensorrt': '',
        'torch': '',
        'onnx': 'package onnxruntime is not installed',
        'openvino': 'it runs on the CPU only',
    }


def test_onnx_runtime_needs_its_cuda_library_on_cuda(card, monkeypatch, tmp_path):
    has_cuda(monkeypatch)
    spec = importlib.util.spec_from_file_location(
        'onnxruntime', tmp_path / '__init__.py', submodule_search_locations=[str(tmp_path)]
    )
    monkeypatch.setattr('importlib.util.find_spec', lambda name: spec)
    assert reasons(card, CUDA)['onnx'] == 'the installed ONNX Runtime runs on the CPU only'
    (tmp_path / 'capi').mkdir()
    (tmp_path / 'capi' / 'libonnxruntime_providers_cuda.so').write_bytes(b'')
    assert reasons(card, CUDA)['onnx'] == ''


def test_without_a_driver_nothing_runs_on_cuda(card, installed, monkeypatch, tmp_path):
    installed('openvino', 'torch', 'tensorrt', 'cuda')
    monkeypatch.setattr(machine, '_DEV', tmp_path)
    with pytest.raises(
        BackendUnavailableError,
        match=r"no backend can run card 'fake' on 'cuda:0' \(tensorrt: no NVIDIA device in /dev; "
        r"torch: no NVIDIA device.*run: pip install 'rgbt_perception\[torch\]'",
    ):
        open_engine(card, CUDA)
    (tmp_path / 'nvidia0').write_bytes(b'')
    monkeypatch.setattr(machine, '_CUDA_DRIVER', 'libnone.so.1')
    assert reasons(card, CUDA)['torch'] == 'an NVIDIA device, but no driver library libnone.so.1'
    monkeypatch.setattr(machine, '_CUDA_DRIVER', 'libc.so.6')
    assert reasons(card, CUDA)['torch'] == ''


def test_probing_starts_no_runtime(card, tmp_path):
    import subprocess

    code = (
        'import sys\n'
        'from rgbt_models.card import load_card\n'
        'from rgbt_perception.config import EngineConfig\n'
        'from rgbt_perception.engine.choice import rank_backends\n'
        'for device in ("cpu", "cuda:0"):\n'
        '    rank_backends(load_card(sys.argv[1]), EngineConfig(device=device))\n'
        'print([name for name in ("openvino", "onnxruntime", "torch", "tensorrt", "cuda")'
        ' if name in sys.modules])\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code, str(card.folder)], check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == '[]'


def test_the_log_says_what_was_picked_and_why(card, installed, opened, caplog):
    installed('onnxruntime', 'torch')
    with caplog.at_level(logging.INFO, 'rgbt_perception'):
        engine = open_engine(card, EngineConfig())
    assert engine.backend == 'onnx'
    assert caplog.messages == [
        (
            "model 'fake' version 1 runs on cpu (fp32, synthetic training data only, backend "
            'onnx, the fastest that is usable (openvino: package openvino is not installed))'
        )
    ]


def test_auto_goes_on_when_a_backend_cannot_be_opened(card, installed, opened, caplog):
    installed('openvino', 'onnxruntime', 'torch')
    engines, names = opened
    engines['openvino'] = EngineError('refused')
    engines['onnx'] = ValueError('numpy.dtype size changed')  # as a broken installation raises
    assert open_engine(card, EngineConfig()).backend == 'torch'
    assert names == ['openvino', 'onnx', 'torch']
    assert caplog.messages[0] == "backend 'openvino' cannot be opened: refused"
    assert 'ValueError: numpy.dtype size changed), expected a working' in caplog.messages[1]


def test_auto_with_nothing_that_opens_says_all_reasons(card, installed, opened):
    installed('openvino', 'onnxruntime')
    opened[0].update(openvino=EngineError('refused'), onnx=EngineError('too old'))
    with pytest.raises(EngineError, match=r"'fake' \(openvino: refused; onnx: too old\)"):
        open_engine(card, EngineConfig())


def test_a_named_backend_that_cannot_be_opened_is_an_error(card, installed, opened):
    installed('openvino', 'onnxruntime', 'torch')
    engines, names = opened
    engines['openvino'] = EngineError('refused')
    with pytest.raises(EngineError, match='refused'):
        open_engine(card, EngineConfig(backend='openvino'))
    assert names == ['openvino']


def test_an_altered_file_is_never_worked_around(card, installed, opened):
    installed('openvino', 'onnxruntime', 'torch')
    engines, names = opened
    engines['openvino'] = WeightsError('altered')
    for opener in (open_engine, supervise):
        with pytest.raises(WeightsError, match='altered'):
            opener(card, EngineConfig())
    assert names == ['openvino', 'openvino']


def test_without_any_package_the_command_is_named(card, installed):
    installed()
    with pytest.raises(
        BackendUnavailableError,
        match=r"\(openvino: package openvino is not installed; .*'rgbt_perception\[openvino\]'",
    ):
        open_engine(card, EngineConfig())


def test_a_card_without_files_names_the_missing_one(tmp_path):
    with pytest.raises(WeightsError, match=r"model\.onnx' is missing; expected it beside"):
        open_engine(build_card(tmp_path), EngineConfig(num_threads=1))


def test_only_what_the_card_has_a_file_for_is_usable(card, installed):
    installed('openvino', 'onnxruntime', 'torch')
    card.graph_path.unlink()
    assert choose_backends(card, EngineConfig()) == ('torch',)
    assert reasons(card, EngineConfig())['onnx'] == "'model.onnx' is missing"


def test_a_precision_leaves_the_backends_that_have_it(card, installed):
    installed('openvino', 'onnxruntime', 'torch')
    assert choose_backends(card, EngineConfig(precision='bf16')) == ('openvino', 'torch')
    card = with_variant(card, 'onnx', 'int8')
    assert choose_backends(card, EngineConfig(precision='int8')) == ('onnx',)


AUTO_PRECISIONS = [
    # device, variants of the card, backend, precision
    ('cpu', [], 'openvino', 'fp32'),
    ('cpu', [('openvino', 'int8', True)], 'openvino', 'int8'),
    ('cpu', [('openvino', 'int8', False)], 'openvino', 'fp32'),
    ('cpu', [('onnx', 'int8', True)], 'openvino', 'fp32'),
    ('cpu', [('onnx', 'int8', True)], 'onnx', 'int8'),
    ('cpu', [('onnx', 'fp16', True)], 'onnx', 'fp32'),
    ('cpu', [], 'torch', 'fp32'),
    ('cuda:0', [], 'torch', 'bf16'),
    ('cuda:0', [], 'tensorrt', 'fp32'),
    ('cuda:0', [('tensorrt', 'int8', True), ('tensorrt', 'fp16', True)], 'tensorrt', 'fp16'),
    ('cuda:0', [('onnx', 'int8', True)], 'onnx', 'fp32'),
]


@pytest.mark.parametrize(('device', 'variants', 'backend', 'precision'), AUTO_PRECISIONS)
def test_auto_takes_lower_precision_only_from_a_gated_graph(
    card, device, variants, backend, precision
):
    for target, kind, has_passed in variants:
        card = with_variant(card, target, kind, passed=has_passed)
    assert choose_precision(card, EngineConfig(device=device), backend) == precision


def test_a_graph_without_a_gate_is_taken_only_by_name(card):
    card = with_variant(card, 'onnx', 'int8')
    assert choose_precision(card, EngineConfig(), 'onnx') == 'fp32'
    assert choose_precision(card, EngineConfig(precision='int8'), 'onnx') == 'int8'
    assert choose_graph(card, 'onnx', 'int8').path.name == 'model.int8.onnx.onnx'


def test_bf16_is_computed_from_the_fp32_graph(card):
    assert choose_graph(card, 'openvino', 'bf16').path == card.graph_path


@pytest.mark.parametrize('backend', ['onnx', 'tensorrt'])
def test_a_graph_that_the_card_lacks_is_refused(card, backend):
    card = with_variant(card, 'openvino', 'int8', passed=True)
    config = EngineConfig(precision='int8', device='cuda:0' if backend == 'tensorrt' else 'cpu')
    with pytest.raises(
        ConfigError, match=rf"no int8 graph for backend '{backend}' \(one for openvino\), expected"
    ):
        choose_precision(card, config, backend)


def build_late(monkeypatch: pytest.MonkeyPatch, installed) -> None:
    installed('tensorrt', 'cuda', 'torch')
    has_cuda(monkeypatch)
    monkeypatch.setattr(choice, 'needs_build', lambda card, config, name: name == 'tensorrt')


@pytest.mark.parametrize('backend', ['auto', 'tensorrt'])
def test_what_must_be_built_is_offered_while_the_next_serves(
    card, installed, opened, monkeypatch, backend
):
    build_late(monkeypatch, installed)
    engine = supervise(card, dataclasses.replace(CUDA, backend=backend))
    assert (engine.backend, engine.state.building) == ('torch', 'tensorrt')
    assert engine.state.fallback_from == ''
    engine.close()
    assert opened[1] == ['torch']


def test_without_background_build_the_first_is_waited_for(card, installed, opened, monkeypatch):
    build_late(monkeypatch, installed)
    engine = supervise(card, dataclasses.replace(CUDA, background_build=False))
    assert (engine.backend, engine.state.building) == ('tensorrt', '')
    engine.close()
