# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rgbt_models.normalise import ThermalNormaliser
from rgbt_perception.config import ThermalConfig
from rgbt_perception.radiometry import Radiometry
from rgbt_perception.thermal_scaling import ThermalScaler
from rgbt_perception.types import Frame, Modality, NS_PER_S

RULE = ThermalNormaliser()
SCENE_C = np.random.default_rng(0).uniform(10.0, 30.0, (48, 64)).astype(np.float32)


def counts(celsius):
    return np.rint((celsius + 273.15) * 100.0).astype(np.uint16)


def frame(pixels, stamp_ns=0):
    return Frame(pixels=pixels, stamp_ns=stamp_ns, frame_id='t', modality=Modality.THERMAL)


def build(**values):
    config = ThermalConfig(**values)
    return ThermalScaler(config, RULE, Radiometry(config))


def reconfigure(scaler, **values):
    scaler.config = scaler._radiometry.config = replace(scaler.config, **values)


@pytest.mark.parametrize('pixels', [counts(SCENE_C), SCENE_C, (SCENE_C * 8).astype(np.uint8)])
def test_the_default_is_the_rule_of_the_card(pixels):
    np.testing.assert_array_equal(build()(frame(pixels)), RULE(pixels))


def test_the_window_shows_temperatures():
    scaler = build(
        normaliser='window', reading='tlinear_10mk', window_low_c=10.0, window_high_c=50.0
    )
    image = scaler(frame(counts(SCENE_C)))
    np.testing.assert_allclose(image, (SCENE_C - 10.0) / 40.0, atol=2e-4)
    assert scaler.problem == ''
    reconfigure(scaler, window_high_c=30.0)
    np.testing.assert_allclose(scaler(frame(counts(SCENE_C))), (SCENE_C - 10.0) / 20.0, atol=4e-4)


def test_a_window_without_temperatures_falls_back_to_the_card_and_says_why():
    scaler = build(normaliser='window')
    pixels = counts(SCENE_C)
    np.testing.assert_array_equal(scaler(frame(pixels)), RULE(pixels))
    assert scaler.problem == (
        'normaliser window needs temperatures, but the thermal image is not radiometric: counts; '
        "set thermal.reading, or thermal.normaliser to card; until then the card's rule is used"
    )
    scaler(frame(SCENE_C))
    assert scaler.problem == ''


def test_percentiles_follow_slowly_by_stamps_and_by_the_live_time_constant():
    scaler = build(normaliser='percentile', time_constant_s=10.0)
    scaler(frame(SCENE_C))
    warmer = SCENE_C + 2.0
    slow = scaler(frame(warmer, NS_PER_S))
    np.testing.assert_allclose(slow - RULE(SCENE_C), 2.0 / 20.0 * np.exp(-0.1), atol=0.01)
    reconfigure(scaler, time_constant_s=0.1)
    np.testing.assert_allclose(scaler(frame(warmer, 3 * NS_PER_S)), RULE(warmer), atol=1e-5)


def test_switching_normalisers_forgets_the_history():
    scaler = build(normaliser='percentile', time_constant_s=3600.0)
    scaler(frame(SCENE_C))
    reconfigure(scaler, normaliser='card')
    scaler(frame(SCENE_C, 1))
    reconfigure(scaler, normaliser='percentile')
    np.testing.assert_array_equal(scaler(frame(SCENE_C + 9.0, 2)), RULE(SCENE_C + 9.0))


def test_reset_forgets_the_history():
    scaler = build(normaliser='percentile', time_constant_s=3600.0)
    scaler(frame(SCENE_C))
    scaler.reset()
    np.testing.assert_array_equal(scaler(frame(SCENE_C + 9.0, 2)), RULE(SCENE_C + 9.0))


@pytest.mark.parametrize('normaliser', ['card', 'percentile'])
def test_counts_beyond_the_signal_bits_do_not_count_and_become_zero(normaliser):
    pixels = np.random.default_rng(1).integers(7_000, 9_000, (48, 64)).astype(np.uint16)
    broken = pixels.copy()
    broken[4, 7] = broken[10:12, 20:22] = 65_535  # a stuck flag in the upper bits
    image = build(normaliser=normaliser, signal_bits=14)(frame(broken))
    assert image[4, 7] == image[10, 20] == 0.0
    good = broken == pixels
    np.testing.assert_allclose(image[good], RULE(pixels)[good], atol=2e-3)


def test_clahe_raises_local_contrast_and_keeps_what_lies_beyond():
    ramp = np.tile(np.linspace(0.0, 100.0, 256, dtype=np.float32), (128, 1))
    ramp[:, 128:] += np.random.default_rng(0).normal(0.0, 0.5, (128, 128)).astype(np.float32)
    plain, equalised = build()(frame(ramp)), build(clahe_clip=4.0)(frame(ramp))
    assert equalised.dtype == np.float32
    assert equalised.min() >= RULE.min_value
    assert equalised.max() <= RULE.max_value
    detail = (slice(None), slice(180, 190))
    assert equalised[detail].std() > 1.5 * plain[detail].std()
    beyond = plain > 1.0
    assert beyond.any()
    assert equalised[beyond].max() > equalised[~beyond].max() - 0.05


@pytest.mark.parametrize('size_hw', [(1, 1), (2, 3), (48, 64)])
@pytest.mark.parametrize('normaliser', ['card', 'window', 'percentile'])
def test_broken_images_of_any_size_stay_finite(size_hw, normaliser):
    scaler = build(normaliser=normaliser, clahe_clip=2.0)
    pixels = np.full(size_hw, np.nan, np.float32)
    for index, value in enumerate((np.nan, np.inf, 20.0, 1e30)):
        pixels = pixels.copy()
        pixels[-1, -1] = value
        image = scaler(frame(pixels, index))
        assert image.shape == size_hw
        assert image.dtype == np.float32
        assert np.isfinite(image).all()


def test_a_hot_spot_limit_without_temperatures_is_said():
    scaler = build(hot_spot_c=60.0)
    scaler(frame(counts(SCENE_C)))
    assert scaler.problem == (
        'no hot spot can be found: the thermal image is not radiometric: counts; '
        'set thermal.reading, or thermal.hot_spot_c to 0'
    )
    scaler(frame(SCENE_C))
    assert scaler.problem == ''
