# SPDX-License-Identifier: Apache-2.0
"""How well objects stand out against their surroundings, in the images of both cameras.

The contrast-to-noise ratio compares an object with a ring around it, in the units of the image.
As a ratio it can be compared between the cameras. Source: ours.

An object is hidden by noise, by clutter, and where it differs by little of the range of the image.
Without that floor the ratio stays high where everything fades alike: fog takes the clutter with
the object, and at thermal crossover a good sensor still tells a tenth of a degree, in an image
that spans ten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.integer[Any]]

CLUTTER_SHARE = 0.05  # of the ring's variance counts as noise: clutter hides, but has structure
FLOOR_SHARE = 0.04  # of the range of an image counts as noise, whatever the sensor's own is
ENOUGH_CONTRAST = 10.0  # more of it does not help to find an object
RGB_SPAN = 255.0  # range of an RGB image, grey levels: a network gets it as it is
WHOLE_BOX = -1
_RING_SHARE = 0.15  # width of the ring, of the longer side of the box
_RING_PX = (3, 24)  # its least and greatest width
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_LAPLACIAN_GAIN = 6.0  # of the standard deviation of white noise
_MEDIAN_TO_DEVIATION = 1.4826  # of the absolute value of normal noise
_GREEN = 1


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MarkedObjects:
    """Objects of an image, by boxes and a label map.

    Attributes:
        boxes_xyxy: Shape (n, 4) float32, px, edge units.
        label_ids: By object its id in the label map, ``WHOLE_BOX`` = all of the box, shape (n,).
        is_measured: Shape (n,) bool; the others only cover what lies behind them.
        label_map: Shape (h, w) uint8.
        is_in_thermal: Which lie in the view of the thermal camera, shape (n,) bool; None = all.
    """

    boxes_xyxy: FloatArray
    label_ids: IntArray
    is_measured: BoolArray
    label_map: NDArray[np.uint8]
    is_in_thermal: BoolArray | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outline:
    """One object and its surroundings, in a window of the image."""

    window: tuple[slice, slice]  # rows and columns
    is_inside: BoolArray  # (h, w) of the window
    is_ring: BoolArray  # (h, w) of the window


def find_label_ids(
    detection_classes: Sequence[str], segmentation_classes: Sequence[str]
) -> tuple[int, ...]:
    """Return by detection class its id in label maps, ``WHOLE_BOX`` for one that has none."""
    names = list(segmentation_classes)
    return tuple(names.index(name) if name in names else WHOLE_BOX for name in detection_classes)


def contrast_advantage(
    rgb: NDArray[Any],
    thermal: FloatArray,
    objects: MarkedObjects,
    *,
    thermal_noise: float | None = None,
) -> float:
    """Return how much better the objects of a pair show in RGB than in thermal, -1..1.

    Args:
        rgb: Shape (h, w, 3), uint8.
        thermal: On the same pixels, stretched as for the network: about 0..1, finite, shape
            (h, w).
        objects: Where they are.
        thermal_noise: Standard deviation of the noise of ``thermal`` before it was brought onto
            these pixels, which smooths it; None = estimated here.

    Returns:
        ``advantage`` of the contrasts; those of objects beyond the thermal view are 0 there. NaN
        when no object has pixels and surroundings.
    """
    chosen = np.flatnonzero(objects.is_measured)
    outlines = outline_objects(draw_objects(objects), _whole_px(objects)[chosen], chosen)
    can_be_measured = np.array(
        [outline.is_inside.any() and outline.is_ring.any() for outline in outlines], np.bool_
    )
    if not can_be_measured.any():
        return math.nan
    rgb_noise = estimate_noise(rgb[..., _GREEN].astype(np.float32))
    noise = estimate_noise(thermal) if thermal_noise is None else thermal_noise
    in_rgb = compare_outlines(rgb, outlines, noise_at=lambda _: rgb_noise, span=RGB_SPAN)
    in_thermal = compare_outlines(thermal, outlines, noise_at=lambda _: noise, span=1.0)
    if objects.is_in_thermal is not None:
        in_thermal[~objects.is_in_thermal[chosen]] = 0.0
    return advantage(in_rgb[can_be_measured], in_thermal[can_be_measured])


def draw_objects(objects: MarkedObjects) -> NDArray[np.int32]:
    """Return which object each pixel belongs to, shape (h, w), -1 = none.

    Pixels in a box whose label is that of the object; where boxes of a label overlap, the smaller
    one has them.
    """
    boxes = _whole_px(objects)
    sides = boxes[:, 2:] - boxes[:, :2]
    instance_map = np.full(objects.label_map.shape, -1, np.int32)
    for index in np.argsort(-sides.prod(axis=1), kind='stable').tolist():
        left, top, right, bottom = boxes[index].astype(int).tolist()
        window = np.s_[top:bottom, left:right]
        label_id = objects.label_ids[index]
        if label_id == WHOLE_BOX:
            instance_map[window] = index
        else:
            instance_map[window][objects.label_map[window] == label_id] = index
    return instance_map


def outline_objects(
    instance_map: NDArray[np.int32], boxes_xyxy: FloatArray, instance_ids: IntArray
) -> list[Outline]:
    """Find the pixels of objects and of the rings around them.

    Args:
        instance_map: Shape (h, w).
        boxes_xyxy: Around the pixels of each object, shape (n, 4), whole px.
        instance_ids: Their values in the map, shape (n,).
    """
    height, width = instance_map.shape
    outlines = []
    for (left, top, right, bottom), instance in zip(
        boxes_xyxy.astype(int).tolist(), instance_ids.tolist(), strict=True
    ):
        ring_px = _ring_width(right - left, bottom - top)
        margin = ring_px + 1
        rows = slice(max(top - margin, 0), min(bottom + margin, height))
        columns = slice(max(left - margin, 0), min(right + margin, width))
        is_inside = instance_map[rows, columns] == instance
        outlines.append(
            Outline(window=(rows, columns), is_inside=is_inside, is_ring=_ring(is_inside, ring_px))
        )
    return outlines


def compare_outlines(
    image: NDArray[Any],
    outlines: Sequence[Outline],
    *,
    noise_at: Callable[[float], float],
    span: float,
) -> FloatArray:
    """Compare every object with its ring; return the contrast-to-noise ratios, shape (n,).

    |mean inside - mean of the ring| / sqrt(noise^2 + (``FLOOR_SHARE`` * span)^2 +
    ``CLUTTER_SHARE`` * variance of the ring);
    over colour channels the root mean square of the differences and the mean of the variances. The
    ring starts one pixel away from the object, because lenses blur, and has other objects in it.

    Args:
        image: Shape (h, w) or (h, w, 3).
        outlines: Of the objects, in this image.
        noise_at: Standard deviation of a pixel's noise at a level, in units of the image, > 0.
        span: Range that a network's input is scaled to, in units of the image, >= 0.

    Returns:
        float32; 0 for an object without surroundings.
    """
    ratios = np.zeros(len(outlines), np.float32)
    floor = FLOOR_SHARE * span
    for index, outline in enumerate(outlines):
        if outline.is_ring.any():
            ratios[index] = _compare(image[outline.window], outline, noise_at, floor=floor)
    return ratios


def estimate_noise(image: NDArray[np.float32]) -> float:
    """Return the standard deviation of the noise of one channel, shape (h, w), in its units.

    The median of the absolute second difference, which edges hardly move. Source: the operator of
    Immerkaer (https://doi.org/10.1006/cviu.1996.0060). Differs: the median replaces the mean.
    """
    rough = cv2.filter2D(image, cv2.CV_32F, _LAPLACIAN, borderType=cv2.BORDER_REFLECT_101)
    median = float(np.median(np.abs(rough[::2, ::2])))
    return _MEDIAN_TO_DEVIATION * median / _LAPLACIAN_GAIN


def advantage(contrast_rgb: FloatArray, contrast_thermal: FloatArray) -> float:
    """Return (rgb - thermal) / (rgb + thermal) of the mean contrasts, 0 if both are 0.

    Each contrast is counted up to ``ENOUGH_CONTRAST``; NaN if one is not a number.
    """
    if not len(contrast_rgb):
        return 0.0
    one = float(np.minimum(contrast_rgb, ENOUGH_CONTRAST).mean())
    two = float(np.minimum(contrast_thermal, ENOUGH_CONTRAST).mean())
    return (one - two) / (one + two) if one + two != 0.0 else 0.0


def counted(ignore: BoolArray) -> BoolArray:
    """Return which objects count: those that are to be found, or all, if all are ignored."""
    return np.asarray(~ignore if not ignore.all() else np.ones_like(ignore))


def _ring_width(box_width: int, box_height: int) -> int:
    least, greatest = _RING_PX
    return min(max(round(_RING_SHARE * max(box_width, box_height)), least), greatest)


def _ring(is_inside: BoolArray, ring_px: int) -> BoolArray:
    mask = is_inside.astype(np.uint8)
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    size = 2 * (ring_px + 1) + 1
    far = cv2.dilate(mask, np.ones((size, size), np.uint8))
    return np.asarray(far > near)


def _compare(
    crop: NDArray[Any],
    outline: Outline,
    noise_at: Callable[[float], float],
    *,
    floor: float,
) -> float:
    inside_mean = cv2.meanStdDev(crop, mask=outline.is_inside.view(np.uint8))[0]
    ring_mean, ring_deviation = cv2.meanStdDev(crop, mask=outline.is_ring.view(np.uint8))
    difference = float(np.sqrt(np.square(inside_mean - ring_mean).mean()))
    clutter = CLUTTER_SHARE * float(np.square(ring_deviation).mean())
    noise = noise_at(float(ring_mean.mean()))
    return difference / math.sqrt(noise * noise + floor * floor + clutter)


def _whole_px(objects: MarkedObjects) -> FloatArray:
    """Return the boxes, grown to whole pixels of the image."""
    height, width = objects.label_map.shape
    boxes = objects.boxes_xyxy
    grown = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1)
    return np.asarray(np.clip(grown, 0, [width, height] * 2), np.float32)
