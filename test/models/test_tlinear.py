# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.synthetic import ThermalSensor
from rgbt_models.synthetic.thermal_sensor import count_thermal
from rgbt_models.tlinear import celsius_from_counts


@pytest.mark.parametrize(
    ('counts', 'counts_per_k', 'celsius'),
    [(29_315, 100.0, 20.0), (2_930, 10.0, 19.85), (0, 100.0, -273.15), (65_535, 100.0, 382.2)],
)
def test_counts_are_hundredths_or_tenths_of_a_kelvin(counts, counts_per_k, celsius):
    image = np.full((2, 3), counts, np.uint16)
    found = celsius_from_counts(image, counts_per_k=counts_per_k)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.full((2, 3), celsius), atol=4e-5)


def test_the_simulated_camera_is_read_back_to_half_a_count():
    temperature_c = np.linspace(-40.0, 120.0, 600, dtype=np.float32).reshape(20, 30)
    quiet = ThermalSensor(netd_k=0.0, blur_px=0.0, column_k=0.0)
    counts = count_thermal(temperature_c, np.random.default_rng(0), sensor=quiet)
    np.testing.assert_allclose(celsius_from_counts(counts), temperature_c, atol=0.0051)
