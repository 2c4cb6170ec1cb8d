# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.errors import DatasetError
from rgbt_models.metrics import SaliencyScorer
from rgbt_models.metrics.saliency import _nearest_object, s_measure, weighted_f_measure

REFERENCE = {
    's': 0.6656199249,
    'f_max': 0.8391167192,
    'f_mean': 0.5057719415,
    'f_adaptive': 0.8246166772,
    'f_weighted': 0.3355668143,
    'e_max': 0.9603476250,
    'e_mean': 0.5678743066,
    'e_adaptive': 0.9577292401,
    'mae': 0.2494286777,
}


def square():
    mask = np.zeros((24, 32), np.bool_)
    mask[4:12, 18:28] = True
    return mask


def scored(*pairs):
    scorer = SaliencyScorer()
    for mask, scores in pairs:
        scorer.add(mask, scores)
    return scorer.compute()


def test_a_perfect_map_scores_one_and_has_no_error():
    mask = square()
    metrics = scored((mask, mask.astype(np.float64)))
    for name in ('s', 'f_max', 'f_adaptive', 'f_weighted'):
        assert getattr(metrics, name) == pytest.approx(1.0, abs=1e-6), name
    assert metrics.e_max == pytest.approx(mask.size / (mask.size - 1))
    assert metrics.mae == 0.0


def test_the_opposite_map_scores_zero():
    mask = square()
    metrics = scored((mask, 1.0 - mask))
    assert metrics.mae == 1.0
    assert metrics.s == 0.0
    assert metrics.f_adaptive == 0.0


def test_f_of_a_map_twice_too_large_is_its_closed_form():
    mask = square()
    wide = np.zeros_like(mask)
    wide[4:12, 8:28] = True  # precision 1/2, recall 1
    metrics = scored((mask, wide.astype(np.float64)))
    assert metrics.f_adaptive == pytest.approx(1.3 * 0.5 / (0.3 * 0.5 + 1.0))
    assert metrics.mae == pytest.approx(80 / mask.size)


def test_e_of_a_map_that_is_all_background_is_a_quarter_of_the_background():
    # Nothing found: the mean found is 0, so every pixel aligns with 0: (0 + 1)^2 / 4.
    mask = square()
    scores = np.zeros(mask.shape)
    scores[0, 0] = 1.0
    metrics = scored((mask, scores))
    counts = mask.size
    a, b = 1 / counts, mask.sum() / counts
    kinds = [
        (1, 1 - a, -b),
        (mask.sum(), -a, 1 - b),
        (counts - mask.sum() - 1, -a, -b),
    ]
    total = sum(n * (2 * x * y / (x * x + y * y) + 1) ** 2 / 4 for n, x, y in kinds)
    assert metrics.e_adaptive == pytest.approx(total / (counts - 1))


def test_s_of_an_empty_mask_is_one_minus_the_mean_score():
    assert s_measure(np.zeros((4, 5), np.bool_), np.full((4, 5), 0.2)) == pytest.approx(0.8)
    assert s_measure(np.ones((4, 5), np.bool_), np.full((4, 5), 0.2)) == pytest.approx(0.2)


def test_weighted_f_punishes_errors_far_from_the_object_more():
    mask = square()
    near, far = mask.astype(np.float64), mask.astype(np.float64)
    near[4:12, 14:17] = 1.0
    far[4:12, 0:3] = 1.0
    assert weighted_f_measure(mask, near) > weighted_f_measure(mask, far)
    assert weighted_f_measure(np.zeros((3, 3), np.bool_), np.ones((3, 3))) == 0.0


def test_nearest_pixel_of_the_object_is_the_euclidean_one():
    rng = np.random.default_rng(0)
    mask = rng.random((30, 40)) > 0.98
    rows, columns = np.nonzero(mask)
    own_y, own_x = np.indices(mask.shape)
    slow = np.hypot(own_y[..., None] - rows, own_x[..., None] - columns).min(axis=-1)
    distance, y, x = _nearest_object(mask)
    np.testing.assert_allclose(distance, slow, atol=1e-9)
    assert mask[y, x].all()


def test_values_equal_those_of_the_usual_package():
    # Reference: pysodmetrics 1.6.2 on this mask and map; weighted F depends on how ties between
    # equally near pixels are broken, hence its own limit.
    y, x = np.mgrid[:48, :64]
    mask = ((x - 40) / 14.0) ** 2 + ((y - 20) / 9.0) ** 2 < 1.0
    scores = np.clip(
        160.0 * np.exp(-(((x - 36) / 16.0) ** 2) - ((y - 22) / 12.0) ** 2) + x, 0, 255
    )
    scores = scores.astype(np.uint8) / 255.0
    metrics = scored((mask, scores)).as_dict()
    for name, value in REFERENCE.items():
        assert metrics[name] == pytest.approx(value, abs=1e-4 if name == 'f_weighted' else 1e-9)


def test_sizes_must_agree():
    with pytest.raises(DatasetError, match='resize the scores to the mask'):
        SaliencyScorer().add(square(), np.zeros((3, 3)))


def test_without_images_there_are_no_metrics():
    assert SaliencyScorer().compute() is None
