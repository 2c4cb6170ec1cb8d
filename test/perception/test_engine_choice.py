# SPDX-License-Identifier: Apache-2.0
"""Which backend runs a card, and what is said about it."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from pathlib import Path
import sys
import threading

from fakes import build_card, build_onnx_card, build_outputs, FakeEngine
from made_variants import with_variant
import pytest

from rgbt_models.card import ModelCard
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine import choice, machine, open_engine, supervise
from rgbt_perception.engine.choice import choose_backends, rank_backends
from rgbt_perception.errors import (
    BackendUnavailableError,
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


@pytest.fixture(autouse=True)
def has_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine that runs the tests has."""
    monkeypatch.setattr(choice, 'find_cpu_features', lambda: ('avx2', 'avx512f'))


def reasons(card: ModelCard, config: EngineConfig) -> dict[str, str]:
    return {probe.backend: probe.reason for probe in rank_backends(card, config)}


def test_on_a_cpu_with_avx512_openvino_comes_first(card, installed):
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


def test_on_a_cpu_with_avx512_a_gated_int8_graph_goes_before_the_order(card, installed):
    installed('openvino', 'onnxruntime', 'torch')
    gated = with_variant(card, 'onnx', 'int8', passed=True)
    assert choose_backends(gated, EngineConfig()) == ('onnx', 'openvino', 'torch')
    assert choose_backends(gated, EngineConfig(precision='fp32'))[0] == 'openvino'
    both = with_variant(gated, 'openvino', 'int8', passed=True)
    assert choose_backends(both, EngineConfig()) == ('openvino', 'onnx', 'torch')


def test_on_a_cpu_without_avx512_onnx_runtime_comes_first(card, installed, monkeypatch):
    monkeypatch.setattr(choice, 'find_cpu_features', lambda: ('avx2',))
    installed('openvino', 'onnxruntime', 'torch')
    assert choose_backends(card, EngineConfig()) == ('onnx', 'openvino', 'torch')
    # OpenVINO was measured to gain little or nothing from int8 there.
    gated = with_variant(card, 'openvino', 'int8', passed=True)
    assert choose_backends(gated, EngineConfig()) == ('onnx', 'openvino', 'torch')


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
        r'torch: no NVIDIA device.*; expected one; correct one of these',
    ) as caught:
        open_engine(card, CUDA)
    assert 'pip install' not in str(caught.value)  # torch is there; the driver is not
    (tmp_path / 'nvidia0').write_bytes(b'')
    monkeypatch.setattr(machine, 'CUDA_DRIVER', 'libnone.so.1')
    assert reasons(card, CUDA)['torch'] == 'an NVIDIA device, but no driver library libnone.so.1'
    monkeypatch.setattr(machine, 'CUDA_DRIVER', 'libc.so.6')
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
            'onnx, the first that is usable (openvino: package openvino is not installed))'
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


def test_without_torch_on_cuda_the_command_is_named(card, installed, monkeypatch):
    installed('openvino')
    has_cuda(monkeypatch)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'rgbt_perception\[torch\]'"):
        open_engine(card, CUDA)


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


def build_late(monkeypatch: pytest.MonkeyPatch, installed, *further: str) -> None:
    installed('tensorrt', 'cuda', 'torch', *further)
    has_cuda(monkeypatch)
    monkeypatch.setattr(choice, '_find_device_problem', lambda device, backend: '')
    monkeypatch.setattr(choice, 'needs_build', lambda card, config, name: name == 'tensorrt')


@pytest.mark.parametrize('backend', ['auto', 'tensorrt'])
def test_what_must_be_built_is_offered_while_the_next_serves(
    card, installed, opened, monkeypatch, backend, caplog
):
    build_late(monkeypatch, installed)
    with caplog.at_level(logging.INFO, 'rgbt_perception'):
        engine = supervise(card, dataclasses.replace(CUDA, backend=backend))
        engine.close()
    assert (engine.backend, engine.state.building) == ('torch', 'tensorrt')
    assert engine.state.fallback_from == ''
    assert opened[1][0] == 'torch'
    why = ', the first that is usable (tensorrt: not open)' if backend == 'auto' else ''
    assert [item for item in caplog.messages if item.endswith(f'backend torch{why})')]


def test_without_background_build_the_first_is_waited_for(card, installed, opened, monkeypatch):
    build_late(monkeypatch, installed)
    monkeypatch.setattr('rgbt_perception.engine.first_opening.OPEN_TIMEOUT_S', 0.0)
    release = threading.Event()
    opened[0]['tensorrt'] = FakeEngine(lambda _: release.wait(10.0) and build_outputs((64, 80)))
    threading.Timer(0.1, release.set).start()
    engine = supervise(card, dataclasses.replace(CUDA, background_build=False))
    assert (engine.backend, engine.state.building) == ('tensorrt', '')
    engine.close()


@pytest.mark.parametrize('backend', ['auto', 'tensorrt'])
def test_any_backend_may_stand_in_while_the_first_is_built(
    card, installed, opened, monkeypatch, backend
):
    build_late(monkeypatch, installed, 'onnxruntime')
    opened[0]['torch'] = EngineError('no kernel')
    engine = supervise(card, dataclasses.replace(CUDA, backend=backend))
    engine.close()
    assert (engine.backend, engine.state.building) == ('onnx', 'tensorrt')


@pytest.mark.parametrize('backend', ['auto', 'tensorrt'])
def test_when_nothing_can_stand_in_the_first_is_waited_for(
    card, installed, opened, monkeypatch, backend, caplog
):
    build_late(monkeypatch, installed)
    opened[0]['torch'] = FakeEngine(error=RuntimeError('no kernel'))
    engine = supervise(card, dataclasses.replace(CUDA, backend=backend))
    engine.close()
    assert (engine.backend, engine.state.building) == ('tensorrt', '')
    assert opened[1] == ['torch', 'tensorrt']
    text = "none can serve while 'tensorrt' is built, so wait for it: unexpected RuntimeError: no"
    assert [item for item in caplog.messages if item.startswith(text)]


def test_a_tensorrt_that_cannot_be_imported_is_left_for_the_next_backend(
    card, installed, opened, monkeypatch
):
    installed('tensorrt', 'cuda', 'torch')
    has_cuda(monkeypatch)

    def fail(*_: object) -> bool:
        raise OSError('libnvinfer.so.10: cannot open shared object file')

    monkeypatch.setattr('rgbt_perception.engine.tensorrt.needs_build', fail)
    opened[0]['tensorrt'] = OSError('libnvinfer.so.10: cannot open shared object file')
    engine = supervise(card, CUDA)
    engine.close()
    assert (engine.backend, engine.state.fallback_from) == ('torch', 'tensorrt')
    assert 'libnvinfer.so.10' in engine.state.last_problem


def test_what_fails_its_first_run_is_left_for_the_next_backend(card, installed, opened):
    installed('openvino', 'onnxruntime')
    opened[0]['openvino'] = bad = FakeEngine(error=RuntimeError('illegal instruction'))
    engine = supervise(card, EngineConfig())
    engine.close()
    assert engine.backend == 'onnx'
    (batch,) = bad.batches
    assert batch.rgb.shape == (1, 3, *card.input_hw)
