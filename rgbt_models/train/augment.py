# SPDX-License-Identifier: Apache-2.0
"""Augmentation of rendered pairs: joint geometry, then each camera's own sensor.

Half the samples get a heavy sensor, half a light one: all heavy is worse on real pairs.
Source: ours.

The geometry is torchvision's (transforms.v2) with parameters drawn here, from the generator whose
state a checkpoint keeps. Windows are whole pixels: height and width differ in scale by half a
pixel of the window at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import UNLABELED
from rgbt_models.train.pool import Sample
from rgbt_models.train.sensing import sense_rgb, sense_thermal
from rgbt_models.train.settings import ABOVE_0, check_numbers, FROM_0, PART

FloatImage = NDArray[np.float32]

MIN_VISIBLE_PART = 0.35  # of a box cut by the crop; less is ignored
MIN_KEPT_PART = 0.05  # of a box cut by the crop; less is dropped
MIN_BOX_HEIGHT_PX = 8.0
_RULES = {
    'min_zoom': ABOVE_0,
    'max_zoom': ABOVE_0,
    'heavy_sensor': PART,
    'shift_px': FROM_0,
    'degraded': PART,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Strength of the augmentation.

    Attributes:
        min_zoom: Smallest zoom, 1 = the image just covers the crop.
        max_zoom: Largest zoom.
        heavy_sensor: Probability of a heavy sensor, else a light one.
        shift_px: Standard deviation of the thermal misregistration, px.
        degraded: Probability that one camera is nearly useless though present.
    """

    min_zoom: float = 0.75
    max_zoom: float = 1.7
    heavy_sensor: float = 0.5
    shift_px: float = 1.2
    degraded: float = 0.06

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            DatasetError: If a value cannot be used.
        """
        check_numbers(self, _RULES)
        if self.min_zoom > self.max_zoom:
            raise DatasetError(
                f'min_zoom is {self.min_zoom} and max_zoom {self.max_zoom}; expected at most '
                f'max_zoom; correct the training file'
            )


def augment(
    sample: Sample, rng: Generator, *, size_hw: tuple[int, int], config: AugmentConfig
) -> Sample:
    """Draw one training view: crop, zoom, flip, misregistration, sensors.

    Returns:
        A sample of ``size_hw`` whose ``thermal`` is what a camera delivers: uint8 after a tone
        curve, held in uint16.
    """
    moved = crop_zoom_flip(sample, rng, size_hw=size_hw, config=config)
    is_heavy = bool(rng.random() < config.heavy_sensor)
    thermal: NDArray[Any] = moved.thermal
    if rng.random() < 0.5:
        thermal = _shift(thermal.astype(np.float32), rng.normal(0.0, config.shift_px, 2))
    brightness, contrast = 1.0, 1.0
    if rng.random() < config.degraded:
        if rng.random() < 0.5:
            brightness = rng.uniform(0.0, 0.12)
        else:
            contrast = rng.uniform(0.0, 0.1)
    grey = sense_thermal(thermal, rng, is_heavy=is_heavy, contrast=contrast)
    return replace(
        moved,
        rgb=sense_rgb(
            moved.rgb, rng, is_heavy=is_heavy, is_night=moved.is_night, brightness=brightness
        ),
        thermal=grey.astype(np.uint16),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A window of the source, and the part of the target that it fills.

    Attributes:
        source_yxhw: Top, left, height and width of the window, within the source, px.
        target_yxhw: Where it goes, within the target, px; around it is border.
        size_hw: The target, px.
        flip: Mirror the target, left to right.
    """

    source_yxhw: tuple[int, int, int, int]
    target_yxhw: tuple[int, int, int, int]
    size_hw: tuple[int, int]
    flip: bool


def crop_zoom_flip(
    sample: Sample, rng: Generator, *, size_hw: tuple[int, int], config: AugmentConfig
) -> Sample:
    """Cut the same random window from both images, labels and boxes included."""
    h, w = size_hw
    source_h, source_w = sample.thermal.shape
    zoom = np.exp(rng.uniform(np.log(config.min_zoom), np.log(config.max_zoom)))
    scale = float(zoom * max(h / source_h, w / source_w))
    left, width, target_left, target_width = _draw_window(rng, source_w, w, scale)
    top, height, target_top, target_height = _draw_window(rng, source_h, h, scale)
    view = View(
        source_yxhw=(top, left, height, width),
        target_yxhw=(target_top, target_left, target_height, target_width),
        size_hw=size_hw,
        flip=bool(rng.random() < 0.5),
    )
    return take_view(sample, view)


