# SPDX-License-Identifier: Apache-2.0
"""Folders that cards are written to: which may be, and how a file gets there whole."""

from __future__ import annotations

import os
from pathlib import Path
import shutil

from rgbt_models.card import CARD_FILE, CARDS_DIR
from rgbt_models.errors import CardError


def check_card_folder(folder: Path) -> None:
    """Check that a card may be written to a folder, which need not be there.

    Raises:
        CardError: If it is part of the package, cannot be written to, or holds something that is
            no card.
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
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD_FILE).is_file():
        raise CardError(
            f"folder '{folder}' holds files, but no {CARD_FILE}; expected a card folder, an empty "
            f'one or a new one; name another one'
        )


def place_file(source: Path, path: Path) -> None:
    """Copy a file; whoever reads it meanwhile finds the old or the new one."""
    draft = path.with_name(f'.{path.name}.{os.getpid()}')
    shutil.copyfile(source, draft)
    draft.replace(path)
