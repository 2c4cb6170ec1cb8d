# SPDX-License-Identifier: Apache-2.0
"""What can be learnt: each task names the heads it trains and the loss of a batch.

Saliency and matching train a head of their own on the shared encoder and pyramid; on a labeled
set that marks classes only, salient is what the world has boxes of (people, vehicles, animals; our
definition), or what the settings name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn, Tensor

from rgbt_models.build import create_model, RGBTModel
from rgbt_models.encoder import SiameseEncoder
from rgbt_models.errors import DatasetError
from rgbt_models.heads import SaliencyHead
from rgbt_models.label_sets import (
    DETECTION_CLASSES,
    LabelSet,
    MASK_CLASSES,
    PACKAGE_LABEL_SET,
    SEGMENTATION_CLASSES,
    UNLABELED,
)
from rgbt_models.train.batches import TrainBatch
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.learner import LossTerms
from rgbt_models.train.losses import (
    BOX_WEIGHT,
    compute_losses,
    detection_loss,
    lovasz_loss,
    segmentation_loss,
)
from rgbt_models.train.matching_task import matching_loss, MatchingModel
from rgbt_models.train.saliency_loss import saliency_loss
from rgbt_models.vit import SiameseViT, ViTEncoder

# Of the loss, for the classes of the package: what is small and matters weighs more.
SEGMENTATION_WEIGHTS = (*(1.0,) * 5, 2.0, 3.0, 3.0, 3.0, 3.0, 1.5, 1.5, 3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task.

    Attributes:
        heads: Attributes of the model that the task trains; other heads are frozen.
        labels: Fields of ``LabelSet`` that must not be empty.
        loss: Loss of the outputs for a batch; the third argument, (k,), are the weights of the
            segmentation classes; for saliency 1 = salient, 0 = background.
    """

    heads: tuple[str, ...]
    labels: tuple[str, ...]
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


def salient_masks(label_maps: Tensor, salient_ids: tuple[int, ...] | Tensor) -> Tensor:
    """Return masks (b, h, w) uint8: 1 = one of the ids, 255 = unlabeled, else 0."""
    ids = torch.as_tensor(salient_ids, device=label_maps.device, dtype=label_maps.dtype)
    masks = torch.isin(label_maps, ids).to(torch.uint8)
    masks[label_maps == UNLABELED] = UNLABELED
    return masks


def salient_ids(config: TrainConfig, label_set: LabelSet) -> tuple[int, ...]:
    """Return the ids of what is salient among the segmentation classes of a pool.

    Raises:
        DatasetError: If the settings name a class that the pool does not have.
    """
    classes, wanted = label_set.segmentation_classes, config.salient_classes
    if classes == MASK_CLASSES and wanted == DETECTION_CLASSES:  # left at the default
        wanted = MASK_CLASSES[1:]
    lacking = [name for name in wanted if name not in classes]
    if lacking or not wanted:
        raise DatasetError(
            f'salient_classes is {", ".join(wanted) or "empty"}; expected some of the classes of '
            f'the pool: {", ".join(classes)}; name those in the training file'
        )
    return tuple(classes.index(name) for name in wanted)


def segmentation_weights(config: TrainConfig, label_set: LabelSet) -> tuple[float, ...]:
    """Return the weight of each segmentation class of a pool in the loss.

    Raises:
        DatasetError: If the settings give another number of weights.
    """
    classes, weights = label_set.segmentation_classes, config.segmentation_weights
    if not weights:
        is_ours = classes == SEGMENTATION_CLASSES
        return SEGMENTATION_WEIGHTS if is_ours else (1.0,) * len(classes)
    if len(weights) != len(classes):
        raise DatasetError(
            f'segmentation_weights has {len(weights)} values; expected {len(classes)}, one per '
            f'class of the pool ({", ".join(classes)}); correct the training file, or leave them '
            f'out'
        )
    return weights


def trained_label_set(task_name: str, label_set: LabelSet) -> LabelSet:
    """Return the classes of a pool that a task teaches a model to tell."""
    heads = find_task(task_name).heads
    return LabelSet(
        detection_classes=label_set.detection_classes if 'detection' in heads else (),
        segmentation_classes=label_set.segmentation_classes if 'segmentation' in heads else (),
    )


def check_labels(task_name: str, label_set: LabelSet, *, pool: str) -> None:
    """Refuse a pool that lacks the labels of a task.

    Raises:
        DatasetError: If it lacks some.
    """
    wanted = {'detection_classes': 'boxes', 'segmentation_classes': 'label maps'}
    names = find_task(task_name).labels
    lacking = [wanted[name] for name in names if not getattr(label_set, name)]
    if lacking:
        fitting = [
            name
            for name, task in TASKS.items()
            if all(getattr(label_set, field) for field in task.labels)
        ]
        raise DatasetError(
            f"pool '{pool}' has no {' and no '.join(lacking)}; expected what the task "
            f"'{task_name}' learns from; set the task to one of {', '.join(fitting)}, or give "
            f'another pool'
        )


