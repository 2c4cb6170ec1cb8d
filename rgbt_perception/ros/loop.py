# SPDX-License-Identifier: Apache-2.0
"""The running part of the perception node, from configure to cleanup.

Three parties: subscription callbacks decode and hand frames to the pairer, the worker thread runs
the pipeline and publishes, a timer asks the pairer for frames whose wait is over. Receiving never
waits for inference, and no foreign code runs under a lock.
"""

from __future__ import annotations

from functools import partial
import threading
import time
from typing import Any, TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # there since Humble
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from rgbt_perception.errors import EngineError, RGBTError
from rgbt_perception.frames import frame_from_compressed, frame_from_image
from rgbt_perception.ros.diagnostics import Diagnostics, SyncCounts
from rgbt_perception.ros.outputs import Outputs
from rgbt_perception.ros.qos import input_qos, result_qos
from rgbt_perception.ros.worker import Worker
from rgbt_perception.sync import Pairer
from rgbt_perception.types import Modality, Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.lifecycle import LifecycleNode
    from rclpy.subscription import Subscription
    from rclpy.timer import Timer

    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.pipeline import Pipeline
    from rgbt_perception.types import Frame, Pair, Result

INPUT_TOPICS = {Modality.RGB: 'rgb/image_raw', Modality.THERMAL: 'thermal/image_raw'}
POLL_PERIOD_S = 0.01
DRAIN_TIMEOUT_S = 30.0
LOG_PERIOD_S = 5.0


