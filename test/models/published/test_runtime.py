# SPDX-License-Identifier: Apache-2.0
"""The published models behind the inputs and outputs of the runtime."""

from __future__ import annotations

from made_published import (
    published_card,
    segmentation_card,
    small_detector,
    small_segmenter,
    write_published,
)
import pytest
import torch
from torch import Tensor

from rgbt_models.card import load_card, OUTPUT_NAMES
from rgbt_models.errors import EncoderError, WeightsError
from rgbt_models.published import load_runtime, PublishedRuntime
from rgbt_models.published.sliding import segment_by_windows

GREY = 114 / 255
BOTH = torch.ones(1, 2)


def images(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Images in 0..1, (b, 3, h, w), thermal replicated."""
    generator = torch.Generator().manual_seed(3)
    rgb = torch.rand(batch, 3, height, width, generator=generator)
    heat = torch.rand(batch, 1, height, width, generator=generator)
    return rgb, heat.expand(-1, 3, -1, -1).clone()


def standardised(image: Tensor, card, *, is_bgr: bool = False) -> Tensor:
    mean = torch.tensor(card.rgb_mean)[:, None, None]
    std = torch.tensor(card.rgb_std)[:, None, None]
    return ((image.flip(1) if is_bgr else image) - mean) / std


@pytest.fixture(scope='module')
def detector() -> PublishedRuntime:
    return PublishedRuntime(card=published_card(), model=small_detector()).eval()


@pytest.fixture(scope='module')
def segmenter() -> PublishedRuntime:
    return PublishedRuntime(card=segmentation_card(), model=small_segmenter()).eval()


@torch.inference_mode()
def run(model: PublishedRuntime, rgb: Tensor, thermal: Tensor, available: Tensor = BOTH) -> dict:
    grey = model.pad_level
    return model(rgb - grey, thermal - grey, available)


def test_detections_of_the_model_come_back_from_the_rows(detector):
    rgb, thermal = images(96, 96)
    outputs = run(detector, rgb, thermal)
    card = published_card()
    with torch.inference_mode():
        (found,) = detector.model(
            standardised(rgb, card), standardised(thermal, card), clip_hw=(96, 96)
        )
    count = len(found.scores)
    assert 0 < count < 40
    assert outputs['class_logits'].shape == (1, 40, 2)
    scores = outputs['class_logits'][0].sigmoid()
    torch.testing.assert_close(scores[:count].max(dim=1).values, found.scores, rtol=0, atol=1e-5)
    assert torch.equal(scores[:count].argmax(dim=1), found.class_ids)
    torch.testing.assert_close(
        outputs['boxes_xyxy'][0, :count], found.boxes_xyxy, rtol=0, atol=1e-2
    )


def test_rows_and_classes_without_a_detection_give_nothing(detector):
    outputs = run(detector, *images(96, 96))
    scores = outputs['class_logits'][0].sigmoid()
    count = int((scores.max(dim=1).values > 0.05).sum())
    assert scores[count:].max() < 1e-30
    assert scores[:count].min(dim=1).values.max() < 1e-30
    assert not outputs['boxes_xyxy'][0, count:].any()
    assert torch.isfinite(outputs['class_logits']).all()


def test_a_certain_detection_has_a_finite_logit():
    model = small_detector()
    last = model.heads.roi_head.bbox_head.fc_cls
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([100.0, -100.0, -100.0]))
    certain = PublishedRuntime(card=published_card(), model=model).eval()
    logits = run(certain, *images(96, 96))['class_logits']
    assert torch.isfinite(logits).all()
    assert logits.sigmoid().max() > 1 - 2e-7


def test_a_batch_gives_the_rows_of_every_pair(detector):
    rgb, thermal = images(96, 96, batch=2)
    both = run(detector, rgb, thermal, torch.ones(2, 2))
    alone = run(detector, rgb[1:], thermal[1:])
    torch.testing.assert_close(both['boxes_xyxy'][1:], alone['boxes_xyxy'], rtol=1e-3, atol=1e-2)


def test_segmentation_slides_over_the_input_with_the_channels_turned_round(segmenter):
    rgb, thermal = images(64, 96)
    outputs = run(segmenter, rgb, thermal)
    card = segmentation_card()
    with torch.inference_mode():
        expected = segment_by_windows(
            segmenter.model,
            standardised(rgb, card, is_bgr=True),
            standardised(thermal, card),
            window=64,
            step=28,
        )
    assert outputs['segmentation_logits'].shape == (1, 3, 64, 96)
    torch.testing.assert_close(outputs['segmentation_logits'], expected, rtol=1e-4, atol=1e-4)


def test_every_output_is_there_and_dominance_is_not_given(detector, segmenter):
    of_detector, of_segmenter = run(detector, *images(96, 96)), run(segmenter, *images(64, 96))
    for outputs in (of_detector, of_segmenter):
        assert set(outputs) == set(OUTPUT_NAMES)
        assert outputs['rgb_shares'].shape == (1, 0)
        assert outputs['share_map'].isnan().all()
        assert outputs['entropies'].isnan().all()
    assert of_detector['share_map'].shape == (1, 1, 6, 6)
    assert of_detector['segmentation_logits'].shape[1] == 0
    assert of_segmenter['class_logits'].shape == (1, 0, 0)
    assert of_segmenter['boxes_xyxy'].shape == (1, 0, 4)


@pytest.mark.parametrize('absent', [0, 1])
def test_an_absent_camera_is_the_mean_image_whatever_was_given(segmenter, absent):
    pair = list(images(64, 64))
    available = torch.ones(1, 2)
    available[0, absent] = 0.0
    first = run(segmenter, *pair, available)['segmentation_logits']
    pair[absent] = pair[absent].flip(2)
    torch.testing.assert_close(run(segmenter, *pair, available)['segmentation_logits'], first)
    order = slice(None, None, -1) if absent == 0 else slice(None)  # B, G, R
    mean = torch.tensor(segmentation_card().rgb_mean[order])[:, None, None]
    pair[absent] = mean.expand(1, 3, 64, 64)
    as_mean = run(segmenter, *pair)['segmentation_logits']
    torch.testing.assert_close(as_mean, first, rtol=1e-4, atol=1e-4)


def test_an_input_shorter_than_a_window_is_refused(segmenter):
    with pytest.raises(EncoderError, match='shorter than the window of 64 px'):
        run(segmenter, *images(32, 96))


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'saliency'])
def test_a_folder_loads_as_its_task(tmp_path, monkeypatch, task):
    card = load_card(write_published(tmp_path / 'made', task, monkeypatch))
    model = load_runtime(card)
    assert not model.training
    outputs = run(model, *images(96, 96))
    assert outputs['class_logits'].shape[2] == len(card.detection_classes)
    assert outputs['segmentation_logits'].shape[1] == len(card.segmentation_classes)


def test_altered_weights_are_refused(tmp_path, monkeypatch):
    card = load_card(write_published(tmp_path / 'made', 'detection', monkeypatch))
    card.weights_path.write_bytes(b'altered')
    with pytest.raises(WeightsError, match='was altered'):
        load_runtime(card)
