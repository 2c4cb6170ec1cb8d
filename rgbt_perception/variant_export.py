# SPDX-License-Identifier: Apache-2.0
"""Add a graph to a card: make it, measure what it loses, record it with its figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
import importlib
import logging
from pathlib import Path
import tempfile
from typing import Any

from rgbt_models.card import CARD_FILE, load_card, ModelCard
from rgbt_models.card_folder import check_card_folder, write_card
from rgbt_models.graph_variant import GraphVariant, VariantRequest
from rgbt_perception.errors import CardError, DatasetError
from rgbt_perception.export_gate import (
    check_runs,
    Gate,
    measure_baseline,
    measure_gate,
    MIN_PAIRS,
)
from rgbt_perception.export_pairs import ExportPairs, open_pairs, PairPlan, record_inputs

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """How an export ended.

    Attributes:
        variant: The graph, with its figures.
        gate: What it loses; None for a graph that computes what the float32 graph does.
        path: Where the graph lies; None when it was not written.
    """

    variant: GraphVariant
    gate: Gate | None
    path: Path | None


def export_to_card(
    card: ModelCard,
    request: VariantRequest,
    *,
    out_dir: Path | None,
    pairs: ExportPairs,
    is_forced: bool,
) -> Exported:
    """Make a graph and write it beside its card, if it loses little enough.

    Args:
        card: The model.
        request: Which graph.
        out_dir: Card folder to write to; a new one becomes a copy of the card. None = that of the
            card.
        pairs: What it is calibrated and measured on.
        is_forced: Write it whatever it loses, and say so in the card.

    Raises:
        CardError: If the folder cannot be written to, or holds another model.
        DatasetError: If the loss cannot be measured on the pairs.
        RGBTError: If the model, its files or the pairs cannot be used.
    """
    from rgbt_models.export_variant import check_request, export_variant

    home = find_home(card, out_dir)
    check_request(card, request)
    if request.is_gated:
        importlib.import_module('pycocotools')  # which the metrics need at the very end
        check_gate_pairs(card, pairs.gate)
    with tempfile.TemporaryDirectory(prefix='rgbt_export_') as name:
        work = Path(name)

        def calibrate() -> Any:
            source = open_pairs(pairs.calibration, work / 'calibration', pairs.watch)
            return record_inputs(card, source, pairs.calibration, pairs.watch)

        # What the loss is measured against comes first: nearly all that can be amiss shows there.
        measure = _prepare_gate(card, request.target, work, pairs) if request.is_gated else None
        variant = export_variant(card, request, work, calibrate=calibrate)
        record = dict(variant.gate)
        if request.precision != 'fp32':
            record['calibrated_on'] = pairs.calibration.describe()
        gate = None
        if measure is None:
            check_runs(card, variant, work)
        else:
            gate = measure(variant)
            record |= {'measured_on': pairs.held_out.describe(), **gate.to_record()}
        is_refused = gate is not None and not gate.is_passed
        record['forced'] = is_refused and is_forced
        variant = replace(variant, gate=record)
        if is_refused and not is_forced:
            return Exported(variant=variant, gate=gate, path=None)
        path = _record(card, variant, work / variant.file, home)
    _LOGGER.info('wrote %s', path)
    return Exported(variant=variant, gate=gate, path=path)


def check_gate_pairs(card: ModelCard, plan: PairPlan) -> None:
    """Check that the pairs of a gate can tell what a graph loses.

    Raises:
        DatasetError: If they are too few, or the training of the model has rendered some of them.
    """
    from rgbt_models.train.origin import scenes_of

    if plan.num_pairs < MIN_PAIRS:
        raise DatasetError(
            f'{plan.num_pairs} pairs are to be measured on; expected {MIN_PAIRS} or more; correct '
            f'--gate-pairs'
        )
    last = plan.seed + plan.num_pairs - 1
    for scenes in scenes_of(card.training):
        if plan.source is None and scenes.start <= last and plan.seed < scenes.stop:
            raise DatasetError(
                f"card '{card.name}' was trained on the rendered scenes {scenes.start} to "
                f'{scenes.stop - 1}, the gate would render {plan.seed} to {last}; expected '
                f'others; add --gate DATASET'
            )


def _prepare_gate(
    card: ModelCard, target: str, work: Path, pairs: ExportPairs
) -> Callable[[GraphVariant], Gate]:
    """Measure the float32 graph; return what measures another one against it."""
    source = open_pairs(pairs.gate, work / 'gate', pairs.watch)
    baseline = measure_baseline(card, target, work, source=source, pairs=pairs)
    return partial(measure_gate, card, folder=work, baseline=baseline, source=source, pairs=pairs)


def find_home(card: ModelCard, out_dir: Path | None) -> Path:
    """Return the card folder that a graph goes to, after a check that it can.

    Raises:
        CardError: If it cannot be written to, is part of the package, holds another model, or
            something that is no card.
    """
    home = (card.folder if out_dir is None else out_dir).expanduser().resolve()
    check_card_folder(home)
    if out_dir is not None and (home / CARD_FILE).is_file():
        found = load_card(home)
        if found.weights_sha256 != card.weights_sha256:
            raise CardError(
                f"'{home}' holds the card of another model, '{found.name}' version "
                f"{found.version}; expected a copy of '{card.name}' version {card.version}, or a "
                f'new folder; choose another one'
            )
    return home


def _record(card: ModelCard, variant: GraphVariant, graph: Path, home: Path) -> Path:
    """Add the graph to the card in a folder, or to a copy of the card where there is none."""
    if (home / CARD_FILE).is_file():
        write_card(load_card(home).with_variant(variant), [graph])
    else:
        copied = replace(card, folder=home).with_variant(variant)
        others = [card.folder / item.file for item in copied.variants if item != variant]
        write_card(copied, [card.weights_path, card.graph_path, *others, graph])
    return home / variant.file
