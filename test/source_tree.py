# SPDX-License-Identifier: Apache-2.0
"""The repository as the project tests see it: its files, and what each module imports."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
import runpy
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ('rgbt_models', 'rgbt_perception')
BINARY_SUFFIXES = {'.db3', '.gif', '.jpg', '.mcap', '.mp4', '.onnx', '.png', '.safetensors'}

# What .gitignore names: made here, not written here.
_MADE = {'.git', '__pycache__', 'build', 'dist', 'install', 'log', 'demo_out', 'bench_out'}
_MADE_STARTS = ('.venv', '.mypy_cache', '.pytest_cache', '.ruff_cache', '.coverage')


def _is_made(name: str) -> bool:
    return name in _MADE or name.startswith(_MADE_STARTS) or name.endswith('.egg-info')


@cache
def all_files() -> tuple[Path, ...]:
    """List every file of the repository, relative to its root."""
    found = []
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if _is_made(path.name):
                continue
            if path.is_dir():
                folders.append(path)
            else:
                found.append(path.relative_to(ROOT))
    return tuple(sorted(found))


def text_files() -> list[Path]:
    """List the files that people read."""
    return [path for path in all_files() if path.suffix not in BINARY_SUFFIXES]


def python_files(*folders: str) -> list[Path]:
    """List the Python files below some top folders; without arguments, all of them."""
    return [
        path
        for path in all_files()
        if path.suffix == '.py' and (not folders or path.parts[0] in folders)
    ]


@cache
def parse(path: Path) -> ast.Module:
    """Parse one file, given relative to the root."""
    return ast.parse((ROOT / path).read_text(encoding='utf-8'), filename=str(path))


def module_name(path: Path) -> str:
    """Name the module of a file: a/b.py is a.b, a/__init__.py is a."""
    parts = path.with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import statement's target."""

    module: str
    line: int
    lazy: bool  # inside a function
    typing_only: bool  # under `if TYPE_CHECKING`


def imports(path: Path) -> list[Import]:
    """List what a file imports; `from a import b` is a.b if that is a module of ours, else a."""
    found: list[Import] = []
    _visit_imports(parse(path), path, lazy=False, typing_only=False, found=found)
    return found


def _visit_imports(
    node: ast.AST, path: Path, *, lazy: bool, typing_only: bool, found: list[Import]
) -> None:
    for child in ast.iter_child_nodes(node):
        names = _imported_modules(child, path)
        found += [
            Import(module=name, line=child.lineno, lazy=lazy, typing_only=typing_only)  # type: ignore[attr-defined]  # names is empty for what has no line
            for name in names
        ]
        _visit_imports(
            child,
            path,
            lazy=lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)),
            typing_only=typing_only
            or (isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.unparse(child.test)),
            found=found,
        )


def _imported_modules(node: ast.AST, path: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ''
    if node.level:
        package = module_name(path).split('.')
        keep = len(package) - node.level + (path.name == '__init__.py')
        base = '.'.join([*package[:keep], *([base] if base else [])])
    ours = {module_name(file) for file in python_files(*PACKAGES)}
    names = [f'{base}.{alias.name}' for alias in node.names]
    return sorted({name if name in ours else base for name in names})


@cache
def setup_arguments() -> dict[str, Any]:
    """Run setup.py without installing and return what it tells setuptools."""
    with mock.patch('setuptools.setup') as setup:
        runpy.run_path(str(ROOT / 'setup.py'))
    return dict(setup.call_args.kwargs)
