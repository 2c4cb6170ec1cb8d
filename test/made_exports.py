# SPDX-License-Identifier: Apache-2.0
"""Cards, graphs and pairs of exports, made by hand: tracing and rendering take minutes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fakes import build_onnx_card
from made_data import write_dataset
import onnx
from onnx import numpy_helper

from rgbt_models.card import hash_file, ModelCard, save_card
from rgbt_models.graph_variant import GraphVariant
from rgbt_perception.export_gate import MIN_PAIRS
from rgbt_perception.export_pairs import ExportPairs, open_pairs, PairPlan

# Names for the categories of the made data set that no card has.
WHALES = [{'id': number, 'name': 'whale'} for number in (7, 3, 9)]


def watch(items: Iterable[Any], _what: str, _total: int) -> Iterable[Any]:
    return items


def build_full_card(folder: Path) -> ModelCard:
    """Write the card of ``fakes.build_onnx_card`` with a file of weights, which nobody reads."""
    card = build_onnx_card(folder)
    card.weights_path.write_bytes(b'weights')
    card = replace(card, weights_sha256=hash_file(card.weights_path))
    save_card(card)
    return card


def pairs_of(
    dataset: Path | None, count: int = MIN_PAIRS, num_calibration: int = 3
) -> ExportPairs:
    """Return the plan of an export on the pairs of a data set."""
    return ExportPairs(
        calibration=PairPlan(source=dataset, num_pairs=num_calibration, seed=0),
        gate=PairPlan(source=dataset, num_pairs=count, seed=0),
        watch=watch,
    )


def write_pairs(folder: Path, **changes: Any) -> Path:
    """Write a data set of as many pairs as ``pairs_of`` takes."""
    return write_dataset(folder, num_pairs=MIN_PAIRS + 3, **changes)


def settings_of(dataset: Path, folder: Path, **counts: int) -> dict[str, Any]:
    """Return what a measurement needs beside the card."""
    pairs = pairs_of(dataset, **counts)
    return {'source': open_pairs(pairs.gate, folder, watch), 'pairs': pairs}


def write_variant(
    card: ModelCard, folder: Path, *, precision: str, target: str, road_bias: float
) -> GraphVariant:
    """Write the card's graph as a variant, the logit of the road changed."""
    graph = onnx.load(card.graph_path)
    bias = next(item for item in graph.graph.initializer if item.name == 'road_bias')
    values = numpy_helper.to_array(bias).copy()
    values[1] = road_bias
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    file = f'model.{precision}.{target}.onnx'
    onnx.save(graph, folder / file)
    return GraphVariant(
        file=file,
        sha256=hash_file(folder / file),
        precision=precision,
        target=target,
        opset=18,
        is_stacked=False,
        gate={'onnx_parity': 1e-6},
    )
