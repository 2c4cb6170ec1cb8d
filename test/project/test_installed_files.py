# SPDX-License-Identifier: Apache-2.0
"""What is in the tree is in the wheel: a glob that forgets a new folder fails here."""

from __future__ import annotations

from pathlib import PurePosixPath
import shutil
import subprocess
import sys
import zipfile

import pytest
from source_tree import all_files, PACKAGES, ROOT

SHARE_FOLDERS = ('launch', 'config', 'bags')


@pytest.fixture(scope='module')
def wheel_names(tmp_path_factory) -> list[str]:
    """Names inside a wheel built from a copy of the tree."""
    source = tmp_path_factory.mktemp('source')
    for path in all_files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, source / path)
    out = tmp_path_factory.mktemp('wheel')
    command = ['wheel', '--quiet', '--no-deps', '--no-build-isolation', '--no-index']
    subprocess.run(
        [sys.executable, '-m', 'pip', *command, '--wheel-dir', str(out), '.'],
        cwd=source,
        check=True,
    )
    (wheel,) = out.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope='module')
def share_names(wheel_names) -> set[str]:
    marker = '.data/data/share/'
    return {name.partition(marker)[2] for name in wheel_names if marker in name}


def test_share_equals_the_tree(share_names):
    tree = {f'rgbt_perception/{path}' for path in all_files() if path.parts[0] in SHARE_FOLDERS}
    tree |= {
        'rgbt_perception/package.xml',
        'ament_index/resource_index/packages/rgbt_perception',
    }
    assert share_names == tree


def test_launch_and_config_are_not_empty(share_names):
    assert 'rgbt_perception/launch/perception.launch.py' in share_names
    assert 'rgbt_perception/config/perception.param.yaml' in share_names


def test_packages_equal_the_tree(wheel_names):
    tree = {str(path) for path in all_files() if path.parts[0] in PACKAGES}
    assert {name for name in wheel_names if PurePosixPath(name).parts[0] in PACKAGES} == tree


@pytest.mark.parametrize('package', PACKAGES)
def test_packages_are_marked_as_typed(wheel_names, package):
    assert f'{package}/py.typed' in wheel_names
