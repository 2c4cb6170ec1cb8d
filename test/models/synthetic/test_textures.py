# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.synthetic.textures import Grain, NUM_TEXTURES, sample_texture


def whole(index, grain):
    """Every stored texel once, (1024, 1024)."""
    u, v = np.meshgrid(*[np.arange(1024, dtype=np.float32) / 4.0 + 0.1] * 2)
    return sample_texture(index, u, v, 1.0, grain=grain)


def correlation(one, two):
    return float(np.corrcoef(one.ravel(), two.ravel())[0, 1])


@pytest.mark.parametrize('grain', Grain)
@pytest.mark.parametrize('index', [0, NUM_TEXTURES - 1])
def test_noise_has_zero_mean_and_unit_variance(index, grain):
    noise = whole(index, grain)
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0.0, abs=0.02)
    assert noise.std() == pytest.approx(1.0, abs=0.02)


def test_smooth_noise_has_the_large_spots_of_the_fractal_one_at_the_same_places():
    fractal, smooth = whole(2, Grain.FRACTAL), whole(2, Grain.SMOOTH)
    assert correlation(fractal, smooth) > 0.8
    assert correlation(whole(3, Grain.FRACTAL), smooth) < 0.3

    def roughness(noise):
        return float(np.abs(np.diff(noise, axis=1)).mean())

    assert roughness(smooth) < 0.3 * roughness(fractal)


def test_fine_noise_forgets_its_value_within_eight_texels():
    fine = whole(1, Grain.FINE)
    assert correlation(fine, np.roll(fine, 1, axis=1)) > 0.5
    # What is left is the larger one of the two sizes: 0.7 squared of 1.49.
    assert correlation(fine, np.roll(fine, 8, axis=1)) < 0.35
    assert abs(correlation(fine, np.roll(fine, 64, axis=1))) < 0.1


def test_every_grain_repeats_after_256_texels():
    u = np.linspace(0.0, 3.0, 50, dtype=np.float32)
    for grain in Grain:
        here = sample_texture(4, u, u, 16.0, grain=grain)
        np.testing.assert_array_equal(here, sample_texture(4, u + 16.0, u, 16.0, grain=grain))
