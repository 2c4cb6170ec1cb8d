# SPDX-License-Identifier: Apache-2.0
"""A model as a data set with fewer classes sees it.

Several classes of the model become one before duplicates are removed, so that one object found as
person and as rider is one detection, not a right and a wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rgbt_models.card import ModelCard
from rgbt_perception.engine import Engine
from rgbt_perception.errors import ConfigError
from rgbt_perception.types import Batch, RawOutputs

Classes = Mapping[str, tuple[str, ...]]


def merge_card(card: ModelCard, classes: Classes) -> ModelCard:
    """Return the card with the classes that are left; those without any part are left out.

    Args:
        card: Of the model.
        classes: By new class, the classes of the model that count as it.

    Raises:
        ConfigError: If the model has none of them.
    """
    names = tuple(name for name, parts in classes.items() if _columns(card, parts))
    if not names:
        wanted = ', '.join(part for parts in classes.values() for part in parts)
        raise ConfigError(
            f"card '{card.name}' detects {', '.join(card.detection_classes) or 'nothing'}; "
            f'expected one of {wanted}; choose another card'
        )
    return replace(card, detection_classes=names)


class MergedEngine:
    """Runs another engine and merges its classes; see ``Engine`` for the attributes."""

    def __init__(self, engine: Engine, card: ModelCard, classes: Classes) -> None:
        """Merge what ``engine`` gives.

        Args:
            engine: Runs the card's network; stays the caller's.
            card: The card of the model, not the merged one.
            classes: As of ``merge_card``.
        """
        self._engine = engine
        found = [_columns(card, parts) for parts in classes.values()]
        self._columns = [columns for columns in found if columns]
        self.backend, self.device = engine.backend, engine.device
        self.precision, self.state = engine.precision, engine.state

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network; a merged class has the best logit of its parts."""
        raw = self._engine.run(batch)
        parts = [raw.class_logits[..., columns].max(axis=2) for columns in self._columns]
        return replace(raw, class_logits=np.stack(parts, axis=2))

    def close(self) -> None:
        """Do nothing: the engine is the caller's."""


def _columns(card: ModelCard, parts: tuple[str, ...]) -> list[int]:
    return [card.detection_classes.index(part) for part in parts if part in card.detection_classes]
