# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_results import build_result, rgb_frame
import numpy as np

from rgbt_perception.ros.outputs import share_map_at_reference
from rgbt_perception.types import Pair

# 64 wide, 48 high into 80x64: scale 1.25, no padding left and right, 2 px above and below.
PAIR = Pair(rgb=rgb_frame(size_hw=(48, 64)), thermal=None)
INPUT_HW = (64, 80)
INTERPOLATION_STEP = 1 / 32  # of OpenCV's bilinear table


def test_the_share_of_a_column_of_patches_lands_on_its_pixels():
    columns = np.tile(np.arange(5, dtype=np.float32), (4, 1))  # value = column of the patch
    mapped = share_map_at_reference(build_result(PAIR, share_map=columns), INPUT_HW)
    assert (mapped.shape, mapped.dtype) == ((48, 64), np.float32)
    # Centre of pixel x is network x (x + 0.5) * 1.25; centre of patch i is 16 * i + 8.
    expected = ((np.arange(64) + 0.5) * 1.25 - 8.0) / 16.0
    np.testing.assert_allclose(mapped[20], expected.clip(0.0, 4.0), atol=INTERPOLATION_STEP)


def test_the_share_of_a_row_of_patches_lands_on_its_pixels():
    rows = np.tile(np.arange(4, dtype=np.float32)[:, None], (1, 5))
    mapped = share_map_at_reference(build_result(PAIR, share_map=rows), INPUT_HW)
    expected = ((np.arange(48) + 0.5) * 1.25 + 2.0 - 8.0) / 16.0
    np.testing.assert_allclose(mapped[:, 50], expected.clip(0.0, 3.0), atol=INTERPOLATION_STEP)


def test_without_a_network_run_the_share_is_not_a_number():
    empty = build_result(PAIR, share_map=np.zeros((0, 0), np.float32))
    mapped = share_map_at_reference(empty, INPUT_HW)
    assert mapped.shape == (48, 64)
    assert np.isnan(mapped).all()
