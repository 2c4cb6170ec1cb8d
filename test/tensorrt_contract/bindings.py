# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's real bindings, each version as a list of what it offers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
import json
import os
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

import pytest

BINDINGS = Path(sys.prefix) / 'tensorrt_bindings'
FETCH = 'tools/tensorrt_stub/fetch_bindings.py'
# Folders that tools/tensorrt_stub/fetch_bindings.py fills.
TENSORRT = {
    '8.6.1': ('tensorrt-bindings-8.6.1',),
    '10.3.0': ('tensorrt-cu12-bindings-10.3.0',),
    '10.16.1': ('tensorrt-cu12-bindings-10.16.1.11',),
    '11.4.0': ('tensorrt-cu13-bindings-11.4.0.106',),
}
CUDA = {
    '12.2.0': ('cuda-python-12.2.0',),
    '13.5.0': ('cuda-bindings-13.5.0', 'cuda-pathfinder-1.9.0'),
}
CUDA_MODULES = {'12.2.0': 'cuda.cudart', '13.5.0': 'cuda.bindings.runtime'}
CPP_NAMES = {'nvonnxparser::IParserError': 'ParserError', 'nvinfer1::TensorIOMode': 'TensorIOMode'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One way to call a function, without self.

    Attributes:
        names: Parameters, in order.
        num_required: So many of them have no default.
        result: Name of the class it returns, as written.
    """

    names: tuple[str, ...]
    num_required: int
    result: str

    def accepts(self, num_positional: int, keywords: set[str]) -> bool:
        given = [*self.names[:num_positional], *keywords]
        return (
            num_positional <= len(self.names)
            and len(set(given)) == len(given)
            and set(given) <= set(self.names)
            and set(self.names[: self.num_required]) <= set(given)
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Surface:
    """What one version of a module offers."""

    version: str
    classes: dict[str, dict[str, dict[str, Any]]]
    enums: dict[str, dict[str, int]]
    functions: dict[str, str]
    values: dict[str, int | str]

    def find(self, owner: str, name: str) -> str | None:
        """Kind of an attribute of a class, enumeration or ('') module; None without it."""
        if not owner:
            kinds = {
                'enum': self.enums,
                'class': self.classes,
                'method': self.functions,
                'data': self.values,
            }
            return next((kind for kind, names in kinds.items() if name in names), None)
        if owner in self.enums:
            return 'member' if name in self.enums[owner] else None
        attribute = self.classes.get(owner, {}).get(name)
        return attribute['kind'] if attribute else None

    def signatures(self, owner: str, name: str) -> tuple[Signature, ...]:
        """Ways to call a method, function or ('__init__') class; () where the docs say none."""
        doc = self.classes[owner][name]['doc'] if owner else self.functions[name]
        pattern = rf'^(?:\d+\. )?{name}\((.*)\)(?: -> (.+))?$'
        return tuple(
            parse_signature(match[1], match[2] or '')
            for line in doc.splitlines()
            if (match := re.match(pattern, line.strip())) and '*args' not in match[1]
        )


def parse_signature(parameters: str, result: str) -> Signature:
    """Parse 'self: a.B, index: int = 0' of pybind11, or 'size_t size' of Cython."""
    # Defaults such as <Severity.WARNING: 2> and types such as dict[str, int] hold no name.
    flat = re.sub(r'<[^>]*>|\[[^\[\]]*\]|\[[^\[\]]*\]', 'x', parameters)
    found = [item.strip() for item in flat.split(',') if item.strip()]
    found = [item for item in found if item.partition(':')[0] != 'self']
    names = tuple(re.split(r'[:=]', item)[0].split()[-1] for item in found)
    num_required = sum('=' not in item for item in found)
    result = CPP_NAMES.get(result, result).rpartition('.')[2]
    return Signature(names=names, num_required=num_required, result=result)


@cache
def load_tensorrt(version: str) -> Surface:
    return load(version, 'tensorrt_bindings', TENSORRT[version])


@cache
def load_cuda(version: str) -> Surface:
    return load(version, CUDA_MODULES[version], CUDA[version])


def load(version: str, module: str, folders: tuple[str, ...]) -> Surface:
    """Import a binding in a process of its own and list what it offers."""
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name('describe_module.py'), module],
        env=environment(folders),
        capture_output=True,
        text=True,
        check=True,
    )
    return Surface(version=version, **json.loads(result.stdout))


def environment(folders: tuple[str, ...], *paths: Path) -> dict[str, str]:
    """Return variables with which a process finds a binding; skip if it was not fetched."""
    found = [BINDINGS / folder for folder in folders]
    if not all(path.is_dir() for path in found):
        pytest.skip(f'needs the bindings {folders[0]}: run {FETCH}, which fetches those there are')
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(map(str, [*found, *paths])),
        'LD_LIBRARY_PATH': str(BINDINGS / 'lib'),
    }
