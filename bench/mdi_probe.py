# SPDX-License-Identifier: Apache-2.0
"""The stronger estimators of dominance, measured on the very input that the pipeline ran.

Tier 1 is the KL divergence when a camera is dropped, tier 2 the Shapley value with pseudo-labels
(docs/dominance.md). Both need the network without a camera, which the exported graph gives by its
input ``available``: three runs more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rgbt_perception.engine import Engine
from rgbt_perception.types import Batch, RawOutputs

if TYPE_CHECKING:
    from torch import Tensor

TIERS = ('tier_0', 'tier_1', 'tier_2')
COALITIONS = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
_LOGITS = ('class_logits', 'segmentation_logits')


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What was measured on one input; +1 or -1 when the network had one camera only."""

    tier_1: float
    tier_2: float


class ProbeEngine:
    """Runs another engine, and again without each camera; see ``Engine`` for the attributes.

    Attributes:
        probed: Of the last run, None before the first.
    """

    def __init__(self, engine: Engine) -> None:
        """Probe ``engine``, which stays the caller's."""
        self._engine = engine
        self.backend, self.device = engine.backend, engine.device
        self.precision, self.state = engine.precision, engine.state
        self.probed: Probed | None = None

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network as asked, and measure what its cameras are worth."""
        raw = self._engine.run(batch)
        has_rgb, has_thermal = (value > 0.0 for value in batch.available[0].tolist())
        if has_rgb and has_thermal:
            self.probed = self._probe(batch, raw)
        else:
            alone = 1.0 if has_rgb else -1.0
            self.probed = Probed(tier_1=alone, tier_2=alone)
        return raw

    def close(self) -> None:
        """Do nothing: the engine is the caller's."""

    def _probe(self, batch: Batch, raw: RawOutputs) -> Probed:
        from rgbt_models.dominance.ablation import Coalitions, drop_effect
        from rgbt_models.dominance.shapley import pseudo_label_values, shapley_mdi

        runs = [raw]
        for available in COALITIONS[1:]:
            asked = replace(batch, available=np.array([available], np.float32))
            runs.append(self._engine.run(asked))
        found = Coalitions(*(_tensors(run) for run in runs))
        effect = drop_effect(found.both, found.thermal_only, found.rgb_only)
        return Probed(
            tier_1=float(effect.mdi[0]), tier_2=float(shapley_mdi(*pseudo_label_values(found))[0])
        )


def by_tier(published: float, probed: Probed) -> Mapping[str, float]:
    """Return all tiers of one pair; tier 0 is what the pipeline published."""
    return {'tier_0': published, 'tier_1': probed.tier_1, 'tier_2': probed.tier_2}


def _tensors(raw: RawOutputs) -> dict[str, Tensor]:
    import torch

    return {name: torch.from_numpy(np.array(getattr(raw, name))) for name in _LOGITS}
