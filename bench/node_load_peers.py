# SPDX-License-Identifier: Apache-2.0
"""The programs around the node in ``bench.node_load``: both cameras, and a user of the results.

    python -m bench.node_load_peers --role camera --pairs 100 --rate 20 --report R --mark M
    python -m bench.node_load_peers --role listener --report R --mark M

Each leaves its mark when it is ready: the listener when it has found the node, the camera when it
has sent pairs that only warm the node up. On SIGUSR1 the camera sends what is measured and writes
its report. Both stay until they are interrupted; the listener writes its report then.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
import signal
import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from bench.node_overhead import build_frames
from bench.node_streams import (
    IMAGE_HW,
    parse_image_hw,
    STAGES,
    TIMEOUT_S,
    WARM_UP_PAIRS,
    write_report,
)
from rgbt_perception.frames import stamp_of
from rgbt_perception.ros.messages import build_image, header_of, import_vision_msgs
from rgbt_perception.ros.qos import result_qos
from rgbt_perception.types import Frame, Modality

TARGET = 'perception'
QUEUE_DEPTH = 5  # a camera driver's
THERMAL_LATER_NS = 3_000_000
ENCODINGS = {Modality.RGB: 'rgb8', Modality.THERMAL: 'mono16'}
SPIN_S = 0.05


class Cameras(Node):
    """Sends pairs of images at a rate."""

    def __init__(self, size_hw: tuple[int, int], namespace: str) -> None:
        """Create the publishers, reliable as those of most drivers, and the images."""
        super().__init__('cameras', namespace=namespace)
        self._image_publishers = {
            item: self.create_publisher(
                Image, f'{item.value}/image_raw', QoSProfile(depth=QUEUE_DEPTH)
            )
            for item in Modality
        }
        self._frames = {item: build_frames(size_hw, item) for item in Modality}

    def has_found_node(self) -> bool:
        """Whether the node has subscribed to both."""
        return all(item.get_subscription_count() for item in self._image_publishers.values())

    def send(self, num_pairs: int, rate_hz: float) -> list[int]:
        """Send the pairs; return the stamps of the RGB images, when they were sent, ns."""
        stamps_ns = []
        due = time.monotonic()
        for index in range(num_pairs):
            time.sleep(max(0.0, due - time.monotonic()))
            due += 1.0 / rate_hz
            now_ns = time.time_ns()
            for modality, later_ns in ((Modality.RGB, 0), (Modality.THERMAL, THERMAL_LATER_NS)):
                frames = self._frames[modality]
                pixels = frames[index % len(frames)].pixels
                frame = Frame(
                    pixels=pixels,
                    stamp_ns=now_ns + later_ns,
                    frame_id=f'{modality.value}_optical_frame',
                    modality=modality,
                )
                message = build_image(np.asarray(pixels), ENCODINGS[modality], header_of(frame))
                self._image_publishers[modality].publish(message)
            stamps_ns.append(now_ns)
        return stamps_ns


class Listener(Node):
    """Notes when the results came, and what the node counted."""

    def __init__(self, namespace: str) -> None:
        """Subscribe to everything that is published for every pair."""
        super().__init__('listener', namespace=namespace)
        self.results: list[dict[str, Any]] = []
        self.counts: list[dict[str, Any]] = []
        # Nodes say their whole names, for all of them publish on one topic.
        node_name = f'{self.get_namespace()}/{TARGET}'.lstrip('/')
        self._status_name = f'{node_name}: synchronisation'
        msgs = import_vision_msgs()
        for kind, topic, callback in (
            (DiagnosticArray, f'{TARGET}/mdi', self._on_mdi),
            (msgs.Detection2DArray, f'{TARGET}/detections', lambda _: None),
            (Image, f'{TARGET}/segmentation/mask', lambda _: None),
            (DiagnosticArray, '/diagnostics', self._on_diagnostics),
        ):
            self.create_subscription(kind, topic, callback, result_qos())

    def has_found_node(self) -> bool:
        """Whether the node publishes results for us."""
        return self.count_publishers(f'{TARGET}/mdi') > 0

    def _on_mdi(self, message: DiagnosticArray) -> None:
        now_ns = time.time_ns()
        values = {item.key: item.value for item in message.status[0].values}
        self.results.append(
            {
                'stamp_ns': stamp_of(message.header),
                'received_ns': now_ns,
                'mode': values['mode'],
                'skew_ms': float(values['skew_ms']) if values['skew_ms'] else None,
                **{stage: float(values[stage]) for stage in STAGES},
            }
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._status_name:
                counts = {item.key: item.value for item in status.values}
                self.counts.append({'received_ns': time.time_ns(), 'counts': counts})


def wait_for_node(peer: Cameras | Listener) -> None:
    """Wait until a program has found the node.

    Raises:
        TimeoutError: If it does not.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while not peer.has_found_node():
        if time.monotonic() > deadline:
            raise TimeoutError(f'the node was not found within {TIMEOUT_S:g} s')
        rclpy.spin_once(peer, timeout_sec=SPIN_S)


def run_camera(args: argparse.Namespace) -> None:
    """Warm up, wait, send and report; stay until interrupted, for leaving costs the node time."""
    cameras = Cameras(args.size, args.namespace)
    wait_for_node(cameras)
    cameras.send(WARM_UP_PAIRS, args.rate)
    args.mark.touch()
    signal.sigwaitinfo([signal.SIGUSR1])
    write_report(args.report, {'sent_ns': cameras.send(args.pairs, args.rate)})
    signal.pause()


def run_listener(args: argparse.Namespace) -> None:
    """Listen until interrupted; report."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    listener = Listener(args.namespace)
    wait_for_node(listener)
    args.mark.touch()
    while not stop.is_set():
        rclpy.spin_once(listener, timeout_sec=SPIN_S)
    listener.destroy_node()
    write_report(args.report, {'results': listener.results, 'counts': listener.counts})


def main() -> int:
    """Be one of the programs."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--role', choices=('camera', 'listener'), required=True)
    parser.add_argument('--report', type=Path, required=True)
    parser.add_argument('--mark', type=Path, required=True, help='file that says: ready')
    parser.add_argument('--namespace', default='', help="of the node's rig")
    parser.add_argument('--pairs', type=int, default=1)
    parser.add_argument('--rate', type=float, default=1.0)
    parser.add_argument('--size', type=parse_image_hw, default=IMAGE_HW, help='HxW px')
    args = parser.parse_args()
    # Before there are other threads, which would take it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    with suppress(KeyboardInterrupt):  # how both are told to end
        run_camera(args) if args.role == 'camera' else run_listener(args)
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
