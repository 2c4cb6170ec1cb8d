# SPDX-License-Identifier: Apache-2.0
"""Evaluation against ground truth: fused, and with each camera alone.

Every pair goes through the pipeline three times: as it is (``fused``), without its thermal frame
(``rgb_only``), and with its RGB frame replaced by a black one (``thermal_only``: the same as a
covered lens, so that results stay on the RGB pixel grid on which the ground truth is drawn).
Each of the three has its own pipeline, because pipelines remember. ``failures`` adds cameras that
fail half-way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rgbt_models.card import load_card, ModelCard
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import OutputConfig, PerceptionConfig
from rgbt_perception.engine import Engine, open_engine
from rgbt_perception.errors import DatasetError
from rgbt_perception.failures import FailureRuns, FAILURES
from rgbt_perception.metrics import ImageMatches, LabelMapScorer, MAX_DETECTIONS
from rgbt_perception.overlay import draw_side_by_side
from rgbt_perception.pipeline import choose_input_hw, Pipeline
from rgbt_perception.registration import Registration
from rgbt_perception.replay import write_json
from rgbt_perception.scores import box_values, Scores
from rgbt_perception.truth import map_class_ids, TruthPair
from rgbt_perception.types import (
    ByteArray,
    Modality,
    Pair,
    Result,
    Temperatures,
)

VARIANTS = ('fused', 'rgb_only', 'thermal_only')
METRICS_FILE = 'metrics.json'
OVERLAYS_DIR = 'overlays'
# Average precision integrates over all scores, so nearly all boxes must come out of the pipeline.
SCORE_THRESHOLD = 0.01


class PipelinePool:
    """Pipelines for source images of several sizes over one engine.

    Attributes:
        config: Settings of the evaluation.
        published: Output settings as they were given: what the node would publish.
        card: Card of the model.
        engine: What runs it.
        scale: Network input as a fraction of the source size; None = as ``config`` says.
    """

    def __init__(
        self,
        *,
        card: ModelCard,
        engine: Engine,
        config: PerceptionConfig,
        scale: float | None = None,
        cameras: Mapping[Modality, CameraModel] | None = None,
    ) -> None:
        """Put the parts together; takes over the engine and closes it in ``close``.

        Args:
            card: Card of the model.
            engine: What runs it.
            config: Settings; threshold and number of detections are set for evaluation.
            scale: Network input as a fraction of the source size; None = as ``config`` says.
            cameras: Camera models of the source, for a registration that needs them.
        """
        output = replace(
            config.output, score_threshold=SCORE_THRESHOLD, max_detections=MAX_DETECTIONS
        )
        self.published = config.output
        self.config = replace(config, output=output)
        self.card = card
        self.engine = engine
        self.scale = scale
        self._cameras = dict(cameras or {})
        self._pipelines: dict[tuple[int, int, str], Pipeline] = {}

    @classmethod
    def open(
        cls,
        config: PerceptionConfig,
        *,
        scale: float | None = None,
        cameras: Mapping[Modality, CameraModel] | None = None,
    ) -> PipelinePool:
        """Load the card that ``config`` names and open its engine.

        Raises:
            RGBTError: If the card, its files or the engine cannot be used.
        """
        card = load_card(config.model.card)
        # With a scale the size is that of each source, so the graph must be one of any size.
        fitting = (
            replace(card, input_hw=choose_input_hw(card, config))
            if scale is None
            else replace(card, variants=tuple(item for item in card.variants if not item.input_hw))
        )
        engine = open_engine(fitting, config.engine)
        return cls(card=card, engine=engine, config=config, scale=scale, cameras=cameras)

    def pipeline_for(self, source_hw: tuple[int, int], stream: str = VARIANTS[0]) -> Pipeline:
        """Return the pipeline for reference images of height and width ``source_hw``.

        Args:
            source_hw: Height and width, px.
            stream: Name of the sequence of pairs; each has its own pipeline, with its own memory.

        Raises:
            ConfigError: If its registration lacks a camera model or a pose.
        """
        model = self.config.model
        if self.scale is not None:
            height, width = scaled_input_hw(source_hw, self.scale, self.card.size_multiple)
            model = replace(model, input_height=height, input_width=width)
        key = (model.input_height, model.input_width, stream)
        if key not in self._pipelines:
            config = replace(self.config, model=model)
            pipeline = Pipeline(card=self.card, engine=self.engine, config=config)
            for modality, camera in self._cameras.items():
                pipeline.set_camera(modality, camera)
            pipeline.registration.check_complete()
            self._pipelines[key] = pipeline
        return self._pipelines[key]

    def input_sizes(self) -> list[list[int]]:
        """Return the network input sizes (height, width) used so far, sorted."""
        sizes = {pipeline.input_hw for pipeline in self._pipelines.values()}
        return sorted([list(size) for size in sizes])

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()


class Evaluation:
    """Collects results and ground truth, then computes the metrics.

    Attributes:
        pool: The pipelines the pairs run through.
    """

    def __init__(
        self,
        pool: PipelinePool,
        segmentation_classes: tuple[str, ...] | None = None,
        failures: FailureRuns | None = None,
    ) -> None:
        """Evaluate with the pipelines of ``pool``.

        Args:
            pool: The pipelines.
            segmentation_classes: Class names of the ground truth label maps; None = the card's.
            failures: Cameras that fail half-way, evaluated too; a new one.
        """
        self.pool = pool
        self._failures = failures
        self._truth_classes = segmentation_classes or pool.card.segmentation_classes
        self._scores = {variant: Scores(pool.card) for variant in VARIANTS}
        self._is_night: list[bool | None] = []
        self._modes: Counter[str] = Counter()
        self._truth_names: set[str] = set()

    def add(self, item: TruthPair) -> Result:
        """Run one pair in all variants; return the fused result.

        Raises:
            DatasetError: If the label map does not fit the RGB image.
        """
        size_hw = item.pair.reference.size_hw
        truth_map = self._truth_label_map(item)
        results = {
            variant: self.pool.pipeline_for(size_hw, variant).run(
                build_variant(item.pair, variant)
            )
            for variant in VARIANTS
        }
        for variant, result in results.items():
            self._scores[variant].add(item, truth_map, result)
        if self._failures is not None:
            pipelines = {name: self.pool.pipeline_for(size_hw, name) for name in FAILURES}
            self._failures.add(item, truth_map, results, pipelines)
        self._is_night.append(item.truth.is_night)
        self._modes[results['fused'].mode.value] += 1
        self._truth_names.update(item.truth.class_names)
        return results['fused']

    def metrics(self) -> dict[str, Any]:
        """Compute the metrics as JSON values."""
        known = set(self.pool.card.detection_classes)
        failures = {} if self._failures is None else {'failures': self._failures.metrics()}
        return {
            **{variant: self._scores[variant].metrics() for variant in VARIANTS},
            **failures,
            'pairs': len(self._is_night),
            'model': self.pool.card.name,
            'modes': dict(sorted(self._modes.items())),
            'slices': self._slices(),
            'classes_left_out': sorted(self._truth_names - known),
            'classes_without_truth': self._classes_without_truth(),
        }

    def matches(self, variant: str, class_name: str) -> list[ImageMatches]:
        """Return how the detections of a class were judged, pair by pair."""
        return self._scores[variant].boxes.matches(class_name)

    def label_maps(self, variant: str) -> LabelMapScorer:
        """Return the scorer of the label maps, in the classes of the card."""
        return self._scores[variant].label_maps

    def _slices(self) -> dict[str, Any]:
        slices = {}
        for name, is_night in (('day', False), ('night', True)):
            indices = {i for i, value in enumerate(self._is_night) if value is is_night}
            if indices:
                slices[name] = {
                    'pairs': len(indices),
                    **{
                        variant: box_values(self._scores[variant].boxes.compute(indices))
                        for variant in VARIANTS
                    },
                }
        return slices

    def _classes_without_truth(self) -> dict[str, list[str]]:
        card = self.pool.card
        ap50 = self._scores['fused'].boxes.compute().ap50
        iou = self._scores['fused'].label_maps.iou()
        return {
            'detection': [name for name, value in ap50.items() if value is None],
            'segmentation': [
                name
                for name, value in zip(card.segmentation_classes, iou, strict=True)
                if value is None
            ],
        }

    def _truth_label_map(self, item: TruthPair) -> ByteArray | None:
        if not item.truth.has_label_map:
            return None
        label_map = item.truth.label_map()
        if label_map.shape != item.pair.reference.size_hw:
            raise DatasetError(
                f'label map of {item.name} has size {label_map.shape}, expected that of the RGB '
                f'image, {item.pair.reference.size_hw}; write it again'
            )
        return map_class_ids(label_map, self._truth_classes, self.pool.card.segmentation_classes)


def evaluate_pairs(
    pairs: Iterable[TruthPair], evaluation: Evaluation, *, out_dir: Path, num_overlays: int = 0
) -> dict[str, Any]:
    """Evaluate pairs, write ``metrics.json`` and overlays, and return the metrics.

    Args:
        pairs: Pairs with ground truth; at least one.
        evaluation: A new one; holds the results afterwards.
        out_dir: Folder to write to; made when missing.
        num_overlays: Pairs to draw, from the first on.

    Raises:
        DatasetError: If a label map does not fit its image.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    pool = evaluation.pool
    for index, item in enumerate(pairs):
        result = evaluation.add(item)
        if index < num_overlays:
            (out_dir / OVERLAYS_DIR).mkdir(exist_ok=True)
            path = out_dir / OVERLAYS_DIR / f'{index:04d}_{item.name}.png'
            shown = as_published(result, pool.published)
            registration = pool.pipeline_for(item.pair.reference.size_hw).registration
            write_overlay(path, shown, item, pool.card, registration)
    metrics = {**evaluation.metrics(), 'conditions': _conditions(pool)}
    write_json(out_dir / METRICS_FILE, metrics)
    return metrics


