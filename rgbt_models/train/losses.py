# SPDX-License-Identifier: Apache-2.0
"""Losses of both heads.

Detection after FCOS with centre sampling (https://arxiv.org/abs/1904.01355), the quality focal
loss (https://arxiv.org/abs/2006.04388) and generalised IoU (https://arxiv.org/abs/1902.09630).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rgbt_models.heads import anchor_points
from rgbt_models.heads.detection import STRIDES
from rgbt_models.label_sets import UNLABELED
from rgbt_models.train.lovasz import lovasz_softmax

# Longest box side each level learns, px; neighbouring levels overlap so that none has a gap.
LEVEL_RANGES_PX = ((0.0, 48.0), (32.0, 128.0), (96.0, 1e9))
CENTRE_RADIUS = 1.5  # in strides
MIN_QUALITY = 0.1
QUALITY_BETA = 2.0
BOX_WEIGHT = 1.5


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BoxTargets:
    """Ground truth of one image: boxes (n, 4) px, class ids (n,), ignore (n,) True = leave out."""

    boxes_xyxy: Tensor
    class_ids: Tensor
    ignore: Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Losses:
    """The terms of the loss, each a scalar tensor."""

    classification: Tensor
    box: Tensor
    segmentation: Tensor

    @property
    def total(self) -> Tensor:
        """Weighted sum."""
        return self.classification + BOX_WEIGHT * self.box + self.segmentation


def compute_losses(
    outputs: dict[str, Tensor],
    targets: list[BoxTargets],
    label_maps: Tensor,
    class_weights: Tensor,
) -> Losses:
    """Compare the outputs of ``RGBTModel`` with ground truth.

    Args:
        outputs: Graph outputs for b images; a head without classes has losses of 0.
        targets: One per image.
        label_maps: (b, h, w) uint8 at input size, 255 = unlabeled.
        class_weights: (k,) weight of each segmentation class.
    """
    size_hw = (label_maps.shape[1], label_maps.shape[2])
    logits = outputs['class_logits'].float()
    classification = box = logits.sum()  # 0 of no classes
    if logits.shape[2]:
        classification, box = detection_loss(
            logits, outputs['boxes_xyxy'], targets, size_hw=size_hw
        )
    segmentation = segmentation_loss(outputs['segmentation_logits'], label_maps, class_weights)
    return Losses(classification=classification, box=box, segmentation=segmentation)


def segmentation_loss(logits: Tensor, label_maps: Tensor, class_weights: Tensor) -> Tensor:
    """Return the weighted cross-entropy of labeled pixels, a scalar; 0 where there are none.

    Args:
        logits: (b, k, h/4, w/4).
        label_maps: (b, h, w) uint8, 255 = unlabeled.
        class_weights: (k,).
    """
    if not logits.shape[1]:
        return logits.sum()
    labels = labels_of_cells(label_maps)
    segmentation = functional.cross_entropy(
        logits.float(),
        labels,
        weight=class_weights,
        ignore_index=UNLABELED,
        reduction='sum',
    )
    # The weighted mean, but 0 and not NaN where nothing is labeled.
    labeled_weight = class_weights[labels[labels != UNLABELED]].sum()
    return segmentation / labeled_weight.clamp(min=1e-6)


def lovasz_loss(logits: Tensor, label_maps: Tensor) -> Tensor:
    """Return the Lovász-softmax loss of labeled pixels, a scalar; 0 where there are none.

    Args:
        logits: (b, k, h/4, w/4).
        label_maps: (b, h, w) uint8, 255 = unlabeled.
    """
    labels = labels_of_cells(label_maps)
    is_labeled = labels != UNLABELED
    probabilities = logits.float().softmax(dim=1).permute(0, 2, 3, 1)[is_labeled]
    return lovasz_softmax(probabilities, labels[is_labeled])


def labels_of_cells(label_maps: Tensor) -> Tensor:
    """Return the labels that logits are compared with, (b, h/4, w/4) int64, of (b, h, w).

    Logits sit at the centres of 4x4 cells; pixel (2, 2) is next to that centre.
    """
    return label_maps[:, 2::4, 2::4].long()


def detection_loss(
    logits: Tensor, boxes: Tensor, targets: list[BoxTargets], *, size_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the quality focal loss and the box loss of a batch.

    Args:
        logits: (b, n, k).
        boxes: (b, n, 4), predicted xyxy px.
        targets: One per image.
        size_hw: Input height and width, px.
    """
    points, strides, low, high = _level_geometry(size_hw, logits.device)
    quality = torch.zeros_like(logits)
    keep = torch.ones(logits.shape[:2], device=logits.device)
    box_losses = []
    for index, target in enumerate(targets):
        matched = match_points(points, strides, low, high, target)
        positive = matched >= 0
        keep[index] = _outside_ignored(points, target) | positive
        if positive.any():
            wanted = target.boxes_xyxy[matched[positive]]
            iou, giou = paired_iou(boxes[index][positive], wanted)
            box_losses.append(1 - giou)
            quality[index, positive, target.class_ids[matched[positive]]] = iou.detach().clamp(
                min=MIN_QUALITY
            )
    num_positive = max(sum(len(loss) for loss in box_losses), 1)
    modulation = (quality - logits.sigmoid()).abs() ** QUALITY_BETA
    classification = functional.binary_cross_entropy_with_logits(logits, quality, reduction='none')
    classification = (classification * modulation * keep[..., None]).sum() / num_positive
    box_loss = torch.cat(box_losses).mean() if box_losses else boxes.sum() * 0.0
    return classification, box_loss


