# SPDX-License-Identifier: Apache-2.0
"""Every index of dominance of one pair: both that the node can publish, and two from the outputs.

The node's are those of ``dominance.method``: by shares, and by the contrast of what was found. The
others are the KL divergence of the detections when a camera is dropped, and the Shapley value with
pseudo-labels (docs/dominance.md). They need the network without a camera, which the exported graph
gives by its input ``available``: three runs more. The truth is about objects, so the divergence is
that of the detections alone: most of a label map is ground, sky and walls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from bench.held_out import read_rows, StillPool
from rgbt_models.card import ModelCard
from rgbt_perception.config import PerceptionConfig, RegistrationConfig
from rgbt_perception.datasets import load_dataset
from rgbt_perception.engine import Engine
from rgbt_perception.evaluate import PipelinePool
from rgbt_perception.sources import with_registration
from rgbt_perception.types import Batch, NS_PER_S, Pair, RawOutputs

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED = ('linear_share', 'contrast')  # dominance.method, in this order
ESTIMATORS = (*PUBLISHED, 'drop_kl_detection', 'shapley_pseudo')
COALITIONS = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
_LOGITS = ('class_logits', 'segmentation_logits')


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What was measured on one input; +1 or -1 when the network had one camera only."""

    drop_kl_detection: float
    shapley_pseudo: float


NOTHING = Probed(drop_kl_detection=math.nan, shapley_pseudo=math.nan)


class ProbeEngine:
    """Runs another engine, and again without each camera; see ``Engine`` for the attributes.

    Attributes:
        probed: Of the last run, None before the first.
        raw: What the last run gave.
    """

    def __init__(self, engine: Engine) -> None:
        """Probe ``engine``, which stays the caller's."""
        self._engine = engine
        self.backend, self.device = engine.backend, engine.device
        self.precision, self.state = engine.precision, engine.state
        self.probed: Probed | None = None
        self.raw: RawOutputs | None = None

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network as asked, and measure what its cameras are worth."""
        self.raw = raw = self._engine.run(batch)
        has_rgb, has_thermal = (value > 0.0 for value in batch.available[0].tolist())
        if has_rgb and has_thermal:
            self.probed = self._probe(batch, raw)
        else:
            alone = 1.0 if has_rgb else -1.0
            self.probed = Probed(drop_kl_detection=alone, shapley_pseudo=alone)
        return raw

    def close(self) -> None:
        """Do nothing: the engine is the caller's."""

    def _probe(self, batch: Batch, raw: RawOutputs) -> Probed:
        from torch import stack

        from rgbt_models.dominance.ablation import Coalitions, detection_divergence, effect_of
        from rgbt_models.dominance.shapley import pseudo_label_values, shapley_mdi

        runs = [raw]
        for available in COALITIONS[1:]:
            asked = replace(batch, available=np.array([available], np.float32))
            runs.append(self._engine.run(asked))
        found = Coalitions(*(_tensors(run) for run in runs))
        full, *others = (
            run['class_logits'] for run in (found.both, found.thermal_only, found.rgb_only)
        )
        effect = effect_of(stack([detection_divergence(full, other) for other in others], dim=1))
        return Probed(
            drop_kl_detection=float(effect.mdi[0]),
            shapley_pseudo=float(shapley_mdi(*pseudo_label_values(found))[0]),
        )


class LastOutputEngine:
    """Gives once more what another engine gave last; see ``Engine`` for the attributes."""

    def __init__(self, engine: ProbeEngine) -> None:
        """Repeat ``engine``, which stays the caller's."""
        self._engine = engine
        self.backend, self.device = engine.backend, engine.device
        self.precision, self.state = engine.precision, engine.state

    def run(self, batch: Batch) -> RawOutputs:
        """Return the outputs of the other engine's last run, which had the same input."""
        del batch
        assert self._engine.raw is not None
        return self._engine.raw

    def close(self) -> None:
        """Do nothing: the engine is the caller's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One rendered pair.

    Attributes:
        column: Condition, or scenario.
        source: What it shares with pairs that are no other sample: its scene, or its drive.
        advantage: True contrast advantage, -1..1, above 0 where RGB sees better.
        indices: Index by estimator.
    """

    column: str
    source: str
    advantage: float
    indices: Mapping[str, float]


