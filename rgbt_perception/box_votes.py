# SPDX-License-Identifier: Apache-2.0
"""Detections have a say in the label map: of which class an object is, not where it is.

A detection has seen a whole object, a cell of the segmentation head a part of it. So in the cells
whose centres a box covers, the logit of its class grows with its score; then the logits of all
object classes are shifted alike, so that the best of them is what it was. Which cells are objects
does not change; between two cells a border may move by a part of a cell. Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rgbt_perception.types import Detections, FloatArray, IntArray, LetterboxTransform

NO_PLANE = -1
# Who votes, however many detections are published: the label map depends on nothing else.
MIN_SCORE = 0.1
MAX_VOTES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class VotingPlanes:
    """Which planes of the segmentation head detections vote for.

    Attributes:
        objects: Planes of the object classes, ascending.
        class_to_object: By detection class: its index in ``objects``; ``NO_PLANE`` = it has none.
    """

    objects: tuple[int, ...]
    class_to_object: tuple[int, ...]


@lru_cache(maxsize=8)
def find_planes(
    detection_classes: tuple[str, ...], segmentation_classes: tuple[str, ...]
) -> VotingPlanes:
    """Match the classes of boxes with those of label maps, by name."""
    common = [name for name in segmentation_classes if name in detection_classes]
    return VotingPlanes(
        objects=tuple(segmentation_classes.index(name) for name in common),
        class_to_object=tuple(
            common.index(name) if name in common else NO_PLANE for name in detection_classes
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """The votes of one pair.

    Attributes:
        detections: In reference pixels, best first; the first ``MAX_VOTES`` from ``MIN_SCORE``
            on vote. Of the votes of one class in one cell that of the best counts.
        planes: Of their classes.
        weight: What a detection of score 1 adds to a logit, above 0.
    """

    detections: Detections
    planes: VotingPlanes
    weight: float


def add_votes(
    planes: FloatArray, votes: Votes, letterbox: LetterboxTransform, *, stride: int
) -> FloatArray:
    """Return logits in which detections had their say.

    Args:
        planes: Logits of all classes, shape (k, h, w).
        votes: Of the same pair.
        letterbox: How reference pixels became network pixels.
        stride: Network pixels per cell.
    """
    detections = votes.detections.at_least(MIN_SCORE).best(MAX_VOTES)
    objects = list(votes.planes.objects)
    targets = np.asarray(votes.planes.class_to_object, np.int64)[detections.class_ids]
    has_plane = targets != NO_PLANE
    if not has_plane.any():
        return planes
    support = np.zeros((len(objects), *planes.shape[1:]), np.float32)
    windows = find_windows(detections.boxes_xyxy[has_plane], letterbox, stride=stride)
    boxes = zip(targets[has_plane], windows.tolist(), detections.scores[has_plane], strict=True)
    # From the worst to the best, so that the best is written last; a mask per box takes longer.
    for target, (left, top, right, bottom), score in reversed(list(boxes)):
        support[target, top:bottom, left:right] = score
    logits = planes[objects]
    voted = logits + np.float32(votes.weight) * support
    voted += logits.max(axis=0) - voted.max(axis=0)
    changed: FloatArray = planes.copy()
    changed[objects] = voted
    return changed


def find_windows(
    boxes_xyxy: FloatArray, letterbox: LetterboxTransform, *, stride: int
) -> IntArray:
    """Return the cells whose centres boxes cover: left, top, right, bottom, shape (n, 4).

    Right and bottom are the first cells behind.

    Args:
        boxes_xyxy: In reference pixels, shape (n, 4), within the image.
        letterbox: How reference pixels became network pixels.
        stride: Network pixels per cell.
    """
    pads = np.array([letterbox.pad_x, letterbox.pad_y] * 2)
    edges = (boxes_xyxy.astype(np.float64) * letterbox.scale + pads) / stride
    return np.asarray(np.ceil(edges - 0.5).astype(np.int64).clip(0))
