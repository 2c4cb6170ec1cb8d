# SPDX-License-Identifier: Apache-2.0
"""Publishes /diagnostics, and notices a second node of the same name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from rgbt_perception.ros.diagnostics import Diagnostics, NodeFacts
from rgbt_perception.ros.qos import overridable, result_qos
from rgbt_perception.types import NS_PER_S

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.pipeline import Pipeline
    from rgbt_perception.ros.guarded_pairer import GuardedPairer
    from rgbt_perception.types import Modality

# A node that was killed is still in the graph for a while when the next one starts.
NAMESAKE_NS = 2 * NS_PER_S


class Reporter:
    """Owns the diagnostics of a node and their publisher, from configure to cleanup.

    Attributes:
        diagnostics: What is counted since the last activation.
        last_statuses: What was published last.
    """

    def __init__(self, node: LifecycleNode, pipeline: Pipeline, config: PerceptionConfig) -> None:
        """Create the publisher.

        Args:
            node: Node that is reported on.
            pipeline: What runs in it.
            config: Settings in force.
        """
        self._node, self._pipeline = node, pipeline
        self._topics: dict[Modality, str] = {}
        self._alone_ns, self._is_namesake_said = time.monotonic_ns(), False
        self.last_statuses: list[DiagnosticStatus] = []
        self.diagnostics = self._new_diagnostics(config)
        self._publisher = node.create_publisher(
            DiagnosticArray, '/diagnostics', result_qos(), qos_overriding_options=overridable()
        )

    def restart(self, topics: dict[Modality, str], config: PerceptionConfig) -> None:
        """Begin counting anew.

        Args:
            topics: Resolved input topic of each camera.
            config: Settings in force.
        """
        self._topics, self.last_statuses = topics, []
        self.diagnostics = self._new_diagnostics(config)

    def publish(self, pairer: GuardedPairer, *, is_enabled: bool) -> None:
        """Publish what happened since the last report."""
        now_ns, now = time.monotonic_ns(), self._node.get_clock().now()
        received, dropped, waiting = pairer.counts()
        facts = NodeFacts(
            received=received,
            dropped=dropped,
            waiting=waiting,
            num_publishers={
                item: self._node.count_publishers(topic) for item, topic in self._topics.items()
            },
            clock_ns=now.nanoseconds - now_ns,
            is_enabled=is_enabled,
            offset_s=pairer.offset_s,
            offset_text=pairer.offset_text(),
        )
        statuses = self.diagnostics.statuses(now_ns, facts, self._pipeline)
        self._mark_namesakes(statuses[-1], now_ns)
        self.last_statuses = statuses
        message = DiagnosticArray(status=statuses)
        message.header.stamp = now.to_msg()
        self._publisher.publish(message)

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_publisher(self._publisher)

    def _new_diagnostics(self, config: PerceptionConfig) -> Diagnostics:
        return Diagnostics(
            config=config,
            topics=self._topics,
            now_ns=time.monotonic_ns(),
            node_name=self._node.get_fully_qualified_name().lstrip('/'),
        )

    def _mark_namesakes(self, status: DiagnosticStatus, now_ns: int) -> None:
        """Warn in a status, and once in the log, of other nodes with the name of this one."""
        own = (self._node.get_name(), self._node.get_namespace())
        num_namesakes = self._node.get_node_names_and_namespaces().count(own) - 1
        if num_namesakes < 1:
            self._alone_ns, self._is_namesake_said = now_ns, False
            return
        if now_ns - self._alone_ns < NAMESAKE_NS:
            return
        sentence = (
            f'{num_namesakes + 1} nodes are called {self._node.get_fully_qualified_name()}: '
            f'their results mix; start the other one in its own namespace, or stop it'
        )
        status.level = max(status.level, DiagnosticStatus.WARN)
        status.message = f'{sentence}; {status.message}'
        if not self._is_namesake_said:
            self._is_namesake_said = True
            self._node.get_logger().warning(sentence)
