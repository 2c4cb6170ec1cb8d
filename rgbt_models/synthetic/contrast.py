# SPDX-License-Identifier: Apache-2.0
"""How well each camera sees each object: the truth about which camera to rely on.

The ratio is that of ``rgbt_models.contrast``, in the units of the image that the sensor delivers
(grey levels for RGB, counts for thermal) and with the noise of that sensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rgbt_models.contrast import advantage, compare_outlines, counted, outline_objects
from rgbt_models.normalise import sample_finite, ThermalNormaliser

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray
    from rgbt_models.synthetic.labels import ObjectTruth


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
    span: float,
) -> FloatArray:
    """Compare every object with a ring around it.

    See ``rgbt_models.contrast.compare_outlines``.

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


def stretched_span(counts: NDArray[Any]) -> float:
    """Return the range that the percentile stretch of a thermal image maps to 0..1, in counts."""
    rule = ThermalNormaliser()
    low, high = rule.limits_of(sample_finite(np.asarray(counts, np.float32), None))
    return high - low


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
