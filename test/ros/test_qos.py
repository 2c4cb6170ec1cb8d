# SPDX-License-Identifier: Apache-2.0
"""QoS overrides of inputs and outputs, and what is said about profiles that do not match."""

from __future__ import annotations

from fakes import build_card, FakeEngine, rgb_frame
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_rig import image_of
from sensor_msgs.msg import Image
from source_tree import ROOT

from rgbt_perception.errors import ConfigError
from rgbt_perception.nodes.perception_node import PerceptionNode
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.ros.qos import (
    check_override,
    input_qos,
    PublisherEventCallbacks,
    SubscriptionEventCallbacks,
)

INPUT = 'qos_overrides./rgb/image_raw.subscription'
OUTPUT = 'qos_overrides./perception/segmentation/mask.publisher'


def profile_of(infos):
    (info,) = [item for item in infos if item.node_name == 'perception']
    return info.qos_profile


def test_profiles_without_overrides(rig):
    rgb = profile_of(rig.node.get_subscriptions_info_by_topic('/rgb/image_raw'))
    assert rgb.reliability is ReliabilityPolicy.BEST_EFFORT
    mask = profile_of(rig.node.get_publishers_info_by_topic('/perception/segmentation/mask'))
    assert mask.reliability is ReliabilityPolicy.RELIABLE
    assert mask.durability is DurabilityPolicy.VOLATILE
    labels = profile_of(rig.node.get_publishers_info_by_topic('/perception/label_info'))
    assert labels.durability is DurabilityPolicy.TRANSIENT_LOCAL


def test_every_topic_has_its_overrides_as_parameters(rig):
    names = rig.node.get_parameters_by_prefix('qos_overrides')
    topics = {name.rpartition('.')[0] for name in names}
    assert topics >= {
        *(f'/{camera}/{topic}.subscription' for camera in ('rgb', 'thermal') for topic in (
            'image_raw', 'camera_info')),
        *(f'/perception/{topic}.publisher' for topic in (
            'detections', 'segmentation/mask', 'mdi', 'temperatures', 'segmentation/color_mask',
            'overlay', 'mdi/map', 'thermal/detections', 'thermal/segmentation/mask',
            'label_info', 'detections/label_info', 'vision_info')),
        '/diagnostics.publisher',
    }  # fmt: skip
    for topic in topics - {'/parameter_events.publisher'}:
        assert {name.rpartition('.')[2] for name in names if name.startswith(f'{topic}.')} == {
            'history',
            'depth',
            'reliability',
        }


def test_overrides_reach_input_and_output(make_rig):
    rig = make_rig(
        {
            f'{INPUT}.reliability': 'reliable',
            f'{INPUT}.depth': 7,
            f'{OUTPUT}.reliability': 'best_effort',
        },
        topics={},
    )
    rig.start()
    (rgb,) = [item for item in rig.node.subscriptions if item.topic_name == '/rgb/image_raw']
    assert rgb.qos_profile.reliability is ReliabilityPolicy.RELIABLE
    assert rgb.qos_profile.depth == 7
    mask = profile_of(rig.node.get_publishers_info_by_topic('/perception/segmentation/mask'))
    assert mask.reliability is ReliabilityPolicy.BEST_EFFORT


def test_a_publisher_that_offers_less_is_named_with_the_remedy(make_rig):
    rig = make_rig({f'{INPUT}.reliability': 'reliable'}, topics={})
    rig.start()
    driver = rig.user.create_publisher(
        Image,
        'rgb/image_raw',
        input_qos(),
        event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
    )
    sentence = (
        'a publisher of /rgb/image_raw offers less reliability than asked for, so nothing comes '
        'from it: set qos_overrides./rgb/image_raw.subscription.reliability, or correct the '
        'publisher'
    )
    rig.wait_until(lambda: sentence in rig.log_text(), 'the log says so')
    rig.wait_until(
        lambda: rig.status('rgb input').get('incompatible_qos') == 'reliability',
        'the diagnostics say so',
    )
    driver.publish(image_of(rgb_frame(5)))
    rig.run_pair()  # the other publisher, which is reliable, is heard


def test_a_subscriber_that_asks_for_more_is_named_with_the_remedy(rig):
    demanding = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    rig.user.create_subscription(
        Image,
        '/perception/overlay',
        rig.received['overlay'].append,
        demanding,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
    )
    sentence = (
        'a subscriber of /perception/overlay asks for more durability than is offered, so it gets '
        'nothing: correct the subscriber'
    )
    rig.wait_until(lambda: sentence in rig.log_text(), 'the log says so')
    rig.run_pair()


def test_an_override_of_no_topic_is_warned_of(make_rig):
    rig = make_rig({'qos_overrides./rgb/image_rew.subscription.depth': 3})
    rig.start()
    rig.wait_until(
        lambda: (
            "'qos_overrides./rgb/image_rew.subscription.depth' has no effect: no topic of this "
            "node is called so; did you mean 'qos_overrides./rgb/image_raw.subscription.depth'?"
            in rig.log_text()
        ),
        'the log says so',
    )


@pytest.mark.parametrize(
    ('policy', 'value', 'sentence'),
    [
        ('reliability', 'sometimes', "is 'sometimes', expected one of best_effort"),
        ('depth', 0, 'is 0, expected a whole number of at least 1'),
        ('depth', True, 'is True, expected a whole number'),
        ('history', 'keep', "is 'keep', expected one of keep_last"),
        ('durability', 'volatile', "ends in 'durability', expected one of history, depth"),
    ],
)
def test_a_wrong_override_is_refused_at_start(make_rig, policy, value, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_override(f'{INPUT}.{policy}', value)
    with pytest.raises(ConfigError, match=sentence):
        make_rig({f'{INPUT}.{policy}': value})


def test_the_overrides_shown_in_the_documentation_work(ros_context, tmp_path):
    page = (ROOT / 'docs' / 'node.md').read_text(encoding='utf-8')
    path = tmp_path / 'qos.param.yaml'
    path.write_text(page.partition('```yaml\n')[2].partition('```')[0])
    node = PerceptionNode(
        open_with=lambda config: Pipeline(
            card=build_card(tmp_path), engine=FakeEngine(), config=config
        ),
        context=ros_context,
        cli_args=['--ros-args', '--params-file', str(path)],
    )
    try:
        assert node.start()
        (rgb,) = [item for item in node.subscriptions if item.topic_name == '/rgb/image_raw']
        assert rgb.qos_profile.reliability is ReliabilityPolicy.RELIABLE
        mask = profile_of(node.get_publishers_info_by_topic('/perception/segmentation/mask'))
        assert mask.reliability is ReliabilityPolicy.BEST_EFFORT
    finally:
        node.close()
        node.destroy_node()
