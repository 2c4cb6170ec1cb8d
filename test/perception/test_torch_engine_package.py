# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import shutil

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