def match_points(
    points: Tensor, strides: Tensor, low: Tensor, high: Tensor, target: BoxTargets
) -> Tensor:
    """Give each point the smallest box it must predict.

    A point takes part in a box when the longest side of the box is in the range of its level
    and the point lies within 1.5 strides of the centre, inside the box; the cell that holds the
    centre always takes part.

    Returns:
        Index of the box, shape (n,), int64; -1 = background.
    """
    use = ~target.ignore
    boxes = target.boxes_xyxy[use]
    matched = torch.full((len(points),), -1, dtype=torch.long, device=points.device)
    if not len(boxes):
        return matched
    sides = boxes[:, 2:] - boxes[:, :2]  # (m, 2)
    centres = (boxes[:, 2:] + boxes[:, :2]) / 2
    longest = sides.amax(dim=1)
    in_range = (longest[None] >= low[:, None]) & (longest[None] <= high[:, None])  # (n, m)
    radius = torch.minimum(CENTRE_RADIUS * strides[:, None, None], sides[None] / 2)
    radius = torch.maximum(radius, 0.51 * strides[:, None, None])  # (n, m, 2)
    near = ((points[:, None] - centres[None]).abs() <= radius).all(dim=2)
    area = sides.prod(dim=1)[None].expand(len(points), -1)
    area = torch.where(near & in_range, area, torch.inf)
    smallest, box_index = area.min(dim=1)
    originals = use.nonzero()[:, 0]
    return torch.where(smallest.isfinite(), originals[box_index], matched)


def paired_iou(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and generalised IoU of boxes (n, 4) with others (n, 4), row by row."""
    inter = torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])
    inter = inter.clamp(min=0).prod(dim=1)
    areas = [(b[:, 2:] - b[:, :2]).clamp(min=0).prod(dim=1) for b in (boxes, others)]
    union = areas[0] + areas[1] - inter
    hull = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    hull = hull.prod(dim=1).clamp(min=1e-6)
    iou = inter / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull


def _level_geometry(
    size_hw: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return points (n, 2), strides (n,), and the range of box sides (n,), (n,) of all levels."""
    points, rows = [], []
    for stride, (low, high) in zip(STRIDES, LEVEL_RANGES_PX, strict=True):
        level = anchor_points(size_hw[0] // stride, size_hw[1] // stride, stride, device=device)
        points.append(level)
        rows.append(torch.tensor([stride, low, high], device=device).expand(len(level), 3))
    strides, lows, highs = torch.cat(rows).unbind(1)
    return torch.cat(points), strides, lows, highs


def _outside_ignored(points: Tensor, target: BoxTargets) -> Tensor:
    ignored = target.boxes_xyxy[target.ignore]
    inside = (points[:, None] > ignored[None, :, :2]) & (points[:, None] < ignored[None, :, 2:])
    return ~inside.all(dim=2).any(dim=1)
