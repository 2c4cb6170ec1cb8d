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

BOOTSTRAP_SEED = 0
INTERVAL_PERCENTILES = (2.5, 97.5)
DIGITS = 4


def summarise_scales(
    evaluations: Sequence[Evaluation], class_name: str, *, num_samples: int
) -> dict[str, Any]:
    """Return AP50 of a class: each size, their mean, and its bootstrap interval.

    Args:
        evaluations: One per input size, over the same pairs in the same order.
        class_name: A detection class of the card.
        num_samples: Bootstrap draws of the pairs, the same draw for all sizes.

    Returns:
        Per variant: ``by_scale`` list, ``mean``, ``interval`` (2.5 and 97.5 percentile) and
        ``standard_deviation`` of the bootstrap means; None where there is no box to find.
    """
    return {
        variant: _summarise(
            [evaluation.matches(variant, class_name) for evaluation in evaluations], num_samples
        )
        for variant in VARIANTS
    }


def _summarise(by_scale: list[list[ImageMatches]], num_samples: int) -> dict[str, Any]:
    values = [average_precision(images) for images in by_scale]
    if any(value is None for value in values):
        return {'by_scale': values, 'mean': None, 'interval': None, 'standard_deviation': None}
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    num_pairs = len(by_scale[0])
    means = []
    for _ in range(num_samples):
        draw = rng.integers(num_pairs, size=num_pairs)
        drawn = [average_precision([images[index] for index in draw]) for images in by_scale]
        if all(value is not None for value in drawn):
            means.append(np.mean(np.asarray(drawn, np.float64)))
    low, high = np.percentile(means, INTERVAL_PERCENTILES)
    return {
        'by_scale': [round(float(value), DIGITS) for value in values if value is not None],
        'mean': round(float(np.mean(np.asarray(values, np.float64))), DIGITS),
        'interval': [round(float(low), DIGITS), round(float(high), DIGITS)],
        'standard_deviation': round(float(np.std(means)), DIGITS),
    }
