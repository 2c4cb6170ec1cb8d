# SPDX-License-Identifier: Apache-2.0
"""Plays the images of a bag on ROS topics, with their own stamps, and reports what was sent.

rosbag2 does not exist outside ROS distributions; this player needs only rclpy and rosbags. It
waits until somebody listens to both cameras, so that the first frame is not lost. With ``clock``
it also sends the time of the bag on /clock; with ``loop`` it begins again after the last image,
and the stamps jump back, as those of a looped rosbag2 do.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
import statistics
import sys
import time
from typing import Any

from builtin_interfaces.msg import Time
import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from rgbt_perception.bag import BagReader, decode_image_message, ImageMessage
from rgbt_perception.bag_messages import BagTopics
from rgbt_perception.errors import ConfigError, FrameError, ProcessError
from rgbt_perception.frames import stamp_of
from rgbt_perception.replay import write_json
from rgbt_perception.ros.messages import build_image, header_of
from rgbt_perception.ros.player_process import run_player
from rgbt_perception.types import Frame, Modality, NS_PER_S

NODE_NAME = 'bag_player'
QUEUE_DEPTH = 5
CLOCK_DEPTH = 10
POLL_S = 0.02
# Between "somebody listens" as this side sees it and as the other side does.
SETTLE_S = 1.0
SENDS_LATE_S = 0.5
DELIVERY_TIMEOUT = Duration(seconds=2.0)
DEFAULTS = {
    'bag': '',
    'rate_hz': 0.0,
    'transport': 'raw',
    'rgb_topic': BagTopics().rgb,
    'thermal_topic': BagTopics().thermal,
    'report_file': '',
    'wait_s': 30.0,
    'loop': False,
    'clock': False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerConfig:
    """Settings of the player.

    Attributes:
        bag: rosbag2 folder, or an .mcap or .db3 file.
        rate_hz: RGB frames per second; 0 = as recorded.
        transport: 'raw' or 'compressed' images.
        topics: Topics in the bag.
        report_file: JSON file to write at the end, '' = none.
        wait_s: Longest wait for a listener on both cameras, seconds.
        loop: Begin again after the last image, until interrupted; nothing is reported then.
        has_clock: Send the log time of each image on /clock before the image.
    """

    bag: Path
    rate_hz: float
    transport: str
    topics: BagTopics
    report_file: str
    wait_s: float
    loop: bool
    has_clock: bool


class BagPlayerNode(Node):
    """Publishes ``rgb/image_raw`` and ``thermal/image_raw`` (or ``.../compressed``)."""

    def __init__(self) -> None:
        """Declare the parameters and create the publishers.

        Raises:
            ConfigError: If a parameter is out of range.
        """
        super().__init__(NODE_NAME)
        self.config = self._declare()
        kind, suffix = (CompressedImage, '/compressed') if self._is_compressed else (Image, '')
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=QUEUE_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE,
        )
        self._image_publishers = {
            modality: self.create_publisher(kind, f'{modality.value}/image_raw{suffix}', qos)
            for modality in Modality
        }
        self._clock_publisher = (
            self.create_publisher(Clock, '/clock', CLOCK_DEPTH) if self.config.has_clock else None
        )
        self._sent: list[tuple[str, int, int]] = []
        self._num_bad = 0

    def play(self) -> None:
        """Send every image once, then write the report; or loop until interrupted.

        Raises:
            BagError: If the bag cannot be read.
            ProcessError: If nobody listens, or this machine cannot keep up.
        """
        with BagReader(self.config.bag, topics=self.config.topics) as reader:
            scale = self._time_scale(reader)
            self._wait_for_listeners()
            self._send_all(reader, scale)
            while self.config.loop and rclpy.ok():
                self._sent.clear()  # for ever is too long to remember
                self._sleep_until(time.monotonic() + frame_interval_ns(reader) * scale / NS_PER_S)
                self._send_all(reader, scale)
        for publisher in self._image_publishers.values():
            publisher.wait_for_all_acked(DELIVERY_TIMEOUT)  # what leaves with the process is lost
        if self.config.report_file:
            write_json(Path(self.config.report_file), self.report())

    def report(self) -> dict[str, Any]:
        """Return what was sent: (camera, stamp, monotonic time), nanoseconds."""
        return {'sent': [list(item) for item in self._sent], 'bad_frames': self._num_bad}

    @property
    def _is_compressed(self) -> bool:
        return self.config.transport == 'compressed'

    def _declare(self) -> PlayerConfig:
        try:
            values: dict[str, Any] = {
                name: self.declare_parameter(name, default).value
                for name, default in DEFAULTS.items()
            }
        except InvalidParameterTypeException as error:
            raise ConfigError(
                f'{error}; expected the types of {DEFAULTS}; a number with a point is a double: '
                f'write 5.0, not 5'
            ) from error
        if values['transport'] not in ('raw', 'compressed'):
            raise ConfigError(
                f"transport is '{values['transport']}', expected raw or compressed; choose one"
            )
        if values['rate_hz'] < 0.0:
            raise ConfigError(
                f'rate_hz is {values["rate_hz"]}, expected 0 (as recorded) or more; correct it'
            )
        return PlayerConfig(
            bag=Path(values['bag']),
            rate_hz=values['rate_hz'],
            transport=values['transport'],
            topics=BagTopics(rgb=values['rgb_topic'], thermal=values['thermal_topic']),
            report_file=values['report_file'],
            wait_s=values['wait_s'],
            loop=values['loop'],
            has_clock=values['clock'],
        )

    def _time_scale(self, reader: BagReader) -> float:
        if not self.config.rate_hz:
            return 1.0
        interval_ns = frame_interval_ns(reader)
        return NS_PER_S / (self.config.rate_hz * interval_ns) if interval_ns else 1.0

    def _wait_for_listeners(self) -> None:
        deadline = time.monotonic() + self.config.wait_s
        while rclpy.ok() and any(
            publisher.get_subscription_count() == 0
            for publisher in self._image_publishers.values()
        ):
            if time.monotonic() > deadline:
                topics = [publisher.topic_name for publisher in self._image_publishers.values()]
                raise ProcessError(
                    f'nobody listened to {" and ".join(topics)} within {self.config.wait_s:g} s; '
                    f'expected a perception node; start it, or remap the topics'
                )
            self._sleep_until(time.monotonic() + POLL_S)
        self._sleep_until(time.monotonic() + SETTLE_S)

    def _send_all(self, reader: BagReader, scale: float) -> None:
        first_ns, start = 0, 0.0
        for image in reader.images():
            message = self._build(image)
            if message is None:
                continue
            if not first_ns:
                first_ns, start = image.log_ns, time.monotonic()
            due = start + (image.log_ns - first_ns) * scale / NS_PER_S
            self._sleep_until(due)
            if not rclpy.ok():
                return
            late_s = time.monotonic() - due
            if late_s > SENDS_LATE_S:
                self.get_logger().warning(
                    f'sending {late_s:.1f} s late: this machine cannot keep up',
                    throttle_duration_sec=5.0,
                )
            if self._clock_publisher is not None:
                seconds, nanoseconds = divmod(image.log_ns, NS_PER_S)
                self._clock_publisher.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))
            self._image_publishers[image.modality].publish(message)
            self._sent.append((image.modality.value, image.stamp_ns, time.monotonic_ns()))

    def _build(self, image: ImageMessage) -> Any:
        if self._is_compressed and image.is_compressed:
            source = image.message
            stamp = Time(sec=source.header.stamp.sec, nanosec=source.header.stamp.nanosec)
            message = CompressedImage(
                header=Header(stamp=stamp, frame_id=source.header.frame_id), format=source.format
            )
            message.data.frombytes(source.data)
            return message
        try:
            frame = decode_image_message(image)
        except FrameError as error:
            self._num_bad += 1
            self.get_logger().warning(f'{image.modality.value} image left out: {error}')
            return None
        if self._is_compressed:
            raise ConfigError(
                f"transport 'compressed' needs compressed images, the {image.modality.value} "
                f'images of the bag are raw; use transport raw'
            )
        return build_image(frame.pixels, raw_encoding(frame), header_of(frame))

    def _sleep_until(self, due: float) -> None:
        while rclpy.ok() and (left := due - time.monotonic()) > 0.0:
            time.sleep(min(left, POLL_S))


def raw_encoding(frame: Frame) -> str:
    """Return the encoding of a raw image message for the pixels of a frame."""
    if frame.modality is Modality.RGB:
        return 'rgb8'
    return {1: 'mono8', 2: 'mono16', 4: '32FC1'}[frame.pixels.dtype.itemsize]


def frame_interval_ns(reader: BagReader) -> float:
    """Return the median time between two RGB stamps, nanoseconds; 0 for fewer than two."""
    topic = reader.camera_topic(Modality.RGB)
    stamps = sorted(stamp_of(message.header) for _, _, message in reader.messages(topic))
    steps = [after - before for before, after in pairwise(stamps)]
    return statistics.median(steps) if steps else 0.0


def main(args: list[str] | None = None) -> int:
    """Play the bag named by the parameter ``bag``; return the exit status."""
    return run_player(BagPlayerNode, name=NODE_NAME, extra='bags', args=args)


if __name__ == '__main__':
    sys.exit(main())
