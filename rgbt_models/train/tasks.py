# SPDX-License-Identifier: Apache-2.0
"""What can be learnt: each task names the heads it trains and the loss of a batch.

Saliency and matching train a head of their own on the shared encoder and pyramid; on a labeled
set that marks classes only, salient is what is a person, car or bicycle (our definition).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn, Tensor

from rgbt_models.build import create_model, RGBTModel
from rgbt_models.errors import DatasetError
from rgbt_models.heads import MatchingHead, SaliencyHead
from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES
from rgbt_models.train.batches import TrainBatch
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.learner import LossTerms
from rgbt_models.train.losses import BOX_WEIGHT, compute_losses, UNLABELED
from rgbt_models.train.matching_loss import coarse_matching_loss, matching_targets
from rgbt_models.train.saliency_loss import saliency_loss

SALIENT_IDS = tuple(SEGMENTATION_CLASSES.index(name) for name in DETECTION_CLASSES)
MAX_SHIFT = 0.15  # of the image side: how far a corner moves in a homography for matching


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task.

    Attributes:
        heads: Attributes of the model that the task trains; other heads are frozen.
        loss: Loss of the outputs for a batch; the weights are those of segmentation classes.
    """

    heads: tuple[str, ...]
    loss: Callable[[Mapping[str, Tensor], TrainBatch, Tensor], LossTerms]


class SaliencyModel(nn.Module):
    """Encoder, pyramid and saliency head."""

    def __init__(self, base: RGBTModel, *, channels: int) -> None:
        """Take encoder and pyramid of ``base``; ``channels`` are those of its finest level."""
        super().__init__()
        self.encoder, self.neck = base.encoder, base.neck
        self.saliency = SaliencyHead(channels=channels)

    def forward(self, rgb: Tensor, thermal: Tensor, available: Tensor) -> dict[str, Tensor]:
        """Return 'saliency_logits' (b, 1, h/4, w/4) of images as ``RGBTModel`` takes them."""
        levels, _, _ = self.neck(self.encoder(rgb, thermal), available)
        return {'saliency_logits': self.saliency(levels[0])}


class MatchingModel(nn.Module):
    """Encoder and matching head; in training the thermal image is warped on the way in."""

    def __init__(self, base: RGBTModel) -> None:
        """Take the encoder of ``base``."""
        super().__init__()
        self.encoder = base.encoder
        self.matching = MatchingHead(dim=base.encoder.channels[-1])

    def forward(self, rgb: Tensor, thermal: Tensor, available: Tensor) -> dict[str, Tensor]:
        """Return the logits of all token pairs, and the truth while training.

        Args:
            rgb: (b, 3, h, w).
            thermal: (b, 3, h, w), registered in training, as it is else.
            available: (b, 2); a pair that lacks a camera teaches nothing.

        Returns:
            'matching_logits' (b, n, n) and, in training, 'matching_targets' (b, n, n) bool.
        """
        if not self.training:
            rgb_tokens, thermal_tokens = self.encoder(rgb, thermal)[-1]
            return {'matching_logits': self.matching(rgb_tokens, thermal_tokens)}
        homography = draw_homographies(len(rgb), (rgb.shape[2], rgb.shape[3]), device=rgb.device)
        rgb_tokens, thermal_tokens = self.encoder(rgb, warp(thermal, homography))[-1]
        grid_hw = (rgb_tokens.shape[2], rgb_tokens.shape[3])
        stride = rgb.shape[2] // grid_hw[0]
        targets = matching_targets(homography, grid_hw, grid_hw, stride=stride)
        has_both = available.amin(dim=1) > 0.5
        return {
            'matching_logits': self.matching(rgb_tokens, thermal_tokens),
            'matching_targets': targets & has_both[:, None, None],
        }


