# SPDX-License-Identifier: Apache-2.0
"""Files and functions stay small enough to be read at once, shipped data small enough to fetch."""

from __future__ import annotations

import ast

import pytest
from source_tree import all_files, parse, python_files, ROOT

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MIB = 1 << 20


def test_python_files_have_at_most_400_lines():
    lines = {path: len((ROOT / path).read_text('utf-8').splitlines()) for path in python_files()}
    assert not {str(path): n for path, n in lines.items() if n > MAX_FILE_LINES}


def test_functions_have_at_most_60_lines():
    long = {
        f'{path}:{node.lineno} {node.name}': node.end_lineno - node.lineno + 1
        for path in python_files()
        for node in ast.walk(parse(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert not long


@pytest.mark.parametrize(
    ('folder', 'max_bytes'), [('rgbt_models/cards/tiny', 40 * MIB), ('bags', 16 * MIB)]
)
def test_shipped_data_is_small(folder, max_bytes):
    files = [path for path in all_files() if path.is_relative_to(folder)]
    assert files, f'{folder} is empty'
    assert sum((ROOT / path).stat().st_size for path in files) <= max_bytes


def test_init_files_hold_only_imports_and_all():
    wrong = []
    for path in python_files('rgbt_models', 'rgbt_perception'):
        if path.name != '__init__.py':
            continue
        for node in parse(path).body:
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__'
            if not (is_docstring or is_all or isinstance(node, (ast.Import, ast.ImportFrom))):
                wrong.append(f'{path}:{node.lineno}')
    assert not wrong
