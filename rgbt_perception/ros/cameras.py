# SPDX-License-Identifier: Apache-2.0
"""The inputs of the node: images and camera_info of both cameras, and what goes wrong with them.

Callbacks decode and hand on; they never wait. They run on the executor's thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
import time
from typing import Any, TYPE_CHECKING

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from rgbt_perception.camera_model import camera_model_from_info
from rgbt_perception.errors import RGBTError
from rgbt_perception.frames import frame_from_compressed, frame_from_image
from rgbt_perception.ros.qos import input_qos, overridable, subscription_events
from rgbt_perception.types import Modality

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.lifecycle import LifecycleNode
    from rclpy.subscription import Subscription

    from rgbt_perception.camera_model import CameraModel
    from rgbt_perception.config import InputConfig
    from rgbt_perception.ros.diagnostics import Diagnostics
    from rgbt_perception.types import Frame

IMAGE_TOPICS = {Modality.RGB: 'rgb/image_raw', Modality.THERMAL: 'thermal/image_raw'}
INFO_TOPICS = {Modality.RGB: 'rgb/camera_info', Modality.THERMAL: 'thermal/camera_info'}
LOG_PERIOD_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumers:
    """Who takes what arrives.

    Attributes:
        frame: Takes each usable frame and its arrival, monotonic nanoseconds.
        camera: Takes the model of a camera, once and after each change.
        urgent: Called when something was found that must not wait for the next report.
        has_use_for_cameras: True when camera models matter: only then an unusable one is said.
    """

    frame: Callable[[Frame, int], None]
    camera: Callable[[Modality, CameraModel], None]
    urgent: Callable[[], None]
    has_use_for_cameras: bool


class Cameras:
    """Subscriptions to both cameras, from construction to ``close``.

    Attributes:
        is_enabled: While False, images are dropped before they are decoded.
        infos: Newest camera_info of each camera that sent one.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: InputConfig,
        diagnostics: Diagnostics,
        consumers: Consumers,
    ) -> None:
        """Subscribe.

        Args:
            node: Node that owns the subscriptions.
            config: Transports and limits.
            diagnostics: Counts what arrives and what is lost.
            consumers: Who takes what arrives.
        """
        self.is_enabled = True
        self.infos: dict[Modality, CameraInfo] = {}
        self._node, self._config = node, config
        self._diagnostics, self._consumers = diagnostics, consumers
        self._warned_s: dict[str, float] = {}
        self._subscriptions: list[Subscription[Any]] = []
        try:
            for modality in Modality:
                self._subscribe_to_images(modality)
                self._subscribe_to_info(modality)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _subscribe_to_images(self, modality: Modality) -> None:
        is_raw = transport(self._config, modality) == 'raw'
        decode = partial(
            frame_from_image if is_raw else frame_from_compressed,
            modality=modality,
            max_pixels=self._config.max_pixels,
        )
        diagnostics = self._diagnostics
        subscription = self._node.create_subscription(
            Image if is_raw else CompressedImage,
            image_topic(self._config, modality),
            lambda message: self._receive(modality, decode, message),
            input_qos(),
            qos_overriding_options=overridable(),
            event_callbacks=subscription_events(
                on_incompatible=lambda policy: self._note_incompatible(modality, policy),
                on_lost=lambda number: diagnostics.note_lost(modality, number),
            ),
        )
        self._subscriptions.append(subscription)

    def _subscribe_to_info(self, modality: Modality) -> None:
        subscription = self._node.create_subscription(
            CameraInfo,
            INFO_TOPICS[modality],
            lambda message: self._receive_info(modality, message),
            input_qos(),
            qos_overriding_options=overridable(),
        )
        self._subscriptions.append(subscription)

    def _receive(self, modality: Modality, decode: Callable[[Any], Frame], message: Any) -> None:
        if not self.is_enabled:
            return
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
        self._consumers.frame(frame, now_ns)

    def _receive_info(self, modality: Modality, message: CameraInfo) -> None:
        known = self.infos.get(modality)
        if known is not None and _geometry(known) == _geometry(message):
            return
        self.infos[modality] = message
        try:
            model = camera_model_from_info(message, name=modality.value)
        except Exception as error:  # noqa: BLE001 as above
            if self._consumers.has_use_for_cameras:
                self._diagnostics.note_camera_info(modality, str(error))
                self._warn(f'camera_info of {modality.value} not used: {error}')
            return
        self._diagnostics.note_camera_info(modality, '')
        self._consumers.camera(modality, model)

    def _drop_bad_frame(self, modality: Modality, problem: str) -> None:
        self._diagnostics.note_bad_frame(modality, problem)
        self._warn(f'{modality.value} frame dropped: {problem}')

    def _note_incompatible(self, modality: Modality, policy: str) -> None:
        self._diagnostics.note_incompatible_qos(modality, policy)
        self._consumers.urgent()
        topic = self._node.resolve_topic_name(image_topic(self._config, modality))
        self._warn(
            f'a publisher of {topic} offers less {policy} than asked for, so nothing comes from '
            f'it: set qos_overrides.{topic}.subscription.{policy}, or correct the publisher'
        )

    def _warn(self, sentence: str) -> None:
        now_s, key = time.monotonic(), sentence.partition(':')[0]
        if now_s - self._warned_s.get(key, -LOG_PERIOD_S) >= LOG_PERIOD_S:
            self._warned_s[key] = now_s
            self._node.get_logger().warning(sentence)


def transport(config: InputConfig, modality: Modality) -> str:
    """Return 'raw' or 'compressed'."""
    return config.rgb_transport if modality is Modality.RGB else config.thermal_transport


def image_topic(config: InputConfig, modality: Modality) -> str:
    """Return the relative image topic of a camera."""
    suffix = '' if transport(config, modality) == 'raw' else '/compressed'
    return IMAGE_TOPICS[modality] + suffix


def info_values(message: CameraInfo) -> dict[str, Any]:
    """Return what a camera_info says about the camera, as JSON values."""
    names = ('height', 'width', 'distortion_model', 'd', 'k', 'r', 'p')
    return dict(zip(names, _geometry(message)[: len(names)], strict=True))


def _geometry(message: CameraInfo) -> tuple[Any, ...]:
    """Return everything but the header: it changes with every frame."""
    arrays = tuple(
        tuple(map(float, item)) for item in (message.d, message.k, message.r, message.p)
    )
    binning, roi = (message.binning_x, message.binning_y), message.roi
    return (
        message.height,
        message.width,
        message.distortion_model,
        *arrays,
        binning,
        (roi.x_offset, roi.y_offset, roi.height, roi.width),
    )
