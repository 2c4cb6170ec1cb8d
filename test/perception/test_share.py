# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from rgbt_perception import share
from rgbt_perception.errors import ConfigError
from rgbt_perception.share import find_share_file, share_folders


def test_source_tree_comes_first():
    assert find_share_file('config/fastdds_shm.xml') == (
        Path(share.__file__).resolve().parents[1] / 'config/fastdds_shm.xml'
    )


def install(tmp_path, monkeypatch, package_dir):
    """Pretend that the module lies in ``package_dir``, without a source tree around it."""
    module = tmp_path / package_dir / 'rgbt_perception/share.py'
    module.parent.mkdir(parents=True)
    module.touch()
    monkeypatch.setattr(share, '__file__', str(module))


@pytest.mark.parametrize('package_dir', ['lib/python3.11/site-packages', '', 'site-packages'])
def test_share_folder_of_the_same_installation_is_found(tmp_path, monkeypatch, package_dir):
    install(tmp_path, monkeypatch, package_dir)
    wanted = tmp_path / 'share/rgbt_perception/config/x.yaml'
    wanted.parent.mkdir(parents=True)
    wanted.touch()
    assert find_share_file('config/x.yaml') == wanted


def test_ros_prefix_is_searched(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, 'a/b')
    wanted = tmp_path / 'ws/share/rgbt_perception/bags/drive'
    wanted.mkdir(parents=True)
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere::{tmp_path / "ws"}')
    assert find_share_file('bags/drive') == wanted


def test_missing_file_names_every_place(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, 'a/b')
    with pytest.raises(ConfigError) as caught:
        find_share_file('config/none.xml')
    assert "'config/none.xml' was not found in share/rgbt_perception" in str(caught.value)
    assert 'install the package again' in str(caught.value)
    assert all(str(folder) in str(caught.value) for folder in share_folders())
