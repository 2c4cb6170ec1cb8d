# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.synthetic import ThermalSensor
from rgbt_models.synthetic.faults import FaultKind, kinds_of, spoil_image

RGB = np.random.default_rng(1).integers(60, 200, (24, 32, 3)).astype(np.uint8)
COUNTS = np.random.default_rng(2).integers(29_000, 31_000, (16, 20)).astype(np.uint16)
OLD = {'rgb': np.full_like(RGB, 7), 'thermal': np.full_like(COUNTS, 29_315)}
IMAGES = {'rgb': RGB, 'thermal': COUNTS}


def spoil(camera, kind, **how):
    rng = np.random.default_rng(3)
    return spoil_image(IMAGES[camera], kind, rng, **{'last': OLD[camera], **how})


@pytest.mark.parametrize('camera', ['rgb', 'thermal'])
@pytest.mark.parametrize('kind', FaultKind)
def test_what_is_sent_has_the_shape_and_type_of_the_image(camera, kind):
    sent = spoil(camera, kind)
    assert (sent is None) == (kind is FaultKind.GAP)
    if sent is not None:
        assert (sent.shape, sent.dtype) == (IMAGES[camera].shape, IMAGES[camera].dtype)


def test_only_a_thermal_camera_has_a_shutter():
    assert set(kinds_of('thermal')) - set(kinds_of('rgb')) == {'ffc'}


@pytest.mark.parametrize('kind', [FaultKind.FROZEN, FaultKind.FFC])
def test_a_frozen_camera_repeats_its_last_image(kind):
    np.testing.assert_array_equal(spoil('thermal', kind), OLD['thermal'])
    # Nothing was sent before: what it sees now stays.
    np.testing.assert_array_equal(spoil('thermal', kind, last=None), COUNTS)


def test_a_late_image_is_the_image():
    assert spoil('rgb', FaultKind.LATE) is RGB


def test_a_covered_lens_shows_the_cover():
    rgb, counts = spoil('rgb', FaultKind.COVERED), spoil('thermal', FaultKind.COVERED)
    assert rgb.mean() == pytest.approx(2.0, abs=0.3)
    assert rgb.std() > 0.5
    # 24 C: (24 + 273.15) * 100 counts, with 0.02 K of noise.
    assert counts.mean() == pytest.approx(29_715.0, abs=1.0)
    assert 1.0 < counts.std() < 3.0


def test_a_dark_camera_keeps_little_contrast():
    assert spoil('rgb', FaultKind.DARK).mean() == pytest.approx(RGB.mean() / 24.0, abs=1.0)
    dark = spoil('thermal', FaultKind.DARK).astype(float)
    assert dark.mean() == pytest.approx(COUNTS.mean(), abs=2.0)
    assert dark.std() < 0.03 * COUNTS.std()


def test_a_saturated_camera_is_at_its_upper_end():
    assert (spoil('rgb', FaultKind.SATURATED) == 255).all()
    assert (spoil('thermal', FaultKind.SATURATED) == 65_535).all()
    sensor = ThermalSensor(bits=14, counts_per_k=40.0, zero_c_counts=3000.0)
    assert (spoil('thermal', FaultKind.SATURATED, sensor=sensor) == 16_383).all()


def test_noise_hides_the_image():
    noisy = spoil('thermal', FaultKind.NOISE).astype(float)
    assert noisy.std() > 2.5 * COUNTS.std()
    assert np.corrcoef(noisy.ravel(), COUNTS.ravel())[0, 1] < 0.5
