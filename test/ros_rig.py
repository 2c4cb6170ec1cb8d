# SPDX-License-Identifier: Apache-2.0
"""A perception node and a user's program beside it, over the real middleware, in one process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
import gc
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from fakes import FakeEngine, rgb_frame, thermal_frame
import numpy as np
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from rgbt_models.card import ModelCard
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.nodes.perception_node import PerceptionNode
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.ros.messages import build_image, header_of
from rgbt_perception.types import Frame

DEADLINE_S = 20.0
FIRST_STAMP_NS = 1_700_000_000_000_000_003
STEP_NS = 200_000_000
RESULT_TOPICS = {
    'detections': Detection2DArray,
    'segmentation/mask': Image,
    'mdi': DiagnosticArray,
}


class Rig:
    """The node under test, publishers in place of cameras, and what the node published.

    Attributes:
        node: The node under test, on a fake engine.
        engine: That engine, unless ``open_engine`` opens another one.
        user: A node that publishes images and subscribes to results.
        received: Messages by topic below the node's name, also 'diagnostics'.
    """

    def __init__(
        self,
        context: Any,
        card: ModelCard,
        capfd: pytest.CaptureFixture[str],
        *,
        values: dict[str, Any],
        image_type: Any = Image,
        open_engine: Callable[[PerceptionConfig], Any] | None = None,
        topics: dict[str, Any] | None = None,
    ) -> None:
        self._capfd, self._log = capfd, ''
        self.engine = FakeEngine()
        self.received: dict[str, list[Any]] = defaultdict(list)
        self._stamp_ns = FIRST_STAMP_NS
        open_engine = open_engine or (lambda _config: self.engine)
        self.node = PerceptionNode(
            open_with=lambda config: Pipeline(
                card=card, engine=open_engine(config), config=config
            ),
            context=context,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        self.user = Node('user', context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._executor.add_node(self.user)
        suffix = '' if image_type is Image else '/compressed'
        self.cameras = {
            name: self.user.create_publisher(image_type, f'{name}/image_raw{suffix}', 10)
            for name in ('rgb', 'thermal')
        }
        self._topics = RESULT_TOPICS if topics is None else topics
        for topic, kind in self._topics.items():
            self.listen(topic, kind)
        self.listen('/diagnostics', DiagnosticArray)

    def listen(self, topic: str, kind: Any, qos: QoSProfile | int = 10) -> None:
        """Subscribe to a topic of the node, or to one that starts with '/'."""
        name = topic if topic.startswith('/') else f'/perception/{topic}'
        key = topic.removeprefix('/')
        self.user.create_subscription(kind, name, self.received[key].append, qos)

    def call(self, kind: Any, service: str, **fields: Any) -> Any:
        """Call a service of the node, given by its name below the node's; return the answer."""
        client = self.user.create_client(kind, f'/perception/{service}')
        self.wait_until(client.service_is_ready, f'{service} is offered')
        future = client.call_async(kind.Request(**fields))
        self.wait_until(future.done, f'{service} answers')
        self.user.destroy_client(client)
        return future.result()

    def start(self) -> None:
        """Configure and activate the node, and wait until everybody has found everybody."""
        assert self.node.start()
        self.engine.batches.clear()  # the warm-up of configure
        self.wait_until(self._is_connected, 'node and user find each other')

    def wait_until(self, is_done: Callable[[], Any], what: str) -> None:
        """Let callbacks run until something has happened; fail after the deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while not is_done():
            self._executor.spin_once(timeout_sec=0.01)
            if time.monotonic() > deadline:
                pytest.fail(f'waited {DEADLINE_S:.0f} s in vain until {what}; {self.log_text()}')

    def wait_for_event(self, timeout_s: float) -> None:
        """Let the callbacks of the next event run; return without any after a time."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def send(self, camera: str, message: Any) -> None:
        """Publish one image message."""
        self.cameras[camera].publish(message)

    def next_stamp_ns(self) -> int:
        """Return a stamp one frame later than the last one."""
        self._stamp_ns += STEP_NS
        return self._stamp_ns

    def send_pair(self, *, skew_ns: int = 0, size_hw: tuple[int, int] = (48, 64)) -> int:
        """Publish an RGB and a thermal image; return the RGB stamp."""
        stamp_ns = self.next_stamp_ns()
        self.send('rgb', image_of(rgb_frame(stamp_ns, size_hw=size_hw)))
        self.send('thermal', image_of(thermal_frame(stamp_ns + skew_ns)))
        return stamp_ns

    def result_of(self, stamp_ns: int) -> dict[str, Any]:
        """Wait for the results of one reference stamp; return them by topic."""
        self.wait_until(
            lambda: all(self._find(topic, stamp_ns) for topic in self._topics),
            f'results of stamp {stamp_ns} arrive',
        )
        return {topic: self._find(topic, stamp_ns) for topic in self._topics}

    def run_pair(self, **how: Any) -> dict[str, Any]:
        """Publish a pair and return its results."""
        return self.result_of(self.send_pair(**how))

    def mdi_values(self) -> dict[str, str]:
        """Return the key-values of the newest dominance message."""
        return values_of(self.received['mdi'][-1].status[0])

    def status(self, name: str) -> dict[str, str]:
        """Return the key-values of the newest diagnostic status of that name, {} if none."""
        for message in reversed(self.received['diagnostics']):
            for item in message.status:
                if item.name == f'perception: {name}':
                    return values_of(item)
        return {}

    def log_text(self) -> str:
        """Return what was written to standard error since the start, the node's log above all."""
        self._log += self._capfd.readouterr().err
        return self._log

    def close(self) -> None:
        """Destroy both nodes."""
        self._executor.shutdown()
        self.node.close()
        self.node.destroy_node()
        self.user.destroy_node()
        gc.collect()  # rclpy's lifecycle nodes stay in the graph until then

    def _is_connected(self) -> bool:
        topics = [f'/perception/{topic}' for topic in self._topics]
        return all(
            publisher.get_subscription_count() > 0 for publisher in self.cameras.values()
        ) and all(
            self.node.count_subscribers(topic) and self.user.count_publishers(topic)
            for topic in [*topics, '/diagnostics']
        )

    def _find(self, topic: str, stamp_ns: int) -> Any:
        return next((item for item in self.received[topic] if stamp_of(item) == stamp_ns), None)


def image_of(frame: Frame) -> Image:
    """Return a raw image message of a frame."""
    encodings = {(2, 'uint16'): 'mono16', (2, 'float32'): '32FC1', (2, 'uint8'): 'mono8'}
    encoding = encodings.get((frame.pixels.ndim, frame.pixels.dtype.name), 'rgb8')
    return build_image(np.asarray(frame.pixels), encoding, header_of(frame))


def stamp_of(message: Any) -> int:
    """Return the header stamp in nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def values_of(status: Any) -> dict[str, str]:
    """Return the key-values of a diagnostic status."""
    return {item.key: item.value for item in status.values}


def reliable_latched() -> QoSProfile:
    """Return the profile of a late subscriber to latched topics."""
    from rclpy.qos import DurabilityPolicy

    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )
