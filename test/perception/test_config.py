# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rgbt_perception.config import (
    build_config,
    change_config,
    flatten,
    group_types,
    load_config,
    PerceptionConfig,
    setting_of,
)
from rgbt_perception.errors import ConfigError


def test_nothing_given_is_the_defaults():
    assert build_config({}) == PerceptionConfig()


def test_values_reach_their_group_and_leave_the_others():
    config = build_config({'sync.max_skew_s': 0.01, 'output.max_detections': 7})
    assert config.sync.max_skew_s == 0.01
    assert config.output.max_detections == 7
    assert config.sync.max_wait_s == PerceptionConfig().sync.max_wait_s


def test_flattening_and_building_are_inverse():
    changed = build_config({'model.card': 'x', 'dominance.threshold': 0.5})
    assert build_config(flatten(changed)) == changed


def test_lists_are_taken_for_tuples():
    values = [2.0, 0.0, 1.0, 0.0, 2.0, 3.0, 0.0, 0.0, 1.0]
    config = build_config({'registration.homography_thermal_to_rgb': values})
    assert config.registration.homography_thermal_to_rgb == tuple(values)


def test_every_setting_is_described_and_within_its_bounds():
    for group, kind in group_types().items():
        for item in dataclasses.fields(kind):
            described = setting_of(item)
            assert described.text.endswith('.'), f'{group}.{item.name}'
            assert len(described.text) > 10


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (
            {'sync.max_skew': 0.1},
            r"unknown parameter 'sync.max_skew'; .*; did you mean 'sync.max_skew_s'\?",
        ),
        ({'zzz': 1}, "unknown parameter 'zzz'; .*; known groups: model, engine, input"),
        (
            {'sync.max_skew_s': '0.1'},
            "sync.max_skew_s is '0.1', expected a finite number; write e.g. 1.0",
        ),
        ({'sync.max_skew_s': float('nan')}, 'sync.max_skew_s is nan, expected a finite number'),
        ({'sync.max_skew_s': True}, 'sync.max_skew_s is True, expected a finite number'),
        ({'sync.queue_size': 2.5}, 'sync.queue_size is 2.5, expected a whole number'),
        ({'sync.queue_size': 0}, 'sync.queue_size is 0, expected a value in 1..1000; correct it'),
        ({'sync.max_skew_s': 1.001}, r'sync.max_skew_s is 1.001, expected a value in 0.0..1.0'),
        ({'fallback.min_contrast': -1.0}, r'is -1.0, expected a value in 0.0..inf'),
        ({'model.card': 3}, 'model.card is 3, expected a string; put it in quotes'),
        (
            {'engine.backend': 'onnxx'},
            "is 'onnxx', expected one of auto, tensorrt, openvino, onnx, torch; choose one",
        ),
        (
            {'registration.homography_thermal_to_rgb': [1.0] * 8},
            'expected a list of 9 finite numbers; write all of them',
        ),
        (
            {'registration.homography_thermal_to_rgb': [1.0] * 9},
            'cannot be inverted; expected a regular 3x3 matrix; calibrate again',
        ),
        (
            {'registration.source': 'tf'},
            "source is 'tf' with method 'identity', .* expected method homography or extrinsics",
        ),
        (
            {'registration.source': 'file', 'registration.calibration_file': 'rig.yaml'},
            "source is 'file' with method 'identity', which takes nothing from it",
        ),
        (
            {'registration.homography_thermal_to_rgb': 'eye'},
            "is 'eye', expected a list of 9 finite numbers",
        ),
    ],
)
def test_bad_setting_is_named(values: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        build_config(values)


@pytest.mark.parametrize(('value', 'is_accepted'), [(0.0, True), (1.0, True), (-0.001, False)])
def test_bounds_are_inclusive(value: float, is_accepted: bool):
    if is_accepted:
        assert build_config({'sync.max_skew_s': value}).sync.max_skew_s == value
    else:
        with pytest.raises(ConfigError):
            build_config({'sync.max_skew_s': value})


def load(tmp_path: Path, text: str) -> PerceptionConfig:
    path = tmp_path / 'perception.param.yaml'
    path.write_text(text)
    return load_config(path)


def test_ros_parameter_file_is_read(tmp_path: Path):
    text = (
        'perception:\n  ros__parameters:\n'
        '    use_sim_time: true\n    sync:\n      max_skew_s: 0.5\n'
    )
    assert load(tmp_path, text).sync.max_skew_s == 0.5


def test_dotted_names_and_the_wildcard_section_are_read_and_the_node_s_own_wins(tmp_path: Path):
    text = (
        '/**:\n  ros__parameters:\n    sync.max_skew_s: 0.3\n    sync.queue_size: 4\n'
        '/perception:\n  ros__parameters:\n    sync.max_skew_s: 0.4\n'
    )
    config = load(tmp_path, text)
    assert (config.sync.max_skew_s, config.sync.queue_size) == (0.4, 4)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a: [', 'is not valid YAML'),
        ('', "has no section 'perception: ros__parameters:'"),
        ('- 1', "has no section 'perception: ros__parameters:'"),
        ('camera:\n  ros__parameters:\n    a: 1\n', 'has no section'),
        ('perception:\n  ros__parameters:\n    sync: {max_skow_s: 1.0}\n', 'did you mean'),
        ('perception:\n  ros__parameters:\n    evil: !!python/object:os.system x\n', 'YAML'),
    ],
)
def test_bad_parameter_file_is_named(tmp_path: Path, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_missing_parameter_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r'cannot read parameter file .*No such file.*check'):
        load_config(tmp_path / 'nothing.yaml')


def test_a_change_keeps_everything_else():
    before = build_config({'sync.queue_size': 3, 'sync.max_skew_s': 0.05})
    after = change_config(before, {'sync.max_skew_s': 0.01, 'output.max_detections': 7})
    assert (after.sync.max_skew_s, after.sync.queue_size) == (0.01, 3)
    assert after.output.max_detections == 7
    assert after.thermal is before.thermal
    assert before.sync.max_skew_s == 0.05


def test_values_that_depend_on_each_other_are_checked_together():
    before = PerceptionConfig()
    low_and_high = {'thermal.window_low_c': 50.0, 'thermal.window_high_c': 90.0}
    assert change_config(before, low_and_high).thermal.window_low_c == 50.0
    with pytest.raises(ConfigError, match=r'thermal.window_low_c is 50.0 and window_high_c 45.0'):
        change_config(before, {'thermal.window_low_c': 50.0})


@pytest.mark.parametrize(
    'name', ['sync.max_skew', 'sink.max_skew_s', 'sync', '', '.', 'x' * 10**6]
)
def test_a_change_of_an_unknown_setting_is_refused(name):
    with pytest.raises(ConfigError, match='unknown parameter'):
        change_config(PerceptionConfig(), {name: 1.0})


def test_a_very_long_value_does_not_fill_the_message():
    with pytest.raises(ConfigError) as caught:
        build_config({'output.class_id_format': 'x' * 10**6})
    assert len(str(caught.value)) < 400
    assert str(caught.value).endswith('xxx..., expected one of name, index; choose one')
