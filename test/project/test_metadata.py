# SPDX-License-Identifier: Apache-2.0
"""setup.py, package.xml, the changelog and the code tell the same story."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree as ET

import pytest
from source_tree import imports, PACKAGES, python_files, ROOT, setup_arguments

# Where a module comes from when its distribution is called differently.
DISTRIBUTION_OF = {
    'cv2': 'opencv-python-headless',
    'lightning_fabric': 'lightning-fabric',
    'rclpy': 'ros-rclpy',
    'yaml': 'pyyaml',
}
# Installed with ros-rclpy; apt has each under its own name.
WITH_RCLPY = {'builtin_interfaces', 'geometry_msgs', 'rcl_interfaces', 'std_msgs'}
# Not on PyPI: vision_msgs is built by tools/pip_ros, the others exist on robots only.
NOT_ON_PYPI = {
    'ament_index_python',
    'cv_bridge',
    'launch',
    'launch_ros',
    'message_filters',
    'tf2_msgs',
    'vision_msgs',
}
EXTRAS = (
    *('ros', 'onnx', 'openvino', 'tensorrt', 'torch', 'bags', 'evaluate', 'plot', 'sim'),
    *('train', 'quantise', 'test', 'dev'),
)
MESSAGE_PACKAGE = re.compile(r'^(\w+_msgs|\w+_interfaces|\w+_srvs|rclpy)$')


def manifest() -> ET.Element:
    return ET.parse(ROOT / 'package.xml').getroot()  # noqa: S314 - our own file


def third_party_imports() -> set[str]:
    tops = {
        item.module.partition('.')[0]
        for path in python_files(*PACKAGES)
        for item in imports(path)
        if not item.typing_only
    }
    return tops - set(sys.stdlib_module_names) - set(PACKAGES) - {'__future__'}


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r'[\[<>=!~;]', line)[0].strip().lower() for line in requirements}


def test_versions_are_equal():
    changelog = (ROOT / 'CHANGELOG.rst').read_text('utf-8')
    newest = re.search(r'^(\d+\.\d+\.\d+)(?: \(.*\))?\n-+$', changelog, re.MULTILINE)
    assert newest is not None
    assert manifest().findtext('version') == setup_arguments()['version'] == newest[1]


def test_licences_and_names_are_equal():
    assert manifest().findtext('license') == setup_arguments()['license'] == 'Apache-2.0'
    assert manifest().findtext('name') == setup_arguments()['name'] == 'rgbt_perception'


def test_pyproject_has_no_project_table():
    # With one, colcon installs nothing and exits 0.
    text = (ROOT / 'pyproject.toml').read_text('utf-8')
    assert not re.search(r'^\[project[\].]', text, re.MULTILINE)


def test_every_imported_module_is_a_declared_dependency():
    arguments = setup_arguments()
    declared = distributions(
        arguments['install_requires']
        + [line for lines in arguments['extras_require'].values() for line in lines]
    )
    undeclared = {
        name
        for name in third_party_imports() - WITH_RCLPY - NOT_ON_PYPI
        if not {DISTRIBUTION_OF.get(name, name), f'ros-{name.replace("_", "-")}'} & declared
    }
    assert not undeclared


def test_every_imported_message_package_is_in_package_xml():
    depends = {element.text for element in manifest().findall('exec_depend')}
    used = {name for name in third_party_imports() if MESSAGE_PACKAGE.match(name)}
    assert used <= depends


def test_package_xml_is_a_format_3_ament_python_package():
    root = manifest()
    assert root.get('format') == '3'
    assert root.findtext('export/build_type') == 'ament_python'


@pytest.mark.parametrize('extra', EXTRAS)
def test_extras_have_lower_bounds_only(extra):
    lines = setup_arguments()['extras_require'][extra]
    assert lines
    assert all(re.fullmatch(r'[\w.-]+(\[\w+\])?>=[\d.]+', line) for line in lines), lines


def test_install_hints_name_extras_that_exist():
    extras = set(setup_arguments()['extras_require'])
    hint = re.compile(r"(?:rgbt_perception|\.)\[([\w,]+)\]'")
    for path in python_files(*PACKAGES, 'tools'):
        for names in hint.findall((ROOT / path).read_text('utf-8')):
            assert set(names.split(',')) <= extras, f'{path} names an unknown extra: {names}'


def test_the_runtime_environment_has_no_torch():
    makefile = (ROOT / 'Makefile').read_text('utf-8')
    extras = re.search(r'^RUN_EXTRAS := (\S+)$', makefile, re.MULTILINE)
    assert extras is not None
    chosen = setup_arguments()['extras_require']
    lines = [line for name in extras[1].split(',') for line in chosen[name]]
    assert not distributions(lines) & {'torch', 'timm', 'safetensors', 'torchvision'}
    pins = distributions((ROOT / 'constraints/runtime.txt').read_text('utf-8').splitlines())
    assert 'torch' not in pins
