# SPDX-License-Identifier: Apache-2.0
"""From raw network outputs to detections and a label map in reference pixels."""

from __future__ import annotations

import math

import numpy as np

from rgbt_perception.box_votes import add_votes, Votes
from rgbt_perception.config import OutputConfig
from rgbt_perception.geometry import clip_boxes, unletterbox_boxes
from rgbt_perception.pixel_labels import find_stride, label_pixels
from rgbt_perception.types import (
    BoolArray,
    ByteArray,
    Detections,
    FloatArray,
    IntArray,
    LetterboxTransform,
    RawOutputs,
    UNLABELED,
)

# Candidates that enter the non-maximum suppression, best first.
MAX_CANDIDATES = 1000
# Boxes whose overlaps with the others are found at once: few calls, and few needless overlaps.
SUPPRESSING_AT_ONCE = 128
# After clipping to the image, boxes thinner than this are slivers of something outside, px.
MIN_SIDE_PX = 1.0
# Logits within this of the threshold's are compared as scores, so that rounding decides nothing.
# A float32 score reaches 1 from a logit of about 17 on.
LOGIT_MARGIN, MAX_LOGIT = 1e-2, 16.0


def decode_detections(
    raw: RawOutputs,
    letterbox: LetterboxTransform,
    source_hw: tuple[int, int],
    config: OutputConfig,
) -> Detections:
    """Turn class logits and boxes into detections.

    Every (anchor point, class) is a candidate, so one anchor may give two classes. Suppression is
    by class. The order is deterministic: by score, equal scores by anchor and class.

    Args:
        raw: Outputs of the network, batch of one.
        letterbox: How reference pixels became network pixels.
        source_hw: Height and width of the reference image, px.
        config: Score threshold (inclusive), overlap above which the lower score is suppressed,
            and the largest number of detections.

    Returns:
        Detections in reference pixels, clipped to the image, best first.
    """
    logits = raw.class_logits[0]  # (n, k)
    scores, anchors, class_ids = _best_candidates(logits, config.score_threshold)
    boxes = unletterbox_boxes(raw.boxes_xyxy[0][anchors], letterbox)
    boxes = clip_boxes(boxes, source_hw)
    sides = boxes[:, 2:] - boxes[:, :2]
    is_whole = (sides >= MIN_SIDE_PX).all(axis=1)
    scores, boxes, class_ids = scores[is_whole], boxes[is_whole], class_ids[is_whole]
    is_kept = suppress(boxes, class_ids, config.nms_iou)
    keep = np.flatnonzero(is_kept)[: config.max_detections]
    return Detections(boxes_xyxy=boxes[keep], scores=scores[keep], class_ids=class_ids[keep])


def _best_candidates(
    logits: FloatArray, threshold: float
) -> tuple[FloatArray, IntArray, IntArray]:
    num_classes = logits.shape[1]
    flat = logits.ravel()
    # Few candidates come near the threshold: the others need no exponential.
    near = np.flatnonzero(flat >= np.float32(_logit(threshold) - LOGIT_MARGIN))
    scores = (1.0 / (1.0 + np.exp(-flat[near].astype(np.float64)))).astype(np.float32)
    has_passed = scores >= np.float32(threshold)
    near, scores = near[has_passed], scores[has_passed]
    order = np.argsort(-scores, kind='stable')[:MAX_CANDIDATES]
    best = near[order].astype(np.int64)
    return scores[order], best // num_classes, best % num_classes


def _logit(score: float) -> float:
    """Return the logit of a score, at most what float32 scores can tell from 1."""
    if score <= 0.0:
        return -math.inf
    return MAX_LOGIT if score >= 1.0 else min(math.log(score / (1.0 - score)), MAX_LOGIT)


