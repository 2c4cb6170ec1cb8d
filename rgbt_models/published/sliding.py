# SPDX-License-Identifier: Apache-2.0
"""Sliding-window segmentation: overlapping crops of a fixed size, their logits averaged.

Source: the test settings released with M-SpecGene: crops of 768 x 768 every 341 px, the short
side of the image resized to 768 before.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
import torch.nn.functional as F

from rgbt_models.errors import EncoderError

WINDOW_PX = 768
STEP_PX = 341


def window_starts(length: int, *, window: int = WINDOW_PX, step: int = STEP_PX) -> list[int]:
    """Return where windows start along a side, px; the last one ends at the end of the side.

    Raises:
        EncoderError: If the side is shorter than a window, or windows would leave gaps.
    """
    if not 0 < step <= window:
        raise EncoderError(
            f'windows of {window} px every {step} px leave gaps; expected a step from 1 to the '
            f'window; correct the step'
        )
    if length < window:
        raise EncoderError(
            f'an image side of {length} px is shorter than the window of {window} px; expected at '
            f'least {window}; resize the image so that its short side is {window} px'
        )
    count = max(length - window + step - 1, 0) // step + 1
    return [min(index * step, length - window) for index in range(count)]


def segment_by_windows(
    segment: Callable[[Tensor, Tensor], Tensor],
    rgb: Tensor,
    thermal: Tensor,
    *,
    window: int = WINDOW_PX,
    step: int = STEP_PX,
) -> Tensor:
    """Segment a large image by windows.

    Args:
        segment: Maps crops of both images (b, 3, window, window) to logits (b, k, h', w').
        rgb: (b, 3, h, w), standardised.
        thermal: (b, 3, h, w), standardised.
        window: Side of the crops, px.
        step: Distance between crops, px.

    Returns:
        Logits (b, k, h, w): each crop's logits, resized bilinearly to the crop, averaged.

    Raises:
        EncoderError: If the image is smaller than a window.
    """
    height, width = rgb.shape[-2:]
    total: Tensor | None = None
    count = rgb.new_zeros(1, 1, height, width)
    for y in window_starts(height, window=window, step=step):
        for x in window_starts(width, window=window, step=step):
            crop = (..., slice(y, y + window), slice(x, x + window))
            logits = F.interpolate(
                segment(rgb[crop], thermal[crop]),
                (window, window),
                mode='bilinear',
                align_corners=False,
            )
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], height, width)
            total[crop] += logits
            count[crop] += 1.0
    assert total is not None  # window_starts gives at least one start
    return total / count
