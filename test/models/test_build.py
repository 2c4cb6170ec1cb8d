# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from made_models import (
    make_card,
    NUM_DETECTION_CLASSES,
    NUM_SEGMENTATION_CLASSES,
    small_model,
)
import pytest
import torch

from rgbt_models.build import ARCHITECTURES, create_model, load_model
from rgbt_models.card import hash_file, list_cards, load_card, OUTPUT_NAMES
from rgbt_models.errors import CardError, WeightsError
from rgbt_models.weights import save_weights


@pytest.fixture(scope='module')
def model():
    return small_model()


def images(height, width, *, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, batch, 3, height, width, generator=generator)


@torch.no_grad()
def run(model, rgb, thermal, available):
    return model(rgb, thermal, torch.tensor(available))


def differing(outputs, others):
    return {
        name for name in OUTPUT_NAMES if not torch.allclose(outputs[name], others[name], atol=1e-6)
    }


@pytest.mark.parametrize('size_hw', [(16, 16), (64, 96), (96, 64), (48, 112), (224, 288)])
@pytest.mark.parametrize('batch', [1, 3])
def test_outputs_by_name_for_every_input_size(model, size_hw, batch):
    h, w = size_hw
    outputs = run(model, *images(h, w, batch=batch), [[1.0, 1.0]] * batch)
    points = (h // 4) * (w // 4) + (h // 8) * (w // 8) + (h // 16) * (w // 16)
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        'class_logits': (batch, points, NUM_DETECTION_CLASSES),
        'boxes_xyxy': (batch, points, 4),
        'segmentation_logits': (batch, NUM_SEGMENTATION_CLASSES, h // 4, w // 4),
        'share_map': (batch, 1, h // 16, w // 16),
        'rgb_shares': (batch, 3),
        'entropies': (batch, 2),
    }
    assert tuple(outputs) == OUTPUT_NAMES
    assert all(value.isfinite().all() for value in outputs.values())


@pytest.mark.parametrize(('position', 'available'), [(0, [[0.0, 1.0]]), (1, [[1.0, 0.0]])])
@pytest.mark.parametrize('content', [0.0, 50.0, float('nan')])
def test_only_the_entropy_depends_on_the_image_of_an_absent_camera(
    model, position, available, content
):
    inputs = list(images(64, 96))
    expected = run(model, *inputs, available)
    inputs[position] = torch.full_like(inputs[position], content)
    outputs = run(model, *inputs, available)
    assert differing(outputs, expected) == {'entropies'}
    torch.testing.assert_close(
        outputs['entropies'][:, 1 - position], expected['entropies'][:, 1 - position]
    )


def test_a_present_camera_matters(model):
    rgb, thermal = images(64, 96)
    both = run(model, rgb, thermal, [[1.0, 1.0]])
    for other in (
        run(model, images(64, 96, seed=1)[0], thermal, [[1.0, 1.0]]),
        run(model, rgb, images(64, 96, seed=1)[1], [[1.0, 1.0]]),
        run(model, rgb, thermal, [[1.0, 0.0]]),
        run(model, rgb, thermal, [[0.0, 1.0]]),
    ):
        assert {'class_logits', 'segmentation_logits', 'rgb_shares'} <= differing(both, other)


def test_entropies_come_rgb_first(model):
    rgb, thermal = images(64, 96)
    both = run(model, rgb, thermal, [[1.0, 1.0]])
    other = run(model, images(64, 96, seed=1)[0], thermal, [[1.0, 1.0]])
    assert both['entropies'][0, 0] != other['entropies'][0, 0]
    assert both['entropies'][0, 1] == other['entropies'][0, 1]


def test_a_model_without_thermal_weights_relies_on_rgb_alone():
    model = small_model()
    for fusion in model.neck.fusions:
        torch.nn.init.zeros_(fusion.thermal_weight.weight)
    outputs = run(model, *images(64, 96), [[1.0, 1.0]])
    torch.testing.assert_close(outputs['rgb_shares'], torch.ones(1, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs['share_map'], torch.ones(1, 1, 4, 6), atol=1e-3, rtol=0)


def test_samples_of_a_batch_do_not_meet(model):
    rgb, thermal = images(64, 96, batch=3)
    rows = [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    together = run(model, rgb, thermal, rows)
    for index, row in enumerate(rows):
        alone = run(model, rgb[index, None], thermal[index, None], [row])
        for name in OUTPUT_NAMES:
            torch.testing.assert_close(
                together[name][index, None], alone[name], atol=1e-4, rtol=1e-4
            )


def test_a_transposed_input_transposes_the_sizes_but_is_another_image(model):
    rgb, thermal = images(64, 96)
    wide = run(model, rgb, thermal, [[1.0, 1.0]])['segmentation_logits']
    high = run(model, rgb.mT.contiguous(), thermal.mT.contiguous(), [[1.0, 1.0]])[
        'segmentation_logits'
    ]
    assert wide.mT.shape == high.shape
    assert not torch.allclose(wide.mT, high, atol=1e-3)


def test_tiny_has_its_published_shape():
    model = create_model('tiny', num_detection_classes=3, num_segmentation_classes=8)
    assert model.encoder.dim == 192
    assert len(model.encoder.blocks) == 6
    assert model.segmentation.classifier.out_channels == 8
    assert [c.out_channels for c in model.detection.classifiers] == [3, 3, 3]
    assert 4.4e6 < sum(p.numel() for p in model.parameters()) < 4.8e6


def test_an_unknown_architecture_lists_the_known_ones():
    expected = "unknown architecture 'huge'; expected one of tiny, small, base or 'encoder: <name"
    with pytest.raises(CardError, match=expected):
        create_model('huge', num_detection_classes=3, num_segmentation_classes=8)


@pytest.fixture
def small_card(tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, 'small', lambda **classes: small_model(seed=1))
    card = make_card(folder=tmp_path, architecture='small')
    save_weights(small_model(seed=2), card.weights_path)
    return replace(card, weights_sha256=hash_file(card.weights_path))


def test_the_model_of_a_card_has_its_weights_and_is_ready_for_use(small_card):
    model = load_model(small_card)
    assert not any(module.training for module in model.modules())
    for name, value in small_model(seed=2).state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)


def test_altered_weights_are_not_loaded(small_card):
    save_weights(small_model(seed=3), small_card.weights_path)
    with pytest.raises(WeightsError, match='the file was altered'):
        load_model(small_card)


def test_the_shipped_models_load():
    for name in list_cards():
        card = load_card(name)
        outputs = run(load_model(card), *images(64, 96), [[1.0, 1.0]])
        assert outputs['class_logits'].shape[2] == len(card.detection_classes)
        assert outputs['segmentation_logits'].shape[1] == len(card.segmentation_classes)
        assert len(card.mdi_calibration.weights) == outputs['rgb_shares'].shape[1]
