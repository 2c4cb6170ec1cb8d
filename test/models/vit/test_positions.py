# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from slow_vit import bicubic
import torch

from rgbt_models.errors import EncoderError
from rgbt_models.vit import resize_positions


def positions(count, *, dim=3, seed=0):
    return torch.randn(1, count, dim, generator=torch.Generator().manual_seed(seed))


def test_the_same_grid_gives_the_same_bits():
    own = positions(14 * 14)
    assert torch.equal(resize_positions(own, grid_hw=(14, 14)), own)


@pytest.mark.parametrize('grid_hw', [(7, 5), (3, 9), (1, 1), (4, 6)])
@pytest.mark.parametrize('source_hw', [(4, 4), (3, 5)])
def test_other_grids_are_bicubic_without_antialiasing(grid_hw, source_hw):
    own = positions(source_hw[0] * source_hw[1])
    resized = resize_positions(own, grid_hw=grid_hw, source_hw=source_hw)
    expected = bicubic(own.reshape(*source_hw, 3), *grid_hw).reshape(1, -1, 3)
    torch.testing.assert_close(resized.double(), expected, atol=1e-5, rtol=1e-5)


def test_rows_stay_rows():
    # The value is the row: interpolation along x must not change it.
    own = torch.tensor([0.0, 0.0, 10.0, 10.0]).reshape(1, 4, 1)
    resized = resize_positions(own, grid_hw=(2, 3)).reshape(2, 3)
    torch.testing.assert_close(resized, torch.tensor([[0.0] * 3, [10.0] * 3]))


def test_a_half_precision_embedding_stays_half():
    assert resize_positions(positions(9).half(), grid_hw=(2, 2)).dtype == torch.float16


def test_an_embedding_that_still_has_its_class_row_is_refused():
    with pytest.raises(EncoderError, match='has 197 patch rows; expected a square number of'):
        resize_positions(positions(197), grid_hw=(4, 4))
    with pytest.raises(EncoderError, match='has 12 patch rows; expected 2 x 5 rows; split'):
        resize_positions(positions(12), grid_hw=(4, 4), source_hw=(2, 5))
