# SPDX-License-Identifier: Apache-2.0
"""The programs around the node in ``bench.node_load``: both cameras, and a user of the results.

    python -m bench.node_load_peers --role camera --pairs 100 --rate 20 --report sent.json
    python -m bench.node_load_peers --role listener --report received.json

The camera ends by itself, the listener when it is interrupted; then each writes its report.
"""

from __future__ import annotations

import argparse
import json
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

from bench.node_overhead import build_frames, parse_size
from rgbt_perception.frames import stamp_of
from rgbt_perception.ros.messages import build_image, header_of, import_vision_msgs
from rgbt_perception.ros.qos import result_qos
from rgbt_perception.types import Frame, Modality

TARGET = 'perception'
QUEUE_DEPTH = 5  # a camera driver's
THERMAL_LATER_NS = 3_000_000
ENCODINGS = {Modality.RGB: 'rgb8', Modality.THERMAL: 'mono16'}
STAGES = ('preprocess_ms', 'infer_ms', 'postprocess_ms')
SPIN_S = 0.05
DISCOVERY_S = 20.0


class Cameras(Node):
    """Sends pairs of images at a rate."""

    def __init__(self, size_wh: tuple[int, int], namespace: str) -> None:
        """Create the publishers, reliable as those of most drivers, and the images."""
        super().__init__('cameras', namespace=namespace)
        self._image_publishers = {
            item: self.create_publisher(
                Image, f'{item.value}/image_raw', QoSProfile(depth=QUEUE_DEPTH)
            )
            for item in Modality
        }
        self._frames = {item: build_frames(size_wh, item) for item in Modality}

    def wait_for_node(self) -> None:
        """Wait until the node has subscribed to both.

        Raises:
            TimeoutError: If it does not.
        """
        deadline = time.monotonic() + DISCOVERY_S
        while not all(item.get_subscription_count() for item in self._image_publishers.values()):
            if time.monotonic() > deadline:
                raise TimeoutError(f'the node did not subscribe within {DISCOVERY_S:g} s')
            rclpy.spin_once(self, timeout_sec=SPIN_S)

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
        self.counts: dict[str, str] = {}
        msgs = import_vision_msgs()
        for kind, topic, callback in (
            (DiagnosticArray, f'{TARGET}/mdi', self._on_mdi),
            (msgs.Detection2DArray, f'{TARGET}/detections', lambda _: None),
            (Image, f'{TARGET}/segmentation/mask', lambda _: None),
            (DiagnosticArray, '/diagnostics', self._on_diagnostics),
        ):
            self.create_subscription(kind, topic, callback, result_qos())

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
            if status.name.endswith((': synchronisation', ': inference')):
                self.counts |= {item.key: item.value for item in status.values}


def run_camera(args: argparse.Namespace) -> dict[str, Any]:
    """Send; return the report."""
    cameras = Cameras(args.size, args.namespace)
    cameras.wait_for_node()
    stamps_ns = cameras.send(args.pairs, args.rate)
    cameras.destroy_node()
    return {'sent_ns': stamps_ns}


def run_listener(args: argparse.Namespace) -> dict[str, Any]:
    """Listen until interrupted; return the report."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    listener = Listener(args.namespace)
    while not stop.is_set():
        rclpy.spin_once(listener, timeout_sec=SPIN_S)
    listener.destroy_node()
    return {'results': listener.results, 'counts': listener.counts}


def main() -> int:
    """Be one of the programs."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--role', choices=('camera', 'listener'), required=True)
    parser.add_argument('--report', type=Path, required=True)
    parser.add_argument('--namespace', default='', help="of the node's rig")
    parser.add_argument('--pairs', type=int, default=1)
    parser.add_argument('--rate', type=float, default=1.0)
    parser.add_argument('--size', type=parse_size, default=(640, 480))
    args = parser.parse_args()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    report = run_camera(args) if args.role == 'camera' else run_listener(args)
    args.report.write_text(json.dumps(report), encoding='utf-8')
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
