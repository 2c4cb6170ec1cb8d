# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import math

from made_models import painted_sample, small_model
import numpy as np
import pytest
import torch

from rgbt_models import calibrate
from rgbt_models.calibrate import (
    calibrate_mdi,
    CALIBRATION_SEED,
    CONTRAST,
    fit_tanh,
    SHAPLEY,
)
from rgbt_models.card import MdiCalibration
from rgbt_models.errors import DatasetError
from rgbt_models.train.config import TrainConfig


def made_shares(count, *, seed=0, spread=(0.02, 0.05, 0.03)):
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + torch.randn(count, 3, generator=generator) * torch.tensor(spread)


def test_the_map_at_one_half_is_tanh_of_the_bias():
    calibration = MdiCalibration(weights=(3.0, -2.0, 9.0), bias=-0.4)
    assert calibration(np.full(3, 0.5)) == pytest.approx(math.tanh(-0.4))


def test_weights_belong_to_levels_finest_first():
    calibration = MdiCalibration(weights=(10.0, 20.0, -5.0), bias=0.1)
    mdi = calibration(np.array([0.51, 0.52, 0.60]))
    assert mdi == pytest.approx(math.tanh(0.1 + 0.1 + 0.4 - 0.5))


def test_a_known_map_is_recovered():
    known = MdiCalibration(weights=(12.0, -4.0, 20.0), bias=0.3)
    shares = made_shares(400)
    targets = torch.tensor([known(row) for row in shares.numpy()])
    fitted = fit_tanh(shares, targets)
    assert fitted.weights == pytest.approx(known.weights, rel=0.03)
    assert fitted.bias == pytest.approx(known.bias, abs=0.01)


def test_a_level_that_never_varies_gets_no_weight():
    shares = made_shares(200, spread=(0.02, 0.0, 0.03))
    fitted = fit_tanh(shares, torch.tanh(15.0 * (shares[:, 0] - 0.5)))
    assert fitted.weights[1] == pytest.approx(0.0, abs=1e-6)
    assert fitted.weights[0] == pytest.approx(15.0, rel=0.03)


def test_targets_at_the_ends_stay_finite():
    shares = made_shares(100)
    fitted = fit_tanh(shares, torch.where(shares[:, 0] > 0.5, 1.0, -1.0))
    assert all(math.isfinite(w) for w in (*fitted.weights, fitted.bias))
    high = fitted(np.array([0.56, 0.5, 0.5]))
    low = fitted(np.array([0.44, 0.5, 0.5]))
    assert high > 0.9
    assert low < -0.9


@pytest.mark.parametrize('num_pairs', [0, 1, 3])
def test_too_few_pairs_are_refused(num_pairs):
    with pytest.raises(
        DatasetError, match=f'{num_pairs} calibration pairs asked for; expected at'
    ):
        calibrate_mdi(small_model(), TrainConfig(), num_pairs=num_pairs, scale=0.2)


@pytest.mark.parametrize(
    ('values', 'others', 'expected'),
    [
        ([1.0, 2.0, 4.0], [3.0, 5.0, 9.0], 1.0),
        ([1.0, 2.0, 4.0], [-1.0, -2.0, -4.0], -1.0),
        ([1.0, 2.0, 4.0], [-1.0, -1.0, -1.0], 0.0),
        ([0.0, 0.0], [1.0, 2.0], 0.0),
    ],
)
def test_correlation_of_equal_values_is_zero(values, others, expected):
    correlation = calibrate._correlation(torch.tensor(values), torch.tensor(others))
    assert correlation == pytest.approx(expected)


@pytest.fixture
def painted_world(monkeypatch):
    """Replace rendering; return the (seed, scale) of what was asked for."""
    asked = []

    def render(seed, *, scale):
        asked.append((seed, scale))
        x = 10 + seed % 60
        return painted_sample((x, 20, x + 20, 70), is_night=bool(seed % 2))

    monkeypatch.setattr(calibrate, 'render_sample', render)
    return asked


def test_calibration_is_repeatable_and_says_how_well_it_fits(painted_world):
    config = TrainConfig()
    first = calibrate_mdi(small_model(), config, num_pairs=8, scale=0.2)
    second = calibrate_mdi(small_model(), config, num_pairs=8, scale=0.2)
    assert first == second
    assert first.num_pairs == 8
    assert first.target == SHAPLEY
    assert len(first.calibration.weights) == 3
    assert -1.0 <= first.correlation <= 1.0  # never NaN, which is no JSON
    assert painted_world[:8] == [(2_000_000 + index, 0.2) for index in range(8)]


def test_a_run_that_was_taught_visibility_is_fitted_to_the_contrast_advantage(
    painted_world, monkeypatch
):
    wanted = iter([-0.9, -0.5, 0.2, 0.6, 0.9])
    shares = iter([0.40, 0.45, 0.52, 0.56, 0.60])

    class Model:
        """Its shares of the finest level follow the advantage; it is run once per pair."""

        def __call__(self, rgb, thermal, available):
            assert available.tolist() == [[1.0, 1.0]]
            return {'rgb_shares': torch.tensor([[next(shares), 0.5, 0.5]])}

    def collate(samples, config, *, label_set):
        batch = original(samples, replace(config, visibility_weight=0.0), label_set=label_set)
        return replace(batch, advantages=torch.tensor([next(wanted)]))

    original = calibrate.collate
    monkeypatch.setattr(calibrate, 'collate', collate)
    config = TrainConfig(visibility_weight=0.5)
    fit = calibrate_mdi(Model(), config, num_pairs=5, scale=0.2)
    assert fit.target == CONTRAST
    assert fit.correlation > 0.97
    assert fit.calibration.weights[0] > 5.0
    assert fit.calibration.weights[1:] == pytest.approx((0.0, 0.0), abs=1e-6)


def test_pairs_without_objects_are_left_out_of_such_a_fit(painted_world, monkeypatch):
    config = TrainConfig(visibility_weight=0.5)
    empty = {CALIBRATION_SEED + index for index in (0, 2)}

    def render(seed, *, scale):
        return painted_sample() if seed in empty else painted_sample((20, 20, 50, 70))

    monkeypatch.setattr(calibrate, 'render_sample', render)
    assert calibrate_mdi(small_model(), config, num_pairs=8, scale=0.2).num_pairs == 6
    with pytest.raises(DatasetError, match='3 of 5 calibration pairs have objects; expected at'):
        calibrate_mdi(small_model(), config, num_pairs=5, scale=0.2)


def test_a_blinded_rgb_image_is_dark_and_a_blinded_thermal_one_flat():
    sample = painted_sample((30, 20, 60, 80))
    contrast, brightness = {}, {}
    for kind in ('none', 'rgb', 'thermal'):
        seen = calibrate._sense(sample, np.random.default_rng(4), kind)
        assert (seen.rgb.dtype, seen.thermal.dtype) == (np.uint8, np.uint16)
        brightness[kind] = seen.rgb[30:70, 35:55].mean()
        contrast[kind] = np.corrcoef(seen.thermal.ravel(), sample.thermal.ravel())[0, 1]
    assert brightness['rgb'] < 0.15 * brightness['none']
    assert brightness['thermal'] == pytest.approx(brightness['none'], rel=0.35)
    assert contrast['none'] > 0.8
    assert contrast['rgb'] > 0.8
