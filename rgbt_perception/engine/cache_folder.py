# SPDX-License-Identifier: Apache-2.0
"""Where built engines are kept, and whether code may be taken from there."""

from __future__ import annotations

import atexit
from contextlib import suppress
import os
from pathlib import Path
import shutil
import stat
import tempfile

from rgbt_perception.engine.file_lock import mark_in_use, remove_unused, unmark

_FOLDER_NAME = Path('rgbt_perception') / 'engines'
_TEMPORARY = 'rgbt_engine_'
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def find_cache_folder(cache_dir: str = '') -> Path | None:
    """Return the folder of the engine cache.

    Args:
        cache_dir: The setting ``engine.cache_dir``; '' = below $XDG_CACHE_HOME, else ~/.cache.

    Returns:
        The folder, which need not be there; None when nothing is set and the user has no home.
    """
    try:
        if cache_dir:
            return Path(cache_dir).expanduser().absolute()
        base = os.environ.get('XDG_CACHE_HOME', '')
        # By its specification a relative one is ignored.
        return (Path(base) if base.startswith('/') else Path.home() / '.cache') / _FOLDER_NAME
    except RuntimeError:  # no home
        return None


def find_folder_problem(folder: Path | None) -> str:
    """Return why a folder cannot hold engines, '' when it can; a missing one can be made.

    A built engine is code, so nobody but this user may be able to put one there.
    """
    if folder is None:
        return 'the user has none; set engine.cache_dir'
    try:
        status = folder.stat()
    except FileNotFoundError:
        return ''
    except OSError as error:
        return f'{error.strerror}; set engine.cache_dir'
    if not stat.S_ISDIR(status.st_mode):
        return 'it is no folder; set engine.cache_dir'
    if status.st_uid != os.geteuid():
        return f'it belongs to user {status.st_uid}, not {os.geteuid()}; set engine.cache_dir'
    is_open = bool(status.st_mode & _WRITABLE_BY_OTHERS)
    return 'others may write to it; give it mode 700, or set engine.cache_dir' if is_open else ''


def find_write_problem(folder: Path | None) -> str:
    """Return why no engine can be put into a folder, '' when one can, as far as it has room."""
    problem = find_folder_problem(folder)
    if problem or folder is None:
        return problem
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        return ''
    return f"'{there}' cannot be written to; set engine.cache_dir"


def find_file_problem(path: Path) -> str:
    """Return why somebody else may have made a file that is there, '' when this user did.

    It matters in a private folder, too: that may have been open to others before.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return 'is no regular file'
    if status.st_uid != os.geteuid():
        return f'belongs to user {status.st_uid}, not {os.geteuid()}'
    return 'may be written to by others' if status.st_mode & _WRITABLE_BY_OTHERS else ''


def make_temporary_folder() -> Path:
    """Make a private folder that is removed when this process ends.

    That of a process that was killed is removed by the next one that makes one.

    Raises:
        OSError: If it cannot be made.
    """
    for path in Path(tempfile.gettempdir()).glob(f'{_TEMPORARY}*'):
        with suppress(OSError):
            if not path.is_symlink() and path.lstat().st_uid == os.geteuid():
                remove_unused(path)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
        if _is_ours(folder):  # else another process has just taken it for one left behind
            atexit.register(remove_temporary_folder, folder)
            return folder


def remove_temporary_folder(folder: Path) -> None:
    """Remove what ``make_temporary_folder`` made."""
    unmark(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Mark a new folder as in use; return False when it is gone."""
    try:
        return mark_in_use(folder)
    except OSError:  # a file system without locks, where no process removes what others left
        return folder.is_dir()
