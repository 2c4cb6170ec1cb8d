# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.vit import SimpleFusionPyramid


def features(*, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 12, 3, 5, generator=generator)


@pytest.fixture
def pyramid():
    torch.manual_seed(0)
    return SimpleFusionPyramid(in_channels=12, channels=(4, 6, 8)).eval()


BOTH = torch.ones(2, 2)


def test_levels_come_finest_first_each_with_half_the_stride_of_the_next(pyramid):
    levels, share_map, shares = pyramid([(features(), features(seed=1))], BOTH)
    assert [tuple(level.shape) for level in levels] == [
        (2, 4, 12, 20),
        (2, 6, 6, 10),
        (2, 8, 3, 5),
    ]
    assert tuple(share_map.shape) == (2, 1, 3, 5)
    assert tuple(shares.shape) == (2, 1)


def test_the_share_is_that_of_the_one_fusion(pyramid):
    rgb, thermal = features(), features(seed=1)
    _, share_map, shares = pyramid([(rgb, thermal)], BOTH)
    _, expected_map, expected = pyramid.fusion(rgb, thermal, BOTH)
    torch.testing.assert_close(share_map, expected_map)
    torch.testing.assert_close(shares[:, 0], expected)


def test_only_the_last_tap_counts(pyramid):
    last = (features(), features(seed=1))
    one, two = pyramid([last], BOTH), pyramid([(features(seed=2), features(seed=3)), last], BOTH)
    for level, other in zip(one[0], two[0], strict=True):
        torch.testing.assert_close(level, other)


def test_a_broken_absent_modality_reaches_no_level(pyramid):
    available = torch.tensor([[1.0, 0.0]] * 2)
    broken = torch.full_like(features(), float('nan'))
    levels, _, shares = pyramid([(features(), broken)], available)
    assert all(level.isfinite().all() for level in (*levels, shares))


def test_every_parameter_learns(pyramid):
    levels, _, _ = pyramid.train()([(features(), features(seed=1))], BOTH)
    sum(level.square().mean() for level in levels).backward()
    assert all(parameter.grad is not None for parameter in pyramid.parameters())
