# SPDX-License-Identifier: Apache-2.0
"""A camera driver as a process: ``python camera_process.py rgb|thermal PERIOD_MS``.

Stamps are multiples of the period, so that two cameras that run at different times are in step.
"""

from __future__ import annotations

import signal
import sys
import time

from fakes import rgb_frame, thermal_frame
import rclpy
from rclpy.node import Node
from ros_rig import image_of
from sensor_msgs.msg import Image


class Camera(Node):
    """Publishes noise with the stamp of the last full period."""

    def __init__(self, name: str, period_ns: int) -> None:
        super().__init__(f'{name}_camera')
        self._make = rgb_frame if name == 'rgb' else thermal_frame
        self._period_ns = period_ns
        self._last_ns = 0
        self._publisher = self.create_publisher(Image, f'{name}/image_raw', 5)
        self.create_timer(period_ns / 8e9, self._tick)

    def _tick(self) -> None:
        stamp_ns = time.time_ns() // self._period_ns * self._period_ns
        if stamp_ns > self._last_ns:
            self._last_ns = stamp_ns
            self._publisher.publish(image_of(self._make(stamp_ns)))


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    rclpy.init(args=[])
    rclpy.spin(Camera(sys.argv[1], int(sys.argv[2]) * 1_000_000))
