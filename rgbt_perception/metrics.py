# SPDX-License-Identifier: Apache-2.0
"""Metrics against ground truth: COCO average precision of boxes, and IoU of label maps.

Label maps, miss rates, saliency and matching need no model and are in ``rgbt_models.metrics``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
import contextlib
from dataclasses import dataclass
import importlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgbt_models.metrics.label_maps import LabelMapScorer as LabelMapScorer  # noqa: PLC0414 offered here too
from rgbt_perception.errors import BackendUnavailableError
from rgbt_perception.truth import Truth
from rgbt_perception.types import BoolArray, Detections

MAX_DETECTIONS = 300
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
# What a model that lacks a class may take its objects for, which is neither right nor wrong.
STAND_INS = {'rider': 'person', 'motorbike': 'bicycle', 'truck': 'car'}
IOU_75_INDEX = 5  # of the IoU thresholds .50:.05:.95

DoubleArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxMetrics:
    """Average precision; None where there is no box to find.

    Attributes:
        mean_ap: Mean over classes and IoU .50:.05:.95.
        ap50: AP at IoU .50 by class name.
        ap75: AP at IoU .75 by class name.
    """

    mean_ap: float | None
    ap50: dict[str, float | None]
    ap75: dict[str, float | None]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageMatches:
    """Detections of one class on one pair, judged at IoU .50; those on ignored boxes left out.

    Attributes:
        scores: Shape (n,), float64.
        is_right: Shape (n,), True = matches a box not matched by a better one.
        num_truth: Boxes to find.
    """

    scores: DoubleArray
    is_right: BoolArray
    num_truth: int


class BoxScorer:
    """Collects detections and ground truth of pairs, then computes COCO average precision.

    A box to ignore is matched by pycocotools' rule for crowds: detections on it count neither as
    right nor as wrong, and missing it costs nothing.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        """Score these classes.

        Ground truth of other classes is left out, but a rider is a person to ignore where there is
        no class rider, as ``STAND_INS`` says.
        """
        self._class_names = tuple(class_names)
        self._ids = {name: index + 1 for index, name in enumerate(class_names)}
        self._images: list[dict[str, Any]] = []
        self._truths: list[dict[str, Any]] = []
        self._predictions: list[dict[str, Any]] = []

    def add(self, truth: Truth, detections: Detections) -> None:
        """Add one pair; class ids of ``detections`` index the class names given."""
        image_id = len(self._images) + 1
        self._images.append({'id': image_id})
        for box, name, ignore in zip(
            truth.boxes_xyxy.tolist(), truth.class_names, truth.ignore.tolist(), strict=True
        ):
            known = name if name in self._ids else STAND_INS.get(name, '')
            if known in self._ids:
                item = _annotation(len(self._truths) + 1, image_id, self._ids[known], box)
                is_ignored = int(ignore or known != name)
                self._truths.append({**item, 'iscrowd': is_ignored, 'ignore': is_ignored})
        for box, score, class_id in zip(
            detections.boxes_xyxy.tolist(),
            detections.scores.tolist(),
            detections.class_ids.tolist(),
            strict=True,
        ):
            item = _annotation(len(self._predictions) + 1, image_id, class_id + 1, box)
            self._predictions.append({**item, 'score': score, 'iscrowd': 0})

    def compute(self, indices: Collection[int] | None = None) -> BoxMetrics:
        """Compute the metrics.

        Args:
            indices: Pairs to count, in order of ``add`` from 0; None = all.
        """
        image_ids = [
            image['id'] for image in self._images if indices is None or image['id'] - 1 in indices
        ]
        precision = None
        if image_ids and self._class_names:
            evaluation = self._evaluate(image_ids)
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation.accumulate()
            precision = evaluation.eval['precision']
        ap50: dict[str, float | None] = dict.fromkeys(self._class_names)
        ap75: dict[str, float | None] = dict.fromkeys(self._class_names)
        means: list[float] = []
        if precision is not None:
            for index, name in enumerate(self._class_names):
                of_class = precision[:, :, index, 0, -1]  # (IoU thresholds, recall points)
                if of_class.min() >= 0.0:  # -1 = no ground truth
                    ap50[name] = float(of_class[0].mean())
                    ap75[name] = float(of_class[IOU_75_INDEX].mean())
                    means.append(float(of_class.mean()))
        return BoxMetrics(mean_ap=float(np.mean(means)) if means else None, ap50=ap50, ap75=ap75)

    def matches(self, class_name: str) -> list[ImageMatches]:
        """Return how each pair's detections of a class were judged, in order of ``add``."""
        image_ids = [image['id'] for image in self._images]
        evaluation = self._evaluate(image_ids) if image_ids else None
        start = (self._ids[class_name] - 1) * len(image_ids)  # ordered by class, then image
        judged = [] if evaluation is None else evaluation.evalImgs[start : start + len(image_ids)]
        return [_read_matches(item) for item in judged]

    def _evaluate(self, image_ids: list[int]) -> Any:
        coco, cocoeval = _import_pycocotools()
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            truth, predictions = coco.COCO(), coco.COCO()
            categories = [{'id': index, 'name': name} for name, index in self._ids.items()]
            for database, annotations in ((truth, self._truths), (predictions, self._predictions)):
                database.dataset = {
                    'images': self._images,
                    'annotations': [dict(item) for item in annotations],
                    'categories': categories,
                }
                database.createIndex()
            evaluation = cocoeval.COCOeval(truth, predictions, 'bbox')
            evaluation.params.imgIds = image_ids
            evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
            evaluation.params.areaRng = evaluation.params.areaRng[:1]
            evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
            evaluation.evaluate()
        return evaluation


