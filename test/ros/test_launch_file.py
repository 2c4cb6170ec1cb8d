# SPDX-License-Identifier: Apache-2.0
"""Launch files: read as syntax trees always, executed where launch is installed (not on PyPI)."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
import runpy

import pytest
from source_tree import ROOT, setup_arguments
import yaml

from rgbt_perception.config import load_config, PerceptionConfig

LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
PERCEPTION, REPLAY, MULTI_RIG = (
    ROOT / 'launch' / f'{name}.launch.py' for name in ('perception', 'replay', 'multi_rig')
)
MULTI_RIG_FILE = ROOT / 'config' / 'multi_rig.param.yaml'
ARGUMENTS = {
    'perception': {
        'params_file',
        'rig_file',
        'card',
        'namespace',
        'rigs',
        'use_sim_time',
        'log_level',
        'autostart',
        'rgb_topic',
        'thermal_topic',
        'rgb_camera_info_topic',
        'thermal_camera_info_topic',
        'outputs',
    },
    'replay': {
        'bag',
        'rate_hz',
        'transport',
        'loop',
        'rig_file',
        'use_sim_time',
        'namespace',
        'rgb_topic',
        'thermal_topic',
    },
    'demo': {'loop'},
    'simulator': {
        'scenario',
        'seed',
        'duration_s',
        'rate_hz',
        'scale',
        'rate_scale',
        'loop',
        'rig_file',
        'namespace',
        'rgb_topic',
        'thermal_topic',
    },
    'multi_rig': {'params_file', 'one_process'},
}
ALLOWED_IMPORTS = {'os', 'posixpath', 'launch', 'launch_ros'}


def tree_of(path):
    return ast.parse(path.read_text('utf-8'), filename=str(path))


def name_of(path):
    return path.name.removesuffix('.launch.py')


def constant(path, name):
    """Return the value of a top-level assignment."""
    return next(
        node.value
        for node in tree_of(path).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )


def fields_of(call_or_dict):
    if isinstance(call_or_dict, ast.Dict):
        pairs = zip(call_or_dict.keys, call_or_dict.values, strict=True)
        return {key.value: value for key, value in pairs if isinstance(key, ast.Constant)}
    return {item.arg: item.value for item in call_or_dict.keywords}


def declared(path):
    """Return the declared arguments and their fields, from a table or from single calls."""
    calls = [
        node
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'DeclareLaunchArgument'
    ]
    single = {
        call.args[0].value: fields_of(call)
        for call in calls
        if isinstance(call.args[0], ast.Constant)
    }
    if len(single) == len(calls):
        return single
    table = fields_of(constant(path, 'ARGUMENTS'))
    return single | {name: fields_of(fields) for name, fields in table.items()}


def load_with_launch(path):
    if importlib.util.find_spec('launch_ros') is None:  # 'launch' would find our own folder
        pytest.skip('needs launch (not on PyPI)')
    return runpy.run_path(str(path))


def test_these_are_the_launch_files():
    assert {name_of(path) for path in LAUNCH_FILES} == set(ARGUMENTS)


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=name_of)
def test_every_argument_is_declared_with_a_description(path):
    arguments = declared(path)
    assert set(arguments) == ARGUMENTS[name_of(path)]
    for name, fields in arguments.items():
        text = ast.unparse(fields['description']).strip('\'"')
        assert text.endswith('.'), f'{name}: {text}'


@pytest.mark.parametrize('path', [PERCEPTION, REPLAY], ids=name_of)
def test_every_argument_is_used(path):
    text = path.read_text('utf-8')
    flags = {
        'use_sim_time',
        'autostart',
        'params_file',
        'rig_file',
    }  # used through a loop over their names
    for name in ARGUMENTS[name_of(path)] - flags:
        assert f"given['{name}']" in text or name.endswith('_topic'), name


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=name_of)
def test_nothing_is_run_evaluated_or_fetched(path):
    modules, names = set(), set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            modules |= {item.name.partition('.')[0] for item in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.partition('.')[0])
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(ast.unparse(node))
    assert modules <= ALLOWED_IMPORTS
    assert not names & {'eval', 'exec', '__import__', 'os.system', 'os.popen', 'ExecuteProcess'}


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=name_of)
def test_executables_and_files_that_it_names_are_shipped(path):
    scripts = setup_arguments()['entry_points']['console_scripts']
    executables = {item.partition(' ')[0] for item in scripts}
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, (ast.Call, ast.Dict)):
            continue
        fields = fields_of(node)
        if 'executable' in fields:
            assert fields['executable'].value in executables
            assert fields['package'].value == 'rgbt_perception'
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.endswith('.launch.py'):
                assert (path.parent / node.value.lstrip('/')).is_file()
            elif node.value.endswith(('.xml', '.yaml')) and node.value != 'rig.param.yaml':
                assert (ROOT / 'config' / node.value).is_file()


def test_a_flag_without_value_leaves_it_to_the_parameter_files():
    fields = declared(PERCEPTION)
    for name in ('use_sim_time', 'autostart', 'rig_file', 'card'):
        assert fields[name]['default_value'].value == ''


def test_presets_rename_topics_that_the_node_publishes():
    presets = ast.literal_eval(constant(PERCEPTION, 'OUTPUT_TOPICS'))
    published = (ROOT / 'rgbt_perception' / 'ros' / 'outputs.py').read_text('utf-8')
    assert presets['default'] == {}
    assert presets['isaac']['~/detections'] == 'detections_output'
    assert presets['isaac']['~/segmentation/mask'] == 'unet/raw_segmentation_mask'
    assert presets['dusty']['~/segmentation/mask'] == 'segnet/class_mask'
    for topics in presets.values():
        assert len(set(topics.values())) == len(topics)
        for topic in topics:
            assert f"'{topic}'" in published


def test_the_multi_rig_file_describes_the_rigs_of_its_launch_file():
    rigs = ast.literal_eval(constant(MULTI_RIG, 'RIGS'))
    sections = yaml.safe_load(MULTI_RIG_FILE.read_text('utf-8'))
    assert set(sections) == {'/**/perception', *(f'/{name}/perception' for name in rigs)}
    common = load_config(MULTI_RIG_FILE)
    assert common.engine.num_threads == 1
    front, rear = (
        load_config(MULTI_RIG_FILE, node_name=f'{name}/perception') for name in ('front', 'rear')
    )
    assert front.registration.method == 'homography'
    assert front.thermal.normaliser == 'window'
    assert rear.sync.policy == 'hold'
    assert PerceptionConfig() not in (common, front, rear)


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=name_of)
def test_launch_reads_the_same_arguments(path):
    description = load_with_launch(path)['generate_launch_description']()
    found = {item.name for item in description.get_launch_arguments()}
    assert found >= ARGUMENTS[name_of(path)]


def launched_node(path, function, arguments, tmp_path):
    """Build the node of a launch file and let launch fill in its command line."""
    loaded = load_with_launch(path)
    from launch import LaunchContext

    context = LaunchContext()
    defaults = {
        name: fields.get('default_value', '') for name, fields in loaded['ARGUMENTS'].items()
    }
    defaults['params_file'] = str(tmp_path / 'params.yaml')
    Path(defaults['params_file']).write_text('{}', 'utf-8')
    context.launch_configurations.update(defaults | arguments)
    (node,) = loaded[function](context)
    node._perform_substitutions(context)
    return node


def test_topics_and_models_of_the_cameras_are_remapped(tmp_path):
    arguments = {
        'namespace': 'front',
        'rgb_topic': '/left/image_color',
        'thermal_topic': '/boson/image_raw',
        'thermal_camera_info_topic': '/boson_calibrated',
        'outputs': 'isaac',
    }
    node = launched_node(PERCEPTION, '_perception', arguments, tmp_path)
    assert type(node).__name__ == 'LifecycleNode'
    assert node.node_name == '/front/perception'
    assert dict(node.expanded_remapping_rules) == {
        'rgb/image_raw': '/left/image_color',
        'rgb/image_raw/compressed': '/left/image_color/compressed',
        'rgb/camera_info': '/left/camera_info',
        'thermal/image_raw': '/boson/image_raw',
        'thermal/image_raw/compressed': '/boson/image_raw/compressed',
        'thermal/camera_info': '/boson_calibrated',
        '~/detections': 'detections_output',
        '~/segmentation/mask': 'unet/raw_segmentation_mask',
        '~/segmentation/color_mask': 'unet/colored_segmentation_mask',
    }


def test_by_default_nothing_is_remapped(tmp_path):
    node = launched_node(PERCEPTION, '_perception', {}, tmp_path)
    assert not node.expanded_remapping_rules
    assert node.node_name == '/perception'


def test_rigs_are_handed_to_one_process(tmp_path):
    arguments = {'rigs': 'front, rear', 'autostart': 'false'}
    node = launched_node(PERCEPTION, '_perception', arguments, tmp_path)
    assert type(node).__name__ == 'Node'
    texts = [[getattr(item, 'text', '') for item in word] for word in node.cmd]
    words = [''.join(text) for text in texts]
    assert [word for word in words if word.startswith('--rig')] == ['--rig=front', '--rig=rear']
