# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fakes import build_pair
import numpy as np
import pytest

from rgbt_perception.degradations import Degradation, degrade
from rgbt_perception.errors import ConfigError
from rgbt_perception.types import Frame, Modality, Pair


def made_pair(rgb_value=200, thermal=None):
    pixels = np.full((40, 60, 3), rgb_value, np.uint8)
    if thermal is None:
        thermal = np.where(np.arange(60) < 30, 29_000, 30_000) * np.ones((40, 1))
        thermal = thermal.astype(np.uint16)
    common = {'stamp_ns': 5, 'frame_id': 'x'}
    return Pair(
        rgb=Frame(pixels=pixels, modality=Modality.RGB, **common),
        thermal=Frame(pixels=thermal, modality=Modality.THERMAL, **common),
    )


def rng(seed=0):
    return np.random.default_rng(seed)


def test_none_changes_nothing():
    pair = build_pair()
    same = degrade(pair, Degradation(), rng())
    assert same.rgb is pair.rgb
    assert same.thermal is pair.thermal


def test_dark_scales_rgb_and_leaves_thermal():
    pair = made_pair(200)
    dark = degrade(pair, Degradation(kind='rgb_dark', amount=0.25), rng())
    assert dark.thermal is pair.thermal
    assert dark.rgb.pixels.dtype == np.uint8
    assert dark.rgb.pixels.mean() == pytest.approx(50.0, abs=0.3)
    assert 1.0 < dark.rgb.pixels.std() < 4.0  # the sensor's noise stays: 0.01 of full scale
    assert pair.rgb.pixels.mean() == 200.0  # the input is as it was


def test_rgb_noise_keeps_the_mean():
    noisy = degrade(made_pair(128), Degradation(kind='rgb_noise', amount=0.1), rng())
    assert noisy.rgb.pixels.mean() == pytest.approx(128.0, abs=1.0)
    assert noisy.rgb.pixels.std() == pytest.approx(25.5, abs=1.0)


def test_flat_pulls_thermal_to_its_mean_and_leaves_rgb():
    pair = made_pair()
    flat = degrade(pair, Degradation(kind='thermal_flat', amount=0.1), rng())
    assert flat.rgb is pair.rgb
    pixels = flat.thermal.pixels
    assert pixels.dtype == np.uint16
    # 29 000 and 30 000 about 29 500, a tenth of it; noise 0.02 of the deviation, 500.
    assert pixels[:, :30].mean() == pytest.approx(29_450.0, abs=2.0)
    assert pixels[:, 30:].mean() == pytest.approx(29_550.0, abs=2.0)
    assert pixels[:, :30].std() == pytest.approx(10.0, abs=1.0)


def test_thermal_noise_is_relative_to_the_scene_and_keeps_type_and_nan():
    celsius = np.where(np.arange(60) < 30, 10.0, 20.0) * np.ones((40, 1))
    celsius = celsius.astype(np.float32)
    celsius[3, 7] = np.nan
    noisy = degrade(
        made_pair(thermal=celsius), Degradation(kind='thermal_noise', amount=0.4), rng()
    )
    pixels = noisy.thermal.pixels
    assert pixels.dtype == np.float32
    assert np.isnan(pixels[3, 7])
    assert np.isnan(pixels).sum() == 1
    assert np.nanstd(pixels[:, :30]) == pytest.approx(2.0, abs=0.15)  # 0.4 of 5 degrees


def test_equal_seeds_give_equal_noise():
    degradation = Degradation(kind='rgb_noise', amount=0.2)
    first, second, other = (degrade(made_pair(), degradation, rng(seed)) for seed in (1, 1, 2))
    assert (first.rgb.pixels == second.rgb.pixels).all()
    assert (first.rgb.pixels != other.rgb.pixels).any()


def test_names_tell_kind_and_amount():
    assert Degradation().name == 'none'
    assert Degradation(kind='rgb_dark', amount=0.02).name == 'rgb_dark_0.02'


@pytest.mark.parametrize(
    ('kind', 'amount'), [('fog', 0.5), ('rgb_dark', -0.1), ('rgb_noise', float('nan'))]
)
def test_unknown_kinds_and_amounts_are_refused(kind, amount):
    with pytest.raises(ConfigError, match=r'expected one of none, rgb_dark, .* 0 or more'):
        Degradation(kind=kind, amount=amount)
