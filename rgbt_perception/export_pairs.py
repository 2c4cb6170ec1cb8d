# SPDX-License-Identifier: Apache-2.0
"""Pairs that exported graphs are calibrated and measured on: those of the user, or rendered ones.

Rendered pairs are of scenes that no training, calibration of the dominance index or bench renders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgbt_models.card import INPUT_NAMES, ModelCard
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.engine.base import EngineState
from rgbt_perception.evaluate import build_variant, PipelinePool
from rgbt_perception.sources import open_source, PairSource, plain_pairs, with_registration
from rgbt_perception.truth import TruthPair
from rgbt_perception.types import Batch, RawOutputs

QUANTISATION_SEED, GATE_SEED = 3_000_000, 4_000_000
# Ranges are measured with both cameras, and with each of them alone.
CALIBRATED_VARIANTS = ('fused', 'fused', 'rgb_only', 'thermal_only')

# Wraps an iteration to show its progress: items, what is done, how many there are.
Watch = Callable[[Iterable[Any], str, int], Iterable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPlan:
    """Which pairs are taken.

    Attributes:
        source: Bag or data set folder; None = render them.
        num_pairs: How many.
        seed: Of the first rendered scene; each further pair has the next one.
        num_skipped: Pairs of the source that are left out before these.
    """

    source: Path | None = None
    num_pairs: int
    seed: int
    num_skipped: int = 0

    def describe(self) -> str:
        """Return one phrase that says which pairs these are."""
        if self.source is not None:
            after = f' after the first {self.num_skipped}' if self.num_skipped else ''
            return f"up to {self.num_pairs} pairs of '{self.source.name}'{after}"
        return f'rendered pairs of seeds {self.seed} to {self.seed + self.num_pairs - 1}'

    def take(self, source: PairSource) -> Iterator[TruthPair]:
        """Return the pairs of the plan, from its opened source."""
        return islice(source.pairs(), self.num_skipped, self.num_skipped + self.num_pairs)

    def is_of(self, other: PairPlan) -> bool:
        """Whether both take pairs of one data set or bag."""
        if self.source is None or other.source is None:
            return False
        return self.source.expanduser().resolve() == other.source.expanduser().resolve()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPairs:
    """The pairs of one export.

    Attributes:
        calibration: The range of every value is measured on these.
        gate: The loss is measured on these.
        watch: Shows the progress.
    """

    calibration: PairPlan
    gate: PairPlan
    watch: Watch

    @property
    def held_out(self) -> PairPlan:
        """The plan of the gate, less the pairs of the calibration where both name one source."""
        if not self.gate.is_of(self.calibration):
            return self.gate
        return replace(self.gate, num_skipped=self.calibration.num_pairs)


def open_pairs(plan: PairPlan, folder: Path, watch: Watch) -> PairSource:
    """Open the pairs of a plan, rendered into ``folder`` where it names no source.

    Raises:
        BagError: If the source is a bag that cannot be read.
        DatasetError: If it is a data set that cannot be read.
    """
    if plan.source is not None:
        return open_source(plan.source, PerceptionConfig())
    from rgbt_models.synthetic import default_rig
    from rgbt_models.synthetic.dataset import DatasetOptions, describe_rig, write_pairs
    from rgbt_models.synthetic.world import render_pair

    rig, options = default_rig(), DatasetOptions()
    seeds = range(plan.seed, plan.seed + plan.num_pairs)
    pairs = (
        render_pair(seed, rig, sensors=options.sensors)
        for seed in watch(seeds, 'rendering', plan.num_pairs)
    )
    write_pairs(folder, pairs, info={'seed': plan.seed, **describe_rig(rig)}, options=options)
    return open_source(folder, PerceptionConfig())


def record_inputs(
    card: ModelCard, source: PairSource, plan: PairPlan, watch: Watch
) -> list[Mapping[str, NDArray[np.float32]]]:
    """Return what the network gets to see of pairs, by input name, as the pipeline prepares it.

    The network itself is not run.

    Raises:
        RGBTError: If the pairs cannot be used.
    """
    config = with_registration(PerceptionConfig(), source.registration)
    recorder = _Recorder(card)
    pool = PipelinePool(card=card, engine=recorder, config=config, cameras=source.cameras)
    pairs = islice(plain_pairs(source), plan.num_pairs)
    for index, pair in enumerate(watch(pairs, 'reading', plan.num_pairs)):
        variant = CALIBRATED_VARIANTS[index % len(CALIBRATED_VARIANTS)]
        pool.pipeline_for(pair.reference.size_hw, variant).run(build_variant(pair, variant))
    return recorder.inputs


class _Recorder:
    """Stands in the place of an engine: keeps the inputs, and finds nothing in them."""

    backend, device, precision = 'none', 'cpu', 'fp32'

    def __init__(self, card: ModelCard) -> None:
        self.state = EngineState()
        self.inputs: list[Mapping[str, NDArray[np.float32]]] = []
        self._num_classes = len(card.detection_classes), len(card.segmentation_classes)
        self._num_levels = len(card.mdi_calibration.weights)

    def run(self, batch: Batch) -> RawOutputs:
        self.inputs.append({name: getattr(batch, name) for name in INPUT_NAMES})
        height, width = batch.rgb.shape[2:]
        num_kinds, num_labels = self._num_classes
        return RawOutputs(
            class_logits=np.zeros((1, 0, num_kinds), np.float32),
            boxes_xyxy=np.zeros((1, 0, 4), np.float32),
            segmentation_logits=np.zeros((1, num_labels, height // 4, width // 4), np.float32),
            share_map=np.full((1, 1, height // 16, width // 16), 0.5, np.float32),
            rgb_shares=np.full((1, self._num_levels), 0.5, np.float32),
            entropies=np.zeros((1, 2), np.float32),
        )

    def close(self) -> None:
        """Nothing was opened."""
