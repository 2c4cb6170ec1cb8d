# SPDX-License-Identifier: Apache-2.0
"""The published detector against a slow reference in float64, and its limits."""

from __future__ import annotations

import math

from made_heads import as_numpy, randomise
import numpy as np
import pytest
from slow_layers import (
    below,
    channel_norm,
    conv,
    conv_channel_norm,
    decode,
    deconv,
    gelu,
    max_pool,
    paste,
    relu,
    roi_align,
    sigmoid,
    suppress,
)
import torch

from rgbt_models.published.layers import concat_modalities
from rgbt_models.published.mask_rcnn import DetectionLimits, MaskRCNN, paste_masks

IN_CHANNELS = 8
LIMITS = DetectionLimits(max_candidates=40, max_proposals=25, max_detections=12)
CLIP_HW = (76, 110)  # of a canvas of 96 x 128


@pytest.fixture(scope='module')
def detector() -> MaskRCNN:
    model = MaskRCNN(num_classes=2, in_channels=IN_CHANNELS, limits=LIMITS)
    return randomise(model, seed=1).double()


@pytest.fixture(scope='module')
def features() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, IN_CHANNELS, 6, 8, generator=generator).double()


def slow_pyramid(x: np.ndarray, w: dict) -> list[np.ndarray]:
    first = gelu(
        channel_norm(deconv(x, w['fpn1.0.weight'], w['fpn1.0.bias']), below(w, 'fpn1.1.'))
    )
    first = deconv(first, w['fpn1.3.weight'], w['fpn1.3.bias'])
    second = deconv(x, w['fpn2.0.weight'], w['fpn2.0.bias'])
    levels = []
    for index, level in enumerate((first, second, x, max_pool(x))):
        lateral = conv_channel_norm(level, below(w, f'lateral_convs.{index}.'))
        levels.append(conv_channel_norm(lateral, below(w, f'fpn_convs.{index}.')))
    return [*levels, levels[-1][:, ::2, ::2]]


def slow_proposals(levels: list[np.ndarray], w: dict) -> np.ndarray:
    boxes, scores, groups = [], [], []
    for index, level in enumerate(levels):
        shared = level
        for i in range(2):
            part = below(w, f'rpn_conv.{i}.conv.')
            shared = relu(conv(shared, part['weight'], part['bias']))
        logits = conv(shared, w['rpn_cls.weight'], w['rpn_cls.bias'])
        deltas = conv(shared, w['rpn_reg.weight'], w['rpn_reg.bias'])
        stride, found = 4 * 2**index, []
        for y in range(level.shape[1]):
            for x in range(level.shape[2]):
                for a, ratio in enumerate((0.5, 1.0, 2.0)):
                    half_h = 4 * stride * math.sqrt(ratio)
                    half_w = 4 * stride / math.sqrt(ratio)
                    cx, cy = x * stride, y * stride
                    anchor = np.array([cx - half_w, cy - half_h, cx + half_w, cy + half_h])
                    delta = deltas[4 * a : 4 * a + 4, y, x]
                    box = decode(anchor, delta, (1, 1, 1, 1), CLIP_HW)
                    found.append((float(sigmoid(logits[a, y, x])), box))
        found.sort(key=lambda item: -item[0])
        for score, box in found[: LIMITS.max_candidates]:
            if box[2] > box[0] and box[3] > box[1]:
                boxes.append(box)
                scores.append(score)
                groups.append(index)
    kept = suppress(np.array(boxes), np.array(scores), np.array(groups), LIMITS.proposal_iou)
    return np.array(boxes)[kept[: LIMITS.max_proposals]]


def slow_pool(levels: list[np.ndarray], box: np.ndarray, size: int) -> np.ndarray:
    side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    index = min(max(math.floor(math.log2(side / 56 + 1e-6)), 0), 3)
    return roi_align(levels[index], list(box), 1 / (4 * 2**index), size)


def slow_detections(levels: list[np.ndarray], proposals: np.ndarray, w: dict) -> list[tuple]:
    rows = []
    for proposal in proposals:
        x = slow_pool(levels, proposal, 7)
        for i in range(4):
            x = relu(conv_channel_norm(x, below(w, f'bbox_head.shared_convs.{i}.')))
        part = below(w, 'bbox_head.')
        x = relu(part['shared_fcs.0.weight'] @ x.ravel() + part['shared_fcs.0.bias'])
        logits = part['fc_cls.weight'] @ x + part['fc_cls.bias']
        deltas = part['fc_reg.weight'] @ x + part['fc_reg.bias']
        scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        for k in range(2):
            delta = deltas[4 * k : 4 * k + 4]
            box = decode(proposal, delta, (0.1, 0.1, 0.2, 0.2), CLIP_HW)
            if scores[k] > LIMITS.min_score:
                rows.append((scores[k], k, np.array(box)))
    scores, classes, boxes = (np.array(column) for column in zip(*rows, strict=True))
    kept = suppress(boxes, scores, classes, LIMITS.detection_iou)[: LIMITS.max_detections]
    return [(scores[i], classes[i], boxes[i]) for i in kept]


