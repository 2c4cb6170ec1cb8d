# SPDX-License-Identifier: Apache-2.0
"""Compile and link the code that the ROS generators wrote for a message package."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import os
from pathlib import Path
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LIB, INCLUDE = Path(sys.prefix, 'lib'), Path(sys.prefix, 'include')

COMPILERS = {'.c': ('gcc', '-std=gnu11'), '.cpp': ('g++', '-std=c++17')}
# Both are needed: Kilted works with the first alone, Jazzy refuses to create a publisher then.
TYPESUPPORTS = ('rosidl_typesupport_fastrtps_c', 'rosidl_typesupport_introspection_c')
RUNTIME_LIBRARIES = (
    'rosidl_runtime_c',
    *TYPESUPPORTS,
    'rosidl_typesupport_c',
    'fastcdr',
    'rcutils',
)


class InterfaceBuildError(RuntimeError):
    """The messages cannot be built on this machine; the text says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfacePackage:
    """A folder with ``package.xml`` and ``msg/*.msg``."""

    folder: Path
    name: str
    version: str
    messages: tuple[Path, ...]  # relative to the folder, sorted
    dependencies: tuple[str, ...]  # message packages reachable from ours, sorted


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Where the generators wrote, and the interface files they started from."""

    include_root: Path  # holds one folder named like the package
    idls: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """The package's own folder under ``include_root``."""
        return self.idls[0].parents[1]


def compile_libraries(package: InterfacePackage, generated: Generated) -> tuple[Path, list[Path]]:
    """Compile and link the generated code.

    Returns:
        The Python extension, and one library per type support.

    Raises:
        InterfaceBuildError: If the compiler fails.
    """
    sources = sorted(path for path in generated.folder.rglob('*') if path.suffix in COMPILERS)
    flags = _compiler_flags(generated)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda source: _compile(source, flags), sources))
    python_objects = [path for path in objects if '_s.c.o' in path.name or '_s.ep.' in path.name]
    message_objects = [path for path in objects if path not in python_objects]

    dependencies = [
        f'{name}__{kind}'
        for name in package.dependencies
        for kind in ('rosidl_generator_c', *TYPESUPPORTS, 'rosidl_generator_py')
    ]
    names = [*RUNTIME_LIBRARIES, *dependencies]
    libraries = [generated.folder / f'lib{package.name}__{kind}.so' for kind in TYPESUPPORTS]
    for library in libraries:
        _link(library, message_objects, names, rpath='$ORIGIN')
    extension = generated.folder / f'{package.name}_s__rosidl_typesupport_c.so'
    # From lib/python3.x/site-packages/<package> back to lib.
    own = f'{package.name}__{TYPESUPPORTS[0]}'
    _link(extension, python_objects, [own, *names], rpath='$ORIGIN/../../..')
    return extension, libraries


def _compiler_flags(generated: Generated) -> list[str]:
    import numpy as np

    folders = [
        generated.include_root,
        Path(sysconfig.get_path('include')),
        Path(np.get_include()),
        INCLUDE,
        *sorted(path for path in INCLUDE.iterdir() if path.is_dir()),
    ]
    return ['-fPIC', '-O1', '-w', *(f'-I{folder}' for folder in folders)]


def _compile(source: Path, flags: Sequence[str]) -> Path:
    target = source.with_name(f'{source.name}.o')
    _run([*COMPILERS[source.suffix], *flags, '-c', str(source), '-o', str(target)])
    return target


def _link(target: Path, objects: Sequence[Path], libraries: Sequence[str], *, rpath: str) -> None:
    _run(
        [
            *('g++', '-shared', '-s', '-o', str(target)),
            *(str(path) for path in objects),
            *(
                f'-L{LIB}',
                f'-L{target.parent}',
                f'-Wl,-rpath,{rpath}',
                f'-Wl,-soname,{target.name}',
            ),
            '-Wl,--as-needed',
            *(f'-l{name}' for name in libraries),
        ]
    )


def _run(command: Sequence[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise InterfaceBuildError(
            f'{command[0]} ended with {result.returncode} on generated code, expected 0; '
            f'its message: {result.stderr.strip()[-2000:]}'
        )
