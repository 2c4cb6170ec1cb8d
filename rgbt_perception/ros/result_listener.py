# SPDX-License-Identifier: Apache-2.0
"""A subscriber to the results of the perception node, as a user's program would be one."""

from __future__ import annotations

from collections import Counter
import time
from typing import Any, TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from rgbt_perception.bag_messages import read_detection_array
from rgbt_perception.frames import stamp_of
from rgbt_perception.received import ReceivedResult
from rgbt_perception.ros.messages import import_vision_msgs
from rgbt_perception.ros.qos import latched_qos, result_qos
from rgbt_perception.truth import encode_label_map

if TYPE_CHECKING:
    from rclpy.context import Context

DROPPED_PREFIX = 'dropped_'


class ResultListener(Node):
    """Collects detections, masks, dominance and diagnostics of one perception node.

    Attributes:
        results: Results by stamp of their reference frame, nanoseconds.
        dropped_by_reason: Frames the node lost, by reason; as its diagnostics said last.
        engine: Key-values of the node's engine status; empty until it was heard.
        label_names: Class names of the mask; empty until they were heard.
    """

    def __init__(self, target: str, *, context: Context | None = None) -> None:
        """Subscribe.

        Args:
            target: Name of the perception node, e.g. 'perception'.
            context: ROS context, None = the default one.
        """
        super().__init__('rgbt_result_listener', context=context)
        msgs = import_vision_msgs()
        self.results: dict[int, ReceivedResult] = {}
        self.dropped_by_reason: Counter[str] = Counter()
        self.engine: dict[str, str] = {}
        self.label_names: tuple[str, ...] = ()
        self._topics = [f'{target}/{name}' for name in ('detections', 'segmentation/mask', 'mdi')]
        for kind, topic, callback, qos in (
            (msgs.Detection2DArray, self._topics[0], self._on_detections, result_qos()),
            (Image, self._topics[1], self._on_mask, result_qos()),
            (DiagnosticArray, self._topics[2], self._on_mdi, result_qos()),
            (msgs.LabelInfo, f'{target}/label_info', self._on_label_info, latched_qos()),
            (DiagnosticArray, '/diagnostics', self._on_diagnostics, result_qos()),
        ):
            self.create_subscription(kind, topic, callback, qos)

    @property
    def is_connected(self) -> bool:
        """True when the node is active and every result topic has its publisher."""
        has_publishers = all(self.count_publishers(topic) > 0 for topic in self._topics)
        return bool(self.label_names) and has_publishers

    def complete_results(self) -> list[ReceivedResult]:
        """Return the results of which all three messages came, ordered by stamp."""
        return [self.results[key] for key in sorted(self.results) if self.results[key].is_complete]

    def _result(self, header: Any) -> ReceivedResult:
        stamp_ns = stamp_of(header)
        return self.results.setdefault(stamp_ns, ReceivedResult(stamp_ns=stamp_ns))

    def _on_detections(self, message: Any) -> None:
        result = self._result(message.header)
        result.received_ns = time.monotonic_ns()
        result.boxes_xyxy, result.class_names, result.scores = read_detection_array(message)

    def _on_mask(self, message: Image) -> None:
        label_map = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        self._result(message.header).label_map_png = encode_label_map(
            np.ascontiguousarray(label_map[:, : message.width]), level=1
        )

    def _on_mdi(self, message: DiagnosticArray) -> None:
        self._result(message.header).values = _values(message.status[0])

    def _on_label_info(self, message: Any) -> None:
        self.label_names = tuple(item.class_name for item in message.class_map)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = _values(status)
            for key, value in values.items():
                if key.startswith(DROPPED_PREFIX):
                    self.dropped_by_reason[key.removeprefix(DROPPED_PREFIX)] = int(value)
            if status.name.endswith(': engine'):
                self.engine = values


def _values(status: Any) -> dict[str, str]:
    return {item.key: item.value for item in status.values}
