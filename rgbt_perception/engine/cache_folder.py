# SPDX-License-Identifier: Apache-2.0
"""Where built engines are kept, and whether code may be taken from there."""

from __future__ import annotations

import os
from pathlib import Path
import stat

_FOLDER_NAME = Path('rgbt_perception') / 'engines'
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
