# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import pytest
import torch

from bench import masking_schedule
from bench.masking_schedule import draw_maps, follow_schedule, paint_pairs
from rgbt_models.pretrain.cmss import compute_cmss
from rgbt_models.pretrain.patches import TimmTokenEncoder


@pytest.fixture(scope='module')
def pairs():
    return paint_pairs(24, seed=1)


@pytest.mark.parametrize('variant', ['corrected', 'released'])
def test_low_sparsity_marks_object_patches(pairs, variant):
    # The release's formula reaches an area under the curve of 0.988 on such pairs, and 0.989
    # with both variances.
    torch.manual_seed(0)
    encoder = TimmTokenEncoder('vit_tiny_patch16_224', image_size=224)
    with torch.no_grad():
        tokens = encoder.embed(pairs.rgb), encoder.embed(pairs.thermal)
    values = compute_cmss(*tokens, variant=variant)
    flat, rich = values[~pairs.is_object], values[pairs.is_object]
    below = torch.searchsorted(flat.sort().values, rich)
    assert 1.0 - below.double().mean() / len(flat) > 0.98


def test_objects_leave_the_visible_patches_as_in_the_release(pairs, monkeypatch):
    # The released sampler, 100 epochs on pairs of this kind: from 0.66 to 0.00 (epoch 99). Between
    # them the share jumps up whenever a component opens, at epochs that depend on the mixture.
    monkeypatch.setattr(masking_schedule, 'BATCH', 12)
    monkeypatch.setattr(masking_schedule, 'STEPS_PER_EPOCH', 2)
    course = follow_schedule(pairs, num_epochs=100)
    shares = [(a + b) / 2 for a, b in zip(course.rgb_share, course.thermal_share, strict=True)]
    means = [sum(shares[start : start + 10]) / 10 for start in (0, 40, 70, 91)]
    assert shares[0] > 0.6
    assert means == sorted(means, reverse=True)
    assert shares[99] == pytest.approx(0.0, abs=0.02)
    assert shares[100] == pytest.approx(0.0, abs=0.02)


def test_maps_have_a_column_per_pair(pairs, tmp_path):
    draw_maps(pairs, tmp_path / 'maps.png')
    image = cv2.imread(str(tmp_path / 'maps.png'))
    assert image.shape == (3 * 112, 6 * 112, 3)
