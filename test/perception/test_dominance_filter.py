# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math

from fakes import build_outputs
import numpy as np
import pytest

from rgbt_models.card import MdiCalibration
from rgbt_perception.config import DominanceConfig
from rgbt_perception.dominance_filter import calibrated_mdi, DominanceFilter
from rgbt_perception.errors import ShapeError
from rgbt_perception.types import Dominance, DominanceState, Mode, NS_PER_S, RawOutputs

# One effective weight, so that a raw share of 0.5 + atanh(mdi) gives exactly that index.
CALIBRATION = MdiCalibration(weights=(1.0, 0.0, 0.0), bias=0.0)


def outputs(mdi: float) -> RawOutputs:
    return build_outputs((64, 80), rgb_share=0.5 + math.atanh(mdi))


def build_filter(**config: float) -> DominanceFilter:
    return DominanceFilter(DominanceConfig(**config), CALIBRATION)


def update(dominance_filter: DominanceFilter, mdi: float, at_s: float) -> Dominance:
    return dominance_filter.update(outputs(mdi), Mode.FUSED, round(at_s * NS_PER_S))


def test_calibration_is_the_formula_of_the_card():
    calibration = MdiCalibration(weights=(2.0, -4.0, 8.0), bias=0.1)
    shares = np.array([0.6, 0.55, 0.4], np.float32)
    # 0.1 + 2 * 0.1 - 4 * 0.05 - 8 * 0.1 = -0.7
    assert calibrated_mdi(shares, calibration) == pytest.approx(math.tanh(-0.7), abs=1e-6)


def test_calibration_of_another_network_is_refused():
    with pytest.raises(ShapeError, match=r'rgb_shares is \(2,\), expected \(3,\)'):
        calibrated_mdi(np.zeros(2, np.float32), CALIBRATION)


def test_rgb_share_above_one_half_is_rgb_dominant():
    dominance = update(build_filter(), 0.5, 1.0)
    assert dominance.mdi == pytest.approx(0.5, abs=1e-6)
    assert dominance.rgb_share == pytest.approx(0.75, abs=1e-6)
    assert dominance.thermal_share == pytest.approx(0.25, abs=1e-6)
    assert dominance.state is DominanceState.RGB
    assert (dominance.rgb_entropy, dominance.thermal_entropy) == pytest.approx((0.4, 0.6))
    assert dominance.method == 'linear_share'
    assert dominance.valid


def test_a_contrast_takes_the_place_of_the_shares_where_it_was_measured():
    dominance_filter = build_filter(time_constant_s=0.0)
    measured = dominance_filter.update(outputs(0.5), Mode.FUSED, NS_PER_S, contrast_advantage=-0.7)
    assert (measured.mdi, measured.method) == (-0.7, 'contrast')
    assert measured.state is DominanceState.THERMAL
    nothing_found = dominance_filter.update(outputs(0.5), Mode.FUSED, 2 * NS_PER_S)
    assert nothing_found.mdi == pytest.approx(0.5, abs=1e-6)
    assert nothing_found.method == 'linear_share'


def test_each_method_has_an_average_of_its_own():
    dominance_filter = build_filter(time_constant_s=2.0)
    update(dominance_filter, 0.5, 1.0)
    first = dominance_filter.update(
        outputs(0.5), Mode.FUSED, 2 * NS_PER_S, contrast_advantage=-0.8
    )
    assert first.mdi == -0.8  # not blended with the shares
    assert update(dominance_filter, 0.5, 3.0).mdi == pytest.approx(0.5, abs=1e-6)
    third = dominance_filter.update(outputs(0.5), Mode.FUSED, 4 * NS_PER_S, contrast_advantage=0.2)
    assert third.mdi == pytest.approx(-0.8 + (1 - math.exp(-1.0)) * 1.0, abs=1e-6)


def test_a_model_without_shares_has_an_index_by_contrast():
    dominance_filter = DominanceFilter(DominanceConfig(), MdiCalibration(weights=(), bias=0.0))
    without_shares = dataclasses.replace(outputs(0.0), rgb_shares=np.zeros((1, 0), np.float32))
    measured = dominance_filter.update(
        without_shares, Mode.FUSED, NS_PER_S, contrast_advantage=0.4
    )
    assert (measured.mdi, measured.method, measured.valid) == (0.4, 'contrast', True)


