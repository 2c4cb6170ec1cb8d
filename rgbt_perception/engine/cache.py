# SPDX-License-Identifier: Apache-2.0
"""Engines that were built on this machine, kept for the next start.

A built engine is code. It is taken only from a folder and a file that belong to this user and that
nobody else may write to, and only with the hash recorded when it was built. Whatever is wrong
with the folder or with a file in it, ``fetch`` returns a good engine, built anew if it must be,
and says why in one sentence.

    <digest>.plan, .blob, .pt2     an engine; the digest is that of its key
    <digest>.json                  its record: key, hash, size; its time is that of the last use
    building-<digest>.plan, ...    an engine that is being built, or whose build was killed
    <digest>.lock                  held by the process that builds or removes it
    *.timings                      what the builder of TensorRT has measured, for its next build
    *.timings.<number>             the same while it is written, or left by a build that was killed
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import logging
import math
import os
from pathlib import Path
import threading
import time

from rgbt_models.card import hash_file
from rgbt_perception.engine.cache_entry import (
    CacheEntry,
    find_defect,
    list_entries,
    lock_path,
    record_path,
    remove_entry,
)
from rgbt_perception.engine.cache_folder import (
    find_folder_problem,
    find_write_problem,
    make_temporary_folder,
    remove_temporary_folder,
)
from rgbt_perception.engine.cache_key import CacheKey, EngineRecord
from rgbt_perception.engine.file_lock import lock_file, mark_in_use, unmark
from rgbt_perception.errors import EngineError

MAX_BYTES = 4 << 30
_PRIVATE = 0o700
_PRIVATE_FILE = 0o600
_BUILDING = 'building-'
_TIMINGS = '*.timings'
_TIMINGS_DRAFTS = '*.timings.*'
# Engines of this process alone, and the locks of their builds, by the digest of their key.
_OUTSIDE: dict[str, Path] = {}
_OUTSIDE_LOCKS: dict[str, threading.Lock] = {}

_LOGGER = logging.getLogger(__name__)


class EngineCache:
    """The engines in one folder; any number of processes and threads may use it at once."""

    def __init__(self, folder: Path | None, *, max_bytes: int = MAX_BYTES) -> None:
        """Take a folder, which is made at the first build.

        Args:
            folder: See ``find_cache_folder``; with None every engine is built for this process.
            max_bytes: After a build the engines not used for longest are removed until all take
                at most this; those that a running process uses stay.
        """
        self._folder = folder
        self._max_bytes = max_bytes

    def fetch(self, key: CacheKey, build: Callable[[Path], None]) -> Path:
        """Return the engine of a key, built if it is not there or not intact.

        Of several processes that want the same engine one builds, the others wait for it.

        Args:
            key: What the engine depends on.
            build: Writes the engine to the given path, which has the suffix of its backend. It is
                called again with another path when the first could not be written.

        Returns:
            Path of the engine; it stays there for as long as this process runs.

        Raises:
            EngineError: If there is no place to write the engine to, or ``build`` raises it.
        """
        found = self.find(key) or _find_outside(key)
        return found or self.keep(key, build) or _fetch_outside(key, build)

    def keep(self, key: CacheKey, build: Callable[[Path], None]) -> Path | None:
        """Build an engine into the cache, unless another process has done so meanwhile.

        Args:
            key: What the engine depends on.
            build: Writes the engine to the given path.

        Returns:
            Path of the engine, None when the folder cannot be used; a warning says why.

        Raises:
            EngineError: If ``build`` raises it.
        """
        try:
            folder = self._prepare_folder()
            with lock_file(lock_path(folder / key.file_name), on_wait=lambda: _log_wait(key)):
                return self._find_or_build(folder, key, build)
        except OSError as error:
            _LOGGER.warning(
                "engine cache %s cannot be used (%s): the %s engine of model '%s' is built for "
                'this process only',
                self._place,
                error.strerror or error,
                key.backend,
                key.model,
            )
            return None

    def find(self, key: CacheKey) -> Path | None:
        """Return the intact engine of a key, None when there is none; says nothing, makes nothing.

        A found engine is not removed by any process for as long as this one runs.
        """
        if self._folder is None or self.find_problem():
            return None
        try:
            path = self._folder / key.file_name
            if not mark_in_use(path) or find_defect(path, key):
                return None
            _touch(record_path(path))
        except OSError:
            return None
        return path

    def discard(self, key: CacheKey) -> None:
        """Remove an intact engine that the runtime refuses.

        It stays where another process runs it, and in a folder that cannot be written to.
        """
        outside = _OUTSIDE.pop(key.digest, None)
        if outside is not None:
            remove_temporary_folder(outside.parent)
        if self._folder is None or self.find_problem():
            return
        path = self._folder / key.file_name
        unmark(path)
        with suppress(OSError):
            remove_entry(path)

    def find_problem(self) -> str:
        """Return why the folder cannot be used, '' when it can; a missing one can be made."""
        return find_folder_problem(self._folder)

    def check_writable(self) -> None:
        """Check that an engine can be put into the folder, as far as it has room.

        Raises:
            EngineError: If it cannot.
        """
        self._check(find_write_problem(self._folder))

    def entries(self) -> tuple[CacheEntry, ...]:
        """Return all engines, last used first; their content is not checked.

        Raises:
            EngineError: If the folder cannot be used.
        """
        return self._list(checks_content=False)

    def verify(self) -> tuple[CacheEntry, ...]:
        """Return all engines, last used first, with what is wrong with their content.

        Raises:
            EngineError: If the folder cannot be used.
        """
        return self._list(checks_content=True)

    def clear(self, *, unused_for_s: float | None = None) -> tuple[CacheEntry, ...]:
        """Remove the engines that no running process uses, and what builds left beside them.

        Args:
            unused_for_s: Engines used more recently than this stay, s; None = none of them.

        Returns:
            The engines that were removed.

        Raises:
            EngineError: If the folder cannot be used.
        """
        # A robot without a clock may have dated its engines into the future.
        latest_s = math.inf if unused_for_s is None else time.time() - unused_for_s
        removed = tuple(
            entry
            for entry in self.entries()
            if entry.used_s <= latest_s and remove_entry(entry.path)
        )
        if self._folder is not None and self._folder.is_dir():
            _remove_remains(self._folder)
            for path in self._folder.glob(_TIMINGS):
                if path.stat().st_mtime <= latest_s:
                    path.unlink(missing_ok=True)
        return removed

    def _prepare_folder(self) -> Path:
        """Make the folder, readable by this user only, and return it.

        Raises:
            OSError: If it cannot be made or used.
        """
        if self._folder is not None and not self._folder.exists():
            self._folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        problem = self.find_problem()
        if self._folder is None or problem:
            raise PermissionError(problem)
        return self._folder

    def _find_or_build(self, folder: Path, key: CacheKey, build: Callable[[Path], None]) -> Path:
        """Return the engine of a key whose lock is held."""
        found = self.find(key)  # built by the process that held the lock before
        if found is not None:
            return found
        path = folder / key.file_name
        if path.exists() or record_path(path).exists():
            _LOGGER.warning(
                "cached engine '%s' of model '%s' %s, expected what was built; it is built again",
                path.name,
                key.model,
                find_defect(path, key),
            )
        building = path.with_name(f'{_BUILDING}{path.name}')
        _remove_remains(folder)
        try:
            record = _build(key, build, building)
            _publish(record, building, path)
        finally:
            building.unlink(missing_ok=True)
        mark_in_use(path)
        try:
            self._evict(folder, path)
        except OSError as error:
            _LOGGER.warning("engine cache '%s' cannot be kept small: %s", folder, error)
        return path

    def _evict(self, folder: Path, latest: Path) -> None:
        """Remove what was not used for longest until the rest takes at most the allowed size."""
        entries = list_entries(folder, checks_content=False)
        excess = sum(entry.size_bytes for entry in entries) - self._max_bytes
        for entry in reversed(entries):
            if excess <= 0:
                return
            if entry.path != latest and remove_entry(entry.path):
                excess -= entry.size_bytes
                _LOGGER.info("removed the cached engine '%s' to make room", entry.path.name)

    def _list(self, *, checks_content: bool) -> tuple[CacheEntry, ...]:
        self._check(self.find_problem())
        folder = self._folder
        return () if folder is None else list_entries(folder, checks_content=checks_content)

    def _check(self, problem: str) -> None:
        if problem:
            raise EngineError(f'engine cache {self._place} cannot be used: {problem}')

    @property
    def _place(self) -> str:
        return f"'{self._folder}'" if self._folder else 'in the home folder'


def _build(key: CacheKey, build: Callable[[Path], None], path: Path) -> EngineRecord:
    """Build an engine and return its record.

    Raises:
        OSError: If the file cannot be written.
        EngineError: If the builder fails or writes nothing.
    """
    start_s = time.monotonic()
    _create(path)
    build(path)
    if not path.is_file() or not path.stat().st_size:
        raise EngineError(
            f"the {key.backend} builder wrote no engine for model '{key.model}', expected a file; "
            f'set engine.backend to another one'
        )
    return EngineRecord(
        key=key,
        sha256=hash_file(path),
        size_bytes=path.stat().st_size,
        build_s=round(time.monotonic() - start_s, 3),
    )


def _publish(record: EngineRecord, building: Path, path: Path) -> None:
    """Give a built engine its name; a reader in between finds the old record and no match."""
    record_building = building.with_suffix('.json')
    try:
        _create(record_building)
        record_building.write_text(record.to_json(), encoding='utf-8')
        for written in (building, record_building):
            with written.open('rb') as file:
                os.fsync(file.fileno())  # a robot is switched off, not shut down
        building.replace(path)
        record_building.replace(record_path(path))
    finally:
        record_building.unlink(missing_ok=True)


def _create(path: Path) -> None:
    """Make an empty file that is this user's, whatever lies there and whatever the umask is."""
    path.unlink(missing_ok=True)
    path.touch(_PRIVATE_FILE, exist_ok=False)


