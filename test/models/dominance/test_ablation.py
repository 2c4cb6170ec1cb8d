# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

from made_models import small_model
import pytest
import torch

from rgbt_models.dominance import (
    Coalitions,
    decode_coalitions,
    detection_divergence,
    drop_effect,
    pseudo_label_values,
    segmentation_divergence,
    shapley_mdi,
    shapley_values,
)

SIZE = (2, 3, 64, 96)


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SIZE, generator=generator), torch.randn(SIZE, generator=generator)


@torch.no_grad()
def coalitions(model, rgb, thermal):
    return decode_coalitions(model, model.encoder(rgb, thermal))


def logit(probability):
    return math.log(probability / (1 - probability))


def test_detection_divergence_is_the_bernoulli_closed_form():
    full = torch.tensor([[[logit(0.8), logit(0.5)]]])
    other = torch.tensor([[[logit(0.4), logit(0.5)]]])
    expected = 0.8 * math.log(0.8 / 0.4) + 0.2 * math.log(0.2 / 0.6)
    assert detection_divergence(full, other).tolist() == pytest.approx([expected])


def test_only_the_best_anchors_of_the_full_pass_count():
    full = torch.tensor([[[2.0], [-8.0], [1.0]]])
    changed_outside = torch.tensor([[[2.0], [8.0], [1.0]]])
    assert detection_divergence(full, changed_outside, top=2).tolist() == [0.0]
    assert detection_divergence(full, changed_outside).item() > 0.0


def test_segmentation_divergence_is_the_categorical_closed_form():
    # Two positions; at the first (.5, .5) against (.9, .1), at the second the same.
    full = torch.tensor([[0.5, 0.3], [0.5, 0.7]]).log().reshape(1, 2, 1, 2)
    other = torch.tensor([[0.9, 0.3], [0.1, 0.7]]).log().reshape(1, 2, 1, 2)
    expected = (0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)) / 2
    assert segmentation_divergence(full, other).tolist() == pytest.approx([expected])


def test_extreme_logits_stay_finite():
    full, other = torch.full((1, 4, 2), 90.0), torch.full((1, 4, 2), -90.0)
    assert detection_divergence(full, other).isfinite().all()


def test_coalitions_are_what_the_model_gives_for_each_set_of_cameras():
    model, (rgb, thermal) = small_model(), images()
    found = coalitions(model, rgb, thermal)
    for name, available in {
        'both': (1.0, 1.0),
        'rgb_only': (1.0, 0.0),
        'thermal_only': (0.0, 1.0),
        'none': (0.0, 0.0),
    }.items():
        with torch.no_grad():
            expected = model(rgb, thermal, torch.tensor([available] * 2))
        for key, value in getattr(found, name).items():
            torch.testing.assert_close(value, expected[key])


def swap_cameras(model):
    """The same network with RGB and thermal exchanged."""
    other = small_model()
    state = {}
    for name, value in model.state_dict().items():
        swapped = name.replace('rgb_', '?').replace('thermal_', 'rgb_').replace('?', 'thermal_')
        state[swapped] = value
    other.load_state_dict(state)
    return other.eval()


def test_swapping_the_cameras_negates_every_index():
    model, (rgb, thermal) = small_model(seed=3), images()
    found = coalitions(model, rgb, thermal)
    swapped = coalitions(swap_cameras(model), thermal, rgb)
    effect = drop_effect(found.both, found.thermal_only, found.rgb_only)
    mirrored = drop_effect(swapped.both, swapped.thermal_only, swapped.rgb_only)
    assert (effect.mdi.abs() > 0.01).any()
    torch.testing.assert_close(mirrored.mdi, -effect.mdi, atol=1e-4, rtol=0)
    index = shapley_mdi(*pseudo_label_values(found))
    mirrored_index = shapley_mdi(*pseudo_label_values(swapped))
    torch.testing.assert_close(mirrored_index, -index, atol=1e-4, rtol=0)


def silence_thermal(model):
    with torch.no_grad():
        for fusion in model.neck.fusions:
            fusion.thermal_weight.weight.zero_()
    return model


def test_a_thermal_camera_without_effect_has_amount_and_phi_zero():
    model, (rgb, thermal) = silence_thermal(small_model()), images()
    found = coalitions(model, rgb, thermal)
    effect = drop_effect(found.both, found.thermal_only, found.rgb_only)
    assert effect.amounts[:, 1].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert effect.mdi.tolist() == pytest.approx([1.0, 1.0], abs=1e-4)
    _, phi_thermal = shapley_values(*pseudo_label_values(found))
    assert phi_thermal.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_pseudo_label_shapley_is_efficient():
    found = coalitions(small_model(), *images())
    values = pseudo_label_values(found)
    phi_rgb, phi_thermal = shapley_values(*values)
    torch.testing.assert_close(phi_rgb + phi_thermal, values[0] - values[3], atol=1e-5, rtol=0)


def test_where_neither_camera_matters_the_index_is_not_valid():
    outputs = {
        'class_logits': torch.zeros(1, 5, 3),
        'segmentation_logits': torch.zeros(1, 4, 2, 2),
    }
    effect = drop_effect(outputs, outputs, outputs)
    assert effect.valid.tolist() == [False]
    assert effect.mdi.tolist() == [0.0]


def test_one_head_is_enough():
    full = {'segmentation_logits': torch.tensor([0.9, 0.1]).log().reshape(1, 2, 1, 1)}
    other = {'segmentation_logits': torch.tensor([0.5, 0.5]).log().reshape(1, 2, 1, 1)}
    values = pseudo_label_values(
        Coalitions(both=full, rgb_only=other, thermal_only=full, none=other)
    )
    expected = [math.log(0.9), math.log(0.5), math.log(0.9), math.log(0.5)]
    assert [value.item() for value in values] == pytest.approx(expected)


@pytest.mark.parametrize(
    ('absent', 'shape'), [('class_logits', (2, 5, 0)), ('segmentation_logits', (2, 0, 4, 6))]
)
def test_a_head_without_classes_counts_as_not_there(absent, shape):
    found = coalitions(small_model(), *images())
    without = Coalitions(*({k: v for k, v in of.items() if k != absent} for of in found))
    empty = Coalitions(*({**of, absent: torch.zeros(shape)} for of in found))
    torch.testing.assert_close(
        drop_effect(empty.both, empty.thermal_only, empty.rgb_only).amounts,
        drop_effect(without.both, without.thermal_only, without.rgb_only).amounts,
    )
    for value, expected in zip(
        pseudo_label_values(empty), pseudo_label_values(without), strict=True
    ):
        torch.testing.assert_close(value, expected)


def test_without_detection_classes_the_divergence_is_0():
    assert detection_divergence(torch.zeros(2, 5, 0), torch.zeros(2, 5, 0)).tolist() == [0.0, 0.0]


def test_nearly_equal_outputs_give_an_index_within_its_bounds():
    # Rounding in float32: without a bound at 0 some of these divergences are negative.
    generator = torch.Generator().manual_seed(0)
    for scale, change in ((4.0, 1e-4), (8.0, 1e-5)):
        boxes = scale * torch.randn(4, 50, 3, generator=generator) - 3.0
        labels = scale * torch.randn(4, 5, 6, 8, generator=generator)
        outputs = [
            {'class_logits': boxes + change * step, 'segmentation_logits': labels + change * step}
            for step in (0, 1, -1)
        ]
        effect = drop_effect(*outputs)
        assert effect.amounts.min() >= 0.0
        assert effect.mdi.abs().max() <= 1.0
