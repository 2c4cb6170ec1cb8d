# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_perception.config import RegistrationConfig
from rgbt_perception.registration import Registration, resize


def test_identity_of_equal_sizes_is_free():
    thermal = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert Registration(RegistrationConfig()).register(thermal, (3, 4)) is thermal


def test_identity_resizes_height_and_width_apart():
    thermal = np.zeros((2, 4), np.uint16)
    thermal[0, 3] = 1000
    registered = Registration(RegistrationConfig()).register(thermal, (6, 8))
    assert registered.shape == (6, 8)
    assert registered.dtype == np.uint16
    assert np.unravel_index(registered.argmax(), (6, 8))[1] == 7
    assert registered[0, 7] == 1000


def test_homography_moves_x_and_y_apart():
    # Thermal pixel (x=1, y=0) appears at RGB pixel (x=4, y=2).
    config = RegistrationConfig(
        method='homography', homography_thermal_to_rgb=(1, 0, 3, 0, 1, 2, 0, 0, 1)
    )
    thermal = np.zeros((3, 4), np.float32)
    thermal[0, 1] = 5.0
    registered = Registration(config).register(thermal, (4, 7))
    assert registered.shape == (4, 7)
    assert registered[2, 4] == pytest.approx(5.0)
    assert registered[2, 5] == pytest.approx(0.0)


def test_homography_repeats_the_border():
    config = RegistrationConfig(
        method='homography', homography_thermal_to_rgb=(1, 0, 2, 0, 1, 0, 0, 0, 1)
    )
    thermal = np.array([[3, 7], [4, 9]], np.uint8)
    registered = Registration(config).register(thermal, (2, 6))
    np.testing.assert_array_equal(registered, [[3, 3, 3, 7, 7, 7], [4, 4, 4, 9, 9, 9]])


def test_homography_agrees_with_identity_for_a_pure_resize():
    # Twice the size in edge units is x -> 2x + 0.5 in centre units.
    config = RegistrationConfig(
        method='homography', homography_thermal_to_rgb=(2, 0, 0.5, 0, 2, 0.5, 0, 0, 1)
    )
    thermal = np.random.default_rng(0).random((8, 10)).astype(np.float32)
    warped = Registration(config).register(thermal, (16, 20))
    resized = Registration(RegistrationConfig()).register(thermal, (16, 20))
    np.testing.assert_allclose(warped, resized, atol=0.02)


def test_shrinking_averages():
    image = np.array([[0, 10, 0, 10], [20, 30, 20, 30]], np.float32)
    np.testing.assert_allclose(resize(image, (1, 2)), [[15, 15]])
