# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes
from dataclasses import replace
import importlib.metadata
import logging
from pathlib import Path
import shutil
import sys

import numpy as np
import pytest
import torch
from torch_engines import build_torch_card, HW, noise_batch, torch_config

from rgbt_models.card import ModelCard
from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.torch import TorchEngine
from rgbt_perception.engine.torch_package import (
    build_package,
    find_package,
    load_package,
    package_key,
    prepare_package,
)
from rgbt_perception.errors import BackendUnavailableError, EngineError

MARK = 7.25


class MarkedModel(torch.nn.Module):
    """Has the inputs and outputs of a model, and compiles in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.mark = torch.nn.Parameter(torch.tensor(MARK))

    def forward(self, rgb, thermal, available):
        share = (rgb - thermal).mean(dim=1, keepdim=True) * available[:, :1, None, None]
        return {
            'class_logits': self.mark.expand(1, 6, 7) + 0.0,
            'boxes_xyxy': torch.zeros(1, 6, 4),
            'segmentation_logits': torch.zeros(1, 13, HW[0] // 4, HW[1] // 4),
            'share_map': share,
            'rgb_shares': torch.zeros(1, 3),
            'entropies': torch.zeros(1, 2),
        }


@pytest.fixture(scope='module')
def card(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return build_torch_card(tmp_path_factory.mktemp('card'))


@pytest.fixture(scope='module')
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('package') / 'model.pt2'
    build_package(MarkedModel().eval(), HW, path)
    return path


def test_a_package_computes_what_the_model_does(package: Path):
    inputs = torch.randn(1, 3, *HW), torch.randn(1, 3, *HW), torch.ones(1, 2)
    with torch.inference_mode():
        expected, actual = MarkedModel()(*inputs), load_package(package)(*inputs)
    assert list(actual) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value)


def test_an_engine_uses_the_package_in_the_cache_for_its_size_only(
    package: Path, card: ModelCard, tmp_path: Path
):
    settings = torch_config(tmp_path)
    EngineCache(Path(settings.cache_dir)).fetch(
        package_key(card, settings, HW), lambda path: shutil.copyfile(package, path)
    )
    engine = TorchEngine(card, settings)
    batch = noise_batch()
    raw = engine.run(batch)
    assert (raw.class_logits == MARK).all()
    np.testing.assert_allclose(
        raw.share_map, (batch.rgb - batch.thermal).mean(1, keepdims=True), atol=1e-6
    )
    assert not (engine.run(noise_batch((32, 48))).class_logits == MARK).any()
    assert (engine.run(batch).class_logits == MARK).all()


def test_an_altered_package_is_not_loaded(package: Path, card: ModelCard, tmp_path: Path):
    settings = torch_config(tmp_path)
    path = EngineCache(Path(settings.cache_dir)).fetch(
        package_key(card, settings, HW), lambda path: shutil.copyfile(package, path)
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert find_package(card, settings, HW) is None
    assert not (TorchEngine(card, settings).run(noise_batch()).class_logits == MARK).any()


def test_an_engine_on_cuda_leaves_its_model_in_host_memory_while_packages_fit(
    package: Path, card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = torch_config(tmp_path)
    EngineCache(Path(settings.cache_dir)).fetch(
        package_key(card, settings, HW), lambda path: shutil.copyfile(package, path)
    )
    moved = []
    move = torch.nn.Module.to
    engine = TorchEngine(card, settings)
    monkeypatch.setattr(
        torch.nn.Module, 'to', lambda model, place: moved.append(place) or move(model, place)
    )
    engine.run(noise_batch())
    assert not moved
    engine.run(noise_batch((32, 48)))
    assert moved == [torch.device('cpu')]  # that of the engine


@pytest.mark.parametrize(
    ('reason', 'stays'),
    [
        ('not for this', False),
        ('an illegal memory access was encountered', False),
        ('out of memory', True),
    ],
)
def test_a_refused_package_is_left_out_and_removed_unless_memory_is_lacking(
    reason: str,
    stays: bool,
    card: ModelCard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def refuse(path: str, run_single_threaded: bool = False, device_index: int = -1) -> None:
        raise ValueError(reason)

    monkeypatch.setattr('torch._inductor.aoti_load_package', refuse)
    settings = torch_config(tmp_path)
    path = EngineCache(Path(settings.cache_dir)).fetch(
        package_key(card, settings, HW), lambda path: path.write_bytes(b'package')
    )
    with caplog.at_level(logging.WARNING, 'rgbt_perception.engine.torch_package'):
        raw = TorchEngine(card, settings).run(noise_batch())
    assert raw.class_logits.shape[2] == 7
    (message,) = caplog.messages
    assert message.startswith(f"torch refuses the package '{path}' ({reason}); ")
    assert message.endswith('; the model runs without it')
    assert path.exists() == stays


def load_of_2_6(path):
    return ['2.6', path]


def load_of_2_7(path, run_single_threaded=False):
    return ['2.7', path, run_single_threaded]


def load_of_2_8(path, run_single_threaded=False, device_index=-1):
    return ['2.8', path, run_single_threaded, device_index]


@pytest.mark.parametrize(
    ('load', 'given'),
    [(load_of_2_6, []), (load_of_2_7, [True]), (load_of_2_8, [True, 1])],
)
def test_every_version_of_torch_is_told_what_it_understands(
    load, given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr('torch._inductor.aoti_load_package', load)
    path = tmp_path / 'model.pt2'
    assert load_package(path, 'cuda:1')[1:] == [str(path), *given]


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one GPU, as far as torch tells."""
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: (8, 7))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda _: 'Orin')