def draw_homographies(count: int, size_hw: tuple[int, int], *, device: torch.device) -> Tensor:
    """Draw homographies thermal pixel -> RGB pixel that move the corners, shape (b, 3, 3).

    Each corner moves by up to 0.15 of the side, independently.
    """
    h, w = size_hw
    corners = torch.tensor(
        [[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], dtype=torch.float64, device=device
    )
    size = torch.tensor([w, h], dtype=torch.float64, device=device)
    draw = torch.rand(count, 4, 2, device=device).double() * 2.0 - 1.0
    moved = corners + draw * MAX_SHIFT * size
    x, y = (t.expand(count, 4) for t in corners.unbind(1))
    u, v = moved.unbind(2)
    one, nil = torch.ones_like(x), torch.zeros_like(x)
    rows_u = torch.stack([x, y, one, nil, nil, nil, -u * x, -u * y], dim=2)
    rows_v = torch.stack([nil, nil, nil, x, y, one, -v * x, -v * y], dim=2)
    system = torch.cat([rows_u, rows_v], dim=1)  # (b, 8, 8)
    solved = torch.linalg.solve(system, torch.cat([u, v], dim=1))
    return torch.cat([solved, torch.ones_like(solved[:, :1])], dim=1).reshape(-1, 3, 3).float()


def warp(image: Tensor, homography: Tensor) -> Tensor:
    """Make of registered images (b, c, h, w) those of a camera with ``homography``.

    The pixel p of the result shows what the image has at ``homography`` p; beyond it, 0.
    """
    b, _, h, w = image.shape
    y, x = torch.meshgrid(
        torch.arange(h, device=image.device, dtype=torch.float32),
        torch.arange(w, device=image.device, dtype=torch.float32),
        indexing='ij',
    )
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(1, -1, 3)
    mapped = points @ homography.transpose(1, 2)
    xy = mapped[..., :2] / mapped[..., 2:].clamp(min=1e-6)
    size = torch.tensor([w, h], device=image.device)
    grid = ((xy + 0.5) / size * 2.0 - 1.0).reshape(b, h, w, 2)
    return nn.functional.grid_sample(
        image.float(), grid, mode='bilinear', padding_mode='zeros', align_corners=False
    )


def salient_masks(label_maps: Tensor) -> Tensor:
    """Return masks (b, h, w) uint8: 1 = person, car or bicycle, 255 = unlabeled, else 0."""
    ids = torch.tensor(SALIENT_IDS, device=label_maps.device, dtype=label_maps.dtype)
    masks = torch.isin(label_maps, ids).to(torch.uint8)
    masks[label_maps == UNLABELED] = UNLABELED
    return masks


def build_task_model(config: TrainConfig) -> nn.Module:
    """Build the model of a run with random weights; heads its task does not train are frozen."""
    model = create_model(
        config.architecture,
        num_detection_classes=len(DETECTION_CLASSES),
        num_segmentation_classes=len(SEGMENTATION_CLASSES),
    )
    if config.task == 'saliency':
        fused = model.segmentation.classifier.in_channels
        return SaliencyModel(model, channels=fused)
    if config.task == 'matching':
        return MatchingModel(model)
    for name in {head for task in TASKS.values() for head in task.heads}:
        if hasattr(model, name) and name not in TASKS[config.task].heads:
            getattr(model, name).requires_grad_(requires_grad=False)
    return model


def _both(outputs: Mapping[str, Tensor], batch: TrainBatch, weights: Tensor) -> LossTerms:
    losses = compute_losses(dict(outputs), batch.targets, batch.label_maps, weights)
    parts = {
        'classification': losses.classification,
        'box': losses.box,
        'segmentation': losses.segmentation,
    }
    return LossTerms(total=losses.total, parts=parts)


def _detection(outputs: Mapping[str, Tensor], batch: TrainBatch, weights: Tensor) -> LossTerms:
    parts = dict(_both(outputs, batch, weights).parts)
    del parts['segmentation']
    return LossTerms(total=parts['classification'] + BOX_WEIGHT * parts['box'], parts=parts)


def _segmentation(outputs: Mapping[str, Tensor], batch: TrainBatch, weights: Tensor) -> LossTerms:
    loss = _both(outputs, batch, weights).parts['segmentation']
    return LossTerms(total=loss, parts={'segmentation': loss})


def _saliency(outputs: Mapping[str, Tensor], batch: TrainBatch, weights: Tensor) -> LossTerms:
    del weights  # of segmentation classes
    loss = saliency_loss(outputs['saliency_logits'], salient_masks(batch.label_maps))
    return LossTerms(total=loss, parts={'saliency': loss})


def _matching(outputs: Mapping[str, Tensor], batch: TrainBatch, weights: Tensor) -> LossTerms:
    del batch, weights  # the truth is the homography that was drawn
    loss = coarse_matching_loss(outputs['matching_logits'], outputs['matching_targets'])
    return LossTerms(total=loss, parts={'matching': loss})


TASKS: dict[str, Task] = {
    'both': Task(heads=('detection', 'segmentation'), loss=_both),
    'detection': Task(heads=('detection',), loss=_detection),
    'segmentation': Task(heads=('segmentation',), loss=_segmentation),
    'saliency': Task(heads=('saliency',), loss=_saliency),
    'matching': Task(heads=('matching',), loss=_matching),
}


def find_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        DatasetError: If there is none of that name.
    """
    if name not in TASKS:
        raise DatasetError(
            f"unknown task '{name}'; expected one of {', '.join(TASKS)}; correct the training file"
        )
    return TASKS[name]