def _find_outside(key: CacheKey) -> Path | None:
    """Return the engine of a key that this process has built for itself, None without one."""
    path = _OUTSIDE.get(key.digest)
    return path if path is not None and path.is_file() else None


def _fetch_outside(key: CacheKey, build: Callable[[Path], None]) -> Path:
    """Return an engine in a folder of this process, built if it is not there.

    Raises:
        EngineError: If there is no place for it either.
    """
    try:
        with _OUTSIDE_LOCKS.setdefault(key.digest, threading.Lock()):
            path = _find_outside(key) or _build_outside(key, build)
            _OUTSIDE[key.digest] = path
            return path
    except OSError as error:
        raise EngineError(
            f"the {key.backend} engine of model '{key.model}' cannot be written ({error}), "
            f'expected room in engine.cache_dir or the temporary folder; free some, or set '
            f'engine.backend to one that builds nothing: onnx'
        ) from error


def _build_outside(key: CacheKey, build: Callable[[Path], None]) -> Path:
    """Build an engine in a new folder of this process.

    Raises:
        OSError: If it cannot be written.
        EngineError: If the builder fails or writes nothing.
    """
    folder = make_temporary_folder()
    path = folder / key.file_name
    try:
        _build(key, build, path)
    except BaseException:
        remove_temporary_folder(folder)
        raise
    return path


def _touch(path: Path) -> None:
    """Note the use of an engine; in a folder that cannot be written to, nobody asks for it."""
    with suppress(OSError):
        os.utime(path)


def _remove_remains(folder: Path) -> None:
    """Remove what killed builds left behind."""
    for path in folder.glob(_TIMINGS_DRAFTS):  # one that is written just now is no loss
        path.unlink(missing_ok=True)
    for path in folder.glob(f'{_BUILDING}*'):
        digest = path.stem.removeprefix(_BUILDING)
        with suppress(BlockingIOError), lock_file(folder / f'{digest}.lock'):
            path.unlink(missing_ok=True)
            _LOGGER.info("removed '%s', left by a build that was interrupted", path)


def _log_wait(key: CacheKey) -> None:
    _LOGGER.warning(
        "waiting for another process that builds the %s engine of model '%s'",
        key.backend,
        key.model,
    )
