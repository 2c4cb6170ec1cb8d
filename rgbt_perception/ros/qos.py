# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic, and what the middleware reports about it.

Inputs: best effort, because it matches every publisher, and depth 1, because an image that waits
behind another one is an old image (measured: a subscriber of 100 ms per frame sees images 480 ms
old at depth 5, one period old at depth 1). Results: reliable. Label sets: latched.
Source: REP-2003 for consumers of sensor data; depth measured on Fast DDS.

History, depth and reliability of every topic can be overridden at start, e.g.
``qos_overrides./rgb/image_raw.subscription.reliability: reliable`` and
``qos_overrides./perception/detections.publisher.depth: 20``, with resolved topic names.
"""

from __future__ import annotations

import difflib
from typing import Any, TYPE_CHECKING

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    qos_policy_name_from_kind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
    )

from rgbt_perception.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rclpy.node import Node

QOS_OVERRIDES = 'qos_overrides.'
POLICY_VALUES: dict[str, tuple[str, ...]] = {
    'history': ('keep_last', 'keep_all', 'system_default'),
    'depth': (),  # a number
    'reliability': ('best_effort', 'reliable', 'system_default', 'best_available'),
}


def input_qos() -> QoSProfile:
    """Return the profile of camera topics: best effort, newest image only."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
    )


def result_qos() -> QoSProfile:
    """Return the profile of results: reliable, so that both kinds of subscriber match."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE
    )


def latched_qos() -> QoSProfile:
    """Return the profile of label sets: a late subscriber still gets the last message."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def overridable() -> QoSOverridingOptions:
    """Return the policies that parameters may override: history, depth and reliability."""
    return QoSOverridingOptions.with_default_policies()


def subscription_events(
    *, on_incompatible: Callable[[str], None], on_lost: Callable[[int], None]
) -> SubscriptionEventCallbacks:
    """Return callbacks for what the middleware reports about a subscription.

    Args:
        on_incompatible: Called with the name of the policy that a publisher does not offer.
        on_lost: Called with the number of messages lost since the last call.
    """
    return SubscriptionEventCallbacks(
        incompatible_qos=lambda info: on_incompatible(_policy_name(info)),
        message_lost=lambda info: on_lost(int(info.total_count_change)),
    )


def publisher_events(on_incompatible: Callable[[str], None]) -> PublisherEventCallbacks:
    """Return callbacks for what the middleware reports about a publisher.

    Args:
        on_incompatible: Called with the name of the policy that a subscriber asks too much of.
    """
    return PublisherEventCallbacks(
        incompatible_qos=lambda info: on_incompatible(_policy_name(info))
    )


def check_override(name: str, value: object) -> None:
    """Refuse a QoS override that ROS would refuse later, without naming the parameter.

    Args:
        name: Name of the parameter.
        value: Its value.

    Raises:
        ConfigError: For a policy that cannot be overridden, or a value it cannot have.
    """
    policy = name.rpartition('.')[2]
    if policy not in POLICY_VALUES:
        raise ConfigError(
            f"'{name}' ends in '{policy}', expected one of {', '.join(POLICY_VALUES)}; correct it"
        )
    choices = POLICY_VALUES[policy]
    if choices and value not in choices:
        raise ConfigError(f'{name} is {value!r}, expected one of {", ".join(choices)}; choose one')
    if not choices and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ConfigError(
            f'{name} is {value!r}, expected a whole number of at least 1; correct it'
        )


def unused_overrides(node: Node, given: Iterable[str]) -> list[str]:
    """Return one sentence for each QoS override that belongs to no topic of the node.

    Args:
        node: Node whose topics exist by now.
        given: Names of all parameters given at start.
    """
    known = [f'{QOS_OVERRIDES}{name}' for name in node.get_parameters_by_prefix('qos_overrides')]
    unused = [n for n in given if n.startswith(QOS_OVERRIDES) and not node.has_parameter(n)]
    sentences = []
    for name in unused:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else 'write the resolved name of the topic'
        sentences.append(f"'{name}' has no effect: no topic of this node is called so; {hint}")
    return sentences


def _policy_name(info: Any) -> str:
    return str(qos_policy_name_from_kind(info.last_policy_kind)).lower()
