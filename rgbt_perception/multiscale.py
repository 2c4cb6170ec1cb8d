# SPDX-License-Identifier: Apache-2.0
"""Average precision as a mean over input sizes, with a bootstrap interval over the pairs.

A handful of real pairs says little: their metrics move with the input size and with every pair
that is in or out. The mean over sizes takes out the first, the interval shows the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rgbt_perception.evaluate import Evaluation, VARIANTS
from rgbt_perception.metrics import average_precision, ImageMatches

SCALES_FILE = 'scales.json'
NUM_SAMPLES = 1000
BOOTSTRAP_SEED = 0
INTERVAL_PERCENTILES = (2.5, 97.5)
DIGITS = 4


def summarise_scales(
    evaluations: Sequence[Evaluation], *, num_samples: int = NUM_SAMPLES
) -> dict[str, dict[str, Any]]:
    """Return AP50 by variant and class: each size, their mean, and its bootstrap interval.

    Args:
        evaluations: One per input size, over the same pairs in the same order.
        num_samples: Bootstrap draws of the pairs, the same draw for all sizes.

    Returns:
        ``summary[variant][class_name]`` with ``by_scale``, ``mean``, ``interval`` (2.5 and 97.5
        percentile) and ``standard_deviation`` of the bootstrap means; classes without boxes to
        find are left out.
    """
    names = evaluations[0].pool.card.detection_classes
    summary: dict[str, dict[str, Any]] = {variant: {} for variant in VARIANTS}
    for variant in VARIANTS:
        for name in names:
            by_scale = [evaluation.matches(variant, name) for evaluation in evaluations]
            if any(image.num_truth for image in by_scale[0]):
                summary[variant][name] = bootstrap_mean(by_scale, num_samples)
    return summary


def bootstrap_mean(by_scale: Sequence[Sequence[ImageMatches]], num_samples: int) -> dict[str, Any]:
    """Return the mean of AP50 over the sizes and how it varies when the pairs are drawn again.

    Args:
        by_scale: Per size, the judged detections of every pair; at least one box to find.
        num_samples: Number of draws; a draw without any box to find is not counted.
    """
    values = [average_precision(images) for images in by_scale]
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    num_pairs = len(by_scale[0])
    means = []
    for _ in range(num_samples):
        draw = rng.integers(num_pairs, size=num_pairs)
        drawn = [average_precision([images[index] for index in draw]) for images in by_scale]
        if drawn[0] is not None:
            means.append(_mean(drawn))
    low, high = np.percentile(means, INTERVAL_PERCENTILES)
    return {
        'by_scale': [None if value is None else round(value, DIGITS) for value in values],
        'mean': round(_mean(values), DIGITS),
        'interval': [round(float(low), DIGITS), round(float(high), DIGITS)],
        'standard_deviation': round(float(np.std(means)), DIGITS),
    }


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean(np.asarray(values, np.float64)))
