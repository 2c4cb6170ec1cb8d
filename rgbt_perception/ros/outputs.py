# SPDX-License-Identifier: Apache-2.0
"""The publishers of the perception node. A message is only built when somebody subscribes."""

from __future__ import annotations

from typing import Any, TYPE_CHECKING

import cv2
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.mdi_status import mdi_text
from rgbt_perception.overlay import color_label_map, draw_overlay
from rgbt_perception.ros.cdr import serialise_detections, serialise_image, serialise_statuses
from rgbt_perception.ros.messages import (
    build_label_info,
    build_vision_info,
    import_vision_msgs,
)
from rgbt_perception.ros.qos import latched_qos, overridable, publisher_events, result_qos
from rgbt_perception.temperature_status import temperature_texts
from rgbt_perception.thermal_view import detections_in_thermal, label_map_in_thermal

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.lifecycle import LifecycleNode, LifecyclePublisher

    from rgbt_perception.config import OutputConfig
    from rgbt_perception.pipeline import Pipeline
    from rgbt_perception.types import Detections, FloatArray, Frame, Result

    Builder = Callable[[Result, Frame], bytes]

LOG_PERIOD_S = 5.0


class Outputs:
    """Publishes results. Every output carries the header of the reference frame, exactly."""

    def __init__(self, node: LifecycleNode, pipeline: Pipeline) -> None:
        """Create the publishers; they are silent until the node is active.

        Args:
            node: Node that owns them.
            pipeline: What the results come from; asked for its card and engine.

        Raises:
            BackendUnavailableError: If vision_msgs is not installed.
        """
        msgs = import_vision_msgs()
        self._node, self._pipeline = node, pipeline
        self._results: list[tuple[LifecyclePublisher[Any], Builder]] = [
            (self._create(kind, topic), build)
            for kind, topic, build in (
                (msgs.Detection2DArray, '~/detections', self._build_detections),
                (Image, '~/segmentation/mask', self._build_mask),
                (DiagnosticArray, '~/mdi', self._build_mdi),
                (DiagnosticArray, '~/temperatures', self._build_temperatures),
                (Image, '~/segmentation/color_mask', self._build_color_mask),
                (Image, '~/overlay', self._build_overlay),
                (Image, '~/mdi/map', self._build_share_map),
            )
        ]
        self._thermal_results: list[tuple[LifecyclePublisher[Any], Builder]] = [
            (
                self._create(msgs.Detection2DArray, '~/thermal/detections'),
                self._build_thermal_detections,
            ),
            (self._create(Image, '~/thermal/segmentation/mask'), self._build_thermal_mask),
        ]
        self._label_info = self._create(msgs.LabelInfo, '~/label_info', is_latched=True)
        self._detection_info = self._create(
            msgs.LabelInfo, '~/detections/label_info', is_latched=True
        )
        self._vision_info = self._create(msgs.VisionInfo, '~/vision_info', is_latched=True)
        self._config = pipeline.config.output
        self._heard: frozenset[LifecyclePublisher[Any]] = frozenset()

    def look_for_subscribers(self) -> None:
        """Take note of which outputs somebody listens to: asking for every result costs more."""
        outputs = (*self._results, *self._thermal_results)
        self._heard = frozenset(
            publisher for publisher, _ in outputs if publisher.get_subscription_count() > 0
        )

    def publish(self, result: Result, config: OutputConfig) -> None:
        """Publish one result on every topic that had a subscriber when it was last looked for.

        What is in thermal pixels carries the header of the thermal frame, and goes out only when
        there is one.

        Args:
            result: The result.
            config: Settings it was made with.
        """
        self._config = config
        self._publish(self._results, result, result.pair.reference)
        if result.pair.thermal is not None:
            self._publish(self._thermal_results, result, result.pair.thermal)

    def publish_labels(self, config: OutputConfig) -> None:
        """Publish the latched label sets: mask ids, detection ids, and the model's name.

        Args:
            config: Settings in force.
        """
        card, header = self._pipeline.card, Header()
        masks = build_label_info(card.segmentation_classes, header=header, threshold=0.0)
        boxes = build_label_info(
            card.detection_classes, header=header, threshold=config.score_threshold
        )
        info = build_vision_info(
            card, header=header, database_location=self._detection_info.topic_name
        )
        self._label_info.publish(masks)
        self._detection_info.publish(boxes)
        self._vision_info.publish(info)

    def close(self) -> None:
        """Destroy the publishers."""
        results = [publisher for publisher, _ in (*self._results, *self._thermal_results)]
        for publisher in (*results, self._label_info, self._detection_info, self._vision_info):
            self._node.destroy_lifecycle_publisher(publisher)
        self._results, self._thermal_results = [], []

    def _publish(
        self,
        outputs: list[tuple[LifecyclePublisher[Any], Builder]],
        result: Result,
        frame: Frame,
    ) -> None:
        """Publish a result in the pixels of one of its frames, for those who listen."""
        for publisher, build in outputs:
            if publisher in self._heard:
                publisher.publish(build(result, frame))

    def _create(self, kind: Any, topic: str, *, is_latched: bool = False) -> Any:
        resolved = self._node.resolve_topic_name(topic)
        return self._node.create_lifecycle_publisher(
            kind,
            topic,
            latched_qos() if is_latched else result_qos(),
            qos_overriding_options=overridable(),
            event_callbacks=publisher_events(lambda policy: self._warn(resolved, policy)),
        )

    def _warn(self, topic: str, policy: str) -> None:
        self._node.get_logger().warning(
            f'a subscriber of {topic} asks for more {policy} than is offered, so it gets nothing: '
            f'correct the subscriber, or set qos_overrides.{topic}.publisher.{policy}',
            throttle_duration_sec=LOG_PERIOD_S,
        )

    def _build_detections(self, result: Result, frame: Frame) -> bytes:
        return self._detections_message(result.detections, frame)

    def _build_thermal_detections(self, result: Result, frame: Frame) -> bytes:
        detections = detections_in_thermal(result, self._pipeline.registration)
        return self._detections_message(detections, frame)

    def _detections_message(self, detections: Detections, frame: Frame) -> bytes:
        return serialise_detections(
            detections,
            frame=frame,
            class_names=self._pipeline.card.detection_classes,
            use_names=self._config.class_id_format == 'name',
        )

    def _build_mask(self, result: Result, frame: Frame) -> bytes:
        return serialise_image(result.label_map, 'mono8', frame)

    def _build_thermal_mask(self, result: Result, frame: Frame) -> bytes:
        label_map = label_map_in_thermal(result, self._pipeline.registration)
        return serialise_image(label_map, 'mono8', frame)

    def _build_temperatures(self, result: Result, frame: Frame) -> bytes:
        pipeline = self._pipeline
        texts = temperature_texts(result, pipeline.card.detection_classes, pipeline.config.thermal)
        return serialise_statuses(texts, frame)

    def _build_mdi(self, result: Result, frame: Frame) -> bytes:
        backend, model = self._pipeline.engine.backend, self._pipeline.card.name
        return serialise_statuses([mdi_text(result, backend=backend, model=model)], frame)

    def _build_color_mask(self, result: Result, frame: Frame) -> bytes:
        return serialise_image(
            color_label_map(result.label_map, self._pipeline.card), 'rgb8', frame
        )

    def _build_overlay(self, result: Result, frame: Frame) -> bytes:
        pipeline = self._pipeline
        picture = draw_overlay(result, pipeline.card, pipeline.registration)
        return serialise_image(picture, 'rgb8', frame)

    def _build_share_map(self, result: Result, frame: Frame) -> bytes:
        share_map = share_map_at_reference(result, self._pipeline.input_hw)
        return serialise_image(share_map, '32FC1', frame)


def share_map_at_reference(result: Result, input_hw: tuple[int, int]) -> FloatArray:
    """Bring the RGB share per patch onto the reference image, bilinearly.

    Args:
        result: The result; its share map covers the letterboxed network input.
        input_hw: Height and width of the network input, px.

    Returns:
        (h, w) float32 at reference image size, NaN everywhere when the network did not run.
    """
    height, width = result.pair.reference.size_hw
    grid = result.share_map
    if grid.size == 0:
        return np.full((height, width), np.nan, np.float32)
    letterbox = letterbox_transform((height, width), input_hw)
    scale_x, scale_y = grid.shape[1] / input_hw[1], grid.shape[0] / input_hw[0]
    # Edge units: grid = (source * scale + pad) * grid scale; pixel centres lie half a pixel on.
    x_factor, y_factor = letterbox.scale * scale_x, letterbox.scale * scale_y
    matrix = np.array(
        [
            [x_factor, 0.0, 0.5 * x_factor + letterbox.pad_x * scale_x - 0.5],
            [0.0, y_factor, 0.5 * y_factor + letterbox.pad_y * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    mapped = cv2.warpAffine(
        grid, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(mapped, np.float32)
