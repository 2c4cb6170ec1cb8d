# SPDX-License-Identifier: Apache-2.0
"""Teaching the fusion shares how well each camera sees the objects; in training only.

A network that only has to find things may draw on a camera that shows little, so its shares say
little about the cameras. Here the share of RGB is drawn towards the contrast advantage of RGB,
measured on the very images that the network gets: after crops, degraded cameras, sensors and tone
curves. The network is the same one, and its exported graph too. Source: ours, on MDACL's idea of a
modality dominance index (https://arxiv.org/abs/2601.00598); not the paper's formula.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rgbt_models.contrast import contrast_advantage, counted, find_label_ids, MarkedObjects
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import LabelSet
from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.train.pool import Sample

SHARE_GAIN = 8.0  # of the index over a share: shares of .43 and .57 say -.5 and .5


def visibility_loss(rgb_shares: Tensor, advantages: Tensor, use: Tensor) -> Tensor:
    """Return the mean of (tanh(``SHARE_GAIN`` * (share - 1/2)) - advantage)^2 as a scalar.

    Args:
        rgb_shares: RGB share by fusion level, shape (b, l).
        advantages: Contrast advantage, shape (b,), -1..1; NaN = none, the sample does not count.
        use: Shape (b,) bool, True = the sample has both cameras and counts.
    """
    counts = use & advantages.isfinite()
    wanted = torch.where(counts, advantages, 0.0)[:, None]
    found = torch.tanh(SHARE_GAIN * (rgb_shares.float() - 0.5))
    errors = torch.where(counts, ((found - wanted) ** 2).mean(dim=1), 0.0)
    return errors.sum() / counts.sum().clamp(min=1)


def object_labels(label_set: LabelSet) -> tuple[int, ...]:
    """Return by detection class its id in label maps, ``WHOLE_BOX`` for one that has none.

    Raises:
        DatasetError: If there are no detection classes, and so no objects.
    """
    if not label_set.detection_classes:
        raise DatasetError(
            'visibility_weight is on and the pool has no boxes; expected objects whose contrast '
            'can be measured; set visibility_weight to 0, or give a pool with boxes'
        )
    return find_label_ids(label_set.detection_classes, label_set.segmentation_classes)


def measure_advantage(
    sample: Sample, labels: tuple[int, ...], normaliser: ThermalNormaliser
) -> float:
    """Return how much better RGB shows the objects of a sample than thermal, -1..1.

    See ``contrast_advantage``; thermal is as the network gets it: stretched.

    Args:
        sample: As a camera delivers it.
        labels: ``object_labels(...)``.
        normaliser: Of the run.

    Returns:
        NaN for a sample without objects.
    """
    return contrast_advantage(
        sample.rgb,
        normaliser(sample.thermal),
        MarkedObjects(
            boxes_xyxy=sample.boxes_xyxy,
            label_ids=np.take(labels, sample.class_ids),
            is_measured=counted(sample.ignore),
            label_map=sample.label_map,
        ),
    )
