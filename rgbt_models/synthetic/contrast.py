# SPDX-License-Identifier: Apache-2.0
"""How well each camera sees each object: the truth about which camera to rely on.

The contrast-to-noise ratio compares an object with a ring around it, in the units of the image
that the sensor delivers: grey levels for RGB, counts for thermal. As a ratio it can be compared
between the two.

An object is hidden by noise, by clutter, and where it differs by little of the range of the image.
Without that floor the ratio stays high where everything fades alike: fog takes the clutter with
the object, and at thermal crossover a good sensor still tells a tenth of a degree, in an image
that spans ten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.normalise import sample_finite, ThermalNormaliser

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import BoolArray, FloatArray, IndexArray, IntArray
    from rgbt_models.synthetic.labels import ObjectTruth

CLUTTER_SHARE = 0.05  # of the ring's variance counts as noise: clutter hides, but has structure
FLOOR_SHARE = 0.04  # of the range of an image counts as noise, whatever the sensor's own is
ENOUGH_CONTRAST = 10.0  # more of it does not help to find an object
RGB_SPAN = 255.0  # range of an RGB image, grey levels: a network gets it as it is
_RING_SHARE = 0.15  # width of the ring, of the longer side of the box
_RING_PX = (3, 24)  # its least and greatest width


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PairContrast:
    """Contrast-to-noise ratios of a pair. Arrays follow the objects of the RGB view."""

    contrast_rgb: FloatArray  # (n,) float32, >= 0
    contrast_thermal: (
        FloatArray  # (n,) float32, >= 0; 0 = outside the thermal view or hidden in it
    )
    contrast_advantage: float  # -1 (thermal sees all) .. 1 (RGB sees all), 0 if there is no object


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outline:
    """One object and its surroundings, in a window of the image."""

    window: tuple[slice, slice]  # rows and columns
    is_inside: BoolArray  # (h, w) of the window
    is_ring: BoolArray  # (h, w) of the window


def measure_contrast(
    image: NDArray[Any],
    instance_map: IndexArray,
    objects: ObjectTruth,
    *,
    noise_at: Callable[[float], float],
    span: float,
) -> FloatArray:
    """Compare every object with a ring around it.

    |mean inside - mean of the ring| / sqrt(noise^2 + (``FLOOR_SHARE`` * span)^2 +
    ``CLUTTER_SHARE`` * variance of the ring);
    over colour channels the root mean square of the differences and the mean of the variances. The
    ring starts one pixel away from the object, because lenses blur, and has other objects in it.

    Args:
        image: What the sensor delivers, shape (h, w) or (h, w, 3).
        instance_map: Shape (h, w), -1 = no object.
        objects: ``find_objects(instance_map, ...)``.
        noise_at: Standard deviation of a pixel's noise at a level, in units of the image, > 0.
        span: Range that a network's input is scaled to, in units of the image, >= 0: ``RGB_SPAN``,
            ``stretched_span(image)``.

    Returns:
        Shape (n,), float32; 0 for an object without surroundings.
    """
    outlines = outline_objects(instance_map, objects.boxes_xyxy, objects.instance_ids)
    return compare_outlines(image, outlines, noise_at=noise_at, span=span)


def outline_objects(
    instance_map: IndexArray, boxes_xyxy: FloatArray, instance_ids: IntArray
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
    """Return the contrast-to-noise ratio of each outline, as ``measure_contrast`` defines it."""
    ratios = np.zeros(len(outlines), np.float32)
    floor = FLOOR_SHARE * span
    for index, outline in enumerate(outlines):
        if outline.is_ring.any():
            ratios[index] = _compare(image[outline.window], outline, noise_at, floor=floor)
    return ratios


def stretched_span(counts: NDArray[Any]) -> float:
    """Return the range that the percentile stretch of a thermal image maps to 0..1, in counts."""
    rule = ThermalNormaliser()
    low, high = rule.limits_of(sample_finite(np.asarray(counts, np.float32), None))
    return high - low


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


def compare_cameras(
    rgb: ObjectTruth,
    contrast_rgb: FloatArray,
    thermal: ObjectTruth,
    contrast_thermal: FloatArray,
) -> PairContrast:
    """Bring the contrasts of two views of one scene together.

    The advantage is (rgb - thermal) / (rgb + thermal) of the means over the objects that are to be
    found (over all, if all are ignored), each contrast counted up to ``ENOUGH_CONTRAST``.

    Args:
        rgb: Objects of the RGB view.
        contrast_rgb: Of these objects, shape (n,).
        thermal: Objects of the thermal view.
        contrast_thermal: Of those, shape (m,).
    """
    by_instance = dict(zip(thermal.instance_ids.tolist(), contrast_thermal.tolist(), strict=True))
    matched = [by_instance.get(instance, 0.0) for instance in rgb.instance_ids.tolist()]
    there = np.array(matched, np.float32)
    counts = counted(rgb.ignore)
    return PairContrast(
        contrast_rgb=contrast_rgb,
        contrast_thermal=there,
        contrast_advantage=advantage(contrast_rgb[counts], there[counts]),
    )


def counted(ignore: BoolArray) -> BoolArray:
    """Return which objects count: those that are to be found, or all, if all are ignored."""
    return np.asarray(~ignore if not ignore.all() else np.ones_like(ignore))


def advantage(contrast_rgb: FloatArray, contrast_thermal: FloatArray) -> float:
    """Return (rgb - thermal) / (rgb + thermal) of the mean contrasts, 0 if both are 0."""
    if not len(contrast_rgb):
        return 0.0
    one = float(np.minimum(contrast_rgb, ENOUGH_CONTRAST).mean())
    two = float(np.minimum(contrast_thermal, ENOUGH_CONTRAST).mean())
    return (one - two) / (one + two) if one + two > 0.0 else 0.0
