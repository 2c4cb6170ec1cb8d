# SPDX-License-Identifier: Apache-2.0
"""Preprocessing and inference of the published models as their authors run them."""

from __future__ import annotations

from dataclasses import replace

from made_published import published_card, small_detector, small_segmenter
import numpy as np
import pytest
import torch

from rgbt_models.errors import EncoderError
from rgbt_models.published import detect_pair, segment_pair
from rgbt_models.published.models import PublishedDetector, PublishedSegmenter
from rgbt_models.published.predict import prepare_pair, scaled_size
from rgbt_models.published_card import IMAGENET_MEAN, IMAGENET_STD

CARD = published_card()


def made_pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    return rgb, rng.integers(0, 256, (height, width), np.uint8)


@pytest.fixture(scope='module')
def detector() -> PublishedDetector:
    return small_detector()


@pytest.fixture(scope='module')
def segmenter() -> PublishedSegmenter:
    return small_segmenter()


@pytest.mark.parametrize(
    ('source_hw', 'longest', 'shortest', 'size_hw'),
    [
        ((512, 640), 960, 960, (768, 960)),
        ((640, 512), 960, 960, (960, 768)),
        ((480, 640), 2560, 768, (768, 1024)),
        ((100, 1000), 2560, 768, (256, 2560)),
        ((3, 7), 5, 5, (2, 5)),  # 15 / 7 = 2.14
        ((5, 10), 7, 7, (4, 7)),  # 3.5 is rounded up
    ],
)
def test_images_are_scaled_within_both_limits(source_hw, longest, shortest, size_hw):
    assert scaled_size(source_hw, longest=longest, shortest=shortest) == size_hw


def test_rgb_is_fed_in_the_order_of_the_card_with_its_constants():
    rgb = np.zeros((96, 96, 3), np.uint8)
    rgb[..., 0], rgb[..., 2] = 255, 51
    thermal = np.full((96, 96), 102, np.uint8)
    image, heat = prepare_pair(rgb, thermal, CARD, size_hw=(96, 96))
    constants = zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)
    expected = [(v - m) / s for v, (m, s) in zip((1.0, 0.0, 0.2), constants, strict=True)]
    np.testing.assert_allclose(image[0, :, 5, 6], expected, rtol=1e-5)
    constants = zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)
    np.testing.assert_allclose(heat[0, :, 5, 6], [(0.4 - m) / s for m, s in constants], rtol=1e-5)
    swapped, _ = prepare_pair(rgb, thermal, replace(CARD, channel_order='bgr'), size_hw=(96, 96))
    constants = zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)
    expected = [(v - m) / s for v, (m, s) in zip((0.2, 0.0, 1.0), constants, strict=True)]
    np.testing.assert_allclose(swapped[0, :, 5, 6], expected, rtol=1e-5)


def test_padding_lies_right_and_below_and_has_the_grey_level_of_the_card():
    rgb, thermal = made_pair(48, 96)
    image, heat = prepare_pair(rgb, thermal, CARD, size_hw=(48, 96))
    assert image.shape == heat.shape == (1, 3, 96, 96)
    level = [(114 / 255 - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    for padded in (image, heat):
        np.testing.assert_allclose(padded[0, :, 48, 0], level, rtol=1e-5)
        np.testing.assert_allclose(padded[0, :, 95, 95], level, rtol=1e-5)
        assert not np.allclose(padded[0, :, 47, 40], level)


@pytest.mark.parametrize(
    ('rgb', 'thermal'),
    [
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint16)),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6), np.uint8)),
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8)),
    ],
)
def test_images_of_another_type_or_size_are_refused(rgb, thermal):
    with pytest.raises(EncoderError, match=r'expected \(h, w, 3\) and \(h, w\) of uint8'):
        prepare_pair(rgb, thermal, CARD, size_hw=(4, 5))


def test_boxes_are_in_pixels_of_the_images_and_within_them(detector):
    rgb, thermal = made_pair(33, 65)  # 49 x 96 in the network: the axes scale differently
    found = detect_pair(detector, CARD, rgb, thermal)
    assert len(found.scores) > 0
    assert found.boxes_xyxy[:, 0::2].max() <= 65 + 1e-4
    assert found.boxes_xyxy[:, 1::2].max() <= 33 + 1e-4
    images = prepare_pair(rgb, thermal, CARD, size_hw=(49, 96))
    with torch.no_grad():
        (in_network,) = detector(*images, clip_hw=(49, 96))
    scale = torch.tensor([65 / 96, 33 / 49, 65 / 96, 33 / 49])
    torch.testing.assert_close(found.boxes_xyxy, in_network.boxes_xyxy * scale)


def test_modalities_are_not_interchangeable_and_a_batch_keeps_pairs_together(detector):
    rgb, thermal = made_pair(96, 96)
    first = prepare_pair(rgb, thermal, CARD, size_hw=(96, 96))
    second = prepare_pair(rgb[::-1], thermal[::-1], CARD, size_hw=(96, 96))
    batch = [torch.cat(images) for images in zip(first, second, strict=True)]
    with torch.no_grad():
        together = detector(*batch, clip_hw=(96, 96))
        alone = detector(*second, clip_hw=(96, 96))[0]
        swapped = detector(second[1], second[0], clip_hw=(96, 96))[0]
    torch.testing.assert_close(together[1].scores, alone.scores, rtol=1e-3, atol=1e-4)
    assert swapped.scores.shape != alone.scores.shape or not torch.allclose(
        swapped.scores, alone.scores, rtol=1e-2
    )


def test_segmentation_slides_over_a_wide_image_and_returns_its_size(segmenter):
    card = replace(CARD, task='segmentation', input_hw=(64, 64), channel_order='bgr')
    rgb, thermal = made_pair(40, 90)  # 64 x 144 in the network: 2 windows
    logits = segment_pair(segmenter, card, rgb, thermal)
    assert logits.shape == (3, 40, 90)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


def test_an_image_too_long_for_a_window_is_refused(segmenter):
    card = replace(CARD, task='segmentation', input_hw=(64, 64))
    rgb, thermal = made_pair(10, 1000)
    with pytest.raises(EncoderError, match='cut the images'):
        segment_pair(segmenter, card, rgb, thermal)
