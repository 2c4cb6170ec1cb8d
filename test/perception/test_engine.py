# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

from fakes import build_card, build_onnx_card, build_outputs
import numpy as np
import pytest
from torch_engines import build_torch_card

from rgbt_models.card import ModelCard, OUTPUT_NAMES
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine import open_engine
from rgbt_perception.engine.base import collect_outputs, count_threads, parse_device
from rgbt_perception.errors import (
    BackendUnavailableError,
    ConfigError,
    EngineError,
    WeightsError,
)
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.types import Batch

ONE_THREAD = EngineConfig(backend='onnx', num_threads=1)


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return build_onnx_card(tmp_path / 'card')


def build_batch(input_hw: tuple[int, int], available: tuple[float, float] = (1, 1)) -> Batch:
    rng = np.random.default_rng(0)
    return Batch(
        rgb=rng.normal(size=(1, 3, *input_hw)).astype(np.float32),
        thermal=rng.normal(size=(1, 3, *input_hw)).astype(np.float32),
        available=np.array([available], np.float32),
        letterbox=letterbox_transform(input_hw, input_hw),
        source_hw=input_hw,
    )


def test_onnx_engine_gives_the_named_outputs(card: ModelCard):
    batch = build_batch((64, 96), (1, 0))
    raw = open_engine(card, ONE_THREAD).run(batch)
    assert raw.segmentation_logits.shape == (1, 13, 16, 24)
    assert raw.segmentation_logits.argmax(1).tolist() == np.ones((1, 16, 24)).tolist()
    np.testing.assert_allclose(raw.rgb_shares, [[1, 1, 1]])
    np.testing.assert_allclose(raw.entropies, [[1, 0]])
    # The graph's share map is the mean of thermal by patch.
    wanted = batch.thermal.mean(1).reshape(1, 4, 16, 6, 16).mean((2, 4))
    np.testing.assert_allclose(raw.share_map[0], wanted, atol=1e-6)


def test_engine_says_what_it_runs_on(card: ModelCard, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, 'rgbt_perception'):
        engine = open_engine(card, ONE_THREAD)
    assert (engine.backend, engine.device, engine.precision) == ('onnx', 'cpu', 'fp32')
    assert caplog.messages == [
        ("model 'fake' version 1 runs on cpu (fp32, synthetic training data only, backend onnx)")
    ]


def test_onnx_runtime_is_told_not_to_report_before_it_is_loaded(card: ModelCard, tmp_path: Path):
    # Official builds leave an identifier in the cache folder of the user, and send reports.
    code = (
        'import sys\n'
        'from rgbt_models.card import load_card\n'
        'from rgbt_perception.config import EngineConfig\n'
        'from rgbt_perception.engine import open_engine\n'
        "open_engine(load_card(sys.argv[1]), EngineConfig(backend='onnx', num_threads=1))\n"
    )
    environment = {**os.environ, 'XDG_CACHE_HOME': str(tmp_path / 'cache')}
    environment.pop('ORT_DISABLE_TELEMETRY', None)
    command = [sys.executable, '-c', code, str(card.folder)]
    subprocess.run(command, env=environment, check=True)
    assert not (tmp_path / 'cache').exists()


def test_altered_graph_is_refused(card: ModelCard):
    card.graph_path.write_bytes(card.graph_path.read_bytes() + b'x')
    with pytest.raises(WeightsError, match=r'model\.onnx. has SHA-256 .* the card expects'):
        open_engine(card, ONE_THREAD)


def test_missing_graph_is_named(card: ModelCard):
    card.graph_path.unlink()
    with pytest.raises(WeightsError, match=r"model\.onnx' is missing; expected it beside"):
        open_engine(card, ONE_THREAD)


def test_garbage_graph_with_the_right_hash_is_refused(tmp_path: Path):
    from rgbt_models.card import hash_file

    (tmp_path / 'model.onnx').write_bytes(b'garbage')
    card = build_card(tmp_path, graph_sha256=hash_file(tmp_path / 'model.onnx'))
    with pytest.raises(EngineError, match=r"ONNX Runtime cannot open '.*model\.onnx'"):
        open_engine(card, ONE_THREAD)


def test_graph_of_another_project_is_refused(card: ModelCard):
    import onnx

    from rgbt_models.card import hash_file

    model = onnx.load(card.graph_path)
    model.graph.input[0].name = 'image'
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == 'rgb':
                node.input[index] = 'image'
    onnx.save(model, card.graph_path)
    card = dataclasses.replace(card, graph_sha256=hash_file(card.graph_path))
    with pytest.raises(EngineError, match=r"has inputs \['image', 'thermal', 'available'\] and"):
        open_engine(card, ONE_THREAD)


def test_input_the_graph_cannot_take_is_named(card: ModelCard):
    engine = open_engine(card, ONE_THREAD)
    batch = build_batch((64, 96))
    wrong = dataclasses.replace(batch, available=np.ones((1, 3), np.float32))
    with pytest.raises(EngineError, match=r'ONNX Runtime failed on an input of \(64, 96\) px'):
        engine.run(wrong)


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_missing_onnxruntime_names_the_command(card: ModelCard, monkeypatch: pytest.MonkeyPatch):
    hide(monkeypatch, 'onnxruntime')
    with pytest.raises(
        BackendUnavailableError, match=r"run: pip install 'rgbt_perception\[onnx\]'"
    ):
        open_engine(card, EngineConfig(backend='onnx'))


