# SPDX-License-Identifier: Apache-2.0
"""Rules for the text of every file: licence line, vocabulary, nothing of one machine."""

from __future__ import annotations

import ast
import re

from source_tree import PACKAGES, parse, python_files, ROOT, text_files

# No comments possible, or text of somebody else.
WITHOUT_LICENCE_LINE = {'.json', '.jsonl', '.txt'}
NAMES_WITHOUT_LICENCE_LINE = {'LICENSE', 'py.typed', 'metadata.yaml', 'rig.param.yaml'}
HEAD_LINES = 3

# Names that the vocabulary of this project replaces: word -> what to write.
REPLACED = {
    'backbone': 'encoder',
    'bbox': 'box, boxes_xyxy',
    'bboxes': 'boxes_xyxy',
    'conf': 'scores',
    'dets': 'detections',
    'infrared': 'thermal',
    'lwir': 'thermal',
    'preds': 'detections, logits',
    'pred': 'detections, logits',
    'slop': 'max_skew_s',
    'timestamp': 'stamp_ns',
    'tolerance': 'max_skew_s or what is allowed to differ',
    'visible_image': 'rgb',
}
MODULES_WITHOUT_SUBJECT = {'common', 'helper', 'helpers', 'misc', 'util', 'utils'}
ONE_MACHINE = re.compile(r'(?<![\w.])/(?:home|root|Users)/\w')


def defined_names(path):
    """Yield (line, name) of the functions, classes, arguments and variables of a file."""
    for node in ast.walk(parse(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def test_every_file_has_its_licence_line():
    without = []
    for path in text_files():
        if path.suffix in WITHOUT_LICENCE_LINE or path.name in NAMES_WITHOUT_LICENCE_LINE:
            continue
        text = (ROOT / path).read_text('utf-8')
        head = '\n'.join(text.splitlines()[:HEAD_LINES])
        if text and 'SPDX-License-Identifier: Apache-2.0' not in head:
            without.append(str(path))
    assert not without


def test_python_files_start_with_the_licence_line():
    first = '# SPDX-License-Identifier: Apache-2.0'
    wrong = [
        str(path)
        for path in python_files()
        if first not in (ROOT / path).read_text('utf-8').splitlines()[:2]
    ]
    assert not wrong


def test_names_follow_the_vocabulary():
    wrong = [
        f'{path}:{line} {name}: write {REPLACED[name.lower()]}'
        for path in python_files(*PACKAGES)
        for line, name in defined_names(path)
        if name.lower() in REPLACED
    ]
    assert not wrong


def test_functions_are_not_called_get():
    wrong = [
        f'{path}:{node.lineno} {node.name}'
        for path in python_files(*PACKAGES)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith('get_')
        if node.name not in {'get_extra_state', 'get_next'}  # by torch and ONNX Runtime
    ]
    assert not wrong


def test_modules_are_named_by_subject():
    assert not [str(path) for path in python_files() if path.stem in MODULES_WITHOUT_SUBJECT]


def test_the_library_does_not_print():
    wrong = [
        f'{path}:{node.lineno}'
        for path in python_files(*PACKAGES)
        if path.parts[1] != 'cli'
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == 'print'
    ]
    assert not wrong


def test_nothing_names_a_folder_of_one_machine():
    wrong = [
        f'{path}:{number}'
        for path in text_files()
        for number, line in enumerate((ROOT / path).read_text('utf-8').splitlines(), start=1)
        if ONE_MACHINE.search(line)
    ]
    assert not wrong


def test_todo_has_an_issue_number():
    todo = re.compile(r'\b(?:TODO|FIXME)\b(?!\(#\d+\))')
    wrong = [
        f'{path}:{number}'
        for path in python_files(*PACKAGES, 'tools', 'launch')
        for number, line in enumerate((ROOT / path).read_text('utf-8').splitlines(), start=1)
        if todo.search(line)
    ]
    assert not wrong
