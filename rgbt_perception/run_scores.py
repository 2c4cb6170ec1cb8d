# SPDX-License-Identifier: Apache-2.0
"""Scores of a training run without a card: any task, fused and with each camera alone.

Every pair goes through the network three times: with both cameras, and with each of them declared
not available, which is what the network was trained for. ``evaluate`` instead runs the pipeline of
a card, registration and input size included, so its numbers are those of the node; these are for
comparing runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TYPE_CHECKING

import numpy as np

from rgbt_models.label_sets import LabelSet, PACKAGE_LABEL_SET
from rgbt_models.metrics import LabelMapScorer, MatchingScorer, SaliencyScorer
from rgbt_perception.config import OutputConfig
from rgbt_perception.errors import ConfigError, DatasetError
from rgbt_perception.evaluate import SCORE_THRESHOLD, VARIANTS
from rgbt_perception.metrics import BoxScorer, MAX_DETECTIONS
from rgbt_perception.postprocess import decode_detections, decode_label_map
from rgbt_perception.scores import box_values, label_map_values, rounded
from rgbt_perception.truth import map_class_ids, Truth
from rgbt_perception.types import LetterboxTransform, RawOutputs, UNLABELED

if TYPE_CHECKING:
    from torch import Tensor

    from rgbt_models.train.finished_run import FinishedRun
    from rgbt_models.train.pool import Sample

SCORE_FILE = 'score.json'
AVAILABLE = {'fused': (1.0, 1.0), 'rgb_only': (1.0, 0.0), 'thermal_only': (0.0, 1.0)}
BOX_TASKS = ('both', 'detection')
MAP_TASKS = ('both', 'segmentation')
NEEDS_BOTH = 'matching compares the two cameras, so it needs both'
PRECISION_PATCHES = (1, 2)
DEFAULT_SEED = 0
_NOT_MOVED = LetterboxTransform(scale=1.0, pad_x=0.0, pad_y=0.0)
_DECODING = OutputConfig(score_threshold=SCORE_THRESHOLD, max_detections=MAX_DETECTIONS)


class RunScores(ABC):
    """Collects what one variant of a run makes of the pairs."""

    @abstractmethod
    def add(self, sample: Sample, outputs: Mapping[str, Tensor]) -> None:
        """Score one pair.

        Args:
            sample: The pair with its ground truth.
            outputs: Of ``FinishedRun.outputs``.
        """

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """Return the metrics as JSON values."""


class LabelScores(RunScores):
    """Boxes, label maps or both, as the task learnt them; classes of the pool go by their names.

    Boxes and pixels of classes that the run does not tell are not counted.
    """

    def __init__(
        self, run: FinishedRun, label_set: LabelSet, without: Collection[str] = ()
    ) -> None:
        """Start without pairs.

        Args:
            run: Gives the classes that are scored.
            label_set: Of the pool.
            without: Names of segmentation classes that mIoU and mAcc leave out.
        """
        task, classes = run.config.task, run.label_set.segmentation_classes
        self._truth, self._classes, self._without = label_set, classes, tuple(without)
        self._box_classes = run.label_set.detection_classes
        self._boxes: BoxScorer | None = None
        self._label_maps: LabelMapScorer | None = None
        if task in BOX_TASKS:
            self._boxes = BoxScorer(self._box_classes)
        if task in MAP_TASKS:
            self._label_maps = LabelMapScorer(len(classes))

    def add(self, sample: Sample, outputs: Mapping[str, Tensor]) -> None:
        """Score one pair."""
        height, width = size_hw = (sample.label_map.shape[0], sample.label_map.shape[1])
        raw = RawOutputs(**{name: value.numpy() for name, value in outputs.items()})
        if self._boxes is not None:
            truth = self._box_truth(sample)
            self._boxes.add(truth, decode_detections(raw, _NOT_MOVED, size_hw, _DECODING))
        if self._label_maps is not None:
            found = decode_label_map(raw, _NOT_MOVED, padded_hw(size_hw))
            of_pool = self._truth.segmentation_classes
            label_map = map_class_ids(sample.label_map, of_pool, self._classes)
            self._label_maps.add(label_map, found[:height, :width])

    def _box_truth(self, sample: Sample) -> Truth:
        """Return the boxes of a pair; one to be ignored is ignored for every class.

        A pool says with such boxes where it knows nothing, whatever their class id is.
        """
        use = ~sample.ignore
        names = [self._truth.detection_classes[index] for index in sample.class_ids[use].tolist()]
        unknown = np.tile(sample.boxes_xyxy[sample.ignore], (len(self._box_classes), 1))
        names += [name for name in self._box_classes for _ in range(int(sample.ignore.sum()))]
        return Truth(
            boxes_xyxy=np.concatenate([sample.boxes_xyxy[use], unknown]),
            class_names=tuple(names),
            ignore=np.arange(len(names)) >= int(use.sum()),
        )

    def values(self) -> dict[str, Any]:
        """Return mAP, AP50 and AP75, mIoU, mAcc and IoU, with means and by class."""
        values: dict[str, Any] = {}
        if self._boxes is not None:
            of_boxes = box_values(self._boxes.compute())
            means = {f'mean_{name}': _mean(of_boxes[name]) for name in ('AP50', 'AP75')}
            values |= {**of_boxes, **means}
        if self._label_maps is not None:
            values |= label_map_values(self._label_maps, self._classes, without=self._without)
        return values


class SaliencyScores(RunScores):
    """Saliency maps at the size of the pair; unlabeled pixels count as rightly found.

    Pairs without a salient pixel are left out, as the benchmarks have none: F is 0 there whatever
    is found.
    """

    def __init__(self, ids: tuple[int, ...]) -> None:
        """Start without pairs; ``ids`` are the classes of the pool that are salient."""
        self._ids = ids
        self._scorer = SaliencyScorer()
        self._num_left_out = 0

    def add(self, sample: Sample, outputs: Mapping[str, Tensor]) -> None:
        """Score one pair."""
        import torch

        from rgbt_models.heads import saliency_scores
        from rgbt_models.train.tasks import salient_masks

        height, width = sample.label_map.shape
        mask = salient_masks(torch.from_numpy(sample.label_map), self._ids).numpy()
        if not (mask == 1).any():
            self._num_left_out += 1
            return
        scores = saliency_scores(outputs['saliency_logits'], padded_hw((height, width)))
        found = scores[0, :height, :width].numpy()
        self._scorer.add(mask == 1, np.where(mask == UNLABELED, np.float32(0.0), found))

    def values(self) -> dict[str, Any]:
        """Return S, F, weighted F, E and MAE, and how many pairs were left out."""
        found = self._scorer.compute()
        values = {} if found is None else found.as_dict()
        return {
            **{name: rounded(value) for name, value in values.items()},
            'pairs_without_object': self._num_left_out,
        }


def score_run(
    run: FinishedRun,
    samples: Iterable[tuple[int, Sample]],
    *,
    label_set: LabelSet = PACKAGE_LABEL_SET,
    without: Collection[str] = (),
    seed: int = DEFAULT_SEED,
) -> dict[str, Any]:
    """Score a run over pairs.

    Args:
        run: Of any task.
        samples: Index in the pool and pair; at least one.
        label_set: Of the pool.
        without: Names of segmentation classes that mIoU and mAcc leave out, as a background.
        seed: Of the homographies that matching is scored on; that of a pair depends on seed and
            index only.

    Returns:
        Metrics by variant, the number of pairs and what must be known beside them, as JSON values.

    Raises:
        ConfigError: If a class to leave out is none of the run.
        DatasetError: If the pool has no label of the task, or no class that the run tells.
    """
    check_names(run, without)
    check_classes(run, label_set)
    if run.config.task == 'matching':
        return _score_matching(run, samples, seed)
    scores = {variant: _open_scores(run, label_set, without) for variant in VARIANTS}
    count = 0
    for _, sample in samples:
        rgb, thermal = run.images(sample)
        outputs = run.outputs(rgb, thermal, [AVAILABLE[variant] for variant in scores])
        for of_variant, of_pair in zip(scores.values(), outputs, strict=True):
            of_variant.add(sample, of_pair)
        count += 1
    return {
        **{variant: of_variant.values() for variant, of_variant in scores.items()},
        'pairs': count,
        'classes_left_out': _left_out(run, label_set),
        'conditions': _conditions(run.config.task, without),
    }


def check_names(run: FinishedRun, without: Collection[str]) -> None:
    """Refuse classes to leave out that the run does not have.

    Raises:
        ConfigError: If one is not among the segmentation classes, or the task has none.
    """
    known = run.label_set.segmentation_classes if run.config.task in MAP_TASKS else ()
    wrong = [name for name in without if name not in known]
    if wrong:
        expected = f'one of {", ".join(known)}' if known else 'none for this task'
        raise ConfigError(
            f"'{wrong[0]}' is no segmentation class of the run; expected {expected}; correct "
            f'--without'
        )


def check_classes(run: FinishedRun, label_set: LabelSet) -> None:
    """Refuse a pool whose labels have nothing in common with what the run tells.

    Raises:
        DatasetError: If they have not.
    """
    for names, known in _class_lists(run, label_set):
        if not set(names) & set(known):
            raise DatasetError(
                f'the pool has the classes {", ".join(names) or "(none)"}; expected some of those '
                f'that the run tells ({", ".join(known)}); give a pool with labels of its task'
            )


def padded_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the network input for images of ``size_hw``."""
    from rgbt_models.train.finished_run import SIZE_MULTIPLE

    height, width = (side + -side % SIZE_MULTIPLE for side in size_hw)
    return height, width


