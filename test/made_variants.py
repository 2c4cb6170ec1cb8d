# SPDX-License-Identifier: Apache-2.0
"""Cards with further graphs, which nobody reads."""

from __future__ import annotations

import dataclasses

from rgbt_models.card import ModelCard
from rgbt_models.graph_variant import GraphVariant


def with_variant(card: ModelCard, target: str, precision: str, **gate: object) -> ModelCard:
    """Give a card a graph for one backend, an empty file; ``gate`` is its record."""
    name = f'model.{precision}.{target}.onnx'
    (card.folder / name).write_bytes(b'')
    variant = GraphVariant(
        file=name,
        sha256='0' * 64,
        precision=precision,
        target=target,
        opset=18,
        is_stacked=False,
        gate=gate,
    )
    return dataclasses.replace(card, variants=(*card.variants, variant))
