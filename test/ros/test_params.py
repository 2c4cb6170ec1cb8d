# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from rclpy.exceptions import ParameterNotDeclaredException
from rclpy.node import Node
from rclpy.parameter import Parameter

from rgbt_perception.config import build_config, flatten, load_config, PerceptionConfig
from rgbt_perception.errors import ConfigError
from rgbt_perception.ros.param_file import param_file_text
from rgbt_perception.ros.params import (
    declare_parameters,
    describe_setting,
    settings_by_name,
    watch_live_parameters,
)

PARAM_FILE = Path(__file__).resolve().parents[2] / 'config' / 'perception.param.yaml'


@pytest.fixture
def make_node(ros_context):
    nodes = []

    def make(values=None, *, cli_args=None, namespace=None):
        overrides = [Parameter(name, value=value) for name, value in (values or {}).items()]
        node = Node(
            'perception',
            context=ros_context,
            cli_args=cli_args,
            namespace=namespace,
            parameter_overrides=overrides,
        )
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()


def test_without_overrides_the_settings_are_the_defaults(make_node):
    node = make_node()
    assert declare_parameters(node) == PerceptionConfig()
    assert node.get_parameter('autostart').value is True


def test_every_setting_is_a_ros_parameter_of_the_same_value(make_node):
    node = make_node()
    declare_parameters(node)
    for name, value in flatten(PerceptionConfig()).items():
        found = node.get_parameter(name).value
        assert (tuple(found) if isinstance(value, tuple) else found) == value, name


def test_overrides_reach_the_settings(make_node):
    node = make_node({'sync.max_skew_s': 0.035, 'output.max_detections': 7, 'model.card': '/x/y'})
    config = declare_parameters(node)
    assert config.sync.max_skew_s == 0.035
    assert config.output.max_detections == 7
    assert config.model.card == '/x/y'
    assert node.get_parameter('output.max_detections').value == 7


def test_an_array_override_becomes_a_tuple(make_node):
    matrix = [1.0, 0.0, 12.5, 0.0, 1.0, -3.0, 0.0, 0.0, 1.0]
    config = declare_parameters(make_node({'registration.homography_thermal_to_rgb': matrix}))
    assert config.registration.homography_thermal_to_rgb == tuple(matrix)


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        (
            {'sync.max_skew': 0.1},
            "unknown parameter 'sync.max_skew'.*did you mean 'sync.max_skew_s'",
        ),
        ({'autostrat': True}, "unknown parameter 'autostrat'.*did you mean 'autostart'"),
        ({'sync.max_skew_s': 1}, 'is 1, an integer, expected a floating-point.*write 1.0'),
        ({'sync.max_skew_s': 5.0}, r'sync.max_skew_s is 5.0, expected a value in 0.0..1.0'),
        ({'sync.max_skew_s': 'x'}, "sync.max_skew_s is 'x', expected a finite number"),
        ({'sync.offset_s': float('nan')}, 'sync.offset_s is nan, expected a finite number'),
        ({'output.max_detections': 3.0}, 'is 3.0, expected a whole number'),
        ({'output.class_id_format': 'id'}, "'id', expected one of name, index"),
        ({'model.card': 3}, 'model.card is 3, expected a string'),
        ({'autostart': 'yes'}, "autostart is 'yes', expected true or false"),
        (
            {'registration.homography_thermal_to_rgb': [2, 0, 0, 0, 2, 0, 0, 0, 1]},
            'holds integers, expected floating-point numbers; write 2.0 instead of 2',
        ),
        (
            {'registration.translation_thermal_to_rgb': [True, False, True]},
            r'translation_thermal_to_rgb is \(True, False, True\), expected',
        ),
        (
            {'registration.homography_thermal_to_rgb': [1.0, 0.0, 0.0]},
            'expected a list of 9 finite numbers',
        ),
    ],
)
def test_a_wrong_override_is_refused_with_one_sentence(make_node, values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        declare_parameters(make_node(values))


def test_parameters_that_ros_itself_knows_are_not_unknown(make_node):
    node = make_node({'use_sim_time': True, 'qos_overrides./rgb/image_raw.subscription.depth': 4})
    assert declare_parameters(node) == PerceptionConfig()


def test_only_live_settings_may_change_while_the_node_runs(make_node):
    node = make_node()
    declare_parameters(node)
    for name, described in settings_by_name().items():
        assert node.describe_parameter(name).read_only is not described.live, name


def test_a_descriptor_carries_text_bounds_and_choices():
    settings = settings_by_name()
    skew = describe_setting(settings['sync.max_skew_s'], 0.02)
    assert skew.description == settings['sync.max_skew_s'].text
    assert (skew.floating_point_range[0].from_value, skew.floating_point_range[0].to_value) == (
        0,
        1,
    )
    most = describe_setting(settings['output.max_detections'], 100)
    assert (most.integer_range[0].from_value, most.integer_range[0].to_value) == (1, 1000)
    names = describe_setting(settings['output.class_id_format'], 'name')
    assert names.additional_constraints == 'one of: name, index'


def test_a_bound_on_one_side_leaves_the_other_open(make_node):
    node = make_node({'fallback.min_contrast': 1e6})
    assert declare_parameters(node).fallback.min_contrast == 1e6


def test_a_live_change_hands_over_the_complete_settings(make_node):
    node = make_node({'sync.queue_size': 3})
    declare_parameters(node)
    taken = []
    watch_live_parameters(node, taken.append)
    (result,) = node.set_parameters([Parameter('output.score_threshold', value=0.75)])
    assert result.successful
    (config,) = taken
    assert (config.output.score_threshold, config.sync.queue_size) == (0.75, 3)


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('output.score_threshold', 1.5, 'out of range'),
        ('output.score_threshold', 1, 'type'),
        ('output.class_id_format', 'id', "'id', expected one of name, index; choose one"),
        ('sync.queue_size', 20, 'read-only'),
    ],
)
def test_a_wrong_live_change_is_refused_and_nothing_changes(make_node, name, value, reason):
    node = make_node()
    declare_parameters(node)
    taken = []
    watch_live_parameters(node, taken.append)
    before = node.get_parameter(name).value
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful
    assert reason in result.reason
    assert node.get_parameter(name).value == before
    assert taken == []


