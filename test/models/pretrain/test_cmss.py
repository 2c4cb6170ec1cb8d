# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.cmss import compute_cmss, draw_cmss_map, normalise_cmss


def slow_cmss(a: list[float], b: list[float], variant: str) -> float:
    """Return the formula for one patch (a RGB, b thermal), written out over plain numbers."""

    def variance(values: list[float]) -> float:
        mean = sum(values) / len(values)
        return sum((value - mean) ** 2 for value in values) / (len(values) - 1)

    dot = sum(x * y for x, y in zip(a, b, strict=True))
    cosine = dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    product = variance(b) * variance(b if variant == 'released' else a)
    return math.sqrt((cosine + 1) / 2) / product


@pytest.mark.parametrize('variant', ['corrected', 'released'])
def test_every_patch_follows_the_formula(variant):
    generator = torch.Generator().manual_seed(1)
    rgb = torch.randn(2, 5, 16, generator=generator) + 0.7
    thermal = 2.0 * torch.randn(2, 5, 16, generator=generator) - 0.3
    values = compute_cmss(rgb, thermal, variant=variant)
    for image in range(2):
        for patch in range(5):
            expected = slow_cmss(
                rgb[image, patch].tolist(), thermal[image, patch].tolist(), variant
            )
            assert values[image, patch].item() == pytest.approx(expected, rel=1e-4)


def test_literal_of_two_channels():
    # Var(1, -1) = 2, Var(3, 1) = 2, cos((1, -1), (3, 1)) = 2 / sqrt(20).
    rgb, thermal = torch.tensor([[[1.0, -1.0]]]), torch.tensor([[[3.0, 1.0]]])
    expected = math.sqrt((2 / math.sqrt(20) + 1) / 2) / 4
    assert compute_cmss(rgb, thermal).item() == pytest.approx(expected, rel=1e-6)


def test_released_uses_thermal_twice_and_corrected_is_symmetric():
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(1, 3, 8, generator=generator), 3 * torch.randn(1, 3, 8, generator=generator)
    torch.testing.assert_close(compute_cmss(a, b), compute_cmss(b, a))
    ratio = compute_cmss(a, b, variant='released') / compute_cmss(a, b)
    torch.testing.assert_close(ratio, a.var(-1) / b.var(-1), rtol=1e-4, atol=0)


def test_flat_patches_score_above_rich_ones():
    generator = torch.Generator().manual_seed(3)
    contrast = torch.tensor([0.1, 1.0, 5.0])[None, :, None]
    rgb = contrast * torch.randn(4, 3, 64, generator=generator)
    thermal = contrast * torch.randn(4, 3, 64, generator=generator)
    values = compute_cmss(rgb, thermal)
    assert (values[:, 0] > values[:, 1]).all()
    assert (values[:, 1] > values[:, 2]).all()


def test_constant_and_zero_tokens_give_finite_values():
    values = compute_cmss(torch.zeros(1, 2, 8), torch.full((1, 2, 8), 3.0))
    assert torch.isfinite(values).all()
    assert torch.isfinite(normalise_cmss(values)).all()


def test_half_precision_tokens_are_computed_in_single():
    tokens = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(4))
    half = tokens.bfloat16()
    assert compute_cmss(half, half).dtype == torch.float32
    torch.testing.assert_close(compute_cmss(half, half), compute_cmss(half.float(), half.float()))


def test_max_and_q99_scales():
    values = torch.arange(1.0, 201.0).reshape(2, 100)
    torch.testing.assert_close(normalise_cmss(values, rule='max'), values / 200)
    # The 198th of 200 values is the 0.99 quantile; the two above it are clipped.
    robust = normalise_cmss(values, rule='q99')
    torch.testing.assert_close(robust, (values / 198).clamp(max=1.0))
    assert (robust == 1.0).sum() == 3


def test_one_outlier_moves_max_but_not_q99():
    values = torch.linspace(0.1, 1.0, 400).reshape(4, 100)
    spoiled = values.clone()
    spoiled[2, 7] = 1e4
    assert normalise_cmss(spoiled, rule='max').median() < 1e-3
    shift = normalise_cmss(spoiled).median() - normalise_cmss(values).median()
    assert abs(shift.item()) < 0.01


def test_picture_is_bright_where_the_patch_is_rich():
    picture = draw_cmss_map(
        torch.tensor([0.9, 0.8, 0.001, 0.7, 0.6, 0.5]), grid_hw=(2, 3), patch_size=4
    )
    assert picture.shape == (8, 12, 3)
    brightness = picture.sum(axis=2)
    assert (brightness[:4, 8:] == brightness.max()).all()  # third patch of the first row
    assert (brightness[:4, :4] == brightness.min()).all()


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda x: compute_cmss(x, x, variant='paper'), "variant is 'paper'; expected one of"),
        (lambda x: compute_cmss(x, x[:, :1]), r'shapes \(2, 3, 4\) and \(2, 1, 4\); expected'),
        (lambda x: normalise_cmss(x[..., 0], rule='q95'), "normaliser is 'q95'; expected one of"),
        (
            lambda x: draw_cmss_map(x[0, :, 0], grid_hw=(2, 2), patch_size=4),
            '3 values for a grid of 2x2 patches; expected 4',
        ),
    ],
)
def test_errors_say_what_was_found(call, message):
    with pytest.raises(PretrainError, match=message):
        call(torch.ones(2, 3, 4))