class Prober:
    """Runs pairs through the product's pipeline and gives all indices."""

    def __init__(
        self,
        card: ModelCard,
        engine: Engine,
        config: PerceptionConfig,
        *,
        is_sequence: bool = False,
    ) -> None:
        """Take over the parts; the engine stays the caller's.

        Args:
            card: Of the model.
            engine: Runs it.
            config: Settings.
            is_sequence: Whether a pair follows the one before it; else each is run by itself.
        """
        self._engine = ProbeEngine(engine)
        pool = PipelinePool if is_sequence else StillPool
        self._pools = {
            method: pool(
                card=card,
                engine=self._engine if index == 0 else LastOutputEngine(self._engine),
                config=replace(config, dominance=replace(config.dominance, method=method)),
            )
            for index, method in enumerate(PUBLISHED)
        }

    def __call__(self, pair: Pair) -> Mapping[str, float]:
        """Return the index of each estimator; NaN where the pipeline publishes or runs nothing."""
        self._engine.probed = None
        # In the order of PUBLISHED: the network runs for the first, the others take its outputs.
        size_hw = pair.reference.size_hw
        published = {
            method: pool.pipeline_for(size_hw).run(pair).dominance.mdi
            for method, pool in self._pools.items()
        }
        probed = self._engine.probed or NOTHING
        return {
            **published,
            'drop_kl_detection': probed.drop_kl_detection,
            'shapley_pseudo': probed.shapley_pseudo,
        }


def measure_column(
    card: ModelCard, engine: Engine, config: PerceptionConfig, folder: Path
) -> list[Measured]:
    """Measure the pairs of a column, each by itself."""
    dataset = load_dataset(folder)
    prober = Prober(card, engine, still_settings(config, dataset.registration))
    rows = read_rows(folder)
    pairs = track(dataset.pairs(), folder.name, total=len(rows), console=Console(stderr=True))
    return [
        Measured(
            column=str(row['condition']),
            source=item.name,
            advantage=float(row['contrast_advantage']),
            indices=prober(item.pair),
        )
        for item, row in zip(pairs, rows, strict=True)
    ]


def measure_sequence(
    card: ModelCard, engine: Engine, config: PerceptionConfig, folder: Path, rate_hz: float
) -> list[Measured]:
    """Measure a sequence in order, ``rate_hz`` pairs per second, less those that show nothing."""
    dataset = load_dataset(folder)
    settings = still_settings(config, dataset.registration)
    prober = Prober(card, engine, settings, is_sequence=True)
    found = []
    for index, (item, row) in enumerate(zip(dataset.pairs(), read_rows(folder), strict=True)):
        indices = prober(_at(item.pair, round((1.0 + index / rate_hz) * NS_PER_S)))
        if math.isnan(indices['drop_kl_detection']):
            continue  # neither camera showed anything
        name, advantage = folder.name.rpartition('-')[0], float(row['contrast_advantage'])
        found.append(
            Measured(column=name, source=folder.name, advantage=advantage, indices=indices)
        )
    return found


def still_settings(config: PerceptionConfig, registration: RegistrationConfig) -> PerceptionConfig:
    """Take over a data set's registration, without measuring how well it fits."""
    config = with_registration(config, registration)
    return replace(config, registration=replace(config.registration, score_every=0))


def _at(pair: Pair, stamp_ns: int) -> Pair:
    return Pair(
        rgb=None if pair.rgb is None else replace(pair.rgb, stamp_ns=stamp_ns),
        thermal=None if pair.thermal is None else replace(pair.thermal, stamp_ns=stamp_ns),
    )


def _tensors(raw: RawOutputs) -> dict[str, Tensor]:
    import torch

    return {name: torch.from_numpy(np.array(getattr(raw, name))) for name in _LOGITS}
