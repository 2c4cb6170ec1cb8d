# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic.

Inputs: best effort, because it matches every publisher, and depth 1, because an image that waits
behind another one is an old image (measured: a subscriber of 100 ms per frame sees images 480 ms
old at depth 5, one period old at depth 1). Results: reliable. Label sets: latched.
Source: REP-2003 for consumers of sensor data; depth measured on Fast DDS.
"""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


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
