# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.neck import FusionPyramid

IN_CHANNELS, CHANNELS = (5, 6, 7), (8, 9, 10)
BOTH = torch.ones(2, 2)


@pytest.fixture(scope='module')
def neck():
    torch.manual_seed(0)
    return FusionPyramid(in_channels=IN_CHANNELS, channels=CHANNELS).eval()


def features(seed, *, height=2, width=3):
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(
            torch.randn(2, c, height * scale, width * scale, generator=generator) for _ in range(2)
        )
        for c, scale in zip(IN_CHANNELS, (4, 2, 1), strict=True)
    ]


def test_levels_keep_their_sizes_and_the_share_map_is_that_of_the_coarsest(neck):
    levels, share_map, shares = neck(features(0), BOTH)
    assert [tuple(level.shape) for level in levels] == [
        (2, 8, 8, 12),
        (2, 9, 4, 6),
        (2, 10, 2, 3),
    ]
    coarsest = neck.fusions[2](*features(0)[2], BOTH)
    torch.testing.assert_close(share_map, coarsest[1])
    assert shares.shape == (2, 3)


def test_shares_come_finest_level_first(neck):
    _, _, shares = neck(features(0), BOTH)
    for level, (fusion, pair) in enumerate(zip(neck.fusions, features(0), strict=True)):
        torch.testing.assert_close(shares[:, level], fusion(*pair, BOTH)[2])


def test_context_flows_from_coarse_to_fine_and_not_back(neck):
    plain, _, _ = neck(features(0), BOTH)
    coarse_changed = features(0)
    coarse_changed[2] = features(1)[2]
    fine_changed = features(0)
    fine_changed[0] = features(1)[0]
    changed, _, _ = neck(coarse_changed, BOTH)
    assert not any(torch.allclose(a, b) for a, b in zip(plain, changed, strict=True))
    changed, _, _ = neck(fine_changed, BOTH)
    assert not torch.allclose(plain[0], changed[0])
    torch.testing.assert_close(plain[1:], changed[1:])


def test_a_coarsest_level_of_one_cell_works(neck):
    levels, share_map, _ = neck(features(0, height=1, width=1), BOTH)
    assert levels[0].shape == (2, 8, 4, 4)
    assert share_map.shape == (2, 1, 1, 1)
