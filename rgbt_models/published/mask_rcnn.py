# SPDX-License-Identifier: Apache-2.0
"""ViTDet Mask R-CNN on the fused features, as released with M-SpecGene.

Source: Mask R-CNN (https://arxiv.org/abs/1703.06870), ViTDet (https://arxiv.org/abs/2203.16527),
and the released M-SpecGene configuration for the numbers. Attribute names are those of the
released weights (``neck``, ``rpn_head``, ``roi_head``), which load strictly.

Differs: boxes are clipped to the image when the caller gives its size; the release clips to the
padded canvas, so that boxes can lie in the padding. Training losses are not part of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn, Tensor
import torch.nn.functional as F

from rgbt_models.published.boxes import (
    anchor_grid,
    ANCHOR_RATIOS,
    decode_boxes,
    pool_boxes,
    suppress_by_group,
)
from rgbt_models.published.layers import ConvChannelNorm, ConvReLU
from rgbt_models.published.simple_pyramid import PYRAMID_STRIDES, SimplePyramid

CHANNELS = 256
FC_CHANNELS = 1024
BOX_ROI_SIZE, MASK_ROI_SIZE = 7, 14
PROPOSAL_STDS = (1.0, 1.0, 1.0, 1.0)
DETECTION_STDS = (0.1, 0.1, 0.2, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionLimits:
    """Thresholds of the detector; the defaults are those of the release.

    Attributes:
        max_candidates: Anchors kept per level before suppression.
        max_proposals: Proposals kept per image.
        proposal_iou: Overlap above which a proposal is suppressed.
        min_score: Detections at or below this score are dropped.
        detection_iou: Overlap above which a detection of the same class is suppressed.
        max_detections: Detections kept per image.
    """

    max_candidates: int = 1000
    max_proposals: int = 1000
    proposal_iou: float = 0.7
    min_score: float = 0.05
    detection_iou: float = 0.5
    max_detections: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """Detections of one image, in px of the network input, best score first.

    Attributes:
        boxes_xyxy: (n, 4), max edge exclusive.
        scores: (n,) in [0, 1].
        class_ids: (n,) int64.
        mask_logits: (n, 28, 28), each within its box.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    class_ids: Tensor
    mask_logits: Tensor


