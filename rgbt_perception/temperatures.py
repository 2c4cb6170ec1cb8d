# SPDX-License-Identifier: Apache-2.0
"""Temperature of each detection, from the thermal pixels its box covers.

The thermal image is measured at its own resolution and without interpolation. The maximum is
that of the hottest two pixels side by side, the cooler of them; the minimum the warmer of the
coldest two: one defective pixel is no hot spot, while two pixels of a real one are enough.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.registration import Registration
from rgbt_perception.types import (
    BoolArray,
    ByteArray,
    Detections,
    FloatArray,
    IntArray,
    Temperatures,
)

FEW_BOXES = 16


def unknown_temperatures(num_detections: int) -> Temperatures:
    """Return NaN for every detection."""
    nan = np.full(num_detections, np.nan, np.float32)
    return Temperatures(min_c=nan, mean_c=nan, max_c=nan)


def measure_temperatures(
    detections: Detections,
    temperature_c: FloatArray | None,
    registration: Registration,
    source_hw: tuple[int, int],
    *,
    is_thermal_grid: bool,
) -> Temperatures:
    """Measure the thermal pixels below each box.

    Args:
        detections: Boxes in reference pixels.
        temperature_c: Thermal image, shape (h, w), degrees C at its own resolution; NaN = invalid
            pixel. None when it is not radiometric.
        registration: How thermal pixels lie on the RGB grid.
        source_hw: Height and width of the reference image, px.
        is_thermal_grid: True when the reference image is the thermal image itself.

    Returns:
        Lowest, mean and highest temperature of the pixels whose centre is in the box (at least
        one pixel). NaN where all are NaN or the box lies outside the thermal image. Infinite
        pixels (out of the camera's range) can be the lowest and the highest, not the mean.
    """
    if temperature_c is None or not len(detections):
        return unknown_temperatures(len(detections))
    boxes_xyxy = detections.boxes_xyxy
    if not is_thermal_grid:
        thermal_hw = (temperature_c.shape[0], temperature_c.shape[1])
        boxes_xyxy = registration.boxes_to_thermal(boxes_xyxy, source_hw, thermal_hw)
    return measure_boxes(boxes_xyxy, temperature_c)


def measure_boxes(boxes_xyxy: FloatArray, temperature_c: FloatArray) -> Temperatures:
    """Measure boxes given in thermal pixels.

    Args:
        boxes_xyxy: Shape (n, 4), px, edge units; may reach beyond the image; NaN = unknown.
        temperature_c: Shape (h, w), float32, degrees C, NaN = invalid pixel.
    """
    spans, is_inside = _pixel_spans(boxes_xyxy, temperature_c.shape)
    found = np.full((3, len(boxes_xyxy)), np.nan, np.float32)
    visible = np.flatnonzero(is_inside)
    # Few boxes cover little of the image; many overlap and are measured on one common part.
    groups = visible[:, None] if len(visible) <= FEW_BOXES else visible[None]
    for group in groups:
        left, top = np.maximum(spans[group, :2].min(axis=0) - 1, 0).tolist()
        right, bottom = (spans[group, 2:].max(axis=0) + 1).tolist()
        part = temperature_c[top:bottom, left:right]  # a pixel around it: the neighbours
        found[:, group] = _measure_part(part, spans[group] - (left, top, left, top))
    return Temperatures(min_c=found[0], mean_c=found[1], max_c=found[2])


def _measure_part(part: FloatArray, spans: IntArray) -> FloatArray:
    """Return min, mean and max of each span of pixels, shape (3, n)."""
    finite = np.isfinite(part)
    invalid = None if finite.all() else np.isnan(part)
    hottest = _support(part, invalid, is_hot=True)
    coldest = _support(part, invalid, is_hot=False)
    measured = np.full((3, len(spans)), np.nan, np.float32)
    for index, (x0, y0, x1, y1) in enumerate(spans.tolist()):
        box = slice(y0, y1), slice(x0, x1)
        if invalid is None or not invalid[box].all():
            measured[0, index] = cv2.minMaxLoc(coldest[box])[0]
            measured[2, index] = cv2.minMaxLoc(hottest[box])[1]
    measured[1] = _means(part, None if invalid is None else finite, spans)
    return measured


def _means(part: FloatArray, finite: BoolArray | None, spans: IntArray) -> FloatArray:
    """Return the mean of the finite pixels of each span, NaN without any."""
    x0, y0, x1, y1 = spans.T

    def sum_of(image: FloatArray | ByteArray) -> NDArray[np.float64]:
        table: NDArray[np.float64] = np.asarray(cv2.integral(image), np.float64)
        return np.asarray(table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0])

    if finite is None:
        return np.asarray(sum_of(part) / ((x1 - x0) * (y1 - y0)), np.float32)
    counts = sum_of(finite.view(np.uint8))
    sums = sum_of(np.where(finite, part, np.float32(0.0)))
    means = np.full(len(spans), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return np.asarray(means, np.float32)


def _pixel_spans(boxes_xyxy: FloatArray, size_hw: tuple[int, ...]) -> tuple[IntArray, BoolArray]:
    """Return the pixels whose centre is in each box, and which boxes have any in the image.

    Returns:
        First and past-the-last pixel (x0, y0, x1, y1), shape (n, 4), inside the image; mask of
        shape (n,), True = the box covers a part of the image.
    """
    limits = np.array([size_hw[1], size_hw[0]] * 2, np.float64)
    boxes = np.asarray(boxes_xyxy, np.float64)
    low, high = boxes[:, :2], boxes[:, 2:]
    # All that is compared with NaN is false.
    touches = (high > low) & (high > 0.0) & (low < limits[:2])
    is_inside: BoolArray = np.asarray(touches.all(axis=1))
    clipped = np.clip(np.where(is_inside[:, None], boxes, 0.0), 0.0, limits)
    first, past = np.ceil(clipped[:, :2] - 0.5), np.ceil(clipped[:, 2:] - 0.5)
    # A box between two centres covers the pixel its own centre is in.
    middle = np.minimum(np.floor((clipped[:, :2] + clipped[:, 2:]) / 2.0), limits[:2] - 1.0)
    is_thin = past <= first
    first, past = np.where(is_thin, middle, first), np.where(is_thin, middle + 1.0, past)
    return np.concatenate([first, past], axis=1).astype(np.int64), is_inside


def _support(part: FloatArray, invalid: BoolArray | None, *, is_hot: bool) -> FloatArray:
    """Return every pixel lowered to the hottest of its side neighbours where that is cooler.

    A pixel without a valid neighbour stays as it is; an invalid one becomes -inf.

    Args:
        part: Shape (h, w), float32.
        invalid: Mask of the same shape, True = NaN; None when there are none.
        is_hot: False = the opposite: raised to the coldest neighbour, +inf.
    """
    both, best = (cv2.min, cv2.max) if is_hot else (cv2.max, cv2.min)
    none = np.float32(-np.inf if is_hot else np.inf)
    values = part if invalid is None else np.where(invalid, none, part)
    supported = np.full(part.shape, none, np.float32)
    # (left or upper pixels, right or lower ones) of all pairs; OpenCV is twice as fast as NumPy.
    for ones, others in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        if values[ones].size:
            agreed = both(values[ones], values[others])
            for side in (supported[ones], supported[others]):
                best(side, agreed, dst=side)
    if invalid is not None or part.size == 1:
        supported = np.where(supported == none, values, supported)
    return supported
