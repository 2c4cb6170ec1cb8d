# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.synthetic import count_thermal, expose_rgb, Exposure
from rgbt_models.synthetic.sensors import measure_exposure


def test_counts_are_hundredths_of_a_kelvin():
    temperature = np.array([[0.0, 36.6, -40.0]], np.float32)
    counts = count_thermal(
        temperature, np.random.default_rng(0), netd_k=0.0, blur_px=0.0, pattern_k=0.0
    )
    np.testing.assert_array_equal(counts, [[27315, 30975, 23315]])
    assert counts.dtype == np.uint16


def test_counts_saturate():
    temperature = np.array([[-300.0, 1000.0]], np.float32)
    counts = count_thermal(
        temperature, np.random.default_rng(0), netd_k=0.0, blur_px=0.0, pattern_k=0.0
    )
    np.testing.assert_array_equal(counts, [[0, 65535]])


def test_netd_is_the_standard_deviation_of_a_flat_scene():
    flat = np.full((200, 200), 20.0, np.float32)
    counts = count_thermal(flat, np.random.default_rng(0), netd_k=0.2, blur_px=0.0, pattern_k=0.0)
    assert counts.std() / 100.0 == pytest.approx(0.2, rel=0.03)


def test_exposure_applies_gain_then_gamma():
    radiance = np.full((2, 3, 3), 0.25, np.float32)
    image = expose_rgb(radiance, np.random.default_rng(0), exposure=Exposure(gain=2.0, glow=0.0))
    assert image.dtype == np.uint8
    assert (image == round(255 * 0.5 ** (1 / 2.2))).all()


def test_gain_is_limited_in_the_dark():
    dark = np.full((16, 16, 3), 0.001, np.float32)
    exposure = measure_exposure(dark, percentile=50.0, level=0.3, max_gain=8.0, glow=0.0)
    assert exposure.gain == 8.0
    bright = np.full((16, 16, 3), 0.6, np.float32)
    exposure = measure_exposure(bright, percentile=50.0, level=0.3, max_gain=8.0, glow=0.0)
    assert exposure.gain == pytest.approx(0.5, rel=1e-3)


def test_glow_spreads_what_is_too_bright():
    radiance = np.full((64, 64, 3), 0.1, np.float32)
    radiance[30:34, 30:34] = 20.0
    rng = np.random.default_rng(0)
    plain = expose_rgb(radiance, rng, exposure=Exposure(gain=1.0, glow=0.0))
    glowing = expose_rgb(radiance, rng, exposure=Exposure(gain=1.0, glow=0.5))
    assert glowing[29, 27, 0] > plain[29, 27, 0]
    assert glowing[2, 2, 0] == plain[2, 2, 0]
