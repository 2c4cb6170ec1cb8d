# SPDX-License-Identifier: Apache-2.0
"""Locks between processes; the kernel drops them when a process ends, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import fcntl
import os
from pathlib import Path
import shutil
import threading

_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe in the folder is not waited for
# Descriptors of the files that this process uses: such a lock lasts as long as the process.
_IN_USE: dict[Path, int] = {}
_IN_USE_GUARD = threading.Lock()


@contextmanager
def lock_file(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Be the only process, and thread, inside this block; the file is removed at its end.

    Args:
        path: File that stands for the lock; made when it is not there.
        on_wait: Called before waiting for another holder; None = do not wait.

    Raises:
        BlockingIOError: If another one holds it and there is no ``on_wait``.
        OSError: If the file cannot be made, or the file system knows no locks.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if on_wait is None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            elif not _try_lock(descriptor):
                on_wait()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_at(descriptor, path):  # removed by the holder that was waited for
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            _unlock(descriptor)


def mark_in_use(path: Path) -> bool:
    """Keep a file or folder from ``remove_unused`` of any process until this process ends.

    Returns:
        False when it is not there.

    Raises:
        OSError: If it cannot be opened, or the file system knows no locks.
    """
    with _IN_USE_GUARD:
        held = _IN_USE.get(path)
        if held is not None and _is_at(held, path):
            return True
        try:
            descriptor = os.open(path, _READ_ONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError:
            os.close(descriptor)
            raise
        if not _is_at(descriptor, path):  # removed before it was marked
            _unlock(descriptor)
            return False
        if held is not None:
            _unlock(held)
        _IN_USE[path] = descriptor
        return True


def unmark(path: Path) -> None:
    """Take the mark of ``mark_in_use`` back."""
    with _IN_USE_GUARD:
        descriptor = _IN_USE.pop(path, None)
        if descriptor is not None:
            _unlock(descriptor)


def is_in_use(path: Path) -> bool:
    """Return whether a process has marked this file as in use."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        _unlock(descriptor)


def remove_unused(path: Path) -> bool:
    """Remove a file or folder unless a process has marked it as in use.

    The caller sees to it that nobody puts another file in its place meanwhile.

    Returns:
        Whether it is gone.
    """
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return True
    try:
        if not _try_lock(descriptor):
            return False
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        return True
    finally:
        _unlock(descriptor)


def _open(path: Path) -> int:
    """Open a file to lock it for oneself alone, which over NFS takes the right to write."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return os.open(path, _READ_ONLY)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the path still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _unlock(descriptor: int) -> None:
    """Unlock and close; a copy of the descriptor in a forked child would keep the lock."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
