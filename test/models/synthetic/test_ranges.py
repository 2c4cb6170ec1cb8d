# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from rgbt_models.errors import RGBTError
from rgbt_models.synthetic import RgbSensor, ThermalSensor
from rgbt_models.synthetic.rgb_sensor import RgbSensorError
from rgbt_models.synthetic.thermal_sensor import ThermalSensorError


@pytest.mark.parametrize(
    ('fields', 'sentence'),
    [
        ({'vignetting': 1.1}, 'RGB sensor has vignetting 1.1, expected 0..1; correct it'),
        ({'blur_px': -0.5}, 'RGB sensor has blur_px -0.5, expected 0 or more; correct it'),
        ({'read_noise': math.nan}, 'read_noise nan, expected 0 or more'),
        ({'shot_noise': math.inf}, 'shot_noise inf, expected 0 or more'),
        ({'tone': 0.0}, 'tone 0, expected 0.1..10'),
        ({'jpeg_quality': 101}, 'jpeg_quality 101, expected 0..100'),
        ({'white_balance': (1.0, 0.0, 1.0)}, 'expected positive numbers'),
    ],
)
def test_rgb_cameras_that_cannot_exist_are_refused(fields, sentence):
    with pytest.raises(RgbSensorError) as caught:
        RgbSensor(**fields)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ('fields', 'sentence'),
    [
        ({'netd_k': -0.01}, 'thermal sensor has netd_k -0.01, expected 0 or more; correct it'),
        ({'dead_share': 2.0}, 'thermal sensor has dead_share 2, expected 0..1; correct it'),
        ({'zero_c_counts': math.nan}, 'zero_c_counts nan, expected -1e+06..1e+06'),
        ({'ffc_s': -1.0}, 'ffc_s -1, expected 0 or more'),
    ],
)
def test_thermal_cameras_that_cannot_exist_are_refused(fields, sentence):
    with pytest.raises(ThermalSensorError) as caught:
        ThermalSensor(**fields)
    assert sentence in str(caught.value)


def test_bounds_themselves_are_allowed():
    assert RgbSensor(vignetting=1.0, rain=0.0, jpeg_quality=100).vignetting == 1.0
    assert ThermalSensor(dead_share=0.0, netd_k=0.0).netd_k == 0.0
    assert issubclass(RgbSensorError, RGBTError)
    assert issubclass(RgbSensorError, ValueError)
