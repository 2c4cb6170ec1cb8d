# SPDX-License-Identifier: Apache-2.0
"""Samples left out of a data set: counted and named, never fatal, never silent."""

from __future__ import annotations

import json
import logging
from pathlib import Path

SKIPPED_FILE = 'skipped.jsonl'
_LOGGER = logging.getLogger(__name__)


class Skipped:
    """Names of what was left out, each with the reason.

    Attributes:
        reasons: Reason by name, in the order in which they were met.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.reasons: dict[str, str] = {}

    def __len__(self) -> int:
        """Return how many were left out."""
        return len(self.reasons)

    def add(self, name: str, reason: str) -> None:
        """Note one; the same name twice counts once. A new one is logged as a warning."""
        if name not in self.reasons:
            _LOGGER.warning('left out %s: %s', name, reason)
            self.reasons[name] = reason

    def write(self, out: Path) -> Path:
        """Write all as JSON lines into a folder, or beside a file; return the path."""
        path = out / SKIPPED_FILE if out.is_dir() else out.with_name(f'{out.stem}_{SKIPPED_FILE}')
        lines = [json.dumps({'name': n, 'reason': r}) for n, r in self.reasons.items()]
        path.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
        return path
