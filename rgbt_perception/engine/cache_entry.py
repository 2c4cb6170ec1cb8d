# SPDX-License-Identifier: Apache-2.0
"""One engine of the cache: its file, the record beside it, and what may be wrong with them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
import re

from rgbt_models.card import hash_file
from rgbt_perception.engine.cache_folder import find_file_problem
from rgbt_perception.engine.cache_key import CacheKey, EngineRecord, parse_record
from rgbt_perception.engine.file_lock import is_in_use, lock_file, remove_unused

_NAME = re.compile(r'(?P<digest>[0-9a-f]{32})(\.json|\.plan|\.blob|\.pt2)')


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One engine of the cache.

    Attributes:
        path: Its file; may be missing.
        record: What lies beside it, None when that cannot be read.
        size_bytes: Bytes on the disk.
        used_s: When it was last built or fetched, s since 1970.
        is_in_use: Whether a running process has fetched it.
        problem: Why it cannot be used, '' when nothing is known to be wrong with it.
    """

    path: Path
    record: EngineRecord | None
    size_bytes: int
    used_s: float
    is_in_use: bool
    problem: str


def list_entries(folder: Path, *, checks_content: bool) -> tuple[CacheEntry, ...]:
    """Return the engines in a folder, last used first."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    # With both there, the engine stands for its record.
    paths = {
        match['digest']: folder / name
        for name in sorted(names, key=lambda name: not name.endswith('.json'))
        if (match := _NAME.fullmatch(name))
    }
    entries = []
    for path in paths.values():
        with suppress(FileNotFoundError):  # another process removed it in between
            entries.append(_load_entry(path, checks_content=checks_content))
    return tuple(sorted(entries, key=lambda entry: entry.used_s, reverse=True))


def _load_entry(path: Path, *, checks_content: bool) -> CacheEntry:
    record = _load_record(path)
    stamped = record_path(path) if record else path
    return CacheEntry(
        path=path,
        record=record,
        size_bytes=path.stat().st_size,
        used_s=stamped.stat().st_mtime,
        is_in_use=is_in_use(path),
        problem=find_defect(path, record.key if record else None, checks_content=checks_content),
    )


def find_defect(path: Path, key: CacheKey | None, *, checks_content: bool = True) -> str:
    """Return what is wrong with an engine, as the end of a sentence; '' when it is intact."""
    if not path.exists() or path == record_path(path):
        return 'is missing'
    record = _load_record(path)
    problem = find_file_problem(path)
    if problem or record is None:
        return problem or 'has no readable record'
    if record.key != key or path.stem != record.key.digest:
        return 'is recorded as another one'
    if path.stat().st_size != record.size_bytes:
        return f'has {path.stat().st_size} of {record.size_bytes} bytes'
    if checks_content and hash_file(path) != record.sha256:
        return 'was altered'
    return ''


def _load_record(path: Path) -> EngineRecord | None:
    file = record_path(path)
    try:
        return None if find_file_problem(file) else parse_record(file.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def record_path(path: Path) -> Path:
    """Return the path of the record of an engine."""
    return path.with_suffix('.json')


def lock_path(path: Path) -> Path:
    """Return the file that stands for the lock of an engine, held to build or remove it."""
    return path.with_suffix('.lock')


def remove_entry(path: Path) -> bool:
    """Remove an engine and its record; return whether they are gone.

    They stay while a process uses or builds the engine.

    Raises:
        OSError: If the folder cannot be written to.
    """
    with suppress(BlockingIOError), lock_file(lock_path(path)):
        if remove_unused(path):
            record_path(path).unlink(missing_ok=True)
            return True
    return False
