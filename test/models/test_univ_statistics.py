# SPDX-License-Identifier: Apache-2.0
"""Cards of weights that UNIV pretrained carry its statistics of thermal images."""

from __future__ import annotations

from made_models import make_card
import numpy as np
import pytest

from rgbt_models.card import load_card
from rgbt_models.normalise import standardise, UNIV_THERMAL_MEAN, UNIV_THERMAL_STD


def test_the_statistics_are_those_of_the_paper():
    assert (UNIV_THERMAL_MEAN, UNIV_THERMAL_STD) == (0.5338, 0.2519)


def test_a_card_takes_them_and_the_network_sees_them(tmp_path):
    card = make_card(thermal_mean=UNIV_THERMAL_MEAN, thermal_std=UNIV_THERMAL_STD)
    (tmp_path / 'card.json').write_text(card.to_json(), encoding='utf-8')
    card = load_card(tmp_path)
    thermal = np.array([[[0.0], [0.5338], [0.7857]]], np.float32)
    found = standardise(thermal, (card.thermal_mean,), (card.thermal_std,))
    np.testing.assert_allclose(found.ravel(), [-2.11909, 0.0, 1.0], atol=1e-4)
    assert card.thermal_std == pytest.approx(0.2519)
