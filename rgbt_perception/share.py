# SPDX-License-Identifier: Apache-2.0
"""Files that are installed beside the package: settings, transport profile, sample bag.

They live in ``share/rgbt_perception`` of the installation, or at the top of the source tree.
"""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import sys

from rgbt_perception.errors import ConfigError

PACKAGE = 'rgbt_perception'


def find_share_file(relative: str) -> Path:
    """Find a file or folder that ships with the package.

    Args:
        relative: Path below ``share/rgbt_perception``, e.g. 'config/fastdds_shm.xml'.

    Returns:
        Absolute path. The source tree comes first, then the installation this module is part of,
        the interpreter's prefix and the ROS prefixes of ``AMENT_PREFIX_PATH``.

    Raises:
        ConfigError: If it is in none of them.
    """
    for folder in share_folders():
        if (folder / relative).exists():
            return folder / relative
    raise ConfigError(
        f"'{relative}' was not found in share/{PACKAGE}; expected it in one of "
        f'{", ".join(str(folder) for folder in share_folders())}; install the package again'
    )


def share_folders() -> Iterator[Path]:
    """Yield the folders in which shipped files may lie, best first."""
    here = Path(__file__).resolve()
    if (here.parents[1] / 'package.xml').is_file():
        yield here.parents[1]
    for parent in here.parents[1:6]:
        yield parent / 'share' / PACKAGE
    yield Path(sys.prefix) / 'share' / PACKAGE
    for prefix in filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)):
        yield Path(prefix) / 'share' / PACKAGE