def flatten(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Return metrics of a variant as one row: 'AP50 person' for the AP50 of a class."""
    row: dict[str, float | None] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            row |= {f'{name} {of}': number for of, number in value.items()}
        else:
            row[name] = value
    return row


def describe_run(run: FinishedRun, pool_dir: Path) -> dict[str, Any]:
    """Return which run it is, and whether it was trained on pairs of the pool, as JSON values."""
    from rgbt_models.train.finished_run import is_trained_on

    return {
        'run': run.folder.name,
        'task': run.config.task,
        'architecture': run.config.architecture,
        'steps': run.steps,
        'is_trained_on_pool': is_trained_on(run.about, pool_dir),
    }


def _open_scores(run: FinishedRun, label_set: LabelSet, without: Collection[str]) -> RunScores:
    if run.config.task != 'saliency':
        return LabelScores(run, label_set, without)
    from rgbt_models.train.tasks import salient_ids

    return SaliencyScores(salient_ids(run.config, label_set))


def _class_lists(
    run: FinishedRun, label_set: LabelSet
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the class names of the pool and of the run, for each kind of label of the task."""
    task, known = run.config.task, run.label_set
    lists = []
    if task in BOX_TASKS:
        lists.append((label_set.detection_classes, known.detection_classes))
    if task in MAP_TASKS:
        lists.append((label_set.segmentation_classes, known.segmentation_classes))
    return lists


def _left_out(run: FinishedRun, label_set: LabelSet) -> list[str]:
    lists = _class_lists(run, label_set)
    return sorted({name for names, known in lists for name in names if name not in known})


def _score_matching(
    run: FinishedRun, samples: Iterable[tuple[int, Sample]], seed: int
) -> dict[str, Any]:
    from rgbt_models.heads.matching import COARSE_STRIDE
    from rgbt_models.train.matching_run import match_moved
    from rgbt_models.train.matching_task import MAX_SHIFT

    scorer = MatchingScorer(precision_px=[COARSE_STRIDE * n for n in PRECISION_PATCHES])
    count = 0
    for index, sample in samples:
        found, homography = match_moved(run, sample, seed=(seed, index))
        height, width = sample.thermal.shape
        scorer.add(found.rgb_xy.numpy(), found.thermal_xy.numpy(), homography, (height, width))
        count += 1
    return {
        'fused': {name: rounded(value) for name, value in scorer.compute().items()},
        'pairs': count,
        'conditions': {
            'single_cameras': NEEDS_BOTH,
            'seed': seed,
            'homographies': f'drawn as in training: every corner by up to {MAX_SHIFT} of the side',
        },
    }


def _conditions(task: str, without: Collection[str]) -> dict[str, Any]:
    conditions: dict[str, Any] = {'input': 'size of the pool, padded to a multiple of 16'}
    if task in BOX_TASKS:
        conditions |= {
            'score_threshold': SCORE_THRESHOLD,
            'max_detections': MAX_DETECTIONS,
            'nms_iou': _DECODING.nms_iou,
        }
    if task in MAP_TASKS:
        conditions |= {
            'means': 'over the classes with ground truth; unlabeled pixels are not counted',
            'without': sorted(without),
        }
    if task == 'saliency':
        conditions['unlabeled'] = 'counted as not salient and found so'
    return conditions


def _mean(by_class: Mapping[str, float]) -> float | None:
    return rounded(float(np.mean(list(by_class.values())))) if by_class else None
