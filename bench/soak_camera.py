# SPDX-License-Identifier: Apache-2.0
"""The cameras of the soak test, a process of its own: VGA rgb8 and mono16 with faults by plan.

    python -m bench.soak_camera --seed 1 --duration-s 1200 --origin-ns T --rate 10 --report FILE

Time runs from ``--origin-ns`` (monotonic clock), so that a process that is started again goes on
in the plan where the one before it was ended. Writes how many images it sent when interrupted.
"""

from __future__ import annotations

import argparse
from collections import Counter
import json
from pathlib import Path
import signal
import sys
import threading
import time

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from bench.soak_plan import build_plan, FaultKind, Plan
from bench.soak_shots import FaultyCamera, Shot
from rgbt_perception.ros.messages import header_of
from rgbt_perception.types import Frame, Modality, NS_PER_S

HEIGHT, WIDTH = 480, 640
NUM_SCENES = 12
BURST_HZ = 60.0
THERMAL_LATER_NS = 3_000_000
ORPHAN_S = 60.0
QUEUE_DEPTH = 5  # a camera driver's
ENCODINGS = {'rgb': 'rgb8', 'thermal': 'mono16'}


def build_scenes(seed: int) -> dict[str, list[np.ndarray]]:
    """Draw pictures with structure: soft blobs, every picture a little further to the right."""
    draw = np.random.default_rng(seed)
    coarse_rgb = draw.integers(0, 256, (12, 16, 3)).astype(np.float32)
    coarse_heat = draw.uniform(28_500.0, 30_500.0, (12, 16)).astype(np.float32)
    size = (WIDTH, HEIGHT)
    rgb = cv2.resize(coarse_rgb, size, interpolation=cv2.INTER_CUBIC)
    heat = cv2.resize(coarse_heat, size, interpolation=cv2.INTER_CUBIC)
    grain = draw.normal(0.0, 4.0, (NUM_SCENES, HEIGHT, WIDTH)).astype(np.float32)
    return {
        'rgb': [
            np.clip(np.roll(rgb, 4 * index, 1) + grain[index, ..., None], 0, 255).astype(np.uint8)
            for index in range(NUM_SCENES)
        ],
        'thermal': [
            np.clip(np.roll(heat, 4 * index, 1) + 2.0 * grain[index], 0, 65_535).astype(np.uint16)
            for index in range(NUM_SCENES)
        ],
    }


class Cameras(Node):
    """Sends both cameras until it is stopped."""

    def __init__(self, plan: Plan, *, rate_hz: float, origin_ns: int) -> None:
        """Create the publishers, reliable as those of most drivers.

        Args:
            plan: What goes wrong, and when.
            rate_hz: Images per second and camera.
            origin_ns: Start of the plan on the monotonic clock.
        """
        super().__init__('soak_camera')
        self.sent: Counter[str] = Counter()
        self._plan, self._rate_hz, self._origin_ns = plan, rate_hz, origin_ns
        self._scenes = build_scenes(plan.seed)
        self._faulty = {camera: FaultyCamera() for camera in ENCODINGS}
        self._num_ticks = 0
        self._image_publishers = {
            camera: self.create_publisher(
                Image, f'{camera}/image_raw', QoSProfile(depth=QUEUE_DEPTH)
            )
            for camera in ENCODINGS
        }

    def run(self, stop: threading.Event) -> None:
        """Send until stopped, or long after the plan: then nobody is left who could stop it."""
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            time_s = (time.monotonic_ns() - self._origin_ns) / NS_PER_S
            if time_s > self._plan.duration_s + ORPHAN_S:
                return
            self._tick(time_s)
            is_burst = any(
                fault.kind is FaultKind.BURST for fault in self._plan.active(time_s, 'rgb')
            )
            due = max(due, time.monotonic() - 1.0) + 1.0 / (
                BURST_HZ if is_burst else self._rate_hz
            )

    def _tick(self, time_s: float) -> None:
        self._num_ticks += 1
        now_ns = time.time_ns()
        for camera, later_ns in (('rgb', 0), ('thermal', THERMAL_LATER_NS)):
            shot = Shot(
                camera=camera,
                pixels=self._scenes[camera][self._num_ticks % NUM_SCENES],
                stamp_ns=now_ns + later_ns,
                encoding=ENCODINGS[camera],
            )
            sent = self._faulty[camera].apply(shot, self._plan.active(time_s, camera))
            if sent is not None:
                self._image_publishers[sent.camera].publish(build_message(sent))
                self.sent[sent.camera] += 1


def build_message(shot: Shot) -> Image:
    """Build the image message of a shot, right or wrong."""
    height, width = shot.pixels.shape[:2]
    frame = Frame(
        pixels=np.zeros((1, 1, 3), np.uint8),
        stamp_ns=shot.stamp_ns,
        frame_id=f'{shot.camera}_optical_frame',
        modality=Modality.RGB,
    )
    message = Image(
        header=header_of(frame), height=height, width=width, encoding=shot.encoding, step=shot.step
    )
    message.data.frombytes(shot.data)
    return message


def main() -> int:
    """Send until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--duration-s', type=float, required=True)
    parser.add_argument('--origin-ns', type=int, required=True)
    parser.add_argument('--rate', type=float, required=True)
    parser.add_argument('--report', type=Path, required=True)
    args = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    cv2.setNumThreads(1)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    plan = build_plan(seed=args.seed, duration_s=args.duration_s)
    cameras = Cameras(plan, rate_hz=args.rate, origin_ns=args.origin_ns)
    cameras.run(stop)
    args.report.write_text(json.dumps(cameras.sent), encoding='utf-8')
    cameras.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