def average_precision(images: Sequence[ImageMatches]) -> float | None:
    """Return COCO's average precision at IoU .50 (101 recall points); None without boxes to find.

    The same images may appear several times, as a bootstrap draws them.
    """
    num_truth = sum(image.num_truth for image in images)
    if num_truth == 0:
        return None
    scores = np.concatenate([image.scores for image in images])
    is_right = np.concatenate([image.is_right for image in images])
    is_right = is_right[np.argsort(-scores, kind='stable')]
    right = np.cumsum(is_right)
    recall = right / num_truth
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    positions = np.searchsorted(recall, RECALL_POINTS, side='left')
    reached = positions < len(precision)
    return float(precision[positions[reached]].sum() / len(RECALL_POINTS))


def _read_matches(judged: dict[str, Any] | None) -> ImageMatches:
    if judged is None:  # neither detections nor boxes
        return ImageMatches(scores=np.zeros(0), is_right=np.zeros(0, np.bool_), num_truth=0)
    counted = ~np.asarray(judged['dtIgnore'][0], np.bool_)
    return ImageMatches(
        scores=np.asarray(judged['dtScores'], np.float64)[counted],
        is_right=np.asarray(judged['dtMatches'][0], np.int64)[counted] > 0,
        num_truth=int((~np.asarray(judged['gtIgnore'], np.bool_)).sum()),
    )


def _annotation(
    annotation_id: int, image_id: int, category_id: int, box_xyxy: Sequence[float]
) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = box_xyxy
    width, height = x_max - x_min, y_max - y_min
    return {
        'id': annotation_id,
        'image_id': image_id,
        'category_id': category_id,
        'bbox': [x_min, y_min, width, height],
        'area': width * height,
    }


def _import_pycocotools() -> tuple[Any, Any]:
    try:
        return (
            importlib.import_module('pycocotools.coco'),
            importlib.import_module('pycocotools.cocoeval'),
        )
    except ImportError as error:
        raise BackendUnavailableError(
            f'evaluation needs pycocotools, which cannot be imported ({error}): '
            f"pip install 'rgbt_perception[evaluate]'"
        ) from error
