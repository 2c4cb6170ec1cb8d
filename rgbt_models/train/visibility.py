# SPDX-License-Identifier: Apache-2.0
"""Teaching the fusion shares how well each camera sees the objects; in training only.

A network that only has to find things may draw on a camera that shows little, so its shares say
little about the cameras. Here the share of RGB is drawn towards the contrast advantage of RGB,
measured on the very images that the network gets: after crops, degraded cameras, sensors and tone
curves. The network is the same one, and its exported graph too. Source: ours, on MDACL's idea of a
modality dominance index (https://arxiv.org/abs/2601.00598); not the paper's formula.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import LabelSet
from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.synthetic.contrast import (
    advantage,
    compare_outlines,
    counted,
    outline_objects,
    RGB_SPAN,
)
from rgbt_models.train.pool import Sample

SHARE_GAIN = 8.0  # of the index over a share: shares of .43 and .57 say -.5 and .5
WHOLE_BOX = -1
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_LAPLACIAN_GAIN = 6.0  # of the standard deviation of white noise
_MEDIAN_TO_DEVIATION = 1.4826  # of the absolute value of normal noise
_GREEN = 1


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
    names = label_set.segmentation_classes
    return tuple(
        names.index(name) if name in names else WHOLE_BOX for name in label_set.detection_classes
    )


def measure_advantage(
    sample: Sample, labels: tuple[int, ...], normaliser: ThermalNormaliser
) -> float:
    """Return how much better RGB shows the objects of a sample than thermal, -1..1.

    The contrast advantage of ``rgbt_models.synthetic.contrast``, with the noise estimated from
    the images, and thermal as the network gets it: stretched.

    Args:
        sample: As a camera delivers it.
        labels: ``object_labels(...)``.
        normaliser: Of the run.

    Returns:
        NaN for a sample without objects.
    """
    if not len(sample.class_ids):
        return math.nan
    chosen = np.flatnonzero(counted(sample.ignore))
    outlines = outline_objects(draw_objects(sample, labels), _whole_px(sample)[chosen], chosen)
    thermal = normaliser(sample.thermal)
    rgb_noise = estimate_noise(sample.rgb[..., _GREEN].astype(np.float32))
    thermal_noise = estimate_noise(thermal)
    return advantage(
        compare_outlines(sample.rgb, outlines, noise_at=lambda _: rgb_noise, span=RGB_SPAN),
        compare_outlines(thermal, outlines, noise_at=lambda _: thermal_noise, span=1.0),
    )


def draw_objects(sample: Sample, labels: tuple[int, ...]) -> NDArray[np.int32]:
    """Return which box each pixel belongs to, shape (h, w), -1 = none.

    Pixels in a box whose label is that of its class; where boxes of a class overlap, the smaller
    one has them.
    """
    boxes = _whole_px(sample)
    sides = boxes[:, 2:] - boxes[:, :2]
    instance_map = np.full(sample.label_map.shape, -1, np.int32)
    for index in np.argsort(-sides.prod(axis=1), kind='stable').tolist():
        left, top, right, bottom = boxes[index].astype(int).tolist()
        window = np.s_[top:bottom, left:right]
        label = labels[int(sample.class_ids[index])]
        if label == WHOLE_BOX:
            instance_map[window] = index
        else:
            instance_map[window][sample.label_map[window] == label] = index
    return instance_map


def estimate_noise(image: NDArray[np.float32]) -> float:
    """Return the standard deviation of the noise of one channel, shape (h, w), in its units.

    The median of the absolute second difference, which edges hardly move. Source: the operator of
    Immerkaer (https://doi.org/10.1006/cviu.1996.0060). Differs: the median replaces the mean.
    """
    rough = cv2.filter2D(image, cv2.CV_32F, _LAPLACIAN, borderType=cv2.BORDER_REFLECT_101)
    median = float(np.median(np.abs(rough[::2, ::2])))
    return _MEDIAN_TO_DEVIATION * median / _LAPLACIAN_GAIN


def _whole_px(sample: Sample) -> NDArray[np.float32]:
    """Return the boxes, grown to whole pixels of the image."""
    height, width = sample.label_map.shape
    grown = np.concatenate(
        [np.floor(sample.boxes_xyxy[:, :2]), np.ceil(sample.boxes_xyxy[:, 2:])], axis=1
    )
    return np.asarray(np.clip(grown, 0, [width, height] * 2), np.float32)
