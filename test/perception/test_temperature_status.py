# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from made_results import build_result, rgb_frame
import numpy as np
import pytest

from rgbt_perception.config import ThermalConfig
from rgbt_perception.temperature_status import hot_spots, temperature_texts, temperatures_to_json
from rgbt_perception.types import Pair, Temperatures

CLASSES = ('person', 'car', 'bicycle')


def test_each_detection_has_a_status_with_class_box_and_temperatures():
    first, second = temperature_texts(build_result(), CLASSES, ThermalConfig())
    assert (first.level, first.name) == (0, 'perception: temperature')
    assert first.hardware_id == 'thermal_optical_frame'
    assert first.message == 'person has 20.5 to 36.5 C'
    assert first.values == {
        'index': '0',
        'class': 'person',
        'score': '0.7500',
        'x_min': '1.00',
        'y_min': '0.00',
        'x_max': '4.00',
        'y_max': '2.00',
        'min_c': '20.50',
        'mean_c': '30.25',
        'max_c': '36.50',
    }
    assert second.message == 'temperature of bicycle is unknown'
    assert (second.level, second.values['index'], second.values['max_c']) == (0, '1', 'nan')


def test_a_hot_spot_is_warned_of():
    (first, second) = temperature_texts(build_result(), CLASSES, ThermalConfig(hot_spot_c=36.0))
    assert first.level == 1
    assert first.message == 'hot spot: person has 36.5 C, limit 36.0 C'
    assert second.level == 0


@pytest.mark.parametrize(('limit_c', 'indices'), [(0.0, []), (36.4, [0]), (36.5, []), (100.0, [])])
def test_hot_spots_are_hotter_than_the_limit_and_never_unknown(limit_c, indices):
    found = hot_spots(build_result(), ThermalConfig(hot_spot_c=limit_c))
    assert found.tolist() == indices
    assert found.dtype == np.int64


def test_beyond_the_range_of_the_camera_is_a_hot_spot():
    hot = np.array([20.0, np.inf], np.float32)
    result = replace(build_result(), temperatures=Temperatures(min_c=hot, mean_c=hot, max_c=hot))
    assert hot_spots(result, ThermalConfig(hot_spot_c=80.0)).tolist() == [1]
    text = temperature_texts(result, CLASSES, ThermalConfig(hot_spot_c=80.0))[1]
    assert text.message == 'hot spot: bicycle has inf C, limit 80.0 C'
    assert temperatures_to_json(result) == [[20.0, 20.0, 20.0], [None, None, None]]


def test_without_a_thermal_frame_no_camera_is_named():
    result = build_result(Pair(rgb=rgb_frame(), thermal=None))
    assert {text.hardware_id for text in temperature_texts(result, CLASSES, ThermalConfig())} == {
        ''
    }


def test_json_has_two_decimals_and_null():
    assert temperatures_to_json(build_result()) == [[20.5, 30.25, 36.5], [None, None, None]]
