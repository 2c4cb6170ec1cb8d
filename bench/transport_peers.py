# SPDX-License-Identifier: Apache-2.0
"""Sender and receiver of bench.transport, one process each."""

from __future__ import annotations

import argparse
from functools import partial
import json
from pathlib import Path
import signal
import sys
import threading
import time

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from rgbt_perception.types import NS_PER_S

HEIGHT, WIDTH = 480, 640
KINDS = {
    'reliable': ReliabilityPolicy.RELIABLE,
    'best_effort': ReliabilityPolicy.BEST_EFFORT,
}
NUM_WARM_UP = 5  # of each kind: the first images find caches and mappings cold
QUEUE_DEPTH = 5
WAIT_S = 20.0
SETTLE_S = 1.0  # between "somebody listens" here and there; and from the last image to the end
SPIN_S = 0.1


def qos_of(kind: str) -> QoSProfile:
    """Return the profile of both ends."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=QUEUE_DEPTH, reliability=KINDS[kind])


def send(*, num_frames: int, rate_hz: float, stop: threading.Event) -> int:
    """Send images of each kind in turn; the stamp is the monotonic time of sending."""
    node = Node('transport_sender')
    publishers = {
        kind: node.create_publisher(Image, f'transport/{kind}', qos_of(kind)) for kind in KINDS
    }
    deadline = time.monotonic() + WAIT_S
    while any(item.get_subscription_count() == 0 for item in publishers.values()):
        if time.monotonic() > deadline or stop.wait(0.02):
            return 1
    stop.wait(SETTLE_S)
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    for publisher in publishers.values():
        for index in range(num_frames):
            started = time.monotonic()
            message = Image(height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH)
            message.data.frombytes(pixels.reshape(-1).data)
            message.header.frame_id = str(index)
            seconds, nanoseconds = divmod(time.monotonic_ns(), NS_PER_S)
            message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
            publisher.publish(message)
            if stop.wait(max(0.0, started + 1.0 / rate_hz - time.monotonic())):
                return 1
    stop.wait(SETTLE_S)
    node.destroy_node()
    return 0


def receive(report: Path, stop: threading.Event) -> int:
    """Receive until interrupted; write the latencies by kind, milliseconds."""
    node = Node('transport_receiver')
    latencies_ms: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def note(kind: str, message: Image) -> None:
        stamp = message.header.stamp
        sent_ns = stamp.sec * NS_PER_S + stamp.nanosec
        if int(message.header.frame_id) >= NUM_WARM_UP:
            latencies_ms[kind].append((time.monotonic_ns() - sent_ns) / 1e6)

    for kind in KINDS:
        node.create_subscription(Image, f'transport/{kind}', partial(note, kind), qos_of(kind))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=SPIN_S)
    report.write_text(json.dumps(latencies_ms), encoding='utf-8')
    node.destroy_node()
    return 0


def main() -> int:
    """Play one role."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--role', choices=('sender', 'receiver'), required=True)
    parser.add_argument('--frames', type=int, default=60)
    parser.add_argument('--rate', type=float, default=30.0)
    parser.add_argument('--report', type=Path)
    args = parser.parse_args()
    if args.role == 'receiver' and args.report is None:
        parser.error('the receiver needs --report')
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        if args.role == 'sender':
            return send(num_frames=args.frames, rate_hz=args.rate, stop=stop)
        return receive(args.report, stop)
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
