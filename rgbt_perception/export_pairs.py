# SPDX-License-Identifier: Apache-2.0
"""Pairs that exported graphs are calibrated and measured on: those of the user, or rendered ones.

Rendered pairs are of scenes that no training, calibration of the dominance index or bench renders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgbt_models.card import INPUT_NAMES, ModelCard
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.engine import Engine, open_engine
from rgbt_perception.evaluate import build_variant, PipelinePool
from rgbt_perception.sources import open_source, PairSource, with_registration
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
        num_pairs: How many, from the first on.
        seed: Of the first rendered scene; each further pair has the next one.
    """

    source: Path | None = None
    num_pairs: int
    seed: int

    def describe(self) -> str:
        """Return one phrase that says which pairs these are."""
        if self.source is not None:
            return f"up to {self.num_pairs} pairs of '{self.source.name}'"
        return f'rendered pairs of seeds {self.seed} to {self.seed + self.num_pairs - 1}'


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPairs:
    """The pairs of one export.

    Attributes:
        calibration: An int8 graph is calibrated on these.
        gate: Its loss is measured on these.
        watch: Shows the progress.
    """

    calibration: PairPlan
    gate: PairPlan
    watch: Watch


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

    Raises:
        RGBTError: If the card, its files or the pairs cannot be used.
    """
    config = with_registration(PerceptionConfig(), source.registration)
    recorder = _Recorder(open_engine(card, config.engine))
    pool = PipelinePool(card=card, engine=recorder, config=config, cameras=source.cameras)
    try:
        pairs = islice(source.pairs(), plan.num_pairs)
        for index, item in enumerate(watch(pairs, 'calibrating', plan.num_pairs)):
            variant = CALIBRATED_VARIANTS[index % len(CALIBRATED_VARIANTS)]
            pipeline = pool.pipeline_for(item.pair.reference.size_hw, variant)
            pipeline.run(build_variant(item.pair, variant))
    finally:
        pool.close()
    return recorder.inputs


class _Recorder:
    """An engine that keeps the inputs of another one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.backend, self.device = engine.backend, engine.device
        self.precision, self.state = engine.precision, engine.state
        self.inputs: list[Mapping[str, NDArray[np.float32]]] = []

    def run(self, batch: Batch) -> RawOutputs:
        self.inputs.append({name: getattr(batch, name) for name in INPUT_NAMES})
        return self._engine.run(batch)

    def close(self) -> None:
        self._engine.close()
