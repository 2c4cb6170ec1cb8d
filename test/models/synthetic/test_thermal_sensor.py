# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.synthetic import ThermalSensor
from rgbt_models.synthetic.thermal_sensor import (
    count_thermal,
    draw_pattern,
    sample_thermal_sensor,
    temperature_from_counts,
    ThermalSensorError,
    tlinear_sensor,
)

QUIET = {'netd_k': 0.0, 'blur_px': 0.0, 'column_k': 0.0}


def rng(seed=0):
    return np.random.default_rng(seed)


def count(temperature, **values):
    return count_thermal(temperature, rng(), sensor=ThermalSensor(**{**QUIET, **values}))


def test_counts_are_hundredths_of_a_kelvin():
    counts = count(np.array([[0.0, 36.6, -40.0]], np.float32))
    np.testing.assert_array_equal(counts, [[27315, 30975, 23315]])
    assert counts.dtype == np.uint16


def test_coarse_tlinear_counts_tenths():
    sensor = tlinear_sensor(step_k=0.1, bits=14)
    assert (sensor.counts_per_k, sensor.largest_count) == (10.0, 16383)
    quiet = {'bits': 14, 'counts_per_k': 10.0, 'zero_c_counts': sensor.zero_c_counts}
    # 2731.5 + 200
    np.testing.assert_array_equal(count(np.full((1, 2), 20.04, np.float32), **quiet), [[2932] * 2])


def test_linear_camera_has_its_own_gain_and_offset():
    values = {'bits': 14, 'counts_per_k': 40.0, 'zero_c_counts': 3000.0}
    counts = count(np.array([[-5.0, 20.0]], np.float32), **values)
    np.testing.assert_array_equal(counts, [[2800, 3800]])
    assert not ThermalSensor(**values).is_tlinear
    assert ThermalSensor().is_tlinear


@pytest.mark.parametrize(('bits', 'top'), [(14, 16383), (16, 65535)])
def test_counts_saturate(bits, top):
    counts = count(np.array([[-300.0, 1000.0]], np.float32), bits=bits)
    np.testing.assert_array_equal(counts, [[0, top]])


def test_netd_is_the_standard_deviation_of_a_flat_scene():
    counts = count(np.full((200, 200), 20.0, np.float32), netd_k=0.2)
    assert counts.std() / 100.0 == pytest.approx(0.2, rel=0.03)


def test_all_noise_adds_up_to_noise_k():
    sensor = ThermalSensor(netd_k=0.1, blur_px=0.0, column_k=0.08, row_k=0.06)
    flat = np.full((120, 160), 20.0, np.float32)
    variance = np.mean([count_thermal(flat, rng(s), sensor=sensor).var() for s in range(20)])
    assert np.sqrt(variance) / 100.0 == pytest.approx(sensor.noise_k, rel=0.05)


def test_columns_share_one_pattern_and_rows_another():
    flat = np.full((6, 9), 20.0, np.float32)
    columns = count(flat, column_k=1.0)
    assert (columns == columns[0]).all()
    assert columns[0].std() > 10
    rows = count(flat, row_k=1.0)
    assert (rows == rows[:, :1]).all()
    assert rows[:, 0].std() > 10


def test_shading_is_slow_and_as_large_as_said():
    counts = count(np.full((64, 80), 20.0, np.float32), shading_k=2.0).astype(int) - 29315
    assert np.abs(counts).max() == 200
    assert np.abs(np.diff(counts, axis=1)).max() < 30


def test_dead_pixels_stay_dead_and_the_pattern_stays():
    sensor = ThermalSensor(netd_k=0.0, blur_px=0.0, column_k=0.5, dead_share=0.01)
    pattern = draw_pattern(sensor, (40, 50), rng(3))
    assert len(pattern.dead_index) == 20
    cold, warm = (
        count_thermal(np.full((40, 50), c, np.float32), rng(), sensor=sensor, pattern=pattern)
        for c in (0.0, 10.0)
    )
    dead = np.zeros(2000, bool)
    dead[pattern.dead_index] = True
    difference = (warm.astype(int) - cold.astype(int)).ravel()
    assert (difference[dead] == 0).all()
    assert (np.abs(difference[~dead] - 1000) <= 1).all()
    assert set(np.unique(cold.ravel()[dead])) <= {0, 65535}


def test_lens_blur_keeps_the_mean_and_softens_edges():
    step = np.zeros((20, 40), np.float32)
    step[:, 20:] = 10.0
    counts = count(step, blur_px=1.5).astype(int)
    assert counts[10, 19] - 27315 == pytest.approx(1000 - (counts[10, 20] - 27315), abs=1)
    assert 27315 < counts[10, 18] < counts[10, 19]


def test_flat_field_correction_freezes_once_per_period():
    sensor = ThermalSensor(ffc_period_s=10.0, ffc_s=0.5)
    frozen = [sensor.is_frozen_at(t) for t in (0.0, 0.3, 9.9, 10.0, 10.4, 10.5, 20.2)]
    assert frozen == [False, False, False, True, True, False, True]
    assert not ThermalSensor().is_frozen_at(10.0)


def test_temperature_is_read_back_to_half_a_count():
    temperature = np.linspace(-20.0, 60.0, 200, dtype=np.float32).reshape(10, 20)
    values = {'bits': 14, 'counts_per_k': 40.0, 'zero_c_counts': 3000.0}
    back = temperature_from_counts(count(temperature, **values), ThermalSensor(**values))
    assert np.abs(back - temperature).max() <= 0.5 / 40.0 + 1e-3


def test_drawn_cameras_are_of_both_kinds_and_never_saturate_in_a_street():
    drawn = [sample_thermal_sensor(rng(seed)) for seed in range(200)]
    assert np.mean([s.is_tlinear for s in drawn]) == pytest.approx(0.75, abs=0.1)
    assert all(0.02 <= s.netd_k <= 0.15 for s in drawn)
    for sensor in drawn:
        counts = sensor.zero_c_counts + sensor.counts_per_k * np.array([-40.0, 120.0])
        assert 0 < counts[0] < counts[1] < sensor.largest_count


def test_sensors_that_cannot_be_are_refused():
    with pytest.raises(ThermalSensorError, match='has 12 bits; expected 14 or 16'):
        ThermalSensor(bits=12)
    with pytest.raises(ThermalSensorError, match=r'has 0\.0 counts per kelvin; expected'):
        ThermalSensor(counts_per_k=0.0)
    with pytest.raises(ThermalSensorError, match=r'step is 0.01 K in 14 bits; expected 0.1 K'):
        tlinear_sensor(step_k=0.01, bits=14)
    with pytest.raises(ThermalSensorError, match=r'step is 0.05 K in 16 bits'):
        tlinear_sensor(step_k=0.05)
