# SPDX-License-Identifier: Apache-2.0
"""The published segmentation head against a slow reference in float64, and sliding windows."""

from __future__ import annotations

from made_heads import as_numpy, randomise
import numpy as np
import pytest
from slow_layers import (
    average_pool,
    batch_norm,
    below,
    conv,
    conv_batch_norm,
    deconv,
    gelu,
    max_pool,
    resize,
)
import torch

from rgbt_models.errors import EncoderError
from rgbt_models.published.sliding import segment_by_windows, window_starts
from rgbt_models.published.upernet import UPerNet

IN_CHANNELS, CHANNELS, NUM_CLASSES = 6, 5, 3


@pytest.fixture(scope='module')
def model() -> UPerNet:
    made = UPerNet(num_classes=NUM_CLASSES, in_channels=IN_CHANNELS, channels=CHANNELS)
    return randomise(made, seed=3).double()


@pytest.fixture(scope='module')
def features() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(2, IN_CHANNELS, 6, 8, generator=generator).double() for _ in range(4)]


def slow_levels(maps: list[np.ndarray], w: dict) -> list[np.ndarray]:
    part = below(w, 'upsample_4x.')
    first = gelu(batch_norm(deconv(maps[0], part['0.weight'], part['0.bias']), below(part, '1.')))
    return [
        deconv(first, part['3.weight'], part['3.bias']),
        deconv(maps[1], w['upsample_2x.0.weight'], w['upsample_2x.0.bias']),
        maps[2],
        max_pool(maps[3]),
    ]


def slow_logits(levels: list[np.ndarray], w: dict) -> np.ndarray:
    coarsest = levels[3]
    joined = [coarsest]
    for index, size in enumerate((1, 2, 3, 6)):
        pooled = conv_batch_norm(average_pool(coarsest, size), below(w, f'psp_modules.{index}.1.'))
        joined.append(resize(pooled, *coarsest.shape[1:]))
    laterals = [conv_batch_norm(levels[i], below(w, f'lateral_convs.{i}.')) for i in range(3)]
    laterals.append(conv_batch_norm(np.concatenate(joined), below(w, 'bottleneck.')))
    for i in (2, 1, 0):
        laterals[i] = laterals[i] + resize(laterals[i + 1], *laterals[i].shape[1:])
    outs = [conv_batch_norm(laterals[i], below(w, f'fpn_convs.{i}.')) for i in range(3)]
    outs.append(laterals[3])
    joined = [resize(out, *outs[0].shape[1:]) for out in outs]
    fused = conv_batch_norm(np.concatenate(joined), below(w, 'fpn_bottleneck.'))
    return conv(fused, w['conv_seg.weight'], w['conv_seg.bias'])


def test_logits_equal_a_slow_reference(model, features):
    weights = as_numpy(model)
    levels = slow_levels([level[1].numpy() for level in features], below(weights, 'neck.'))
    expected = slow_logits(levels, below(weights, 'decode_head.'))
    with torch.no_grad():
        logits = model(features)
    assert logits.shape == (2, NUM_CLASSES, 24, 32)
    np.testing.assert_allclose(logits[1].numpy(), expected, rtol=1e-8, atol=1e-10)


def test_the_auxiliary_head_looks_at_the_third_map_at_stride_16(model, features):
    w = below(as_numpy(model), 'auxiliary_head.')
    hidden = conv_batch_norm(features[2][0].numpy(), below(w, 'convs.0.'))
    expected = conv(hidden, w['conv_seg.weight'], w['conv_seg.bias'])
    with torch.no_grad():
        logits = model.auxiliary_logits(features)
    np.testing.assert_allclose(logits[0].numpy(), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ('length', 'starts'),
    [(768, [0]), (769, [0, 1]), (1109, [0, 341]), (1110, [0, 341, 342]), (1366, [0, 341, 598])],
)
def test_windows_step_by_341_and_the_last_ends_with_the_side(length, starts):
    assert window_starts(length) == starts


def test_a_side_shorter_than_a_window_is_refused_with_the_remedy():
    with pytest.raises(EncoderError, match='side of 700 px is shorter than the window of 768'):
        window_starts(700)


@pytest.mark.parametrize('step', [0, 9])
def test_a_step_that_leaves_gaps_is_refused(step):
    with pytest.raises(EncoderError, match=f'windows of 8 px every {step} px leave gaps'):
        window_starts(20, window=8, step=step)


def test_windows_are_averaged_where_they_overlap_and_rows_are_not_columns():
    rgb = torch.arange(7 * 11, dtype=torch.float64).reshape(1, 1, 7, 11).repeat(1, 3, 1, 1)
    seen = []

    def segment(crop: torch.Tensor, thermal: torch.Tensor) -> torch.Tensor:
        assert crop.shape == thermal.shape == (1, 3, 6, 6)
        seen.append(float(crop[0, 0, 0, 0]))
        return torch.full((1, 2, 3, 3), float(len(seen))).double()

    logits = segment_by_windows(segment, rgb, rgb, window=6, step=4)[0, 0]
    # Rows start at 0 and 1, columns at 0, 4 and 5: windows 1 2 3 above, 4 5 6 below.
    assert seen == [0.0, 4.0, 5.0, 11.0, 15.0, 16.0]
    assert logits.shape == (7, 11)
    assert logits[0].tolist() == [1, 1, 1, 1, 1.5, 2, 2.5, 2.5, 2.5, 2.5, 3]
    assert logits[6, 0] == 4
    assert logits[3, 0] == 2.5


def test_windows_equal_a_slow_reference():
    generator = torch.Generator().manual_seed(9)
    rgb, thermal = torch.randn(2, 1, 3, 9, 14, generator=generator).double()
    weight = torch.randn(2, 6, generator=generator).double()

    def segment(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([first, second], dim=1)
        cells = joined.reshape(1, 6, 4, 2, 4, 2).mean(dim=(3, 5))  # stride 2
        return torch.einsum('kc,bchw->bkhw', weight, cells)

    total, count = np.zeros((2, 9, 14)), np.zeros((9, 14))
    for y in (0, 1):
        for x in (0, 5, 6):
            place = np.s_[:, y : y + 8, x : x + 8]
            crops = rgb[(0, *place)][None], thermal[(0, *place)][None]
            total[place] += resize(segment(*crops)[0].numpy(), 8, 8)
            count[place[1:]] += 1
    logits = segment_by_windows(segment, rgb, thermal, window=8, step=5)
    np.testing.assert_allclose(logits[0].numpy(), total / count, rtol=1e-10, atol=1e-12)
