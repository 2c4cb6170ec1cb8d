# SPDX-License-Identifier: Apache-2.0
"""Add a graph to a card: make it, measure what it loses, record it with its figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
import logging
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any

from rgbt_models.card import CARD_FILE, CARDS_DIR, load_card, ModelCard, save_card
from rgbt_models.graph_variant import GraphVariant, VariantRequest
from rgbt_perception.errors import CardError
from rgbt_perception.export_gate import Gate, measure_gate
from rgbt_perception.export_pairs import ExportPairs, open_pairs, record_inputs

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
        RGBTError: If the model, its files or the pairs cannot be used.
    """
    from rgbt_models.export_variant import export_variant

    home = find_home(card, out_dir)
    with tempfile.TemporaryDirectory(prefix='rgbt_export_') as name:
        work = Path(name)

        def calibrate() -> Any:
            source = open_pairs(pairs.calibration, work / 'calibration', pairs.watch)
            return record_inputs(card, source, pairs.calibration, pairs.watch)

        variant = export_variant(card, request, work, calibrate=calibrate)
        record = dict(variant.gate)
        if request.precision == 'int8':
            record['calibrated_on'] = pairs.calibration.describe()
        measured = None
        if request.precision != 'fp32' or request.keep_tokens < 1.0:
            source = open_pairs(pairs.gate, work / 'gate', pairs.watch)
            measured = measure_gate(card, variant, work, source=source, pairs=pairs)
            record |= {'measured_on': pairs.gate.describe(), **measured.to_record()}
        is_refused = measured is not None and not measured.is_passed
        record['forced'] = is_refused
        variant = replace(variant, gate=record)
        if is_refused and not is_forced:
            return Exported(variant=variant, gate=measured, path=None)
        path = _record(card, variant, work / variant.file, home)
    _LOGGER.info('wrote %s', path)
    return Exported(variant=variant, gate=measured, path=path)


def find_home(card: ModelCard, out_dir: Path | None) -> Path:
    """Return the card folder that a graph goes to, after a check that it can.

    Raises:
        CardError: If it cannot be written to, is part of the package, or holds another model.
    """
    if out_dir is None:
        if card.folder.is_relative_to(CARDS_DIR) or not os.access(card.folder, os.W_OK):
            raise CardError(
                f"card folder '{card.folder}' is part of the installed package or cannot be "
                f'written to; expected a folder of your own; add --out DIR, which copies the card'
            )
        return card.folder
    home = out_dir.expanduser().resolve()
    if (home / CARD_FILE).is_file():
        found = load_card(home)
        if found.weights_sha256 != card.weights_sha256:
            raise CardError(
                f"'{home}' holds the card of another model, '{found.name}' version "
                f"{found.version}; expected a copy of '{card.name}' version {card.version}, or a "
                f'new folder; choose another one'
            )
    return home


def _record(card: ModelCard, variant: GraphVariant, graph: Path, home: Path) -> Path:
    """Put the graph into the card folder first, then say so in the card."""
    home.mkdir(parents=True, exist_ok=True)
    if (home / CARD_FILE).is_file():
        card = load_card(home)
    else:
        for file in (card.weights_path, card.graph_path):
            _place(file, home / file.name)
        for item in card.variants:
            _place(card.folder / item.file, home / item.file)
    _place(graph, home / variant.file)
    save_card(replace(card, folder=home).with_variant(variant))
    return home / variant.file


def _place(source: Path, path: Path) -> None:
    """Copy a file; whoever reads it meanwhile finds the old or the new one."""
    draft = path.with_name(f'.{path.name}.{os.getpid()}')
    shutil.copyfile(source, draft)
    draft.replace(path)
