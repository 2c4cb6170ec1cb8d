#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fetches NVIDIA's Python bindings of TensorRT and CUDA, to check our code against them.

The bindings are on PyPI, the libraries behind them are not. Each library that they load is stood
in for by ``stub.c``: with it the bindings can be imported and looked at, without a GPU, but
nothing can be built or run. Needs gcc.

    python tools/tensorrt_stub/fetch_bindings.py [FOLDER]

FOLDER is ``tensorrt_bindings`` in this Python's environment by default, where the tests look. It
will hold ``<package>-<version>/`` for each line of constraints/tensorrt_bindings.txt that fits
this Python, and ``lib/`` with the libraries.
"""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys
import tempfile
import zipfile

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'constraints' / 'tensorrt_bindings.txt'
STUB = Path(__file__).resolve().with_name('stub.c')
LIBRARIES = ('nvinfer', 'nvinfer_plugin', 'nvonnxparser', 'nvparsers')  # the last: TensorRT 8
MAJOR_VERSIONS = (8, 10, 11)


def read_requirements() -> list[str]:
    """Return the lines of the requirements file that name a package."""
    lines = REQUIREMENTS.read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def folder_name(requirement: str) -> str:
    """Return the folder of a requirement, 'a==1.0; marker' -> 'a-1.0'."""
    name, _, version = requirement.partition(';')[0].strip().partition('==')
    return f'{name}-{version}'


def main() -> int:
    """Fetch what is not there yet; return 0."""
    default = Path(sys.prefix) / 'tensorrt_bindings'
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    _compile_stubs(folder / 'lib')
    for requirement in read_requirements():
        target = folder / folder_name(requirement)
        if target.is_dir():
            continue
        is_there = _fetch(requirement, target)
        print(f'{"fetched" if is_there else "not for this Python:"} {requirement}')
    return 0


def _compile_stubs(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for version in MAJOR_VERSIONS:
        for name in LIBRARIES:
            library = folder / f'lib{name}.so.{version}'
            subprocess.run(['gcc', '-shared', '-fPIC', '-o', library, STUB], check=True)


def _fetch(requirement: str, target: Path) -> bool:
    """Download a wheel and unpack it; False if its marker excludes this Python."""
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        wheels = Path(name)
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps']
        subprocess.run(
            [*command, '--only-binary', ':all:', '--dest', wheels, requirement], check=True
        )
        for wheel in wheels.glob('*.whl'):
            unpacked = wheels / 'unpacked'
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(unpacked)
            unpacked.rename(target)
    return target.is_dir()


if __name__ == '__main__':
    sys.exit(main())
