# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

from fakes import build_card
import numpy as np
import pytest
import torch
from torch_engines import build_torch_card, HW, noise_batch, tf32_allowed, torch_config

from rgbt_models.build import create_model, load_model
from rgbt_models.card import load_card, ModelCard, OUTPUT_NAMES
from rgbt_models.errors import EncoderError
from rgbt_perception.engine.failure import as_engine_error
from rgbt_perception.engine.torch import load_network, TorchEngine
from rgbt_perception.engine.torch_precision import fold_batch_norms, lower_precision
from rgbt_perception.errors import ConfigError, EngineError


@pytest.fixture(scope='module')
def card(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return build_torch_card(tmp_path_factory.mktemp('card'))


def relative_errors(actual, expected) -> dict[str, float]:
    return {
        name: float(np.abs(getattr(actual, name) - getattr(expected, name)).max())
        / float(np.abs(getattr(expected, name)).max())
        for name in OUTPUT_NAMES
    }


# Largest relative errors measured for the shipped weights at 288x384: logits 8e-3, boxes 2e-3,
# shares 1.2e-3 in bf16, whose steps are 8e-3; a tenth of that in fp16.
@pytest.mark.parametrize(('precision', 'error'), [('bf16', 2e-2), ('fp16', 2e-3)])
def test_lower_precision_is_close_to_float32_and_read_back(
    precision: str, error: float, tmp_path: Path
):
    card = load_card('tiny')
    expected = TorchEngine(card, torch_config(tmp_path)).run(noise_batch())
    engine = TorchEngine(card, torch_config(tmp_path, precision=precision))
    found = relative_errors(engine.run(noise_batch()), expected)
    assert engine.precision == precision
    assert max(found.values()) < error
    assert found['rgb_shares'] < error / 5
    assert max(found.values()) > error / 1000  # it is not float32 still


@pytest.mark.parametrize('architecture', ['tiny', 'small'])
def test_outputs_are_float32_whatever_the_weights_are(architecture: str):
    torch.manual_seed(0)
    model = create_model(architecture, num_detection_classes=2, num_segmentation_classes=3).eval()
    lower_precision(model, 'bf16')
    with torch.inference_mode():
        outputs = model(torch.randn(1, 3, 32, 48), torch.randn(1, 3, 32, 48), torch.ones(1, 2))
    assert {value.dtype for value in outputs.values()} == {torch.float32}


def test_shares_and_last_layers_keep_float32_weights():
    model = create_model('tiny', num_detection_classes=2, num_segmentation_classes=3).eval()
    lower_precision(model, 'fp16')
    kept = {
        name.rpartition('.')[0]
        for name, parameter in model.named_parameters()
        if parameter.dtype == torch.float32
    }
    fusions = {
        f'neck.fusions.{i}.{part}'
        for i in range(3)
        for part in ('rgb_weight', 'thermal_weight', 'norm')
    }
    heads = {f'detection.{name}.{i}' for name in ('classifiers', 'regressors') for i in range(3)}
    assert kept == fusions | heads | {'segmentation.classifier'}


def test_folding_batch_norms_changes_rounding_only(card: ModelCard):
    torch.manual_seed(1)
    model = load_model(card)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.normal_(module.weight)
    inputs = torch.randn(1, 3, *HW), torch.randn(1, 3, *HW), torch.ones(1, 2)
    with torch.inference_mode():
        expected = model(*inputs)
        fold_batch_norms(model)
        actual = model(*inputs)
    for name in OUTPUT_NAMES:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-4, atol=1e-4)
    left = [name for name, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert left == [f'neck.fusions.{i}.norm' for i in range(3)]


def test_int8_is_refused(card: ModelCard, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"'int8', backend 'torch' computes in fp32, bf16, fp16"):
        TorchEngine(card, torch_config(tmp_path, precision='int8'))


def test_a_published_model_is_computed_in_fp32_only(tmp_path: Path):
    card = dataclasses.replace(build_card(tmp_path), architecture='vit_upernet')
    assert card.is_published
    with pytest.raises(ConfigError, match=r"'bf16', card 'fake' of a published model is computed"):
        TorchEngine(card, torch_config(tmp_path, precision='bf16'))


def test_outputs_of_a_run_survive_the_next(card: ModelCard, tmp_path: Path):
    engine = TorchEngine(card, torch_config(tmp_path))
    first = engine.run(noise_batch())
    kept = first.class_logits.copy()
    other = dataclasses.replace(noise_batch(), rgb=-noise_batch().rgb)
    engine.run(other)
    np.testing.assert_array_equal(first.class_logits, kept)


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_float32_on_cuda_is_not_rounded_to_tf32(precision: str, card: ModelCard, tmp_path: Path):
    with tf32_allowed():
        load_network(card, torch_config(tmp_path, precision=precision))
        assert torch.backends.cudnn.allow_tf32  # a CPU has none
        load_network(card, torch_config(tmp_path, precision=precision, device='cuda:0'))
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(
    ('error', 'remedy'),
    [
        (
            NotImplementedError("Could not run 'torchvision::nms' with arguments from 'CUDA'"),
            'install the torchvision that belongs to this torch',
        ),
        (EncoderError('images are 63 px high'), 'check model.input_height'),
        (RuntimeError('mat1 and mat2 shapes cannot be multiplied'), 'check model.input_height'),
        (RuntimeError('CUDA error: an illegal memory access'), 'see what else uses the device'),
    ],
)
def test_a_failure_is_followed_by_what_helps_against_it(card, tmp_path, error, remedy):
    def fail(*_):
        raise error

    engine = TorchEngine(card, torch_config(tmp_path))
    engine._runner = fail
    with pytest.raises(EngineError, match=rf'on an input of \(64, 80\) px \(.*\); .*{remedy}'):
        engine.run(noise_batch())


@pytest.mark.parametrize('error', [RuntimeError('CUDA out of memory'), MemoryError('bad_alloc')])
def test_a_lack_of_memory_is_explained_once(card, tmp_path, error):
    def fail(*_):
        raise error

    engine = TorchEngine(card, torch_config(tmp_path))
    engine._runner = fail
    with pytest.raises(EngineError) as caught:
        engine.run(noise_batch())
    explained = (
        f'the engine ran out of memory ({error}), expected room for one pair; free memory, or set '
        f'a smaller model.input_height and model.input_width'
    )
    assert str(caught.value) == explained
    assert str(as_engine_error(caught.value)) == explained  # what a supervisor makes of it
