# SPDX-License-Identifier: Apache-2.0
"""Parameters of a running node: changed together, refused with a reason, hammered."""

from __future__ import annotations

import time

import pytest
from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter

from rgbt_perception.config import flatten, PerceptionConfig

NUM_SETS, NUM_PAIRS = 4000, 20


def messages(values):
    return [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]


def set_one(rig, name, value):
    answer = rig.call(SetParameters, 'set_parameters', parameters=messages({name: value}))
    return answer.results[0]


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        (
            'output.score_treshold',
            0.5,
            "expected one of the documented parameters; did you mean 'output.score_threshold'?",
        ),
        (
            'output.score_threshold',
            1,
            'output.score_threshold is 1, an integer, expected a floating-point number; write 1.0',
        ),
        ('output.score_threshold', float('nan'), 'out of range Min: 0.0, Max: 1.0, value: nan'),
        ('output.score_threshold', float('inf'), 'out of range'),
        ('output.score_threshold', 1.5, 'out of range'),
        ('output.score_threshold', 'high', 'Wrong parameter type'),
        ('output.class_id_format', '', "is '', expected one of name, index; choose one"),
        ('output.class_id_format', 'x' * 10**6, 'xxx..., expected one of name, index; choose one'),
        ('x' * 10**6, 1, 'xxx...; expected one of the documented parameters; known groups'),
        ('thermal.window_low_c', 50.0, 'window_low_c is 50.0 and window_high_c 45.0, expected'),
        ('sync.policy', 'exact', 'sync.policy cannot change while the node runs; set it at start'),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_wrong_value_is_refused_with_its_reason(rig, name, value, reason):
    result = set_one(rig, name, value)
    assert not result.successful
    assert reason in result.reason
    assert len(result.reason) < 600
    for other, kept in flatten(rig.node._config).items():
        found = rig.node.get_parameter(other).value
        assert (tuple(found) if isinstance(kept, tuple) else found) == kept, other
    rig.run_pair()


def test_a_parameter_cannot_be_deleted(rig):
    nothing = ParameterMsg(
        name='sync.max_skew_s', value=ParameterValue(type=ParameterType.PARAMETER_NOT_SET)
    )
    answer = rig.call(SetParameters, 'set_parameters', parameters=[nothing])
    assert answer.results[0].reason == (
        'sync.max_skew_s cannot be deleted; set it to its default 0.02'
    )
    assert rig.node.get_parameter('sync.max_skew_s').value == 0.02


def test_values_that_depend_on_each_other_change_together(rig):
    values = {'thermal.window_low_c': 50.0, 'thermal.window_high_c': 90.0}
    for name, value in values.items():
        if name == 'thermal.window_low_c':
            assert not set_one(rig, name, value).successful
    answer = rig.call(
        SetParametersAtomically, 'set_parameters_atomically', parameters=messages(values)
    )
    assert answer.result.successful, answer.result.reason
    rig.run_pair()
    thermal = rig.node._loop._pipeline.config.thermal
    assert (thermal.window_low_c, thermal.window_high_c) == (50.0, 90.0)


def test_of_an_atomic_change_with_one_wrong_value_nothing_is_taken(rig):
    values = {'output.score_threshold': 0.9, 'output.max_detections': 0}
    answer = rig.call(
        SetParametersAtomically, 'set_parameters_atomically', parameters=messages(values)
    )
    assert not answer.result.successful
    assert rig.node._config == PerceptionConfig(diagnostics=rig.node._config.diagnostics)
    assert len(rig.run_pair()['detections'].detections) == 1  # 0.9 itself is not below 0.3


def test_a_live_setting_reaches_every_part(rig):
    for name, value in {
        'sync.max_skew_s': 0.001,
        'fallback.dark_level': 77,
        'diagnostics.max_stamp_age_s': 123.0,
    }.items():
        assert set_one(rig, name, value).successful
    rig.send_pair(skew_ns=5_000_000)  # no pair any more
    rig.wait_until(lambda: rig.received['mdi'], 'RGB goes on alone')
    assert rig.mdi_values()['mode'] == 'rgb_only'
    loop = rig.node._loop
    assert loop._pipeline.health.config.dark_level == 77
    assert loop._reporter.diagnostics.config.diagnostics.max_stamp_age_s == 123.0


def test_thousands_of_sets_cost_no_result(rig):
    """Ten sets in each of ten requests under way: about 1500 per second on one core."""
    client = rig.user.create_client(SetParameters, '/perception/set_parameters')
    rig.wait_until(client.service_is_ready, 'the service is there')
    request = SetParameters.Request()
    for threshold in (0.5, 0.25, 2.0, 0.75, 0.125) * 2:  # every fifth is refused
        request.parameters += messages({'output.score_threshold': threshold})
    under_way, answers, stamps, latencies_s = [], [], [], []
    sent_s = time.process_time()

    def send_and_collect():
        nonlocal sent_s
        if not stamps or rig._find('mdi', stamps[-1]):
            latencies_s.append(time.process_time() - sent_s)
            sent_s = time.process_time()
            stamps.append(rig.send_pair())
        is_over = len(answers) >= NUM_SETS and len(stamps) >= NUM_PAIRS
        while len(under_way) < 10 and not is_over:
            under_way.append(client.call_async(request))
        for future in [item for item in under_way if item.done()]:
            under_way.remove(future)
            answers.extend(future.result().results)
        return is_over and not under_way

    rig.wait_until(send_and_collect, 'all sets are answered')
    for stamp_ns in stamps:
        rig.result_of(stamp_ns)
    # Processor time from every pair to its result: other programs may pause this one.
    assert max(latencies_s) < 2.0
    assert sum(answer.successful for answer in answers) == len(answers) * 4 // 5
    rig.wait_until(
        lambda: rig.status('inference').get('results') == str(len(stamps)), 'all are counted'
    )
    status = rig.status('synchronisation')
    lost = {name: n for name, n in status.items() if name.startswith('dropped_') and n != '0'}
    assert lost == {}
    assert rig.node._config.output.score_threshold == 0.125
