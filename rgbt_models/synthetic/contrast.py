# SPDX-License-Identifier: Apache-2.0
"""How well each camera sees each object: the truth about which camera to rely on.

The contrast-to-noise ratio compares an object with a ring around it, in the units of the image
that the sensor delivers: grey levels for RGB, counts for thermal. As a ratio it can be compared
between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import BoolArray, FloatArray, IndexArray
    from rgbt_models.synthetic.labels import ObjectTruth

CLUTTER_SHARE = 0.05  # of the ring's variance counts as noise: clutter hides, but has structure
ENOUGH_CONTRAST = 10.0  # more of it does not help to find an object
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


def measure_contrast(
    image: NDArray[Any],
    instance_map: IndexArray,
    objects: ObjectTruth,
    *,
    noise_at: Callable[[float], float],
) -> FloatArray:
    """Compare every object with a ring around it.

    |mean inside - mean of the ring| / sqrt(noise^2 + ``CLUTTER_SHARE`` * variance of the ring);
    over colour channels the root mean square of the differences and the mean of the variances. The
    ring starts one pixel away from the object, because lenses blur, and has other objects in it.

    Args:
        image: What the sensor delivers, shape (h, w) or (h, w, c).
        instance_map: Shape (h, w), -1 = no object.
        objects: ``find_objects(instance_map, ...)``.
        noise_at: Standard deviation of a pixel's noise at a level, in units of the image, > 0.

    Returns:
        Shape (n,), float32; 0 for an object without surroundings.
    """
    ratios = np.zeros(len(objects.boxes_xyxy), np.float32)
    height, width = instance_map.shape
    for index, (left, top, right, bottom) in enumerate(objects.boxes_xyxy.astype(int).tolist()):
        ring_px = _ring_width(right - left, bottom - top)
        margin = ring_px + 1
        rows = slice(max(top - margin, 0), min(bottom + margin, height))
        columns = slice(max(left - margin, 0), min(right + margin, width))
        is_inside = instance_map[rows, columns] == objects.instance_ids[index]
        is_ring = _ring(is_inside, ring_px)
        if is_ring.any():
            crop = image[rows, columns]
            ratios[index] = _compare(crop[is_inside], crop[is_ring], noise_at)
    return ratios


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
    inside: NDArray[Any], ring: NDArray[Any], noise_at: Callable[[float], float]
) -> float:
    inside = inside.reshape(len(inside), -1).astype(np.float32)
    ring = ring.reshape(len(ring), -1).astype(np.float32)
    ring_mean = ring.mean(axis=0)
    difference = float(np.sqrt(np.square(inside.mean(axis=0) - ring_mean).mean()))
    clutter = CLUTTER_SHARE * float(ring.var(axis=0).mean())
    noise = noise_at(float(ring_mean.mean()))
    return difference / float(np.sqrt(noise * noise + clutter))


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
    counts = ~rgb.ignore if (~rgb.ignore).any() else np.ones_like(rgb.ignore)
    return PairContrast(
        contrast_rgb=contrast_rgb,
        contrast_thermal=there,
        contrast_advantage=advantage(contrast_rgb[counts], there[counts]),
    )


def advantage(contrast_rgb: FloatArray, contrast_thermal: FloatArray) -> float:
    """Return (rgb - thermal) / (rgb + thermal) of the mean contrasts, 0 if both are 0."""
    if not len(contrast_rgb):
        return 0.0
    one = float(np.minimum(contrast_rgb, ENOUGH_CONTRAST).mean())
    two = float(np.minimum(contrast_thermal, ENOUGH_CONTRAST).mean())
    return (one - two) / (one + two) if one + two > 0.0 else 0.0