def take_view(sample: Sample, view: View) -> Sample:
    """Cut one window from everything a sample has.

    Images are resized bilinearly with a low-pass where they shrink, and repeat their edge at a
    border; label maps take the nearest pixel, and 255 at a border. Boxes are clipped; one of
    which less than a twentieth is left is dropped, one of which less than ``MIN_VISIBLE_PART``
    or less than ``MIN_BOX_HEIGHT_PX`` is left is to be ignored.
    """
    rgb = tv_tensors.Image(torch.from_numpy(sample.rgb).permute(2, 0, 1))
    thermal = tv_tensors.Image(torch.from_numpy(sample.thermal.astype(np.float32))[None])
    label_map = tv_tensors.Mask(torch.from_numpy(sample.label_map)[None])
    boxes = tv_tensors.BoundingBoxes(
        torch.from_numpy(np.array(sample.boxes_xyxy, np.float32)),
        format='XYXY',
        canvas_size=sample.thermal.shape,
    )
    clipped = F.clamp_bounding_boxes(_move(boxes, view)).numpy()
    visible = _area(clipped) / np.maximum(_area(sample.boxes_xyxy) * _enlargement(view), 1e-6)
    is_cut = (visible < MIN_VISIBLE_PART) | (clipped[:, 3] - clipped[:, 1] < MIN_BOX_HEIGHT_PX)
    keep = visible > MIN_KEPT_PART
    counts = _move(thermal, view)[0].round_().clamp_(0, 65535).numpy()
    return replace(
        sample,
        rgb=np.ascontiguousarray(_move(rgb, view).permute(1, 2, 0).numpy()),
        thermal=counts.astype(np.uint16),
        label_map=_move(label_map, view)[0].numpy(),
        boxes_xyxy=clipped[keep],
        class_ids=sample.class_ids[keep],
        ignore=(sample.ignore | is_cut)[keep],
    )


def _draw_window(
    rng: Generator, source: int, target: int, scale: float
) -> tuple[int, int, int, int]:
    """Draw start and length in the source, start and length in the target, of one axis, px."""
    if source * scale >= target:
        length = min(max(round(target / scale), 1), source)
        return int(rng.integers(source - length + 1)), length, 0, target
    length = min(max(round(source * scale), 1), target)
    return 0, source, int(rng.integers(target - length + 1)), length


def _move(part: torch.Tensor, view: View) -> torch.Tensor:
    """Bring an image, a mask or boxes, by its type, from the source to the target."""
    top, left, height, width = view.target_yxhw
    is_label = isinstance(part, tv_tensors.Mask)
    moved = F.resized_crop(
        part,
        *view.source_yxhw,
        size=[height, width],
        interpolation=InterpolationMode.NEAREST_EXACT if is_label else InterpolationMode.BILINEAR,
        antialias=True,
    )
    border = [left, top, view.size_hw[1] - left - width, view.size_hw[0] - top - height]
    if any(border):
        is_image = isinstance(part, tv_tensors.Image)
        moved = F.pad(
            moved, border, fill=UNLABELED, padding_mode='edge' if is_image else 'constant'
        )
    return torch.as_tensor(F.horizontal_flip(moved) if view.flip else moved)


def _enlargement(view: View) -> float:
    """Return the area of the target per area of the source."""
    (*_, height, width), (*_, target_height, target_width) = view.source_yxhw, view.target_yxhw
    return target_height / height * target_width / width


def _area(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def _shift(image: FloatImage, xy: NDArray[np.float64]) -> FloatImage:
    h, w = image.shape
    matrix = np.array([[1, 0, xy[0]], [0, 1, xy[1]]])
    shifted = cv2.warpAffine(image, matrix, (w, h), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(shifted, np.float32)