def build_loss(
    config: TrainConfig, label_set: LabelSet, *, device: torch.device
) -> Callable[[Mapping[str, Tensor], TrainBatch], LossTerms]:
    """Return the loss of a run: outputs and batch to losses.

    Raises:
        DatasetError: If class weights or salient classes do not fit the pool.
    """
    task = find_task(config.task)
    values: tuple[float, ...] = ()
    if 'segmentation' in task.heads:
        values = segmentation_weights(config, label_set)
    if 'saliency' in task.heads:
        chosen = salient_ids(config, label_set)
        count = len(label_set.segmentation_classes)
        values = tuple(float(index in chosen) for index in range(count))
    weights = torch.tensor(values, device=device)
    lovasz_weight = config.lovasz_weight

    def loss(outputs: Mapping[str, Tensor], batch: TrainBatch) -> LossTerms:
        terms = task.loss(outputs, batch, weights)
        if lovasz_weight == 0.0:
            return terms
        lovasz = lovasz_weight * lovasz_loss(outputs['segmentation_logits'], batch.label_maps)
        return LossTerms(total=terms.total + lovasz, parts={**terms.parts, 'lovasz': lovasz})

    return loss


def build_task_model(config: TrainConfig, label_set: LabelSet = PACKAGE_LABEL_SET) -> nn.Module:
    """Build the model of a run with random weights; heads its task does not train are frozen.

    Args:
        config: Of the run.
        label_set: Of its pool.

    Raises:
        DatasetError: If the settings ask of the encoder what it does not have.
    """
    model = create_model(
        config.architecture,
        num_detection_classes=len(label_set.detection_classes),
        num_segmentation_classes=len(label_set.segmentation_classes),
    )
    _set_up_encoder(model.encoder, config)
    if config.task == 'saliency':
        fused = model.segmentation.classifier.in_channels
        return SaliencyModel(model, channels=fused)
    if config.task == 'matching':
        return MatchingModel(model, is_fine=config.fine_matching)
    for name in {head for task in TASKS.values() for head in task.heads}:
        if hasattr(model, name) and name not in TASKS[config.task].heads:
            getattr(model, name).requires_grad_(requires_grad=False)
    return model


def _set_up_encoder(encoder: SiameseEncoder | SiameseViT, config: TrainConfig) -> None:
    asked = config.gradient_checkpointing or config.drop_path > 0.0
    if asked and not isinstance(encoder, ViTEncoder):
        raise DatasetError(
            f'gradient_checkpointing is {config.gradient_checkpointing} and drop_path '
            f"{config.drop_path} with the architecture '{config.architecture}'; expected False "
            f'and 0, for its encoder has neither; leave them out, or choose small, base or an '
            f"'encoder: <name of a timm ViT>'"
        )
    if asked and isinstance(encoder, ViTEncoder):
        encoder.use_checkpointing = config.gradient_checkpointing
        encoder.set_drop_path(config.drop_path)


def _both(outputs: Mapping[str, Tensor], batch: TrainBatch, weights: Tensor) -> LossTerms:
    losses = compute_losses(dict(outputs), batch.targets, batch.label_maps, weights)
    parts = {
        'classification': losses.classification,
        'box': losses.box,
        'segmentation': losses.segmentation,
    }
    return LossTerms(total=losses.total, parts=parts)


def _detection(outputs: Mapping[str, Tensor], batch: TrainBatch, weights: Tensor) -> LossTerms:
    del weights  # of segmentation classes
    size_hw = (batch.label_maps.shape[1], batch.label_maps.shape[2])
    classification, box = detection_loss(
        outputs['class_logits'].float(), outputs['boxes_xyxy'], batch.targets, size_hw=size_hw
    )
    parts = {'classification': classification, 'box': box}
    return LossTerms(total=classification + BOX_WEIGHT * box, parts=parts)


def _segmentation(outputs: Mapping[str, Tensor], batch: TrainBatch, weights: Tensor) -> LossTerms:
    loss = segmentation_loss(outputs['segmentation_logits'], batch.label_maps, weights)
    return LossTerms(total=loss, parts={'segmentation': loss})


def _saliency(outputs: Mapping[str, Tensor], batch: TrainBatch, weights: Tensor) -> LossTerms:
    masks = salient_masks(batch.label_maps, weights.nonzero()[:, 0])
    loss = saliency_loss(outputs['saliency_logits'], masks)
    return LossTerms(total=loss, parts={'saliency': loss})


TASKS: dict[str, Task] = {
    'both': Task(
        heads=('detection', 'segmentation'),
        labels=('detection_classes', 'segmentation_classes'),
        loss=_both,
    ),
    'detection': Task(heads=('detection',), labels=('detection_classes',), loss=_detection),
    'segmentation': Task(
        heads=('segmentation',), labels=('segmentation_classes',), loss=_segmentation
    ),
    'saliency': Task(heads=('saliency',), labels=('segmentation_classes',), loss=_saliency),
    'matching': Task(heads=('matching',), labels=(), loss=matching_loss),
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
