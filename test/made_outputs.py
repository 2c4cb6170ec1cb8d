# SPDX-License-Identifier: Apache-2.0
"""Random outputs of a network and sizes of images; import as ``from made_outputs import ...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.card import OUTPUT_NAMES
from rgbt_perception.types import RawOutputs

if TYPE_CHECKING:
    from torch import Tensor

INPUT_HW = (96, 160)
# Whole pixels: the same size, larger, padded above and beside, smaller. Fractions: the others.
SOURCES = [(96, 160), (192, 320), (96, 320), (48, 40), (101, 67), (33, 250), (7, 5), (480, 640)]


def draw_outputs(
    seed: int, *, num_anchors: int = 400, num_classes: int = 7, num_labels: int = 6
) -> RawOutputs:
    """Random outputs; many scores are equal, and boxes overlap, also across the border."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.0, 1.5, (1, num_anchors, num_classes)).round(1)
    corner = rng.uniform(-20, (INPUT_HW[1], INPUT_HW[0]), (num_anchors, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 60, (num_anchors, 2))], axis=1)
    cells_hw = (INPUT_HW[0] // 4, INPUT_HW[1] // 4)
    return RawOutputs(
        class_logits=logits.astype(np.float32),
        boxes_xyxy=boxes.astype(np.float32)[None],
        segmentation_logits=rng.normal(0, 3, (1, num_labels, *cells_hw)).astype(np.float32),
        share_map=rng.uniform(size=(1, 1, 6, 10)).astype(np.float32),
        rgb_shares=rng.uniform(size=(1, 3)).astype(np.float32),
        entropies=rng.uniform(size=(1, 2)).astype(np.float32),
    )


def as_tensors(raw: RawOutputs) -> dict[str, Tensor]:
    """Outputs as tensors of the CPU."""
    import torch

    return {name: torch.from_numpy(getattr(raw, name)) for name in OUTPUT_NAMES}