def slow_mask(levels: list[np.ndarray], box: np.ndarray, class_id: int, w: dict) -> np.ndarray:
    x = slow_pool(levels, box, 14)
    part = below(w, 'mask_head.')
    for i in range(4):
        x = relu(conv_channel_norm(x, below(part, f'convs.{i}.')))
    x = relu(deconv(x, part['upsample.weight'], part['upsample.bias']))
    return conv(x, part['conv_logits.weight'], part['conv_logits.bias'])[class_id]


def test_the_pyramid_equals_a_slow_reference(detector, features):
    levels = detector.neck(features)
    expected = slow_pyramid(features[1].numpy(), as_numpy(detector.neck))
    assert [tuple(level.shape[2:]) for level in levels] == [
        (24, 32), (12, 16), (6, 8), (3, 4), (2, 2)
    ]  # fmt: skip
    for level, slow in zip(levels, expected, strict=True):
        np.testing.assert_allclose(level[1].detach().numpy(), slow, rtol=1e-8, atol=1e-10)


def test_boxes_scores_and_masks_equal_a_slow_reference(detector, features):
    with torch.no_grad():
        instances = detector(features, clip_hw=CLIP_HW)
    assert len(instances) == 2
    weights = as_numpy(detector)
    levels = slow_pyramid(features[1].numpy(), below(weights, 'neck.'))
    proposals = slow_proposals(levels, below(weights, 'rpn_head.'))
    heads = below(weights, 'roi_head.')
    expected = slow_detections(levels[:4], proposals, heads)
    assert len(expected) == 12
    found = instances[1]
    np.testing.assert_array_equal(found.class_ids, [item[1] for item in expected])
    np.testing.assert_allclose(found.scores, [item[0] for item in expected], rtol=1e-8)
    np.testing.assert_allclose(found.boxes_xyxy, [item[2] for item in expected], rtol=1e-8)
    mask = slow_mask(levels[:4], expected[3][2], expected[3][1], heads)
    np.testing.assert_allclose(found.mask_logits[3], mask, rtol=1e-7, atol=1e-9)


def test_boxes_stay_within_the_image_not_the_canvas(detector, features):
    with torch.no_grad():
        boxes = detector(features, clip_hw=CLIP_HW)[0].boxes_xyxy
    assert boxes[:, 0::2].max() <= CLIP_HW[1]
    assert boxes[:, 1::2].max() <= CLIP_HW[0]
    assert boxes.min() >= 0


def test_no_detection_gives_empty_arrays(detector, features):
    strict = DetectionLimits(max_candidates=4, max_proposals=4, min_score=1.0)
    model = MaskRCNN(num_classes=2, in_channels=IN_CHANNELS, limits=strict).double().eval()
    with torch.no_grad():
        found = model(features[:1], clip_hw=CLIP_HW)[0]
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert found.mask_logits.shape == (0, 28, 28)


def test_the_released_limits_are_the_default():
    assert DetectionLimits() == DetectionLimits(
        max_candidates=1000,
        max_proposals=1000,
        proposal_iou=0.7,
        min_score=0.05,
        detection_iou=0.5,
        max_detections=100,
    )


def test_rgb_comes_before_thermal_in_the_channels():
    joined = concat_modalities(torch.full((2, 3, 1, 1), 7.0), torch.full((2, 3, 1, 1), 9.0))
    assert joined[1, :, 0, 0].tolist() == [7.0, 7.0, 7.0, 9.0, 9.0, 9.0]


def test_masks_are_drawn_in_their_box_only_x_right_and_y_down():
    logits = torch.full((1, 28, 28), 9.0)
    logits[0, :14] = -9.0  # the upper half is outside
    masks = paste_masks(logits, torch.tensor([[2.0, 1.0, 5.0, 9.0]]), size_hw=(12, 7))
    expected = np.zeros((12, 7), bool)
    expected[5:9, 2:5] = True
    np.testing.assert_array_equal(masks[0], expected)


def test_masks_equal_a_slow_reference():
    logits = 2.0 * torch.randn(3, 28, 28, generator=torch.Generator().manual_seed(8)).double()
    boxes = [[2.3, 1.6, 17.2, 9.1], [-4.0, 3.0, 6.5, 30.0], [0.0, 0.0, 21.0, 13.0]]
    masks = paste_masks(logits, torch.tensor(boxes).double(), size_hw=(13, 21))
    assert masks.any(dim=(1, 2)).all()
    for found, mask, box in zip(masks, sigmoid(logits.numpy()), boxes, strict=True):
        np.testing.assert_array_equal(found, paste(mask, box, 13, 21) >= 0.5)


def test_the_mask_of_an_empty_box_is_empty():
    masks = paste_masks(
        torch.ones(1, 28, 28), torch.tensor([[3.0, 3.0, 3.0, 5.0]]), size_hw=(6, 6)
    )
    assert not masks.any()