def test_missing_torch_names_the_command(card: ModelCard, monkeypatch: pytest.MonkeyPatch):
    hide(monkeypatch, 'torch')
    with pytest.raises(
        BackendUnavailableError,
        match=r"backend 'torch' needs the package torch.*pip install 'rgbt_perception\[torch\]'",
    ):
        open_engine(card, EngineConfig(backend='torch'))


def test_cuda_without_its_provider_names_the_command(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr('onnxruntime.get_available_providers', lambda: ['CPUExecutionProvider'])
    with pytest.raises(BackendUnavailableError, match='pip install onnxruntime-gpu'):
        open_engine(card, EngineConfig(backend='onnx', device='cuda:0'))


@pytest.mark.filterwarnings('ignore:Specified provider')
def test_cuda_that_falls_back_to_the_cpu_is_an_error(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
):
    providers = ['CUDAExecutionProvider', 'CPUExecutionProvider']
    monkeypatch.setattr('onnxruntime.get_available_providers', lambda: providers)
    with pytest.raises(EngineError, match="device 'cuda:99' could not be opened by ONNX Runtime"):
        open_engine(card, EngineConfig(backend='onnx', device='cuda:99'))


@pytest.mark.parametrize(('device', 'index'), [('cpu', None), ('cuda', 0), ('cuda:3', 3)])
def test_device_names(device: str, index: int | None):
    assert parse_device(device) == index


@pytest.mark.parametrize('device', ['gpu', 'cuda:', 'cuda:-1', 'CPU', ''])
def test_unknown_device_is_refused(device: str, card: ModelCard):
    with pytest.raises(ConfigError, match=r"engine.device is .*, expected 'cpu' or 'cuda:N'"):
        open_engine(card, EngineConfig(device=device))


def test_threads_default_to_all_cores_but_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr('os.sched_getaffinity', lambda pid: {0, 1, 2, 3})
    assert count_threads(0) == 3
    assert count_threads(7) == 7
    monkeypatch.setattr('os.sched_getaffinity', lambda pid: {0})
    assert count_threads(0) == 1


@pytest.mark.parametrize('name', ['class_logits', 'boxes_xyxy', 'segmentation_logits'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_non_finite_output_is_refused(name: str, value: float):
    outputs = {key: getattr(build_outputs((64, 80)), key) for key in OUTPUT_NAMES}
    outputs[name][0, 0, 0] = value
    with pytest.raises(EngineError, match=f"output '{name}' of the network has non-finite values"):
        collect_outputs(outputs)


def test_undefined_share_is_left_to_the_dominance_filter():
    outputs: dict[str, Any] = {key: getattr(build_outputs((64, 80)), key) for key in OUTPUT_NAMES}
    outputs['rgb_shares'][0, 1] = np.nan
    assert np.isnan(collect_outputs(outputs).rgb_shares[0, 1])


def test_torch_engine_runs_the_weights_of_the_card(tmp_path: Path):
    import torch

    from rgbt_models.build import load_model

    card = build_torch_card(tmp_path)
    engine = open_engine(card, EngineConfig(backend='torch', num_threads=1))
    batch = build_batch((64, 80), (1, 0))
    raw = engine.run(batch)
    inputs = [torch.from_numpy(value) for value in (batch.rgb, batch.thermal, batch.available)]
    with torch.inference_mode():
        wanted = load_model(card)(*inputs)
    for name in OUTPUT_NAMES:
        np.testing.assert_allclose(getattr(raw, name), wanted[name].numpy(), rtol=1e-5, atol=1e-6)
    assert (engine.backend, engine.device, engine.precision) == ('torch', 'cpu', 'fp32')


def test_torch_engine_names_an_input_it_cannot_take(tmp_path: Path):
    engine = open_engine(build_torch_card(tmp_path), EngineConfig(backend='torch', num_threads=1))
    batch = build_batch((64, 80))
    wrong = dataclasses.replace(batch, thermal=batch.thermal[:, :2])
    with pytest.raises(EngineError, match=r'torch failed on an input of \(64, 80\) px'):
        engine.run(wrong)


def test_torch_engine_names_a_device_that_is_not_there(tmp_path: Path):
    with pytest.raises(EngineError, match=r"device 'cuda:99' is not there, torch sees \d+ CUDA"):
        open_engine(build_torch_card(tmp_path), EngineConfig(backend='torch', device='cuda:99'))


def test_torch_engine_refuses_altered_weights(tmp_path: Path):
    card = build_card(tmp_path)
    card.weights_path.write_bytes(b'altered')
    with pytest.raises(WeightsError, match=r'model\.safetensors. has SHA-256'):
        open_engine(card, EngineConfig(backend='torch', num_threads=1))