def test_average_follows_the_stamps_not_the_number_of_frames():
    steps = build_filter(time_constant_s=2.0)
    update(steps, 0.0, 10.0)
    for index in range(1, 11):
        last = update(steps, 0.5, 10.0 + index * 0.3)
    once = build_filter(time_constant_s=2.0)
    update(once, 0.0, 10.0)
    assert last.mdi == pytest.approx(update(once, 0.5, 13.0).mdi, abs=1e-6)
    assert last.mdi == pytest.approx(0.5 * (1 - math.exp(-1.5)), abs=1e-6)


def test_time_constant_of_zero_is_no_filter():
    dominance_filter = build_filter(time_constant_s=0.0)
    update(dominance_filter, 0.9, 1.0)
    assert update(dominance_filter, -0.3, 1.0).mdi == pytest.approx(-0.3, abs=1e-6)


def test_state_holds_within_the_hysteresis_band():
    # threshold 0.2, band 0.15..0.25
    dominance_filter = build_filter(time_constant_s=0.0, threshold=0.2, hysteresis=0.1)
    states = [
        update(dominance_filter, mdi, 1.0 + index).state.value
        for index, mdi in enumerate([0.24, 0.26, 0.16, 0.14, 0.24, -0.24, -0.26, -0.16, -0.14])
    ]
    assert states == [
        'balanced',
        'rgb',
        'rgb',
        'balanced',
        'balanced',
        'balanced',
        'thermal',
        'thermal',
        'balanced',
    ]


def test_state_changes_sides_at_once():
    dominance_filter = build_filter(time_constant_s=0.0)
    update(dominance_filter, 0.9, 1.0)
    assert update(dominance_filter, -0.9, 2.0).state is DominanceState.THERMAL


@pytest.mark.parametrize(
    ('mode', 'mdi', 'entropies'),
    [(Mode.RGB_ONLY, 1.0, (0.4, math.nan)), (Mode.THERMAL_ONLY, -1.0, (math.nan, 0.6))],
)
def test_single_camera_is_full_dominance(mode: Mode, mdi: float, entropies: tuple[float, float]):
    dominance = build_filter().update(outputs(0.0), mode, 0)
    assert (dominance.mdi, dominance.method) == (mdi, 'single')
    assert dominance.state is DominanceState.SINGLE
    assert (dominance.rgb_share, dominance.thermal_share) == ((1 + mdi) / 2, (1 - mdi) / 2)
    found = (dominance.rgb_entropy, dominance.thermal_entropy)
    np.testing.assert_allclose(found, entropies, rtol=1e-6)
    assert dominance.valid


def test_average_starts_anew_after_a_single_camera():
    dominance_filter = build_filter(time_constant_s=10.0)
    update(dominance_filter, 0.9, 1.0)
    dominance_filter.update(outputs(0.0), Mode.THERMAL_ONLY, 2 * NS_PER_S)
    assert update(dominance_filter, -0.2, 2.1).mdi == pytest.approx(-0.2, abs=1e-6)


def test_average_starts_anew_when_stamps_run_back():
    dominance_filter = build_filter(time_constant_s=10.0)
    update(dominance_filter, 0.9, 100.0)
    assert update(dominance_filter, -0.2, 1.0).mdi == pytest.approx(-0.2, abs=1e-6)


def test_nan_is_not_valid_and_does_not_poison_the_average():
    dominance_filter = build_filter(time_constant_s=0.0)
    update(dominance_filter, 0.9, 1.0)
    raw = dataclasses.replace(outputs(0.0), rgb_shares=np.array([[np.nan, 0.5, 0.5]], np.float32))
    dominance = dominance_filter.update(raw, Mode.FUSED, 2 * NS_PER_S)
    assert not dominance.valid
    assert math.isnan(dominance.mdi)
    assert dominance.state is DominanceState.RGB
    assert update(dominance_filter, 0.5, 3.0).mdi == pytest.approx(0.5, abs=1e-6)


def test_without_any_camera_nothing_is_claimed():
    dominance = build_filter().update(None, Mode.NONE, 0)
    assert not dominance.valid
    assert dominance.method == 'none'
    assert math.isnan(dominance.mdi)
    assert math.isnan(dominance.rgb_share)
