# SPDX-License-Identifier: Apache-2.0
"""The commands that the documents promise exist."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from source_tree import ROOT, setup_arguments

DOCUMENTS = ('README.md', 'CONTRIBUTING.md')


def targets() -> set[str]:
    makefile = (ROOT / 'Makefile').read_text('utf-8')
    return set(re.findall(r'^([a-z]+):', makefile, re.MULTILINE))


@pytest.mark.parametrize('name', DOCUMENTS)
def test_make_commands_of_documents_are_targets(name):
    text = (ROOT / name).read_text('utf-8')
    used = set(re.findall(r'(?:`|^)make ([a-z]+)', text, re.MULTILINE))
    assert used
    assert used <= targets()


def test_makefile_has_the_four_public_targets():
    assert {'demo', 'test', 'check', 'bench'} <= targets()


@pytest.mark.parametrize('name', DOCUMENTS)
def test_files_that_documents_name_exist(name):
    text = (ROOT / name).read_text('utf-8')
    tops = ('tools', 'test', 'constraints', 'launch', 'config', 'bags', 'rgbt_models')
    named = re.findall(rf'(?<![\w./-])(?:{"|".join(tops)})/[\w./-]*', text)
    assert named
    assert not [path for path in named if not (ROOT / path.rstrip('.')).exists()]


def test_launch_files_of_the_readme_exist():
    text = (ROOT / 'README.md').read_text('utf-8')
    names = re.findall(r'ros2 launch rgbt_perception (\S+)', text)
    assert names
    assert all((ROOT / 'launch' / name).is_file() for name in names)


def test_extras_of_the_readme_are_the_extras_of_setup_py():
    text = (ROOT / 'README.md').read_text('utf-8')
    table = text[text.index('| extra |') : text.index('`vision_msgs` is not on PyPI')]
    rows = [line.split('|')[1] for line in table.splitlines() if line.startswith('| `')]
    named = {name for row in rows for name in re.findall(r'`(\w+)`', row)}
    assert named == set(setup_arguments()['extras_require'])


def test_ci_runs_make_test_and_stops_at_the_first_error():
    script = ROOT / '.ci' / 'run'
    text = script.read_text('utf-8')
    assert 'set -euo pipefail' in text
    assert re.search(r'^make test$', text, re.MULTILINE)
    assert os.access(script, os.X_OK)


def test_make_test_runs_all_of_the_checks():
    result = subprocess.run(
        ['make', '--dry-run', '--always-make', 'test'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for command in ('ruff check', 'ruff format --check', 'mypy', 'pytest', 'colcon_check.py'):
        assert command in result.stdout


def test_executables_are_named_like_their_node_files():
    scripts = setup_arguments()['entry_points']['console_scripts']
    for script in scripts:
        name, _, target = (text.strip() for text in script.partition('='))
        module = target.partition(':')[0]
        assert (ROOT / f'{module.replace(".", "/")}.py').is_file(), script
        assert name == 'rgbt' or name == module.rpartition('.')[2]