def test_an_undeclared_parameter_cannot_be_set_live(make_node):
    node = make_node()
    declare_parameters(node)
    watch_live_parameters(node, lambda config: None)
    with pytest.raises(ParameterNotDeclaredException):
        node.set_parameters([Parameter('output.typo', value=1)])


def test_the_shipped_file_is_the_generated_one():
    # Regenerate with rgbt_perception.ros.param_file.write_param_file.
    assert PARAM_FILE.read_text('utf-8') == param_file_text()


def test_the_shipped_file_names_every_setting_and_equals_the_defaults_without_ros():
    assert load_config(PARAM_FILE) == PerceptionConfig()
    text = PARAM_FILE.read_text('utf-8')
    for name in flatten(PerceptionConfig()):
        assert f'      {name.split(".")[1]}: ' in text


@pytest.mark.parametrize('namespace', [None, '/rig/front'])
def test_ros_reads_the_shipped_file_in_any_namespace(make_node, namespace):
    arguments = ['--ros-args', '--params-file', str(PARAM_FILE)]
    node = make_node(cli_args=arguments, namespace=namespace)
    given = node._parameter_overrides
    assert set(given) - {'use_sim_time'} == {*flatten(PerceptionConfig()), 'autostart'}
    assert declare_parameters(node) == PerceptionConfig()


def test_the_same_file_gives_the_same_settings_with_and_without_ros(make_node, tmp_path):
    path = tmp_path / 'rig.param.yaml'
    path.write_text(
        'perception:\n  ros__parameters:\n    autostart: false\n    sync:\n      offset_s: 0.25\n'
        '    output.class_id_format: index\n    use_sim_time: true\n'
    )
    node = make_node(cli_args=['--ros-args', '--params-file', str(path)])
    config = declare_parameters(node)
    assert config == load_config(path)
    expected = PerceptionConfig()
    assert config == dataclasses.replace(
        expected,
        sync=dataclasses.replace(expected.sync, offset_s=0.25),
        output=dataclasses.replace(expected.output, class_id_format='index'),
    )
    assert node.get_parameter('autostart').value is False


def test_settings_in_force_come_back_from_their_file(tmp_path):
    config = build_config(
        {
            'model.card': "/it's here",
            'sync.offset_s': -1e-05,
            'fallback.frozen_difference': 1e-07,
            'fallback.min_contrast': 1e20,
            'thermal.is_byte_swapped': True,
            'registration.translation_thermal_to_rgb': [1e-06, 0.0, -3.5],
        }
    )
    path = tmp_path / 'own.param.yaml'
    path.write_text(param_file_text(config))
    assert load_config(path) == config


def test_ros_takes_settings_in_force_from_their_file(make_node, tmp_path):
    config = build_config({'sync.offset_s': -1e-05, 'model.card': "/it's here"})
    path = tmp_path / 'own.param.yaml'
    path.write_text(param_file_text(config))
    node = make_node(cli_args=['--ros-args', '--params-file', str(path)])
    assert declare_parameters(node) == config