def build_variant(pair: Pair, variant: str) -> Pair:
    """Return the pair with one camera taken away: 'fused', 'rgb_only' or 'thermal_only'."""
    if variant == 'rgb_only':
        return Pair(rgb=pair.rgb, thermal=None)
    if variant == 'thermal_only' and pair.rgb is not None:
        black = replace(pair.rgb, pixels=np.zeros_like(pair.rgb.pixels))
        return Pair(rgb=black, thermal=pair.thermal)
    return pair


def scaled_input_hw(source_hw: tuple[int, int], scale: float, multiple: int) -> tuple[int, int]:
    """Return the network input for a source size: scaled, then rounded to ``multiple``.

    Args:
        source_hw: Height and width of the reference image, px.
        scale: Fraction of the source size, > 0.
        multiple: Every side becomes a multiple of this, at least one.
    """
    height, width = (
        max(multiple, int(side * scale / multiple + 0.5) * multiple) for side in source_hw
    )
    return height, width


def as_published(result: Result, output: OutputConfig) -> Result:
    """Leave out the detections that the node would not publish."""
    found, measured = result.detections, result.temperatures
    detections = found.at_least(output.score_threshold).best(output.max_detections)
    num_kept = len(detections)  # the best, as they are sorted by score
    temperatures = Temperatures(
        min_c=measured.min_c[:num_kept],
        mean_c=measured.mean_c[:num_kept],
        max_c=measured.max_c[:num_kept],
    )
    return replace(result, detections=detections, temperatures=temperatures)


def write_overlay(
    path: Path, result: Result, item: TruthPair, card: ModelCard, registration: Registration
) -> None:
    """Write a picture: result on both cameras side by side, ground truth as thin white boxes."""
    picture = draw_side_by_side(result, card, registration).copy()
    for box, ignore in zip(item.truth.boxes_xyxy, item.truth.ignore, strict=True):
        x_min, y_min, x_max, y_max = np.rint(box).astype(int).tolist()
        color = (128, 128, 128) if ignore else (255, 255, 255)
        cv2.rectangle(picture, (x_min, y_min), (x_max - 1, y_max - 1), color, 1)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _conditions(pool: PipelinePool) -> dict[str, Any]:
    return {
        'scale': pool.scale,
        'input_hw': pool.input_sizes(),
        'score_threshold': SCORE_THRESHOLD,
        'max_detections': MAX_DETECTIONS,
        'nms_iou': pool.config.output.nms_iou,
        'box_votes': pool.config.output.box_votes,
        'registration': pool.config.registration.method,
        'backend': pool.engine.backend,
        'device': pool.engine.device,
        'precision': pool.engine.precision,
        'thermal_only': 'RGB replaced by a black image',
    }
