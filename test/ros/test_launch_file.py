# SPDX-License-Identifier: Apache-2.0
"""launch is not on PyPI: without it the file is read as a syntax tree, with it it is executed."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
import runpy

import pytest

LAUNCH_FILE = Path(__file__).resolve().parents[2] / 'launch' / 'perception.launch.py'
ARGUMENTS = {
    'params_file',
    'namespace',
    'use_sim_time',
    'log_level',
    'autostart',
    'rgb_topic',
    'thermal_topic',
}


def calls(name):
    tree = ast.parse(LAUNCH_FILE.read_text('utf-8'))
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == name
    ]


def keyword(call, name):
    return next((item.value for item in call.keywords if item.arg == name), None)


def test_every_argument_is_declared_with_a_description():
    declared = {
        call.args[0].value: keyword(call, 'description') for call in calls('DeclareLaunchArgument')
    }
    assert set(declared) == ARGUMENTS
    assert all(text is not None and text.value.endswith('.') for text in declared.values())


def test_every_argument_is_used():
    text = LAUNCH_FILE.read_text('utf-8')
    loop_names = {'use_sim_time', 'autostart'}  # used through a loop over their names
    for name in ARGUMENTS - loop_names:
        assert f"LaunchConfiguration('{name}')" in text
    assert "for name in ('use_sim_time', 'autostart')" in text


def test_the_node_is_the_installed_executable_under_its_own_name():
    (node,) = calls('Node')
    fields = {name: keyword(node, name).value for name in ('package', 'executable', 'name')}
    assert fields == {
        'package': 'rgbt_perception',
        'executable': 'perception_node',
        'name': 'perception',
    }


def test_shipped_files_that_it_names_exist():
    for name in ('fastdds_shm.xml', 'perception.param.yaml'):
        assert f"'{name}'" in LAUNCH_FILE.read_text('utf-8')
        assert (LAUNCH_FILE.parents[1] / 'config' / name).is_file()


def test_nothing_is_run_evaluated_or_fetched():
    names = {
        node.id
        for node in ast.walk(ast.parse(LAUNCH_FILE.read_text('utf-8')))
        if isinstance(node, ast.Name)
    }
    assert not names & {'eval', 'exec', 'subprocess', 'urllib', 'requests'}


def test_it_describes_one_node_and_its_arguments():
    if importlib.util.find_spec('launch_ros') is None:  # 'launch' would find our own folder
        pytest.skip('needs launch (not on PyPI)')
    description = runpy.run_path(str(LAUNCH_FILE))['generate_launch_description']()
    assert {item.name for item in description.get_launch_arguments()} == ARGUMENTS