@pytest.mark.usefixtures('orin')
@pytest.mark.parametrize(
    ('load', 'options', 'is_captured'),
    [
        (load_of_2_6, {'device': 'cuda:0'}, True),
        (load_of_2_6, {'device': 'cuda:0', 'cuda_graph': False}, False),
        (load_of_2_6, {}, False),
        (load_of_2_7, {'device': 'cuda:0'}, False),
    ],
)
def test_no_package_is_captured_that_several_threads_may_share(
    load, options, is_captured, card: ModelCard, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr('torch._inductor.aoti_load_package', load)
    settings = torch_config(tmp_path, **options)
    key = package_key(card, settings, HW)
    EngineCache(Path(settings.cache_dir)).fetch(key, lambda path: path.write_bytes(b'package'))
    assert (find_package(card, settings, HW) is None) == is_captured


@pytest.mark.usefixtures('orin')
def test_a_package_is_prepared_for_those_who_capture_nothing_too(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    monkeypatch.setattr('torch._inductor.aoti_load_package', load_of_2_6)
    monkeypatch.setattr('rgbt_perception.engine.torch.load_network', lambda *_: MarkedModel())
    monkeypatch.setattr(torch.nn.Module, 'to', lambda model, _: model)
    monkeypatch.setattr(
        'rgbt_perception.engine.torch_package.build_package',
        lambda model, input_hw, path: path.write_bytes(b'package'),
    )
    captured = torch_config(tmp_path, device='cuda:0')  # as `rgbt engine build` has it
    path = prepare_package(card, captured, HW)
    assert find_package(card, replace(captured, cuda_graph=False), HW) == ['2.6', str(path)]
    assert not caplog.messages
    assert find_package(card, captured, HW) is None
    (message,) = caplog.messages
    assert message == (
        f"package '{path}' is left out: this version of torch makes none that can be captured as "
        f'a CUDA graph, expected 2.7 or newer; install it, or set engine.cuda_graph to false'
    )


def test_without_a_package_the_compiler_is_not_imported_which_takes_seconds(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, 'torch._inductor', None)
    assert find_package(card, torch_config(tmp_path), HW) is None


def test_nothing_is_loaded_for_a_package_that_is_there(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = torch_config(tmp_path)
    path = EngineCache(Path(settings.cache_dir)).fetch(
        package_key(card, settings, HW), lambda path: path.write_bytes(b'package')
    )
    monkeypatch.setattr('rgbt_perception.engine.torch.load_network', None)
    assert prepare_package(card, settings, HW) == path


def test_a_package_is_prepared_once(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    built = []

    def build(model, input_hw, path):
        built.append(input_hw)
        path.write_bytes(b'package')

    monkeypatch.setattr('rgbt_perception.engine.torch_package.build_package', build)
    settings = torch_config(tmp_path)
    path = prepare_package(card, settings, HW)
    assert prepare_package(card, settings, HW) == path
    assert path.suffix == '.pt2'
    assert path.read_bytes() == b'package'
    prepare_package(card, settings, (32, 48))
    assert built == [HW, (32, 48)]


@pytest.mark.parametrize('setting', ['precision', 'input', 'weights'])
def test_another_precision_size_or_model_is_another_package(
    setting: str, card: ModelCard, tmp_path: Path
):
    key = package_key(card, torch_config(tmp_path), HW)
    other = {
        'precision': lambda: package_key(card, torch_config(tmp_path, precision='bf16'), HW),
        'input': lambda: package_key(card, torch_config(tmp_path), (32, 48)),
        'weights': lambda: package_key(
            replace(card, weights_sha256='0' * 64), torch_config(tmp_path), HW
        ),
    }[setting]()
    assert other.digest != key.digest
    assert package_key(card, torch_config(tmp_path), HW).digest == key.digest


@pytest.mark.parametrize('name', ['rgbt_perception', 'timm'])
def test_code_of_another_version_is_another_package(
    name: str, card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = package_key(card, torch_config(tmp_path), HW)
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, 'version', lambda item: '0.0.0' if item == name else version(item)
    )
    later = package_key(card, torch_config(tmp_path), HW)
    assert f'{name} 0.0.0' in later.options
    assert later.digest != key.digest


def test_another_gpu_or_driver_is_another_package(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Driver:
        def cuDriverGetVersion(self, version) -> int:  # noqa: N802  # its name
            version._obj.value = 12060
            return 0

    monkeypatch.setattr(ctypes, 'CDLL', lambda name: {'libcuda.so.1': Driver()}[name])
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: (8, 7))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda _: 'Orin')
    key = package_key(card, torch_config(tmp_path, device='cuda:0'), HW)
    assert key.device == 'Orin, sm_87, CUDA 12.6'


def test_a_published_model_is_not_packaged(card: ModelCard, tmp_path: Path):
    published = replace(card, architecture='vit_upernet')
    with pytest.raises(BackendUnavailableError, match='is of a published model, whose work'):
        prepare_package(published, torch_config(tmp_path), HW)
    assert find_package(published, torch_config(tmp_path), HW) is None


def test_a_file_that_is_no_package_is_named(tmp_path: Path):
    path = tmp_path / 'model.pt2'
    path.write_bytes(b'garbage')
    with pytest.raises(EngineError, match=r"torch refuses the package '.*model\.pt2'"):
        load_package(path)


def test_what_the_compiler_says_is_passed_on(tmp_path: Path):
    class Broken(MarkedModel):
        def forward(self, rgb, thermal, available):
            return rgb.reshape(1, 1, 1, 1)

    with pytest.raises(EngineError, match='torch cannot compile the model ahead of time'):
        build_package(Broken().eval(), HW, tmp_path / 'model.pt2')
