# SPDX-License-Identifier: Apache-2.0
"""The gate of an exported graph: what it loses in the task, by the pipeline that users run.

The same pairs go through the float32 graph of the card and through the new one, on the same
runtime, with both cameras and with each of them alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from rgbt_models.card import ModelCard
from rgbt_models.export_targets import EXPORT_TARGETS
from rgbt_models.graph_variant import GraphVariant
from rgbt_perception.config import EngineConfig, PerceptionConfig
from rgbt_perception.engine import open_engine
from rgbt_perception.engine.choice import find_version
from rgbt_perception.errors import DatasetError
from rgbt_perception.evaluate import Evaluation, PipelinePool, VARIANTS
from rgbt_perception.export_pairs import ExportPairs
from rgbt_perception.scores import rounded
from rgbt_perception.sources import PairSource, with_registration

# Largest accepted loss, of 1. Rounding to fp16 changes next to nothing: more is a fault.
MAX_DROP, MAX_FP16_DROP = 0.01, 0.002
METRICS = ('mAP50', 'mIoU')

# By way of running (fused, ...), then by metric.
Values = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What was measured of a graph.

    Attributes:
        expected: Metrics of the float32 graph, by way of running and name.
        actual: Those of the new graph.
        max_drop: Largest accepted loss of each.
        num_pairs: Pairs measured on.
        runtime: What computed the new graph, e.g. 'onnx 1.31.1, cpu, int8'.
    """

    expected: Values
    actual: Values
    max_drop: float
    num_pairs: int
    runtime: str

    @property
    def worst(self) -> tuple[float, str, str]:
        """The largest loss, with the way of running and the metric that it is of."""
        return max(self._drops())

    @property
    def is_passed(self) -> bool:
        """Whether no loss is larger than accepted."""
        return self.worst[0] <= self.max_drop

    def describe(self) -> str:
        """Return one sentence with the worst figures."""
        drop, variant, name = self.worst
        return (
            f'largest loss {drop * 100:+.2f} points ({name} {variant}: '
            f'{self.expected[variant][name]:.4f} in fp32, {self.actual[variant][name]:.4f} now), '
            f'allowed {self.max_drop * 100:.1f}, on {self.num_pairs} pairs with {self.runtime}'
        )

    def to_record(self) -> dict[str, Any]:
        """Return the measurement as JSON values, for the card."""
        drops: dict[str, dict[str, float | None]] = {}
        for drop, variant, name in self._drops():
            drops.setdefault(variant, {})[f'{name}_drop'] = rounded(drop)
        return {
            'passed': self.is_passed,
            'max_drop': self.max_drop,
            'pairs': self.num_pairs,
            'runtime': self.runtime,
            **{
                variant: {
                    **{name: rounded(value) for name, value in values.items()},
                    **drops[variant],
                }
                for variant, values in self.actual.items()
            },
        }

    def _drops(self) -> Iterator[tuple[float, str, str]]:
        for variant, values in self.expected.items():
            for name, value in values.items():
                yield value - self.actual[variant][name], variant, name


def measure_gate(
    card: ModelCard,
    variant: GraphVariant,
    folder: Path,
    *,
    source: PairSource,
    pairs: ExportPairs,
) -> Gate:
    """Measure what a new graph loses against the ``model.onnx`` of its card.

    Args:
        card: Of the model.
        variant: The new graph; its file lies in ``folder``.
        folder: Also receives what the runtimes build.
        source: Pairs with ground truth.
        pairs: How many of them are taken.

    Raises:
        DatasetError: If the pairs have no ground truth for the classes of the card.
        RGBTError: If a graph or the pairs cannot be used.
    """
    runtime = EXPORT_TARGETS[variant.target].gated_on
    candidate = replace(card, folder=folder, variants=(replace(variant, target=runtime),))
    engine = EngineConfig(backend=runtime, precision='fp32', cache_dir=str(folder / 'engines'))
    config = with_registration(PerceptionConfig(engine=engine), source.registration)
    expected, num_pairs, _ = _evaluate(replace(card, variants=()), config, source, pairs)
    config = replace(config, engine=replace(engine, precision=variant.precision))
    actual, _, measured_on = _evaluate(candidate, config, source, pairs)
    if not any(expected.values()):
        raise DatasetError(
            f"the pairs to measure on have no ground truth for the classes of card '{card.name}'; "
            f'expected some of {", ".join(card.detection_classes + card.segmentation_classes)}; '
            f'add --gate DATASET'
        )
    is_rounded_only = variant.precision == 'fp16' and variant.keep_tokens == 1.0
    return Gate(
        expected=expected,
        actual=actual,
        max_drop=MAX_FP16_DROP if is_rounded_only else MAX_DROP,
        num_pairs=num_pairs,
        runtime=measured_on,
    )


def _evaluate(
    card: ModelCard, config: PerceptionConfig, source: PairSource, pairs: ExportPairs
) -> tuple[Values, int, str]:
    """Return metrics, number of pairs, and what computed them."""
    engine = open_engine(card, config.engine)
    pool = PipelinePool(card=card, engine=engine, config=config, cameras=source.cameras)
    try:
        evaluation = Evaluation(pool, source.segmentation_classes)
        items = islice(source.pairs(), pairs.gate.num_pairs)
        for item in pairs.watch(items, f'measuring {engine.precision}', pairs.gate.num_pairs):
            evaluation.add(item)
        metrics = evaluation.metrics()
        version = find_version(engine.backend)
        measured_on = f'{engine.backend} {version}, {engine.device}, {engine.precision}'
    finally:
        pool.close()
    values = {variant: _read_values(metrics[variant]) for variant in VARIANTS}
    return values, metrics['pairs'], measured_on


def _read_values(metrics: dict[str, Any]) -> dict[str, float]:
    ap50 = metrics['AP50'].values()
    found = {'mAP50': fmean(ap50) if ap50 else None, 'mIoU': metrics['mIoU']}
    return {name: value for name, value in found.items() if value is not None}