class ProposalHead(nn.Module):
    """Region proposal network with two shared convolutions."""

    def __init__(self) -> None:
        """Build with random weights."""
        super().__init__()
        self.rpn_conv = nn.Sequential(ConvReLU(CHANNELS, CHANNELS), ConvReLU(CHANNELS, CHANNELS))
        self.rpn_cls = nn.Conv2d(CHANNELS, len(ANCHOR_RATIOS), 1)
        self.rpn_reg = nn.Conv2d(CHANNELS, len(ANCHOR_RATIOS) * 4, 1)

    def forward(self, levels: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Map levels (b, 256, h, w) to logits (b, h*w*3) and deltas (b, h*w*3, 4) per level."""
        outputs = []
        for level in levels:
            shared = self.rpn_conv(level)
            logits = self.rpn_cls(shared).permute(0, 2, 3, 1).flatten(1)
            deltas = self.rpn_reg(shared).permute(0, 2, 3, 1).reshape(len(level), -1, 4)
            outputs.append((logits, deltas))
        return outputs


class BoxHead(nn.Module):
    """Four convolutions, one linear layer, then class logits and box deltas per class."""

    def __init__(self, *, num_classes: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.num_classes = num_classes
        self.shared_convs = nn.ModuleList(
            ConvChannelNorm(CHANNELS, CHANNELS, kernel=3) for _ in range(4)
        )
        self.shared_fcs = nn.ModuleList([nn.Linear(CHANNELS * BOX_ROI_SIZE**2, FC_CHANNELS)])
        self.fc_cls = nn.Linear(FC_CHANNELS, num_classes + 1)
        self.fc_reg = nn.Linear(FC_CHANNELS, num_classes * 4)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Map (n, 256, 7, 7) to logits (n, k + 1), background last, and deltas (n, k, 4)."""
        for conv in self.shared_convs:
            pooled = F.relu(conv(pooled))
        shared = pooled.flatten(1)
        for linear in self.shared_fcs:
            shared = F.relu(linear(shared))
        return self.fc_cls(shared), self.fc_reg(shared).reshape(len(shared), self.num_classes, 4)


class MaskHead(nn.Module):
    """Four convolutions and one upsampling by two, then one mask per class."""

    def __init__(self, *, num_classes: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.convs = nn.ModuleList(ConvChannelNorm(CHANNELS, CHANNELS, kernel=3) for _ in range(4))
        self.upsample = nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, 2)
        self.conv_logits = nn.Conv2d(CHANNELS, num_classes, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (n, 256, 14, 14) to mask logits (n, k, 28, 28)."""
        for conv in self.convs:
            pooled = F.relu(conv(pooled))
        logits: Tensor = self.conv_logits(F.relu(self.upsample(pooled)))
        return logits


class RegionHeads(nn.Module):
    """The two heads that look at one region at a time."""

    def __init__(self, *, num_classes: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.bbox_head = BoxHead(num_classes=num_classes)
        self.mask_head = MaskHead(num_classes=num_classes)


class MaskRCNN(nn.Module):
    """Pyramid, proposals, boxes and masks from the concatenated features of both modalities."""

    def __init__(
        self, *, num_classes: int, in_channels: int = 1536, limits: DetectionLimits | None = None
    ) -> None:
        """Build with random weights; ``in_channels`` counts both modalities."""
        super().__init__()
        self.limits = limits or DetectionLimits()
        self.neck = SimplePyramid(in_channels=in_channels, out_channels=CHANNELS)
        self.rpn_head = ProposalHead()
        self.roi_head = RegionHeads(num_classes=num_classes)

    def forward(self, features: Tensor, *, clip_hw: tuple[int, int]) -> list[Instances]:
        """Detect on fused features.

        Args:
            features: (b, in_channels, h, w) at stride 16, RGB channels first.
            clip_hw: Height and width that boxes are clipped to, px of the network input.

        Returns:
            The detections of every image.
        """
        levels = self.neck(features)
        outputs = self.rpn_head(levels)
        instances = []
        for index in range(len(features)):
            one = [(logits[index], deltas[index]) for logits, deltas in outputs]
            proposals, _ = self.propose(one, levels, clip_hw=clip_hw)
            instances.append(self.detect(levels[:4], proposals, index=index, clip_hw=clip_hw))
        return instances

    def propose(
        self,
        outputs: list[tuple[Tensor, Tensor]],
        levels: list[Tensor],
        *,
        clip_hw: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Turn the output of the proposal network for one image into proposals.

        Args:
            outputs: Per level logits (n,) and deltas (n, 4).
            levels: The maps the outputs are of; only their sizes are used.
            clip_hw: Height and width that boxes are clipped to, px.

        Returns:
            Proposals (n, 4), px, and their scores (n,), best first.
        """
        boxes, scores, groups = [], [], []
        for index, ((logits, deltas), level) in enumerate(zip(outputs, levels, strict=True)):
            height, width = level.shape[-2:]
            anchors = anchor_grid(height, width, PYRAMID_STRIDES[index], like=deltas)
            ranked, order = logits.sigmoid().sort(descending=True, stable=True)
            order = order[: self.limits.max_candidates]
            scores.append(ranked[: self.limits.max_candidates])
            boxes.append(
                decode_boxes(anchors[order], deltas[order], stds=PROPOSAL_STDS, clip_hw=clip_hw)
            )
            groups.append(torch.full_like(order, index))
        all_boxes, all_scores, all_groups = torch.cat(boxes), torch.cat(scores), torch.cat(groups)
        sizes = all_boxes[:, 2:] - all_boxes[:, :2]
        rows = torch.nonzero((sizes > 0).all(dim=1)).squeeze(1)
        kept = suppress_by_group(
            all_boxes[rows],
            all_scores[rows],
            all_groups[rows],
            max_iou=self.limits.proposal_iou,
        )
        rows = rows[kept[: self.limits.max_proposals]]
        return all_boxes[rows], all_scores[rows]

    def detect(
        self, levels: list[Tensor], proposals: Tensor, *, index: int, clip_hw: tuple[int, int]
    ) -> Instances:
        """Classify and refine the proposals of one image and predict their masks.

        Args:
            levels: Maps at strides 4, 8, 16 and 32 of the batch.
            proposals: (n, 4), px.
            index: Which image of the batch.
            clip_hw: Height and width that boxes are clipped to, px.

        Returns:
            The detections that pass the limits.
        """
        pooled = pool_boxes(levels, proposals, image_index=index, output_size=BOX_ROI_SIZE)
        logits, deltas = self.roi_head.bbox_head(pooled)
        num_classes = deltas.shape[1]
        boxes = decode_boxes(
            proposals.repeat_interleave(num_classes, dim=0),
            deltas.reshape(-1, 4),
            stds=DETECTION_STDS,
            clip_hw=clip_hw,
        )
        scores = logits.softmax(dim=1)[:, :-1].reshape(-1)
        class_ids = torch.arange(num_classes, device=scores.device).repeat(len(proposals))
        rows = torch.nonzero(scores > self.limits.min_score).squeeze(1)
        kept = suppress_by_group(
            boxes[rows], scores[rows], class_ids[rows], max_iou=self.limits.detection_iou
        )
        rows = rows[kept[: self.limits.max_detections]]
        pooled = pool_boxes(levels, boxes[rows], image_index=index, output_size=MASK_ROI_SIZE)
        masks = self.roi_head.mask_head(pooled)
        return Instances(
            boxes_xyxy=boxes[rows],
            scores=scores[rows],
            class_ids=class_ids[rows],
            mask_logits=masks[torch.arange(len(rows), device=masks.device), class_ids[rows]],
        )


def paste_masks(
    mask_logits: Tensor, boxes_xyxy: Tensor, *, size_hw: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Draw the masks of detections into the image.

    Args:
        mask_logits: (n, s, s), each within its box.
        boxes_xyxy: (n, 4), px of the image.
        size_hw: Height and width of the image, px.
        threshold: A pixel is inside where the probability is at least this.

    Returns:
        Masks (n, height, width), bool, True = inside.
    """
    height, width = size_hw
    y = torch.arange(height, device=boxes_xyxy.device).to(boxes_xyxy) + 0.5
    x = torch.arange(width, device=boxes_xyxy.device).to(boxes_xyxy) + 0.5
    masks = torch.zeros(len(boxes_xyxy), height, width, dtype=torch.bool, device=y.device)
    for mask, box, probability in zip(masks, boxes_xyxy, mask_logits.sigmoid(), strict=True):
        if not bool((box[2:] > box[:2]).all()):
            continue
        grid_y = (y - box[1]) / (box[3] - box[1]) * 2 - 1
        grid_x = (x - box[0]) / (box[2] - box[0]) * 2 - 1
        grid = torch.stack(torch.meshgrid(grid_y, grid_x, indexing='ij')[::-1], dim=2)
        drawn = F.grid_sample(probability[None, None], grid[None], align_corners=False)
        mask.copy_(drawn[0, 0] >= threshold)
    return masks
