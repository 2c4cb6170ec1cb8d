# SPDX-License-Identifier: Apache-2.0
"""The gate of an exported graph: what it loses in the task, by the pipeline that users run.

The same pairs go through the float32 graph of the card and through the new one, on the same
runtime, with both cameras and with each of them alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
import math
from pathlib import Path
from statistics import fmean
from typing import Any

from rgbt_models.card import ModelCard
from rgbt_models.cpu import find_cpu_features
from rgbt_models.export_targets import EXPORT_TARGETS
from rgbt_models.graph_variant import GraphVariant
from rgbt_perception.config import EngineConfig, PerceptionConfig
from rgbt_perception.engine import Engine, open_engine
from rgbt_perception.engine.choice import find_version
from rgbt_perception.errors import DatasetError, EngineError
from rgbt_perception.evaluate import Evaluation, PipelinePool, VARIANTS
from rgbt_perception.export_pairs import ExportPairs
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.scores import rounded
from rgbt_perception.sources import PairSource, with_registration
from rgbt_perception.types import Mode

# Largest accepted loss, of 1. Rounding to fp16 changes next to nothing: more is a fault.
MAX_DROP, MAX_FP16_DROP = 0.01, 0.002
# Largest accepted mean change of the dominance index. Source: ours; half of the width of the band
# in which its verdict holds, so that a usual change overturns none.
MAX_MDI_CHANGE = 0.05
LOST_MDI = 2.0  # counts for an index that became NaN: the whole range
# Below, a loss of a point says nothing: there is hardly anything to lose.
MIN_BASELINE = 0.1
MIN_PAIRS = 20

# By way of running (fused, ...), then by metric.
Values = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one graph gave on the pairs.

    Attributes:
        values: Metrics by way of running and name.
        mdis: Dominance index of every pair with both cameras, NaN where there is none.
        classes_without_truth: Classes of the card that no pair shows, by task.
        runtime: What computed it, e.g. 'onnx 1.31.1, cpu, int8'.
        cpu_features: Instruction sets of the CPU that computed it.
    """

    values: Values
    mdis: tuple[float, ...]
    classes_without_truth: dict[str, list[str]] = field(default_factory=dict)
    runtime: str
    cpu_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What was measured of a graph.

    Attributes:
        expected: Of the float32 graph.
        actual: Of the new graph.
        max_drop: Largest accepted loss of each metric.
    """

    expected: Measured
    actual: Measured
    max_drop: float

    @property
    def worst(self) -> tuple[float, str, str]:
        """The largest loss, with the way of running and the metric that it is of."""
        return max(self._drops())

    @property
    def mdi_change(self) -> float | None:
        """Mean absolute change of the dominance index; None for a model that gives none."""
        changes = [
            LOST_MDI if math.isnan(after) else abs(after - before)
            for before, after in zip(self.expected.mdis, self.actual.mdis, strict=True)
            if not math.isnan(before)
        ]
        return fmean(changes) if changes else None

    @property
    def is_passed(self) -> bool:
        """Whether no loss, and no change of the dominance index, is larger than accepted."""
        return self.worst[0] <= self.max_drop and (self.mdi_change or 0.0) <= MAX_MDI_CHANGE

    def describe(self) -> str:
        """Return one sentence with the worst figures."""
        drop, variant, name = self.worst
        before, after = (item.values[variant][name] for item in (self.expected, self.actual))
        mdi = (
            ''
            if self.mdi_change is None
            else f'mean change of mdi {self.mdi_change:.3f}, allowed {MAX_MDI_CHANGE}, '
        )
        return (
            f'largest loss {drop * 100:+.2f} points ({name} {variant}: {before:.4f} in fp32, '
            f'{after:.4f} now), allowed {self.max_drop * 100:.1f}, {mdi}on '
            f'{len(self.actual.mdis)} pairs with {self.actual.runtime}'
        )

    def to_record(self) -> dict[str, Any]:
        """Return the measurement as JSON values, for the card."""
        drops: dict[str, dict[str, float | None]] = {}
        for drop, variant, name in self._drops():
            drops.setdefault(variant, {})[f'{name}_drop'] = rounded(drop)
        return {
            'passed': self.is_passed,
            'max_drop': self.max_drop,
            'mdi_change': rounded(self.mdi_change),
            'max_mdi_change': MAX_MDI_CHANGE,
            'pairs': len(self.actual.mdis),
            'classes_without_truth': self.actual.classes_without_truth,
            'runtime': self.actual.runtime,
            'cpu_features': list(self.actual.cpu_features),
            **{
                variant: {
                    **{name: rounded(value) for name, value in values.items()},
                    **drops[variant],
                }
                for variant, values in self.actual.values.items()
            },
        }

    def _drops(self) -> Iterator[tuple[float, str, str]]:
        for variant, values in self.expected.values.items():
            for name, value in values.items():
                yield value - self.actual.values[variant][name], variant, name


def measure_baseline(
    card: ModelCard, target: str, folder: Path, *, source: PairSource, pairs: ExportPairs
) -> Measured:
    """Measure the ``model.onnx`` of a card, which a new graph is compared with.

    Args:
        card: Of the model.
        target: Runtime that the new graph is for.
        folder: Receives what the runtimes build.
        source: Pairs with ground truth.
        pairs: Which of them are taken.

    Raises:
        DatasetError: If the pairs are too few or without ground truth for a task of the card, or
            the model gives too little on them for a loss to show.
        RGBTError: If the graph or the pairs cannot be used.
    """
    config = _configure(target, 'fp32', folder)
    measured = _evaluate(replace(card, variants=()), config, source, pairs)
    _check_baseline(card, measured)
    return measured


def measure_gate(
    card: ModelCard,
    variant: GraphVariant,
    folder: Path,
    *,
    baseline: Measured,
    source: PairSource,
    pairs: ExportPairs,
) -> Gate:
    """Measure what a new graph loses.

    Args:
        card: Of the model.
        variant: The new graph; its file lies in ``folder``.
        folder: Also receives what the runtimes build.
        baseline: What ``measure_baseline`` gave for its target and the same pairs.
        source: Pairs with ground truth.
        pairs: Which of them are taken.

    Raises:
        RGBTError: If the graph or the pairs cannot be used.
    """
    config = _configure(variant.target, variant.precision, folder)
    is_rounded_only = variant.precision == 'fp16' and variant.keep_tokens == 1.0
    return Gate(
        expected=baseline,
        actual=_evaluate(_candidate(card, variant, folder), config, source, pairs),
        max_drop=MAX_FP16_DROP if is_rounded_only else MAX_DROP,
    )


def check_runs(card: ModelCard, variant: GraphVariant, folder: Path) -> None:
    """Run a new graph once on the runtime that it is for.

    Raises:
        EngineError: If the runtime refuses it.
    """
    config = _configure(variant.target, variant.precision, folder)
    candidate = _candidate(card, variant, folder)
    engine = _open(candidate, config.engine)
    try:
        Pipeline(card=candidate, engine=engine, config=config).warm_up()
    finally:
        engine.close()


def _candidate(card: ModelCard, variant: GraphVariant, folder: Path) -> ModelCard:
    runtime = EXPORT_TARGETS[variant.target].gated_on
    return replace(card, folder=folder, variants=(replace(variant, target=runtime),))


def _configure(target: str, precision: str, folder: Path) -> PerceptionConfig:
    backend = EXPORT_TARGETS[target].gated_on
    engine = EngineConfig(backend=backend, precision=precision, cache_dir=str(folder / 'engines'))
    config = PerceptionConfig(engine=engine)
    # The pairs are of no one sequence.
    return replace(config, dominance=replace(config.dominance, time_constant_s=0.0))


def _open(card: ModelCard, config: EngineConfig) -> Engine:
    engine = open_engine(card, config)
    if engine.precision != config.precision:
        engine.close()
        raise EngineError(
            f'{engine.backend} computes the {config.precision} graph in {engine.precision} on '
            f'this machine; expected {config.precision}, for nothing else is measured; export on '
            f'another machine or in another precision'
        )
    return engine


def _evaluate(
    card: ModelCard, config: PerceptionConfig, source: PairSource, pairs: ExportPairs
) -> Measured:
    engine, mdis = _open(card, config.engine), []
    config = with_registration(config, source.registration)
    pool = PipelinePool(card=card, engine=engine, config=config, cameras=source.cameras)
    plan = pairs.held_out
    try:
        evaluation = Evaluation(pool, source.segmentation_classes)
        for item in pairs.watch(
            plan.take(source), f'measuring {engine.precision}', plan.num_pairs
        ):
            result = evaluation.add(item)
            mdis.append(result.dominance.mdi if result.mode is Mode.FUSED else math.nan)
        metrics = evaluation.metrics()
    finally:
        pool.close()
    version = find_version(engine.backend)
    return Measured(
        values={variant: _read_values(metrics[variant]) for variant in VARIANTS},
        mdis=tuple(mdis),
        classes_without_truth=metrics['classes_without_truth'],
        runtime=f'{engine.backend} {version}, {engine.device}, {engine.precision}',
        cpu_features=find_cpu_features(),
    )


def _read_values(metrics: dict[str, Any]) -> dict[str, float]:
    ap50 = metrics['AP50'].values()
    found = {'mAP50': fmean(ap50) if ap50 else None, 'mIoU': metrics['mIoU']}
    return {name: value for name, value in found.items() if value is not None}


def _check_baseline(card: ModelCard, measured: Measured) -> None:
    if len(measured.mdis) < MIN_PAIRS:
        raise DatasetError(
            f'{len(measured.mdis)} pairs are left to measure on; expected {MIN_PAIRS} or more '
            f'beside those of the calibration; add --gate-pairs N or --gate DATASET'
        )
    tasks = {'mAP50': card.detection_classes, 'mIoU': card.segmentation_classes}
    for variant, values in measured.values.items():
        for name, classes in tasks.items():
            if classes and name not in values:
                raise DatasetError(
                    f'the pairs to measure on have no ground truth for the {name} of card '
                    f"'{card.name}'; expected some of {', '.join(classes)}; add --gate DATASET"
                )
            if classes and not values[name] >= MIN_BASELINE:
                raise DatasetError(
                    f'the {name} {variant} of the float32 graph is {values[name]:.3f} on the '
                    f'pairs to measure on; expected {MIN_BASELINE} or more, for a loss would not '
                    f'show; add --gate DATASET with pairs like those it was trained on'
                )
