# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bench.image_statistics import average, measure_image, ranges


def test_a_ramp_has_the_values_of_its_closed_form():
    # Levels 0, 1, ..., 255 from top to bottom, at the height of the measurement.
    ramp = np.arange(256, dtype=np.uint8)[:, None].repeat(64, axis=1)
    values = measure_image(ramp)
    assert values['mean'] == pytest.approx(127.5)
    assert values['std'] == pytest.approx(np.sqrt((256**2 - 1) / 12), rel=1e-4)
    assert values['p50'] == pytest.approx(127.5)
    assert values['p99'] == pytest.approx(252.45, abs=0.6)
    assert values['gradient mean'] == values['gradient p99'] == pytest.approx(1.0)
    assert values['entropy'] == pytest.approx(6.0)  # all of 64 bins alike
    # Thirds of 86, 85 and 85 rows.
    assert values['upper third'] == pytest.approx(42.5 - 127.5)
    assert values['lower third'] == pytest.approx(213.0 - 127.5)
    assert [values[f'share {i}-{i + 31}'] for i in range(0, 256, 32)] == [0.125] * 8


def test_a_flat_image_has_neither_gradient_nor_entropy():
    values = measure_image(np.full((40, 60), 200, np.uint8))
    assert (values['std'], values['gradient p99'], values['entropy']) == (0.0, 0.0, 0.0)
    assert (values['p1'], values['p99'], values['share 192-223']) == (200.0, 200.0, 1.0)


def test_colours_count_by_their_brightness():
    image = np.zeros((256, 8, 3), np.uint8)
    image[..., 0] = 100  # red: 0.299
    assert measure_image(image)['mean'] == 30.0  # rounded


def test_images_of_any_size_are_measured_at_one_height():
    # 1 level per row at 128 rows is half a level per row at 256.
    ramp = np.arange(128, dtype=np.uint8)[:, None].repeat(32, axis=1)
    large = np.arange(256, dtype=np.uint8)[:, None].repeat(64, axis=1).repeat(4, 0).repeat(4, 1)
    assert measure_image(large)['gradient mean'] == pytest.approx(1.0)
    assert measure_image(ramp)['mean'] == pytest.approx(63.5, abs=0.5)


def test_ranges_grow_by_the_slack_of_their_span():
    sources = [{'mean': 40.0, 'std': 7.0}, {'mean': 60.0, 'std': 7.0}, {'mean': 50.0, 'std': 7.0}]
    assert ranges(sources, slack=0.1) == {'mean': [38.0, 62.0], 'std': [7.0, 7.0]}
    assert average(sources) == {'mean': 50.0, 'std': 7.0}


def test_no_image_is_said():
    with pytest.raises(ValueError, match='no images, expected at least one; give a folder'):
        average([])
