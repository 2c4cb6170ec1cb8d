# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.synthetic import tone_map
from rgbt_models.synthetic.gain_control import sample_tone_map, ToneCurve, ToneMap

# 1st percentile, mean and 99th percentile of published data sets' thermal images, of 255: KAIST,
# LLVIP, TNO, VIFB, HIT-UAV, METU (measured on samples of each).
REAL_LEVELS = [
    (2, 44, 84),
    (0, 51, 180),
    (33, 113, 211),
    (34, 106, 177),
    (32, 125, 224),
    (2, 116, 228),
]


def scene(seed=0):
    """A cold sky, a road with texture, a few hot things."""
    rng = np.random.default_rng(seed)
    counts = rng.normal(29300.0, 60.0, (96, 128))
    counts[:30] -= 2000.0
    counts[60:80, 40:50] += 1200.0
    return counts.astype(np.uint16)


def apply(counts, **values):
    return tone_map(counts, np.random.default_rng(0), curve=ToneMap(**values))


def test_linear_curve_spans_its_percentiles():
    ramp = np.tile(np.arange(1001, dtype=np.uint16) * 7 + 100, (6, 1))
    grey = apply(ramp, low_percentile=10.0, high_percentile=90.0)
    assert grey.dtype == np.uint8
    assert (grey[0, :100].max(), grey[0, 900:].min()) == (0, 255)
    assert grey[0, 500] == pytest.approx(127.5, abs=1.0)


@pytest.mark.parametrize('curve', list(ToneCurve))
def test_hotter_is_brighter(curve):
    counts = scene()
    grey = apply(counts, curve=curve).astype(float)
    sky, road, hot = grey[5:25].mean(), grey[60:80, 60:].mean(), grey[62:78, 42:48].mean()
    assert sky < road < hot


def test_inverted_is_the_negative():
    counts = scene()
    np.testing.assert_array_equal(apply(counts, is_inverted=True), 255 - apply(counts))


def test_equalisation_gives_the_road_more_levels_than_the_linear_curve():
    counts = scene()
    plateau = apply(counts, curve=ToneCurve.PLATEAU, plateau=8.0)[60:80, 60:].std()
    assert plateau > 2.0 * apply(counts)[60:80, 60:].std()


def test_detail_enhancement_draws_dark_rims_around_hot_things():
    counts = scene()
    plain, enhanced = apply(counts).astype(float), apply(counts, detail=1.0).astype(float)
    road, rim = np.s_[60:80, 80:120], np.s_[62:78, 36:39]
    assert enhanced[rim].mean() < plain[rim].mean() - 5.0
    assert enhanced[road].mean() == pytest.approx(plain[road].mean(), abs=2.0)


def test_strength_zero_is_the_linear_curve():
    counts = scene()
    np.testing.assert_array_equal(
        apply(counts, curve=ToneCurve.PLATEAU, strength=0.0), apply(counts)
    )


@pytest.mark.parametrize('curve', list(ToneCurve))
@pytest.mark.parametrize('levels', REAL_LEVELS)
def test_levels_of_every_real_source_can_be_reached(curve, levels):
    grey = apply(scene(), curve=curve, levels=levels)
    assert np.percentile(grey, 1) == pytest.approx(levels[0], abs=4)
    assert grey.mean() == pytest.approx(levels[1], abs=3)
    assert np.percentile(grey, 99) == pytest.approx(levels[2], abs=6)


def test_drawn_levels_cover_every_real_source():
    drawn = np.array([sample_tone_map(np.random.default_rng(seed)).levels for seed in range(2000)])
    for levels in REAL_LEVELS:
        near = np.abs(drawn - levels).max(axis=1) < 15
        assert near.sum() >= 5, levels


def test_all_curves_are_drawn_and_white_is_hot():
    drawn = [sample_tone_map(np.random.default_rng(seed)) for seed in range(60)]
    assert {curve.curve for curve in drawn} == set(ToneCurve)
    assert not any(curve.is_inverted for curve in drawn)


@pytest.mark.parametrize('curve', list(ToneCurve))
def test_flat_image_stays_flat(curve):
    grey = apply(np.full((40, 50), 29300, np.uint16), curve=curve, levels=(20.0, 100.0, 200.0))
    assert grey.std() == 0.0


def test_counts_may_be_floats_in_any_unit():
    counts = scene()
    kelvin = counts.astype(np.float64) / 100.0
    assert np.abs(apply(kelvin).astype(int) - apply(counts)).max() <= 1


def test_a_higher_clip_limit_gives_more_local_contrast():
    rng = np.random.default_rng(0)
    counts = rng.normal(29300.0, 30.0, (256, 320))
    counts[:20] += 3000.0
    soft, hard = (
        apply(counts, curve=ToneCurve.CLAHE, clip_limit=limit)[150:].std() for limit in (1.0, 4.0)
    )
    assert hard > 1.5 * soft


@pytest.mark.parametrize('curve', list(ToneCurve))
@pytest.mark.parametrize('levels', [None, (20.0, 100.0, 200.0)])
def test_a_limited_gain_keeps_the_mean_and_shrinks_the_contrast_of_a_narrow_scene(curve, levels):
    counts = scene()
    values = {'curve': curve, 'levels': levels, 'low_percentile': 0.0, 'high_percentile': 100.0}
    full = apply(counts, **values).astype(float)
    span = 4.0 * float(np.ptp(counts[::2, ::2].astype(float)))
    quarter = apply(counts, smallest_span=span, **values).astype(float)
    np.testing.assert_allclose(quarter, full.mean() + (full - full.mean()) / 4.0, atol=1.2)
    np.testing.assert_array_equal(apply(counts, smallest_span=0.2 * span, **values), full)