def suppress(boxes_xyxy: FloatArray, class_ids: IntArray, max_iou: float) -> BoolArray:
    """Suppress boxes that overlap a better one of their class.

    Args:
        boxes_xyxy: Boxes, shape (n, 4), best first.
        class_ids: Class of each box, shape (n,).
        max_iou: A box is suppressed when its overlap with a kept one is larger than this.

    Returns:
        Mask of the boxes, shape (n,), True = keep.
    """
    keep = np.ones(len(boxes_xyxy), np.bool_)
    for class_id in set(class_ids.tolist()):
        members = np.flatnonzero(class_ids == class_id)
        keep[members] = _suppress_one_class(boxes_xyxy[members], max_iou)
    return keep


def _suppress_one_class(boxes_xyxy: FloatArray, max_iou: float) -> BoolArray:
    keep = np.ones(len(boxes_xyxy), np.bool_)
    rest = np.arange(len(boxes_xyxy))
    while len(rest):
        best = rest[:SUPPRESSING_AT_ONCE]
        overlaps = _find_ious(boxes_xyxy[best], boxes_xyxy[rest]) > max_iou
        better, worse = np.divmod(np.flatnonzero(overlaps), len(rest))
        is_later = worse > better
        is_kept = _decide(better[is_later], worse[is_later], len(rest))
        keep[rest] = is_kept
        # Suppressed boxes suppress no other, and need not be looked at again.
        rest = rest[len(best) :][is_kept[len(best) :]]
    return keep


def _decide(better: IntArray, worse: IntArray, num_boxes: int) -> BoolArray:
    """Return which boxes overlap no kept box that is better, shape (num_boxes,).

    Args:
        better: The better box of each pair of boxes that overlap, shape (p,).
        worse: The worse one.
        num_boxes: Number of boxes.
    """
    keep = np.ones(num_boxes, np.bool_)
    while len(better):
        # A box that is the worse of no pair is kept, so its rivals are not.
        is_beaten = np.zeros(num_boxes, np.bool_)
        is_beaten[worse] = True
        keep[worse[~is_beaten[better]]] = False
        is_open = keep[better] & keep[worse]
        better, worse = better[is_open], worse[is_open]
    return keep


def _find_ious(boxes_xyxy: FloatArray, others_xyxy: FloatArray) -> FloatArray:
    """Return the overlap of every box with every other one, shape (n, m)."""
    x_min, y_min, x_max, y_max = boxes_xyxy.T[..., None]  # each (n, 1)
    other_x_min, other_y_min, other_x_max, other_y_max = np.ascontiguousarray(others_xyxy.T)
    # In place: this is most of what suppression costs.
    common: FloatArray = np.minimum(x_max, other_x_max)
    common -= np.maximum(x_min, other_x_min)
    np.maximum(common, 0, out=common)
    height = np.minimum(y_max, other_y_max)
    height -= np.maximum(y_min, other_y_min)
    common *= np.maximum(height, 0, out=height)
    areas = (x_max - x_min) * (y_max - y_min)
    other_areas = (other_x_max - other_x_min) * (other_y_max - other_y_min)
    union = areas + other_areas
    union -= common
    common /= union
    return common


def decode_label_map(
    raw: RawOutputs,
    letterbox: LetterboxTransform,
    source_hw: tuple[int, int],
    *,
    votes: Votes | None = None,
) -> ByteArray:
    """Turn segmentation logits into class ids at reference size.

    Args:
        raw: Outputs of the network, batch of one.
        letterbox: How reference pixels became network pixels.
        source_hw: Height and width of the reference image, px.
        votes: Of the detections, None = they have no say.

    Returns:
        Class ids, shape (h, w), uint8; the lower id on equal logits. All unlabeled (255) when the
        model has no segmentation classes.
    """
    planes = raw.segmentation_logits[0]
    if len(planes) == 0:
        return np.full(source_hw, UNLABELED, np.uint8)
    if votes is not None:
        stride = find_stride(letterbox, source_hw[0], planes.shape[1])
        planes = add_votes(planes, votes, letterbox, stride=stride)
    return label_pixels(planes, letterbox, source_hw)