class PerceptionLoop:
    """Receives, pairs, runs and publishes while active."""

    def __init__(self, node: LifecycleNode, pipeline: Pipeline, config: PerceptionConfig) -> None:
        """Create the outputs; nothing is received before ``activate``.

        Args:
            node: Node that owns topics and timers.
            pipeline: What turns a pair into a result; closed by ``close``.
            config: Settings in force.

        Raises:
            BackendUnavailableError: If vision_msgs is not installed.
        """
        self._node, self._pipeline, self._config = node, pipeline, config
        self._applied = config
        self._lock = threading.Lock()  # guards the pairer, nothing else
        self._pairer = Pairer(config.sync, config.fallback)
        self._worker: Worker[Pair] | None = None
        self._subscriptions: dict[Modality, Subscription[Any]] = {}
        self._timers: list[Timer] = []
        self._mode: Mode | None = None
        self._warned_s: dict[Modality, float] = {}
        self._topics = {item: self._topic(item) for item in Modality}
        self._diagnostics = self._new_diagnostics()
        self._outputs = Outputs(node, pipeline)
        self._status_publisher = node.create_publisher(
            DiagnosticArray, '/diagnostics', result_qos()
        )

    def activate(self) -> None:
        """Publish the label sets, start the worker and subscribe to the cameras."""
        self._pipeline.reset()
        self._pairer = Pairer(self._config.sync, self._config.fallback)
        self._diagnostics = self._new_diagnostics()
        self._mode = None
        self._outputs.publish_labels(self._config.output)
        self._worker = Worker(self._process, name='perception worker')
        for modality in Modality:
            self._subscriptions[modality] = self._subscribe(modality)
        steady = Clock(
            clock_type=ClockType.STEADY_TIME
        )  # waiting goes on when /clock stands still
        for period_s, callback in (
            (POLL_PERIOD_S, self._poll),
            (self._config.diagnostics.period_s, self._publish_diagnostics),
        ):
            self._timers.append(self._node.create_timer(period_s, callback, clock=steady))

    def deactivate(self) -> None:
        """Unsubscribe, finish the pairs that are ready, stop the worker.

        Raises:
            EngineError: If the worker is still busy after 30 s.
        """
        for timer in self._timers:
            self._node.destroy_timer(timer)
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._timers, self._subscriptions = [], {}
        worker, self._worker = self._worker, None
        if worker is not None and not worker.stop(DRAIN_TIMEOUT_S):
            raise EngineError(
                f'the engine is still busy after {DRAIN_TIMEOUT_S:.0f} s, expected it to finish '
                f'its pair; restart the node'
            )

    def close(self) -> None:
        """Release publishers and the pipeline, also when the worker does not end.

        Raises:
            EngineError: If the worker is still busy after 30 s.
        """
        try:
            self.deactivate()
        finally:
            self._outputs.close()
            self._node.destroy_publisher(self._status_publisher)
            self._pipeline.close()

    def reconfigure(self, config: PerceptionConfig) -> None:
        """Take over new live settings; the worker applies them before its next pair."""
        self._config = config

    def _new_diagnostics(self) -> Diagnostics:
        return Diagnostics(config=self._config, topics=self._topics, now_ns=time.monotonic_ns())

    def _transport(self, modality: Modality) -> str:
        inputs = self._config.input
        is_rgb = modality is Modality.RGB
        return inputs.rgb_transport if is_rgb else inputs.thermal_transport

    def _topic(self, modality: Modality) -> str:
        suffix = '' if self._transport(modality) == 'raw' else '/compressed'
        return self._node.resolve_topic_name(INPUT_TOPICS[modality] + suffix)

    def _subscribe(self, modality: Modality) -> Subscription[Any]:
        is_raw = self._transport(modality) == 'raw'
        decode = partial(
            frame_from_image if is_raw else frame_from_compressed,
            modality=modality,
            max_pixels=self._config.input.max_pixels,
        )
        return self._node.create_subscription(
            Image if is_raw else CompressedImage,
            INPUT_TOPICS[modality] + ('' if is_raw else '/compressed'),
            lambda message: self._receive(modality, decode, message),
            input_qos(),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _receive(self, modality: Modality, decode: Callable[[Any], Frame], message: Any) -> None:
        now_ns = time.monotonic_ns()
        try:
            frame = decode(message)
        except RGBTError as error:
            self._drop_bad_frame(modality, str(error))
            return
        except Exception as error:  # noqa: BLE001 an exception here would leave spin and end the node
            self._drop_bad_frame(modality, f'unexpected {type(error).__name__}: {error}')
            return
        self._diagnostics.note_frame(frame, now_ns)
        with self._lock:
            pairs = self._pairer.push(frame, now_ns)
        self._hand_over(pairs)

    def _drop_bad_frame(self, modality: Modality, problem: str) -> None:
        self._diagnostics.note_bad_frame(modality, problem)
        now_s = time.monotonic()
        if now_s - self._warned_s.get(modality, -LOG_PERIOD_S) >= LOG_PERIOD_S:
            self._warned_s[modality] = now_s
            self._node.get_logger().warning(f'{modality.value} frame dropped: {problem}')

    def _poll(self) -> None:
        with self._lock:
            pairs = self._pairer.poll(time.monotonic_ns())
        self._hand_over(pairs)

    def _hand_over(self, pairs: list[Pair]) -> None:
        for pair in pairs:
            if self._worker is not None and self._worker.put(pair) is not None:
                self._diagnostics.note_superseded()

    def _process(self, pair: Pair) -> None:
        """Run and publish one pair, on the worker thread; the node outlives whatever happens."""
        try:
            config = self._config
            if config is not self._applied:
                self._pipeline.reconfigure(config)
                self._applied = config
            result = self._pipeline.run(pair)
            self._outputs.publish(result, config.output)
        except Exception as error:  # noqa: BLE001 one bad pair must not end the worker
            self._report_failure(pair, error)
            return
        self._diagnostics.note_result(result, time.monotonic_ns())
        self._announce_mode(result)

    def _report_failure(self, pair: Pair, error: Exception) -> None:
        if not self._node.context.ok():  # shutting down: publishers are gone
            return
        kind = '' if isinstance(error, RGBTError) else f'unexpected {type(error).__name__}: '
        self._diagnostics.note_failed(f'{kind}{error}')
        stamp_s = pair.reference.stamp_ns / 1e9
        self._node.get_logger().error(
            f'no result for the pair at {stamp_s:.3f} s: {kind}{error}',
            throttle_duration_sec=LOG_PERIOD_S,
        )

    def _announce_mode(self, result: Result) -> None:
        previous, self._mode = self._mode, result.mode
        if previous is result.mode:
            return
        if result.mode is Mode.FUSED:
            self._node.get_logger().info('mode fused: both cameras are used')
        else:
            self._node.get_logger().warning(f'mode {result.mode.value}: {result.mode_reason}')

    def _publish_diagnostics(self) -> None:
        with self._lock:
            counts = SyncCounts(
                received=self._pairer.received.copy(),
                dropped=self._pairer.dropped.copy(),
                waiting=self._pairer.num_waiting,
            )
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = self._diagnostics.statuses(
            time.monotonic_ns(),
            counts=counts,
            num_publishers={
                item: self._node.count_publishers(topic) for item, topic in self._topics.items()
            },
            pipeline=self._pipeline,
        )
        self._status_publisher.publish(message)
