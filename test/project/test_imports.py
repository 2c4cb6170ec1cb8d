# SPDX-License-Identifier: Apache-2.0
"""Who may import whom."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest
from source_tree import imports, module_name, python_files, ROOT

# A module imports from its own row and the rows above it, never from below. A folder is one entry.
ROWS = (
    ('types', 'errors'),
    ('config', 'geometry', 'share'),
    (
        'blindness',
        'box_votes',
        'calibration_file',
        'camera_model',
        'clock_offset',
        'false_colour',
        'frozen',
        'misregistration',
        'pairing',
        'pixel_labels',
        'pixel_mapping',
        'radiometry',
        'sync',
        'temperatures',
        'thermal',
        'thermal_scaling',
        'images',
        'object_contrast',
        'registration',
        'preprocess',
        'engine',
        'postprocess',
        'dominance_filter',
        'health',
    ),
    ('pipeline',),
    ('bag', 'evaluate', 'report', 'overlay', 'ros'),  # and every module that has no other row
    ('cli',),
    ('nodes',),
)
ROW_OF = {name: index for index, row in enumerate(ROWS) for name in row}
DEFAULT_ROW = ROW_OF['bag']

# Not needed to run the node with one engine, or slow to import.
HEAVY = {
    'cuda',
    'embreex',
    'lightning_fabric',
    'matplotlib',
    'nncf',
    'onnx',
    'onnxruntime',
    'onnxscript',
    'openvino',
    'pycocotools',
    'safetensors',
    'tensorrt',
    'timm',
    'torch',
    'torchvision',
}
ROS = {
    'ament_index_python',
    'builtin_interfaces',
    'cv_bridge',
    'diagnostic_msgs',
    'geometry_msgs',
    'launch',
    'launch_ros',
    'lifecycle_msgs',
    'message_filters',
    'rcl_interfaces',
    'rclpy',
    'rosidl_runtime_py',
    'rosgraph_msgs',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
    'tf2_msgs',
    'vision_msgs',
}
NETWORK_OR_UNSAFE = {
    'dill',
    'ftplib',
    'http',
    'huggingface_hub',
    'marshal',
    'pickle',
    'requests',
    'shelve',
    'socket',
    'ultralytics',
    'urllib',
}
MODELS = python_files('rgbt_models')
RUNTIME = python_files('rgbt_perception')


def top(module: str) -> str:
    return module.partition('.')[0]


def part(module: str) -> str:
    """The row entry that a module of rgbt_perception belongs to; '' for the package itself."""
    return module.partition('.')[2].partition('.')[0]


def row(name: str) -> int:
    return ROW_OF.get(name, DEFAULT_ROW)


def found_in(files: list[Path], names: set[str]) -> list[str]:
    return [
        f'{path}:{item.line} imports {item.module}'
        for path in files
        for item in imports(path)
        if top(item.module) in names
    ]


def test_rgbt_models_imports_neither_the_runtime_nor_ros():
    assert not found_in(MODELS, ROS | {'rgbt_perception'})


def test_ros_is_imported_only_under_ros_and_nodes():
    elsewhere = [path for path in RUNTIME if path.parts[1] not in {'ros', 'nodes'}]
    assert not found_in(elsewhere, ROS)


def test_heavy_modules_are_imported_inside_functions_only():
    at_the_top = [
        f'{path}:{item.line} imports {item.module}'
        for path in RUNTIME
        for item in imports(path)
        if top(item.module) in HEAVY and not (item.lazy or item.typing_only)
    ]
    assert not at_the_top


def test_nothing_imports_the_network_or_code_from_data():
    assert not found_in(MODELS + RUNTIME, NETWORK_OR_UNSAFE)


def test_runtime_imports_go_one_way():
    wrong = []
    for path in RUNTIME:
        own = part(module_name(path))
        for item in imports(path):
            if top(item.module) != 'rgbt_perception' or not own:
                continue
            other = part(item.module)
            if not other or row(other) > row(own):
                wrong.append(f'{path}:{item.line} imports {item.module}')
    assert not wrong


def test_runtime_modules_do_not_import_in_circles():
    edges: dict[str, set[str]] = {}
    for path in RUNTIME:
        own = part(module_name(path))
        targets = {
            part(item.module)
            for item in imports(path)
            if top(item.module) == 'rgbt_perception' and not item.typing_only
        }
        edges.setdefault(own, set()).update(targets - {own, ''})
    edges.pop('', None)
    while edges:
        done = {name for name, targets in edges.items() if not targets & edges.keys()}
        assert done, f'these import each other: {sorted(edges)}'
        edges = {name: targets for name, targets in edges.items() if name not in done}


@pytest.mark.parametrize(
    'modules',
    [
        ['rgbt_models', 'rgbt_models.card', 'rgbt_models.errors', 'rgbt_models.normalise'],
        [
            module_name(path)
            for path in RUNTIME
            if path.parts[1] not in {'ros', 'nodes'} and path.name != '__main__.py'
        ],
    ],
    ids=['rgbt_models', 'rgbt_perception'],
)
def test_modules_import_where_neither_torch_nor_an_engine_nor_ros_is_installed(modules):
    absent = sorted(HEAVY | ROS)
    code = (
        f'import sys; sys.modules.update(dict.fromkeys({absent!r})); import importlib\n'
        f'for name in {modules!r}: importlib.import_module(name)'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
