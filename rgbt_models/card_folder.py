# SPDX-License-Identifier: Apache-2.0
"""Folders that cards are written to: which may be, and how the files get there whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
import os
from pathlib import Path
import shutil
import tempfile

from rgbt_models.card import CARD_FILE, CARDS_DIR, GRAPH_FILE, load_card, ModelCard, save_card
from rgbt_models.errors import CardError

# Begins the name of the folder, in that of the card, that files are copied to first. What was
# killed meanwhile leaves it there, so it does not count as files of others.
_DRAFTS_PREFIX = '.rgbt_draft_'


def check_card_folder(folder: Path) -> None:
    """Check that a card may be written to a folder, which need not be there.

    Raises:
        CardError: If it is part of the package, cannot be written to, or holds something that is
            neither a card nor left by a ``write_card`` that was killed.
    """
    folder = folder.expanduser().resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    is_ours = existing.is_dir() and os.access(existing, os.W_OK)
    # Both resolved: an installation by links names its files in the source tree.
    if folder.is_relative_to(CARDS_DIR.resolve()) or not is_ours:
        raise CardError(
            f"card folder '{folder}' is part of the installed package or cannot be written to; "
            f'expected a folder of your own; name another one, or for a graph add --out DIR, '
            f'which copies the card'
        )
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    is_foreign = any(not name.startswith(_DRAFTS_PREFIX) for name in names)
    if is_foreign and not (folder / CARD_FILE).is_file():
        raise CardError(
            f"folder '{folder}' holds files, but no {CARD_FILE}; expected a card folder, an empty "
            f'one or a new one; name another one'
        )


def write_card(card: ModelCard, files: Iterable[Path]) -> None:
    """Put files into the folder of a card, then the card, then remove graphs it no longer names.

    Whoever reads a file meanwhile finds the old or the new one. All are copied into a folder of
    drafts before the first is moved to its place: an interrupted copy changes nothing.

    Args:
        card: Its folder need not be there, and may hold another card, also one that cannot be
            read.
        files: Those of its weights and graphs that are new, under the names that the card gives
            them.
    """
    card.folder.mkdir(parents=True, exist_ok=True)
    former = _list_variant_files(card.folder)
    with tempfile.TemporaryDirectory(prefix=_DRAFTS_PREFIX, dir=card.folder) as name:
        drafts = Path(name)
        names = [shutil.copyfile(file, drafts / file.name).name for file in files]
        save_card(replace(card, folder=drafts))
        for file_name in (*names, CARD_FILE):  # a card never names a file that is not there yet
            (drafts / file_name).replace(card.folder / file_name)
    kept = {GRAPH_FILE, *(variant.file for variant in card.variants)}
    for file_name in former - kept:
        (card.folder / file_name).unlink(missing_ok=True)


def _list_variant_files(folder: Path) -> set[str]:
    """Return the graphs that the card in a folder names beside its ``model.onnx``."""
    try:
        return {variant.file for variant in load_card(folder).variants}
    except CardError:  # there is none, or one that this version cannot read
        return set()
