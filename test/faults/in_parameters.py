# SPDX-License-Identifier: Apache-2.0
"""Parameters that cannot be, and ROS around the node misbehaving."""

from __future__ import annotations

from typing import Any, TYPE_CHECKING

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from faults.rig import NOTHING
from faults.table import live, sentence
from rgbt_perception.config import build_config, load_config
from rgbt_perception.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from faults.rig import FaultRig

FAMILY = 'Parameters'
ROS_FAMILY = 'ROS'


def _refusal(values: dict[str, Any]) -> str:
    try:
        build_config(values)
    except ConfigError as error:
        return str(error)
    return 'accepted'


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ('a value out of range', {'sync.max_skew_s': 5.0}, 'expected a value in'),
    ('a value of the wrong type', {'sync.max_skew_s': 'soon'}, 'expected a finite number'),
    ('a value that is NaN', {'sync.max_skew_s': float('nan')}, 'expected a finite number'),
    ('an empty value where a choice belongs', {'engine.backend': ''}, 'expected one of'),
    ('a string of a million characters', {'engine.backend': 'x' * 10**6}, 'expected one of'),
    ('a misspelled name', {'sync.max_skew': 0.1}, "did you mean 'sync.max_skew_s'"),
    ('true where a number belongs', {'sync.queue_size': True}, 'expected a whole number'),
    ('a matrix too short', {'registration.homography_thermal_to_rgb': [1.0]}, 'a list of 9'),
    (
        'two that contradict each other',
        {'thermal.window_low_c': 50.0, 'thermal.window_high_c': 40.0},
        'expected low < high',
    ),
]


def _register_refused(name: str, values: dict[str, Any], text: str) -> None:
    @sentence(FAMILY, name, text=text)
    def refuse(_: Path) -> str:
        return _refusal(values)


for row in REFUSED:
    _register_refused(*row)


@sentence(FAMILY, 'a parameter file that is no YAML', text='is not valid YAML')
def no_yaml(folder: Path) -> str:
    path = folder / 'x.yaml'
    path.write_text('perception: [', encoding='utf-8')
    try:
        load_config(path)
    except ConfigError as error:
        ours, _, _ = str(error).partition(' (')  # the rest is the parser's, of a length of its own
        return f'{ours} (...)'
    return 'accepted'


@live(
    FAMILY,
    'a wrong live change while frames flow',
    mode='fused',
    status='rgb input',
    level='OK',
    text='Hz',
)
def wrong_live_change(rig: FaultRig) -> None:
    for value in (2.0, -1.0, float('nan')):
        (result,) = rig.node.set_parameters([Parameter('output.score_threshold', value=value)])
        assert not result.successful
        assert result.reason
        rig.step()


@live(
    FAMILY,
    'a thousand changes while frames flow',
    mode='fused',
    status='rgb input',
    level='OK',
    text='Hz',
)
def many_live_changes(rig: FaultRig) -> None:
    for index in range(1000):
        value = 0.1 + index % 10 / 20
        rig.node.set_parameters([Parameter('output.score_threshold', value=value)])
        if index % 100 == 0:
            rig.step()
    assert rig.node.get_parameter('output.score_threshold').value == 0.55


@live(
    ROS_FAMILY,
    'a publisher offers best effort where reliable is asked for',
    status='rgb input',
    level='ERROR',
    text='incompatible reliability; set qos_overrides',
    recovers=False,
    **{'qos_overrides./rgb/image_raw.subscription.reliability': 'reliable'},
)
def incompatible_qos(rig: FaultRig) -> None:
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    rig.user.destroy_publisher(rig.cameras['rgb'])
    silent = PublisherEventCallbacks(use_default_callbacks=False)
    rig.cameras['rgb'] = rig.user.create_publisher(
        Image, 'rgb/image_raw', best_effort, event_callbacks=silent
    )
    rig.spin_until(lambda: False, 1.2)
    rig.steps(2)


@live(
    ROS_FAMILY,
    'twenty subscribers on every output',
    mode='fused',
    status='inference',
    level='OK',
    text='results/s',
)
def many_subscribers(rig: FaultRig) -> None:
    for _ in range(20):
        rig.user.create_subscription(Image, '/perception/overlay', lambda _: None, 1)
        rig.user.create_subscription(Image, '/perception/segmentation/mask', lambda _: None, 1)
    rig.spin_until(lambda: rig.node.count_subscribers('/perception/overlay') >= 20, 5.0)
    rig.steps(3)


@live(
    ROS_FAMILY,
    'deactivated and activated while frames flow',
    mode='fused',
    status='inference',
    level='OK',
    text='results/s',
)
def lifecycle_cycles(rig: FaultRig) -> None:
    for _ in range(10):
        rig.node.trigger_deactivate()
        rig.step(has_answer=False)
        rig.node.trigger_activate()
    rig.warm_up()


@live(
    ROS_FAMILY,
    'the cameras are started again (new publishers)',
    mode='fused',
    status='synchronisation',
    level='OK',
    text='pairs, mean',
)
def cameras_restart(rig: FaultRig) -> None:
    for name in ('rgb', 'thermal'):
        rig.user.destroy_publisher(rig.cameras[name])
        rig.cameras[name] = rig.user.create_publisher(Image, f'{name}/image_raw', 10)
    rig.spin_until(
        lambda: all(item.get_subscription_count() for item in rig.cameras.values()), 5.0
    )
    rig.steps(3)


@live(
    ROS_FAMILY,
    'nobody publishes a camera any more',
    mode='rgb_only',
    status='thermal input',
    level='ERROR',
    text='no publisher on /thermal/image_raw; start the camera or remap the topic',
)
def no_publisher(rig: FaultRig) -> None:
    rig.user.destroy_publisher(rig.cameras['thermal'])

    rig.spin_until(lambda: False, 0.6)
    rig.steps(4, thermal=lambda: NOTHING)
    rig.spin_until(lambda: False, 0.3)
    rig.cameras['thermal'] = rig.user.create_publisher(Image, 'thermal/image_raw', 10)
    rig.spin_until(lambda: rig.cameras['thermal'].get_subscription_count() > 0, 5.0)
